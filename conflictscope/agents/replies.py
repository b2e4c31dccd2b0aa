"""What a reply is before anybody reads it: finished or cut, filtered, empty; and its text."""

from __future__ import annotations

from pydantic_ai.messages import ModelResponse, TextPart

from conflictscope.errors import CallFailed


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
    """The text of a reply, without thinking. Raises CallFailed for one that is not finished, or has no text."""
    check_finished(response)
    text = text_in(response)
    if not text:
        raise CallFailed("empty", "no text in the reply")
    return text


def text_in(response: ModelResponse) -> str:
    """What text there is, maybe none."""
    return "".join(part.content for part in response.parts if isinstance(part, TextPart)).strip()
