"""The wiring: from files and options to parts that know nothing of each other, and back to plain results."""

from conflictscope.pipeline.annotating import export_sheets, import_labels, labels_of
from conflictscope.pipeline.auditing import audit
from conflictscope.pipeline.comparing import compare
from conflictscope.pipeline.generating import (
    GenerationResult,
    LibraryViewer,
    generate,
    library_of,
    load_spec,
    stage_folder,
    stage_of,
)
from conflictscope.pipeline.libraries import library_stats, new_value_set
from conflictscope.pipeline.planning import plan_sweep
from conflictscope.pipeline.rechecking import recheck
from conflictscope.pipeline.rejudging import RejudgeResult, rejudge
from conflictscope.pipeline.reporting import WrittenReport, write_report
from conflictscope.pipeline.running import RunResult, Viewer, check_before_library, run_sweep
from conflictscope.pipeline.runs import (
    import_conversations,
    import_outcomes,
    left_out,
    rank,
    remove_demo,
    spent_usd,
    status,
    watch,
)
from conflictscope.pipeline.serving import serve_plant
from conflictscope.pipeline.sweep import Sweep, load_sweep, read_sweep
from conflictscope.pipeline.viewing import view_runs

__all__ = [
    "GenerationResult",
    "LibraryViewer",
    "RejudgeResult",
    "RunResult",
    "Sweep",
    "Viewer",
    "WrittenReport",
    "audit",
    "check_before_library",
    "compare",
    "export_sheets",
    "generate",
    "import_conversations",
    "import_labels",
    "import_outcomes",
    "labels_of",
    "left_out",
    "library_of",
    "library_stats",
    "load_spec",
    "load_sweep",
    "new_value_set",
    "plan_sweep",
    "rank",
    "read_sweep",
    "recheck",
    "rejudge",
    "remove_demo",
    "run_sweep",
    "serve_plant",
    "spent_usd",
    "stage_folder",
    "stage_of",
    "status",
    "view_runs",
    "watch",
    "write_report",
]
