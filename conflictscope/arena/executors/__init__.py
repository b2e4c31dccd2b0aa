"""Who plays the episodes that the runner hands out.

local     in this process
messages  what the driver and its workers say to each other
worker    the far end: plays in its own process, and does nothing to the run but through the driver
driver    the near end: hands episodes out, keeps the run file, the budget and the limits of rate for all workers
cluster   workers as actors of Ray; the only importer of it
"""

from conflictscope.arena.executors.cluster import Cluster, cluster
from conflictscope.arena.executors.driver import Driver, share_of
from conflictscope.arena.executors.local import Cast, LocalExecutor
from conflictscope.arena.executors.worker import Line, LineBudget, LineJournal, LineOpenings, LineRate, Seat

__all__ = [
    "Cast",
    "Cluster",
    "Driver",
    "Line",
    "LineBudget",
    "LineJournal",
    "LineOpenings",
    "LineRate",
    "LocalExecutor",
    "Seat",
    "cluster",
    "share_of",
]
