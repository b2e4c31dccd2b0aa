from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from conflictscope.annotation import Item
from conflictscope.outcome import Message, Role
from conflictscope.sheets import neutral
from conflictscope.views import sheet_html
from tests.hostile import HOSTILE


def item(text: str) -> Item:
    return Item(
        "i0-1-0123456789abcdef", text, f"1 {text}", f"2 {text}", (Message(Role.USER, text), Message(Role.TARGET, text))
    )


class Page(HTMLParser):
    """Tags with their attributes, and what stands in each script and style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.raw: list[str] = []
        self.within = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))
        if tag in ("script", "style"):
            self.raw.append("")
            self.within = True

    def handle_endtag(self, tag: str) -> None:
        self.within = False

    def handle_data(self, data: str) -> None:
        if self.within:
            self.raw[-1] += data


def test_the_corpus_is_large_enough() -> None:
    """At least twenty texts."""
    assert len(set(HOSTILE)) >= 20


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_data_and_nothing_else(text: str) -> None:
    """The page has the same elements, attributes, policy, style and script as a harmless one, and the data word for word."""
    page, harmless = Page(sheet_html([item(text)])), Page(sheet_html([item("x")]))
    assert page.tags == harmless.tags
    [style, data, script] = page.raw
    assert [style, script] == [harmless.raw[0], harmless.raw[2]]
    [shown] = json.loads(data)["items"]
    assert shown == {
        "id": "i0-1-0123456789abcdef",
        "description": text,
        "action_1": f"1 {text}",
        "action_2": f"2 {text}",
        "transcript": [{"from": "person", "text": text}, {"from": "assistant", "text": text}],
    }
    assert not re.search(r"[<>&]", data)


def test_the_policy_allows_the_pages_own_script_and_style_and_nothing_else() -> None:
    """By their hashes; no other source, no connection, no form, no base; and no element with a script or style of its own."""
    html = sheet_html([item("x")])
    page = Page(html)
    [policy] = [
        dict(attrs)["content"] for tag, attrs in page.tags if dict(attrs).get("http-equiv") == "Content-Security-Policy"
    ]
    style, _, script = (base64.b64encode(hashlib.sha256(raw.encode()).digest()).decode() for raw in page.raw)
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    )
    for tag, attrs in page.tags:
        assert not any(name.startswith("on") or name in ("style", "src", "srcdoc") for name, _ in attrs), tag
        assert dict(attrs).get("href", "#").startswith("#")  # type: ignore[union-attr]
    assert html.isascii()
    assert "http://" not in html
    assert "https://" not in html


def test_the_script_makes_no_markup_of_texts() -> None:
    """No sink that parses, evaluates, loads or sends."""
    script = Page(sheet_html([item("x")])).raw[2]
    for sink in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
        "fetch(",
        "XMLHttp",
        "import(",
        "new Image",
    ):
        assert sink not in script
    assert "textContent" in script


def test_the_script_neutralises_the_cells_that_we_do() -> None:
    """Its expression for formulas matches the same texts as ours."""
    script = Page(sheet_html([item("x")])).raw[2]
    [pattern] = re.findall(r"\(/\^(.*?)/\.test", script)
    for text in (*HOSTILE, "plain", "'quoted'", ""):
        assert bool(re.match(pattern, text)) == (neutral(text) != text), text


def test_people_are_told_all_that_they_may_answer() -> None:
    """Each answer has a button with its key, and the keys are explained."""
    page = Page(sheet_html([item("x")]))
    answers = {
        dict(attrs).get("data-answer"): dict(attrs)["aria-keyshortcuts"]
        for tag, attrs in page.tags
        if dict(attrs).get("data-answer")
    }
    assert answers == {"1": "1", "2": "2", "tie": "t", "neither": "n", "refused": "r", "unresolved": "u"}
    assert {"main", "nav", "header", "noscript"} <= {tag for tag, _ in page.tags}
    labelled = {dict(attrs).get("for") for tag, attrs in page.tags if tag == "label"}
    assert labelled == {"done", "comment", "name"}
