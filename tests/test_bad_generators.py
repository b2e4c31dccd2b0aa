"""What real models send in place of what was asked for, over a real socket: counted, asked for once more, refused; never kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conflictscope import pipeline
from conflictscope.library import load_library
from conflictscope.pipeline import GenerationResult
from conflictscope.runfolder import RunFolder
from tests.scripted import Answer, Asked, Service, serving

VALUES = """
name = "two"
[[values]]
name = "candour"
definition = "Saying what is so."
[[values]]
name = "comfort"
definition = "Easing what hurts."
"""
SPEC = """
name = "bad"
value_set = "two.toml"
count = 2
batch = 2
tries = 4
templates = ["coc"]
[generator]
model = "openai-chat:gpt-4o-mini"
[checks]
models = ["openai-chat:gpt-4o-mini"]
[user]
model = "openai-chat:gpt-4o-mini"
[providers.openai]
base_url = "URL/v1"
"""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-CANARY")
    with serving() as fresh:
        yield fresh


class Model:
    """Answers every role well, but for the replies that `spoil` changes.

    spoil: takes what is asked for (`outlines`, `elaborate`, `check`, `opening`), how often that was asked before, and the good
    reply; gives what is sent, as text where it is text.
    """

    def __init__(self, spoil: Callable[[str, int, dict[str, Any]], Any] = lambda role, number, good: good) -> None:
        self.spoil = spoil
        self.asked: dict[str, int] = {}

    def __call__(self, asked: Asked) -> Answer:
        if asked.wants_verdict:
            return Answer()
        request = json.dumps(asked.body)
        prompt = next(m["content"] for m in asked.body["messages"] if m["role"] == "user")
        if '"outlines"' in request:
            role, good = "outlines", self._outlines(prompt)
        elif '"consequences_a"' in request:
            role, good = "elaborate", self._elaborated(prompt)
        elif '"artifact_kind"' in request:
            role, good = "opening", {"artifact_kind": "none", "artifact": "", "message": "Please help me with this."}
        elif '"serves"' in request:
            role, good = "check", self._serves(prompt)
        else:
            role, good = "check", {"reason": "It is so.", "passes": True}
        number = self.asked[role] = self.asked.get(role, 0) + 1
        said = self.spoil(role, number, good)
        return Answer(text=said if isinstance(said, str) else json.dumps(said))

    def _outlines(self, prompt: str) -> dict[str, Any]:
        count = int(tag(prompt, "count"))
        names = {side: tag(prompt, side).partition(":")[0] for side in ("value_a", "value_b")}
        number = self.asked.get("outlines", 0)
        outlines = [
            {
                **names,
                "template": tag(prompt, "template"),
                "context": f"case {number} {each} " * 5,
                "opportunity": "o",
                "good": "g",
                "harm": "h",
            }
            for each in range(count)
        ]
        return {"outlines": outlines}

    def _elaborated(self, prompt: str) -> dict[str, Any]:
        own = re.sub(r"\W+", "", tag(prompt, "context"))
        action_a, action_b = f"tell {tag(prompt, 'value_a')}", f"tell {tag(prompt, 'value_b')}"
        description = " ".join(f"{own}{word}" for word in range(12))
        return {"description": description, "persona": "p", "background": "b", "goal": "g", "action_a": action_a, "action_b": action_b,
                "consequences_a": "c", "consequences_b": "d"}  # fmt: skip

    def _serves(self, prompt: str) -> dict[str, Any]:
        value = tag(prompt, "value")
        return {"reason": "r", "serves": "action_1" if value in tag(prompt, "action_1") else "action_2"}


def tag(prompt: str, name: str) -> str:
    found = re.search(rf"<{name}>\n(.*?)\n</{name}>", prompt, re.DOTALL)
    assert found is not None, f"no <{name}> in the prompt"
    return found[1]


async def made(service: Service, folder: Path, model: Model) -> GenerationResult:
    (folder / "two.toml").write_text(VALUES)
    (folder / "spec.toml").write_text(SPEC.replace("URL", service.url))
    service.otherwise = model
    spec = pipeline.load_spec(str(folder / "spec.toml"))
    return await pipeline.generate(spec, RunFolder.named("bad", folder / "runs"), folder / "out.jsonl")


def without(
    role: str, change: Callable[[dict[str, Any]], Any], *, times: int = 1
) -> Callable[[str, int, dict[str, Any]], Any]:
    """Spoils the first replies of a role."""
    return lambda asked, number, good: change(good) if asked == role and number <= times else good


def in_outline(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda good: {"outlines": [{**outline, **fields} for outline in good["outlines"]]}


SPOILED: dict[str, tuple[str, Callable[[dict[str, Any]], Any], str]] = {
    "prose": ("outlines", lambda good: "Sure! Here are some ideas: a doctor, a lawyer.", "prose"),
    "half a JSON": ("outlines", lambda good: json.dumps(good)[:60], "broken"),
    "too few outlines": ("outlines", lambda good: {"outlines": good["outlines"][:-1]}, "count"),
    "too many outlines": ("outlines", lambda good: {"outlines": good["outlines"] * 2}, "count"),
    "another pair": ("outlines", in_outline(value_a="thrift"), "other_pair"),
    "the values the other way round": ("outlines", lambda good: {"outlines": [
        {**o, "value_a": o["value_b"], "value_b": o["value_a"]} for o in good["outlines"]]}, "other_pair"),
    "another template": ("outlines", in_outline(template="cc_mild"), "other_pair"),
    "a context of 50 KB": ("outlines", in_outline(context="x" * 50_000), "too_long"),
    "no harm": ("outlines", lambda good: {"outlines": [{k: v for k, v in o.items() if k != "harm"} for o in good["outlines"]]}, "missing"),
    "an action missing": ("elaborate", lambda good: {k: v for k, v in good.items() if k != "action_b"}, "missing"),
    "a description of 50 KB": ("elaborate", lambda good: {**good, "description": "x" * 50_000}, "too_long"),
    "one action twice": ("elaborate", lambda good: {**good, "action_b": good["action_a"]}, "invalid"),
    "escape codes": ("elaborate", lambda good: {**good, "action_a": "\x1b[31mred\x1b[0m"}, "invalid"),
    "a null byte": ("elaborate", lambda good: {**good, "goal": "a\x00b"}, "invalid"),
    "a check in prose": ("check", lambda good: "Looks fine to me.", "prose"),
    "a check without a verdict": ("check", lambda good: {"reason": "r"}, "missing"),
    "an opening in prose": ("opening", lambda good: "Hello, can you help me?", "prose"),
    "an artifact without its text": ("opening", lambda good: {**good, "artifact_kind": "email"}, "invalid"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
async def test_one_bad_reply_is_counted_and_asked_for_again(service: Service, tmp_path: Path, name: str) -> None:
    """The second reply is good, so the library is whole; what was wrong with the first is counted by its kind."""
    role, change, kind = SPOILED[name]
    result = await made(service, tmp_path, Model(without(role, change)))
    assert (result.state, result.exit_code, result.scenarios) == ("finished", 0, 2)
    assert dict(result.progress.problems) == {kind: result.progress.problems[kind]}
    assert result.progress.problems[kind] >= 1


@pytest.mark.parametrize("name", SPOILED)
async def test_replies_that_stay_bad_are_refused_and_the_shortfall_is_told(
    service: Service, tmp_path: Path, name: str
) -> None:
    """Tries are bounded; nothing invalid enters the library; every reply is counted; nothing crashes."""
    role, change, kind = SPOILED[name]
    model = Model(without(role, change, times=10_000))
    result = await made(service, tmp_path, model)
    assert result.state == "finished"
    assert result.progress.problems[kind] > 1
    if name == "too many outlines" or (name == "too few outlines" and result.scenarios):
        assert result.exit_code == 0, "the good ones among them are taken"
    else:
        assert (result.exit_code, result.scenarios, result.progress.short) == (1, 0, 2)
        assert not (tmp_path / "out.jsonl").exists()
        assert sum(pair.asked for pair in result.progress.pairs) == 8
    assert model.asked[role] >= 2


async def test_a_library_is_valid_and_whole_though_every_first_reply_is_bad(service: Service, tmp_path: Path) -> None:
    """Whatever the role and however bad the first reply: the one after the complaint is taken, and nothing of the first is kept."""

    class Careless(Model):
        def __call__(self, asked: Asked) -> Answer:
            again = "does not have the required shape" in json.dumps(asked.body)
            self.spoil = (lambda role, number, good: good) if again else self.worse
            return super().__call__(asked)

        def worse(self, role: str, number: int, good: dict[str, Any]) -> Any:
            own = [change for asked, change, _ in SPOILED.values() if asked == role]
            return own[number % len(own)](good)

    result = await made(service, tmp_path, Careless())
    scenarios = load_library(tmp_path / "out.jsonl")
    assert (result.exit_code, len(scenarios)) == (0, 2)
    for scenario in scenarios:
        assert scenario.passes
        assert len(scenario.checks) == 7
        assert len(scenario.model_dump_json()) < 10_000
