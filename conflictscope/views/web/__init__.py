"""The pages of `view`: an application that shows the runs of a folder, live, to whoever has its token."""

from conflictscope.views.web.app import web_app
from conflictscope.views.web.source import NoSuchRun, RunCard, RunSource, TooManyRuns

__all__ = ["NoSuchRun", "RunCard", "RunSource", "TooManyRuns", "web_app"]
