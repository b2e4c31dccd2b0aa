"""A planted world as a service has it: its models, their limits, its counts, and how it answers one request."""

from __future__ import annotations

from collections.abc import Mapping

from conflictscope.planted.models import PlantedModel
from conflictscope.planted.server.exchange import Answer, Ask, ServiceError, chosen_tool
from conflictscope.planted.server.limits import SlidingWindow
from conflictscope.planted.server.metrics import Metrics
from conflictscope.planted.world import PlantedWorld


class Plant:
    """What all requests of one server share. window_s: length of the window of the limits, in seconds."""

    def __init__(self, world: PlantedWorld, models: Mapping[str, PlantedModel], window_s: float = 60.0) -> None:
        self.world = world
        self.models = models
        self.metrics = Metrics()
        self.windows = {name: SlidingWindow(world.limits, window_s) for name in models}

    def answer(self, ask: Ask) -> tuple[Answer, float]:
        """What the model answers, and how long it takes over it in seconds. Raises ServiceError."""
        model = self.models.get(ask.model)
        if model is None:
            raise ServiceError(
                404,
                f"The model `{ask.model}` does not exist; there are {', '.join(self.models)}.",
                param="model",
                code="model_not_found",
            )
        try:
            reply = model.reply(ask.instructions, ask.texts, ask.seed, ask.max_tokens)
        except UnicodeEncodeError:  # JSON can spell half a surrogate pair
            raise ServiceError(400, "The request holds text that is not valid Unicode.") from None
        content = chosen_tool(ask, reply.text) or reply.text
        return Answer(
            content, reply.finish_reason == "length", reply.input_tokens, reply.output_tokens
        ), reply.latency_s
