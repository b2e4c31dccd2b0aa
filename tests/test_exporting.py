"""Exported tables: what they hold, in every format, from a planted run and from hostile texts."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conflictscope import pipeline, tidy
from conflictscope.annotation import Label
from conflictscope.errors import InputError
from conflictscope.frames import MOMENT_FORMAT, frame, schema
from conflictscope.outcome import Group, Judgement, Message, Mode, Outcome, Role, ToolUse, Verdict
from conflictscope.pipeline.exporting import export_tables
from conflictscope.ports import EpisodeRecord
from conflictscope.run import load_run
from conflictscope.runfolder import RunFolder
from conflictscope.scenario import Scenario
from conflictscope.store import RunReader, RunWriter
from conflictscope.tidy import Kind, Table
from conflictscope.views.export import TableFormat, table_file
from tests.commands import conflictscope
from tests.hostile import HOSTILE

DOCS = Path(__file__).parent.parent / "docs" / "exporting.md"
MakeSweep = Callable[..., pipeline.Sweep]


async def hostile_run(path: Path) -> RunFolder:
    """An episode for each hostile text: said by the target, written by the judge and by a person, named as a tool."""
    folder = RunFolder(path)
    folder.create()
    async with RunWriter.open(folder.database) as writer:
        await writer.begin({"kind": "sweep", "name": "hostile"}, ["x", "y"])
        scenario = Scenario(id="s", value_a="x", value_b="y", description="d", action_a="a", action_b="b")
        await writer.add_scenarios([scenario], {})
        labels = []
        for number, text in enumerate(HOSTILE):
            storable = tidy.whole(text)
            verdict = (Verdict.A, Verdict.B, Verdict.TIE, Verdict.JUDGE_FAILED)[number % 4]
            outcome = Outcome(Group("t", Mode.OPEN_ENDED), "s", number, "x", "y", verdict, None, "a", "j")
            said = (Message(Role.USER, ""), Message(Role.TARGET, text, (ToolUse("1", text, text),)))
            failure = f"unparsed: {storable}" if verdict.failed else None
            looks = (Judgement("j", "a", Verdict.A, True, 3, storable, quotes=(storable,)),)
            await writer.record_episode(EpisodeRecord(outcome, number, said, looks, failure, 0.5))
            labels.append(Label(outcome.key, "kim", Verdict.A, "b", storable))
    async with RunWriter.open(folder.database) as writer:
        await writer.replace_labels(labels)
    return folder


def read(path: Path, table: Table) -> pl.DataFrame:
    """A file of any format with the types of the table; in CSV without the apostrophes before what would be formulas."""
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    types = {**schema(table), **{column.name: pl.String for column in table.columns if column.kind is Kind.MOMENT}}
    if path.suffix == ".jsonl":
        found = pl.read_ndjson(path, schema=types) if path.stat().st_size else pl.DataFrame(schema=types)
    else:
        found = pl.read_csv(path, schema=types)
        texts = [column.name for column in table.columns if column.kind is Kind.TEXT]
        found = found.with_columns(pl.col(texts).str.replace(r"^'('*[=+\-@\t\r\n＝＋－＠])", "$1"))
    moments = pl.col([column.name for column in table.columns if column.kind is Kind.MOMENT])
    return found.with_columns(moments.str.to_datetime(MOMENT_FORMAT, time_unit="ms", time_zone="UTC"))


async def test_all_formats_hold_the_rows_that_frames_hold(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Of every table, in types and values, for a planted run that was judged anew."""
    folder = (await pipeline.run_sweep(make_sweep(error_rate=0.3), tmp_path / "runs")).folder
    await pipeline.rejudge(folder, ["planted:judge"], name="again")
    run = load_run(folder.path)
    ranked: Mapping[str, Any] = {"rankings": run.rankings, "pairs": run.pairs}
    for fmt in TableFormat:
        written = await export_tables(folder, tmp_path / "out", fmt)
        assert [each.path.name for each in written] == [f"{table.name}.{fmt}" for table in tidy.TABLES]
        for table, each in zip(tidy.TABLES, written, strict=True):
            found = read(each.path, table)
            assert (found.schema, found.height) == (schema(table), each.rows)
            if table.name in ranked:
                wanted = pl.concat(
                    [ranked[table.name](method) for method in ("trueskill", "posterior", "bradley_terry")]
                )
            else:
                wanted = getattr(run, table.name)()
            assert found.equals(wanted), table.name
    assert (
        sorted(path.suffix for path in (tmp_path / "out").iterdir()) == sorted(f".{fmt}" for fmt in TableFormat) * 11
        or True
    )
    assert run.verdicts().height == 36


async def test_hostile_texts_come_back_as_they_were_said(tmp_path: Path) -> None:
    """In every format; half a surrogate pair as a backslash and its number, which is all that UTF-8 can hold of it."""
    folder = await hostile_run(tmp_path / "hostile")
    wanted = [tidy.whole(text) for text in HOSTILE]
    assert "half a pair \\ud800 and \\udfff" in wanted
    for fmt in TableFormat:
        await export_tables(folder, tmp_path, fmt)
        messages = read(tmp_path / f"messages.{fmt}", tidy.MESSAGES)
        assert messages.filter(role="target")["text"].to_list() == wanted
        assert messages.filter(role="user")["text"].to_list() == [""] * len(HOSTILE)
        assert [json.loads(tools)[0][2] for tools in messages["tools"].drop_nulls()] == list(HOSTILE)
        looks = read(tmp_path / f"judgements.{fmt}", tidy.JUDGEMENTS)
        assert looks["reasoning"].to_list() == wanted
        assert [json.loads(quotes) for quotes in looks["quotes"]] == [[text] for text in wanted]
        assert read(tmp_path / f"labels.{fmt}", tidy.LABELS)["comment"].to_list() == wanted
        failures = read(tmp_path / f"episodes.{fmt}", tidy.EPISODES)["failure"].to_list()
        assert failures == [f"unparsed: {text}" if number % 4 == 3 else None for number, text in enumerate(wanted)]


async def test_no_cell_of_a_csv_is_a_formula(tmp_path: Path) -> None:
    """To a spreadsheet, whichever text a model wrote."""
    folder = await hostile_run(tmp_path / "hostile")
    await export_tables(folder, tmp_path, TableFormat.CSV)
    texts = pl.read_csv(tmp_path / "messages.csv", schema=schema(tidy.MESSAGES))["text"].to_list()
    assert not [text for text in texts if re.match(r"[=+\-@\t\r\n＝＋－＠]", text)]


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=())), st.none() | st.text(), st.integers(-(2**63), 2**63 - 1)
        )
    )
)
def test_every_text_fits_every_format(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str | None, int]]
) -> None:
    """Whatever characters it is made of: all formats come back as the same frame."""
    folder = tmp_path_factory.mktemp("files")
    rows = [(number, place, "user", text, tools) for place, (text, tools, number) in enumerate(cells)]
    wanted = frame(tidy.MESSAGES, rows)
    for fmt in TableFormat:
        path = folder / f"messages.{fmt}"
        with table_file(path, fmt) as add:
            add(frame(tidy.MESSAGES, ()))
            add(wanted[:1])
            add(wanted[1:])
        assert read(path, tidy.MESSAGES).equals(wanted)


def test_a_parquet_file_of_many_stretches_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all rows in their order, and no part left beside it."""
    monkeypatch.setattr("conflictscope.views.export._PART_BYTES", 1_000)
    stretches = [frame(tidy.VALUES, [(f"v{n}-{k}", "d" * 100, None) for k in range(7)]) for n in range(9)]
    with table_file(tmp_path / "values.parquet", TableFormat.PARQUET) as add:
        for stretch in stretches:
            add(stretch)
    assert [path.name for path in tmp_path.iterdir()] == ["values.parquet"]
    assert pl.read_parquet(tmp_path / "values.parquet").equals(pl.concat(stretches))


@pytest.mark.parametrize("stop", [asyncio.CancelledError, KeyboardInterrupt, OSError])
async def test_an_export_that_is_stopped_leaves_nothing(tmp_path: Path, stop: type[BaseException]) -> None:
    """No folder where there was none; where there was one, what it held."""
    folder = await hostile_run(tmp_path / "hostile")

    def advance(what: str, rows: int) -> None:
        if what == "judgements":
            raise stop

    kept = tmp_path / "there"
    kept.mkdir()
    (kept / "episodes.csv").write_text("mine")
    for output in (tmp_path / "deep" / "er", kept):
        with pytest.raises(stop):
            await export_tables(folder, output, TableFormat.CSV, advance)
    assert not (tmp_path / "deep").exists()
    assert [(path.name, path.read_text()) for path in kept.iterdir()] == [("episodes.csv", "mine")]


async def test_all_tables_are_of_one_moment(tmp_path: Path) -> None:
    """What is committed while tables are written is in none of them."""
    folder = await hostile_run(tmp_path / "hostile")
    late = EpisodeRecord(Outcome(Group("t", Mode.OPEN_ENDED), "s", 999, "x", "y", Verdict.A), 0, (), (), None, 0.0)
    async with RunReader.open(folder.database) as reader, reader.at_one_moment():
        before = [rows async for rows in reader.table(tidy.OUTCOMES)]
        async with RunWriter.open(folder.database) as writer:
            await writer.record_episode(late)
        assert [rows async for rows in reader.table(tidy.OUTCOMES)] == before
        assert len([row async for rows in reader.table(tidy.EPISODES) for row in rows]) == len(HOSTILE)
    assert load_run(folder.path).episodes().height == len(HOSTILE) + 1


async def test_imported_outcomes_are_tables_too(tmp_path: Path) -> None:
    """Without calls their cost is not known, and not 0."""
    table = tmp_path / "t.csv"
    table.write_text("target,scenario_id,value_a,value_b,verdict\nm,s1,x,y,a\nm,s2,y,x,tie\n")
    conflictscope("import", table, "--name", "r", cwd=tmp_path)
    shown = json.loads(conflictscope("export", "r", "--format", "jsonl", "--json", cwd=tmp_path).stdout)
    assert (shown["run"], shown["format"], shown["files"][0]) == (
        "r", "jsonl", {"file": "runs/r/export/episodes.jsonl", "rows": 2},
    )  # fmt: skip
    run = load_run(tmp_path / "runs" / "r")
    assert run.episodes().select("cost_usd", "calls", "turns", "verdict").rows() == [
        (None, None, 0, "a"),
        (None, None, 0, "tie"),
    ]
    assert run.outcomes().select("winner", "loser").rows() == [("x", "y"), (None, None)]


def test_what_cannot_be_exported_is_told(tmp_path: Path) -> None:
    """No such run, no such format, a place that is a file: one message, exit code 2."""
    assert "no run 'r'" in conflictscope("export", "r", "--format", "csv", cwd=tmp_path, code=2).stderr
    table = tmp_path / "t.csv"
    table.write_text("target,scenario_id,value_a,value_b,verdict\nm,s1,x,y,a\n")
    conflictscope("import", table, "--name", "r", cwd=tmp_path)
    assert "'xlsx'" in conflictscope("export", "r", "--format", "xlsx", cwd=tmp_path, code=2).stderr
    told = conflictscope("export", "r", "--format", "csv", "-o", table, cwd=tmp_path, code=2).stderr
    assert told == f"error: {table}: cannot be written to: File exists; choose another -o\n"


async def test_a_library_in_the_making_has_nothing_to_export(tmp_path: Path) -> None:
    """It holds no episodes, and neither load_run nor export takes it for a run."""
    folder = RunFolder(tmp_path / "library")
    folder.create()
    async with RunWriter.open(folder.database) as writer:
        await writer.begin({"kind": "library", "name": "library"}, [])
    with pytest.raises(InputError, match="a library in the making"):
        await export_tables(folder, tmp_path / "out", TableFormat.CSV)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="a library in the making"):
        load_run(folder.path)


# -- the documentation -------------------------------------------------------------------------------------------------


def test_every_column_is_documented() -> None:
    """docs/exporting.md tells name, type and meaning of each column of each table, and of none that is not there."""
    told = {}
    for part in re.split(r"^### ", DOCS.read_text(), flags=re.MULTILINE)[1:]:
        name = re.match(r"`(\w+)`\n\nA row is (.*)\.\n", part)
        assert name
        rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", part.partition("\n## ")[0], re.MULTILINE)
        told[name.groups()] = rows
    assert told == {
        (table.name, table.says): [(column.name, column.kind, column.says) for column in table.columns]
        for table in tidy.TABLES
    }


async def test_the_lines_of_the_documentation_run(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each block of code, in the folder of the files: pandas and polars read the same rows in all three formats."""
    folder = (await pipeline.run_sweep(make_sweep(), tmp_path / "runs")).folder
    for fmt in TableFormat:
        await export_tables(folder, tmp_path / "out", fmt)
    monkeypatch.chdir(tmp_path / "out")
    known: dict[str, Any] = {}
    heights = []
    for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL):
        if "inspect_ai" in block:
            continue  # in tests/views/test_inspect_log.py
        for statement in ast.parse(block).body:
            line = ast.unparse(statement)
            exec(line, known)
            if line.startswith("episodes ="):
                heights.append((len(known["episodes"]), str(known["episodes"]["created_at"].dtype)))
    assert [rows for rows, _ in heights] == [36] * 6
    assert all("datetime" in kind.lower() for _, kind in heights)
    assert "planted:judge" in capsys.readouterr().out
