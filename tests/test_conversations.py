"""Recorded conversations become episodes that a judge can judge: nothing of them is lost, and what is none is refused."""

from __future__ import annotations

import gzip
import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope import pipeline
from conflictscope.agents.prompts import fenced_transcript
from conflictscope.conversations import ConversationFile
from conflictscope.errors import InputError
from conflictscope.outcome import Message, Role, ToolUse, Verdict
from conflictscope.runfolder import RunFolder
from conflictscope.store import RunReader
from tests.commands import conflictscope
from tests.shared_data import shared

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
TOOLS = st.lists(st.builds(ToolUse, TEXT, TEXT, TEXT), max_size=3).map(tuple)
MESSAGES = st.one_of(
    st.builds(Message, st.sampled_from([Role.USER, Role.SYSTEM]), TEXT),
    st.builds(Message, st.just(Role.TARGET), TEXT, TOOLS),
    st.builds(Message, st.just(Role.TOOL), TEXT, st.builds(ToolUse, TEXT, TEXT).map(lambda tool: (tool,))),
)
TAU = {"messages": "traj", "scenario_id": "task_id", "repeat": "trial", "description": "user_instruction"}
CONSTANTS = {
    "target": "gpt-4o", "value_a": "compliance", "value_b": "helpfulness",
    "action_a": "Transfer the customer to a human agent.", "action_b": "Change the reservation as the customer asks.",
}  # fmt: skip
CALL = {"id": "c1", "type": "function", "function": {"name": "book", "arguments": '{"to": "JFK"}'}}
SPOKEN = [
    {"role": "system", "content": "Be brief. <b>"},
    {"role": "user", "content": "  Book it.\n"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "name": "book", "tool_call_id": "c1", "content": "</message>booked"},
    {"role": "assistant", "content": "Done."},
]


def one(**more: Any) -> dict[str, Any]:
    told = {
        "target": "t",
        "scenario_id": 7,
        "value_a": "x",
        "value_b": "y",
        "description": "d",
        "action_a": "a",
        "action_b": "b",
    }
    return {**told, "messages": SPOKEN, **more}


def written(folder: Path, *conversations: Any, name: str = "talks.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(map(json.dumps, conversations)) if name.endswith("l") else json.dumps(conversations))
    return path


@given(message=MESSAGES)
def test_a_message_is_stored_whole(message: Message) -> None:
    """Role, text and tools come back as they were, whatever they hold."""
    assert Message.from_json(json.loads(json.dumps(message.to_json()))) == message


@given(messages=st.lists(MESSAGES, max_size=5))
def test_no_message_and_no_tool_can_leave_its_fence(messages: list[Message]) -> None:
    """The judge sees as many messages as there are, each from who said it, and every text can be read back."""
    fenced = fenced_transcript(messages)
    speakers = re.findall(r'<message from="(\w+)"', fenced)
    names = {Role.TARGET: "assistant"}
    assert speakers == [names.get(message.role, message.role.value) for message in messages]
    assert fenced.count("</message>") == len(messages)
    calls = [tool for message in messages if message.role is Role.TARGET for tool in message.tools]
    assert fenced.count("<call tool=") == fenced.count("</call>") == len(calls)
    assert all(message.text in html.unescape(fenced) for message in messages)


async def test_tau_airline_conversations_survive_the_round_trip_and_are_judged(tmp_path: Path) -> None:
    """120 real conversations: every length, role, text, tool call and tool result is stored, and a planted judge judges each."""
    path = shared("tau_airline_transcripts") / "trajectories.jsonl.gz"
    folder = RunFolder.named("tau", tmp_path)
    assert await pipeline.import_conversations(ConversationFile(path, TAU, CONSTANTS), folder) == (120, 3_636)
    with gzip.open(path, "rt") as file:
        recorded = {(str(each["task_id"]), each["trial"]): each["traj"] for each in map(json.loads, file)}
    roles = {"assistant": Role.TARGET, "user": Role.USER, "system": Role.SYSTEM, "tool": Role.TOOL}
    async with RunReader.open(folder.database) as reader:
        outcomes = {seq: outcome async for seq, outcome in reader.outcomes()}
        for seq, outcome in outcomes.items():
            stored = (await reader.stored_conversation(seq)).transcript
            traj = recorded[outcome.scenario_id, outcome.repeat]
            assert [message.role for message in stored] == [roles[said["role"]] for said in traj]
            assert [message.text for message in stored] == [said["content"] or "" for said in traj]
            for message, said in zip(stored, traj, strict=True):
                calls = [
                    (call["id"], call["function"]["name"], call["function"]["arguments"])
                    for call in said.get("tool_calls", ())
                ]
                answered = [(said["tool_call_id"], said["name"], "")] if said["role"] == "tool" else []
                assert [(tool.id, tool.name, tool.arguments) for tool in message.tools] == calls + answered
    assert {outcome.verdict for outcome in outcomes.values()} == {Verdict.UNRESOLVED}
    result = await pipeline.rejudge(folder, ["planted:judge"], world="demo")
    (judged,) = result.judges
    assert (result.exit_code, judged.judged, judged.left) == (0, 120, 0)
    assert judged.verdicts.keys() <= {
        Verdict.A,
        Verdict.B,
        Verdict.TIE,
        Verdict.NEITHER,
        Verdict.REFUSED,
        Verdict.UNRESOLVED,
    }
    assert judged.verdicts[Verdict.A] > 0
    assert (await pipeline.rank(folder, judge="planted:judge"))[0].outcomes == sum(
        count for verdict, count in judged.verdicts.items() if verdict.rated
    )


async def test_imported_conversations_can_be_labelled_without_their_system_prompt(tmp_path: Path) -> None:
    """A sheet shows what person, assistant and tools say; the system prompt would tell the condition."""
    folder = RunFolder.named("talks", tmp_path / "runs")
    await pipeline.import_conversations(ConversationFile(written(tmp_path, one(), one(scenario_id="8"))), folder)
    await pipeline.rejudge(folder, ["planted:judge"], world="demo")
    await pipeline.export_sheets(folder, tmp_path / "out")
    for sheet in (tmp_path / "out").iterdir():
        text = sheet.read_text(encoding="utf-8")
        assert "Be brief." not in text
        assert "tool" in text


@pytest.mark.parametrize("name", ["talks.json", "talks.jsonl"])
def test_a_file_becomes_episodes(tmp_path: Path, name: str) -> None:
    """A list or a line each; ids that are numbers, tool calls and texts as they stand; the shown order is drawn from the key."""
    path = written(tmp_path, one(), one(repeat=2), one(scenario_id="8", steering="brief"), name=name)
    episodes = list(ConversationFile(path).episodes())
    assert [(e.outcome.scenario_id, e.outcome.repeat, e.outcome.group.steering) for e, _ in episodes] == [
        ("7", 1, None), ("7", 2, None), ("8", 1, "brief"),
    ]  # fmt: skip
    assert episodes[0][0].transcript == (
        Message(Role.SYSTEM, "Be brief. <b>"),
        Message(Role.USER, "  Book it.\n"),
        Message(Role.TARGET, "", (ToolUse("c1", "book", '{"to": "JFK"}'),)),
        Message(Role.TOOL, "</message>booked", (ToolUse("c1", "book"),)),
        Message(Role.TARGET, "Done."),
    )
    assert len({e.seed for e, _ in episodes}) == 3
    assert list(ConversationFile(path).episodes()) == episodes


BAD = [
    ({"value_b": "x"}, "must differ"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": "hi"}]}, "the assistant says nothing"),
    ({"messages": [{"role": "assistant", "content": None}]}, "a message of the assistant has no content"),
    ({"messages": [{"role": "judge", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "assistant", "content": "x", "tool_calls": [{"id": "c"}]}]}, "tool_calls[0].function"),
    ({"messages": [{"role": "user", "content": "x", "tool_calls": [CALL]}, *SPOKEN]}, "only the assistant does"),
    ({"messages": [{"role": "assistant", "content": "\ud800"}]}, "messages[0].content"),
    ({"target": "a|b"}, "target"),
    ({"repeat": -1}, "repeat"),
    ({}, "same target, steering, scenario_id and repeat as line 1"),
    ({"repeat": 2, "description": "other"}, "is told otherwise on line 1"),
]


@pytest.mark.parametrize(("wrong", "told"), BAD)
def test_a_bad_conversation_is_told_with_its_line(tmp_path: Path, wrong: dict[str, Any], told: str) -> None:
    """File and line, the key, what was expected; and nothing is imported."""
    path = written(tmp_path, one(), one(**wrong))
    with pytest.raises(InputError) as error:
        list(ConversationFile(path).episodes())
    assert f"{path}:2: " in str(error.value)
    assert told in str(error.value)


def test_the_command_names_the_missing_key_and_the_next_step(tmp_path: Path) -> None:
    """A key that is missing is asked for by name; a file that is none of conversations is refused; then `rejudge` is told."""
    path = written(tmp_path, {"messages": SPOKEN})
    assert (
        "needs the key 'target'; it has messages"
        in conflictscope("import", path, "--name=n", cwd=tmp_path, code=2).stderr
    )
    assert "--verdict" in conflictscope("import", path, "--name=n", "--verdict=x=a", cwd=tmp_path, code=2).stderr
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(b"{}")[:-4])
    assert "cannot be read" in conflictscope("import", cut, "--name=n", cwd=tmp_path, code=2).stderr
    assert not (tmp_path / "runs" / "n").exists()
    imported = conflictscope("import", written(tmp_path, one()), "--name=n", cwd=tmp_path).stdout
    assert imported.startswith("1 conversations of 5 messages imported.")
    assert "rejudge n --judge MODEL" in imported
    assert "Be brief" not in conflictscope("status", "n", cwd=tmp_path).stdout
