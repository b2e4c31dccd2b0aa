"""Hostile text made safe to be shown."""

from __future__ import annotations

from rich.text import Text


def plain(text: str, style: str = "") -> Text:
    """Text as text: no markup, no escape sequence, no control or direction-changing character reaches the terminal."""
    return Text("".join(ch if ch.isprintable() else _visible(ch) for ch in text), style=style)


def brief(text: str, width: int, style: str = "") -> Text:
    """Text from anywhere as one safe line; of a long one no more is looked at than could be shown in so many columns."""
    return plain(" ".join(text[: 4 * max(8, width)].split()), style)


def visible(text: str) -> str:
    """As `plain`, but with its lines and tabs: for pages, which escape it themselves."""
    return "".join(ch if ch.isprintable() or ch in "\n\t" else _visible(ch) for ch in text.replace("\r\n", "\n"))


def _visible(ch: str) -> str:
    return " " if ch in "\n\t" else f"\\x{ord(ch):02x}" if ord(ch) < 256 else f"\\u{ord(ch):04x}"


def duration(seconds: float) -> str:
    """`45 s`, `3:20`, `2:05:00`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
