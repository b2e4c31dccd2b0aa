"""The planted world over HTTP: OpenAI chat completions and responses, Anthropic messages, and both batch APIs.

`serving` runs it in this event loop, `planted_server` makes one to be run elsewhere, `create_app` is the bare application.
"""

from conflictscope.planted.server.app import create_app
from conflictscope.planted.server.transport import PlantedServer, planted_server, serving

__all__ = ["PlantedServer", "create_app", "planted_server", "serving"]
