"""The wiring: from files and options to parts that know nothing of each other, and back to plain results."""

from conflictscope.pipeline.comparing import compare
from conflictscope.pipeline.libraries import library_stats, new_value_set, write_library
from conflictscope.pipeline.planning import plan_sweep
from conflictscope.pipeline.running import RunResult, Viewer, run_sweep
from conflictscope.pipeline.runs import import_outcomes, rank, remove_demo, status
from conflictscope.pipeline.serving import serve_plant
from conflictscope.pipeline.sweep import Sweep, load_sweep

__all__ = [
    "RunResult",
    "Sweep",
    "Viewer",
    "compare",
    "import_outcomes",
    "library_stats",
    "load_sweep",
    "new_value_set",
    "plan_sweep",
    "rank",
    "remove_demo",
    "run_sweep",
    "serve_plant",
    "status",
    "write_library",
]
