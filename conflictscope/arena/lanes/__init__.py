"""The throttled, retried, metered, journaled way to one model: small steps around one interface.

lane         states the order in which the steps stand
steps        what passes from step to step
journal      what was answered is never asked again; what is asked is written down
breaker      closes the lane on an error that will not go away
retry        the one layer of retries
concurrency  how many requests are in flight, adapted to how the service takes them
budget       reserves an amount before each request, settles it after
throttle     requests and tokens per minute
batch        collects requests, sends them together, gives each what came of it; also what a former process sent
endpoint     asks the model, within its deadline; whatever goes wrong becomes a typed failure
embedding    the same way to a model that makes vectors of texts
transport    the HTTP client under the SDKs
"""

from conflictscope.arena.lanes.budget import LOCAL, Budget, FlatPrice, Price, known_price, named_price
from conflictscope.arena.lanes.embedding import ModelEmbedding
from conflictscope.arena.lanes.lane import ModelLane, Policy, output_modes
from conflictscope.arena.lanes.throttle import RateLimit
from conflictscope.arena.lanes.transport import lean_client, quicken, send_as_given

__all__ = [
    "LOCAL",
    "Budget",
    "FlatPrice",
    "ModelEmbedding",
    "ModelLane",
    "Policy",
    "Price",
    "RateLimit",
    "known_price",
    "lean_client",
    "named_price",
    "output_modes",
    "quicken",
    "send_as_given",
]
