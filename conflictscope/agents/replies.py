"""What a reply is before anybody reads it: finished or cut, filtered, empty; and its text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic_ai.messages import ModelResponse, TextPart

from conflictscope.errors import CallFailed

REFUSAL = re.compile(r"\bI(?:'m| am|’m) (?:sorry|unable|not able)\b|\bI (?:can't|can’t|cannot)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a reply. logprob: natural logarithm of its probability. instead: those of the most probable at its place."""

    text: str
    logprob: float
    instead: Mapping[str, float]


class Weighed(str):
    """The text of a reply with its tokens. A text like any other; whoever changes it has a text without them."""

    __slots__ = ("tokens",)
    tokens: Sequence[Token]

    def __new__(cls, text: str, tokens: Sequence[Token]) -> Weighed:
        self = super().__new__(cls, text)
        self.tokens = tokens
        return self


def check_finished(response: ModelResponse) -> None:
    """Raises CallFailed for a reply that was filtered, cut by the token limit, or broken off by the service."""
    match response.finish_reason:
        case "content_filter":
            told = (response.provider_details or {}).get("refusal")
            raise CallFailed("refused", f"refused, or stopped by the provider's filter{f': {told}' if told else ''}")
        case "length":
            raise CallFailed("truncated", "cut by the token limit (max_tokens)")
        case "error":
            raise CallFailed("api", "broken off by the service")


def text_of(response: ModelResponse) -> str:
    """The text of a reply, without thinking, Weighed where the service told how probable its tokens were.

    Raises CallFailed for a reply that is not finished, or has no text.
    """
    check_finished(response)
    text = text_in(response)
    if not text:
        raise CallFailed("empty", "no text in the reply")
    tokens = list(_tokens(response))
    return Weighed(text, tokens) if tokens else text


def text_in(response: ModelResponse) -> str:
    """What text there is, maybe none."""
    return "".join(part.content for part in response.parts if isinstance(part, TextPart)).strip()


def _tokens(response: ModelResponse) -> Iterator[Token]:
    """What OpenAI's chat completions say of the whole reply, and its responses of each text; what is no number is left out."""
    parts = [part.provider_details for part in response.parts if isinstance(part, TextPart)]
    for details in (response.provider_details, *parts):
        told = (details or {}).get("logprobs")
        for token in told if isinstance(told, list) else ():
            instead = {each["token"]: each["logprob"] for each in token["top_logprobs"]}
            if all(math.isfinite(logprob) for logprob in (token["logprob"], *instead.values())):
                yield Token(token["token"], token["logprob"], instead)
