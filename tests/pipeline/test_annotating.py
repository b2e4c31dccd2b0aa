from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from conflictscope import pipeline
from conflictscope.annotation import Answer, Sheet
from conflictscope.errors import InputError
from conflictscope.outcome import Message, Mode, Outcome, Verdict
from conflictscope.pipeline.judging import gold_of_people, judge_errors
from conflictscope.ranking import JudgeError
from conflictscope.rating import Method
from conflictscope.runfolder import RunFolder
from conflictscope.seeds import uniform
from conflictscope.sheets import restored
from conflictscope.store import RunReader
from tests.commands import conflictscope

MakeSweep = Callable[..., pipeline.Sweep]


async def conversations(folder: RunFolder) -> list[tuple[Outcome, tuple[Message, ...]]]:
    async with RunReader.open(folder.database) as reader:
        return [conversation async for conversation in reader.conversations()]


async def labels(folder: RunFolder) -> dict[str, Mapping[str, Verdict]]:
    async with RunReader.open(folder.database) as reader:
        return {outcome.key: said for outcome, said in await reader.labels()}


def rows(sheet: Path) -> Iterator[dict[str, str]]:
    with sheet.open(newline="", encoding="utf-8-sig") as file:
        yield from csv.DictReader(file)


def fill_in(sheet: Path, path: Path, answers: Mapping[str, str]) -> Path:
    """The sheet with a label for each item that has an answer."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, next(rows(sheet)).keys())
        writer.writeheader()
        writer.writerows({**row, "label": answers.get(row["item"], "")} for row in rows(sheet))
    return path


async def by_item(folder: RunFolder, sheet: Sheet, said: Callable[[Outcome], Verdict]) -> dict[str, str]:
    """What somebody answers who makes `said` of each conversation."""
    answers = {}
    for outcome, transcript in await conversations(folder):
        first, verdict = sheet.shown_first(outcome.key), said(outcome)
        answers[sheet.item_id(outcome.key, transcript)] = next(
            answer.value for answer in Answer if answer.placed(first) == verdict
        )
    return answers


@pytest.fixture
async def folder(make_sweep: MakeSweep, tmp_path: Path) -> RunFolder:
    sweep = make_sweep('modes=["open_ended", "multiple_choice"]', scenarios=24, error_rate=0.1)
    return (await pipeline.run_sweep(sweep, tmp_path / "runs")).folder


# -- sheets ------------------------------------------------------------------------------------------------------------


async def test_sheets_hold_the_same_conversations_in_orders_of_their_own(folder: RunFolder, tmp_path: Path) -> None:
    """A CSV and a page for each person, with the same items in both; the situation, the words and both actions of an episode."""
    made = await pipeline.export_sheets(folder, tmp_path / "sheets", items=40, seed=3, annotators=2)
    assert [path.name for path in made.files] == ["sheet-1.csv", "sheet-1.html", "sheet-2.csv", "sheet-2.html"]
    assert (made.items, made.conversations) == (40, 72)
    async with RunReader.open(folder.database) as reader:
        scenarios = await reader.scenarios()
    orders = []
    for number, (table, page) in enumerate(((made.files[0], made.files[1]), (made.files[2], made.files[3])), start=1):
        sheet = Sheet(3, number)
        known = {sheet.item_id(outcome.key, said): (outcome, said) for outcome, said in await conversations(folder)}
        data = json.loads(page.read_text().partition('id="sheet">')[2].partition("</script>")[0])
        listed = list(rows(table))
        assert [row["item"] for row in listed] == [item["id"] for item in data["items"]]
        for row, item in zip(listed, data["items"], strict=True):
            outcome, said = known[row["item"]]
            scenario = scenarios[outcome.scenario_id]
            assert outcome.group.mode is Mode.OPEN_ENDED
            assert restored(row["description"]) == item["description"] == scenario.description
            actions = [scenario.action_a, scenario.action_b]
            shown = actions if sheet.shown_first(outcome.key) == "a" else actions[::-1]
            assert [row["action 1"], row["action 2"]] == [item["action_1"], item["action_2"]] == shown
            assert [message["text"] for message in item["transcript"]] == [message.text for message in said]
            assert all(line.strip() in row["transcript"] for message in said for line in message.text.splitlines())
        orders.append([known[row["item"]][0].key for row in listed])
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


async def test_sheets_tell_nothing_of_what_is_studied(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """No target, steering, judge, verdict, scenario id, run name or value, beyond the texts that people must read."""
    steering = 'steering=[{name="secretly-up", ranking=["care", "candour", "courage", "thrift"]}]'
    folder = (await pipeline.run_sweep(make_sweep(steering, scenarios=12), tmp_path / "runs")).folder
    made = await pipeline.export_sheets(folder, tmp_path / "sheets", items=50)
    texts = [text.text for _, said in await conversations(folder) for text in said]
    async with RunReader.open(folder.database) as reader:
        for scenario in (await reader.scenarios()).values():
            texts += [scenario.description, scenario.action_a, scenario.action_b]
    secrets = [
        "alpha",
        "beta",
        "gamma",
        "planted",
        "secretly",
        "bench",
        "s0000",
        "open_ended",
        "judge:",
        "verdict",
        "value",
    ]
    secrets += ["candour", "courage", "thrift"]
    page = made.files[1].read_text()
    data = json.dumps([{**item, "transcript": [], "description": "", "action_1": "", "action_2": ""}
                       for item in json.loads(page.partition('id="sheet">')[2].partition("</script>")[0])["items"]])  # fmt: skip
    around = page.partition('id="sheet">')[0] + page.rpartition("</script>\n<script>")[2]
    table = json.dumps(
        [{**row, "description": "", "action 1": "", "action 2": "", "transcript": ""} for row in rows(made.files[0])]
    )
    for secret in secrets:
        assert secret not in data
        assert secret not in table
        assert secret not in around.replace(".value", "").replace("value=", "")


async def test_nothing_is_written_over(folder: RunFolder, tmp_path: Path) -> None:
    """A sheet that is there may be half filled in: then none is written."""
    (tmp_path / "sheet.html").write_text("mine")
    with pytest.raises(InputError, match=r"sheet\.html: exists: choose another -o"):
        await pipeline.export_sheets(folder, tmp_path)
    assert not (tmp_path / "sheet.csv").exists()


async def test_a_run_without_conversations_has_nothing_to_label(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Multiple choice alone: told, nothing written."""
    folder = (await pipeline.run_sweep(make_sweep('modes=["multiple_choice"]'), tmp_path / "runs")).folder
    with pytest.raises(InputError, match="holds no conversation with a verdict"):
        await pipeline.export_sheets(folder, tmp_path / "sheets")
    assert not (tmp_path / "sheets").exists()


# -- and back ----------------------------------------------------------------------------------------------------------


async def test_labels_come_back_to_their_episodes(folder: RunFolder, tmp_path: Path) -> None:
    """Whatever the order of the page was: what people said, for the scenario's sides; from the table and from the page's file."""
    made = await pipeline.export_sheets(folder, tmp_path / "sheets", annotators=2)
    said: dict[str, Verdict] = {
        outcome.key: list(Verdict)[int(6 * uniform(outcome.key))] for outcome, _ in await conversations(folder)
    }
    kim = fill_in(made.files[0], tmp_path / "kim.csv", await by_item(folder, Sheet(0, 1), lambda o: said[o.key]))
    answers = (await by_item(folder, Sheet(0, 2), lambda o: said[o.key])).items()
    page = tmp_path / "download (1).json"
    page.write_text(
        json.dumps({"annotator": "lee", "labels": [{"item": item, "label": label} for item, label in answers]})
    )
    assert await pipeline.import_labels(folder, [kim, page]) == 144
    assert await labels(folder) == {key: {"kim": verdict, "lee": verdict} for key, verdict in said.items()}
    report = await pipeline.labels_of(folder)
    assert [(found.same.value, found.kappa.value) for found in report.people] == [(1.0, 1.0)]


async def test_what_a_person_said_before_is_replaced(folder: RunFolder, tmp_path: Path) -> None:
    """All of it, and nothing of what others said."""
    [table, _] = (await pipeline.export_sheets(folder, tmp_path / "sheets")).files
    answers = await by_item(folder, Sheet(0, 1), lambda outcome: Verdict.A)
    for name in ("kim", "lee"):
        await pipeline.import_labels(folder, [fill_in(table, tmp_path / f"{name}.csv", answers)])
    less = dict(list(answers.items())[:10])
    await pipeline.import_labels(folder, [fill_in(table, tmp_path / "again.csv", less)], annotator="kim")
    people = [name for said in (await labels(folder)).values() for name in said]
    assert (people.count("kim"), people.count("lee")) == (10, 72)


BAD_LABELS = {
    "another run's": (["i0-1-0000000000000000,1"], r":2: item: no conversation of the run 'bench' was shown as 'i0-1-0{16}'"),
    "no item": (["x,1"], r":2: item: no conversation of the run 'bench' was shown as 'x'"),
    "twice": (["{0},1", "{0},2"], r":3: labels the same conversation as .*kim.csv:2, by 'kim'"),
    "no label": (["{0},"], r": holds no label: every cell of the column `label` is empty"),
    "a label that is none": (["{0},1", "{1},3"], r":3: label: expected one of 1, 2, tie"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LABELS)
async def test_a_bad_row_stops_the_import(folder: RunFolder, tmp_path: Path, case: str) -> None:
    """With file and line; and nothing is kept, not even of a file that was right."""
    lines, told = BAD_LABELS[case]
    items = list(await by_item(folder, Sheet(0, 1), lambda outcome: Verdict.A))
    good, bad = tmp_path / "lee.csv", tmp_path / "kim.csv"
    good.write_text(f"item,label\n{items[2]},1\n")
    bad.write_text("item,label\n" + "".join(line.format(*items) + "\n" for line in lines))
    with pytest.raises(InputError, match=told):
        await pipeline.import_labels(folder, [good, bad])
    assert await labels(folder) == {}
    with pytest.raises(InputError, match="holds no labels yet"):
        await pipeline.labels_of(folder)


async def test_a_sheet_is_of_one_run(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """A run of the same sweep with another seed has episodes of the same keys, but other conversations: its sheet is refused."""
    folders = [(await pipeline.run_sweep(make_sweep(f"seed={seed}"), tmp_path / str(seed))).folder for seed in (1, 2)]
    [table, _] = (await pipeline.export_sheets(folders[0], tmp_path / "sheets")).files
    filled = fill_in(table, tmp_path / "kim.csv", await by_item(folders[0], Sheet(0, 1), lambda outcome: Verdict.A))
    with pytest.raises(InputError, match=r"kim\.csv:\d+: item: no conversation of the run"):
        await pipeline.import_labels(folders[1], [filled])


async def test_a_run_in_work_takes_no_labels(folder: RunFolder, tmp_path: Path) -> None:
    """There is one writer of a run file at a time."""
    [item, *_] = await by_item(folder, Sheet(0, 1), lambda outcome: Verdict.A)
    (tmp_path / "kim.csv").write_text(f"item,label\n{item},1\n")
    with folder.locked(), pytest.raises(InputError, match="another process is working on this run"):
        await pipeline.import_labels(folder, [tmp_path / "kim.csv"])


@pytest.mark.parametrize("name", ["", " ", "a\x1bb", "x" * 101])
async def test_a_person_has_a_name(folder: RunFolder, tmp_path: Path, name: str) -> None:
    """1 to 100 characters that can be shown."""
    with pytest.raises(InputError, match="--annotator: expected 1 to 100 characters"):
        await pipeline.import_labels(folder, [tmp_path / "kim.csv"], annotator=name)


async def test_a_file_that_names_nobody_needs_a_name(folder: RunFolder, tmp_path: Path) -> None:
    """A file's name that can't be shown is no person's; with --annotator it is read."""
    [item, *_] = await by_item(folder, Sheet(0, 1), lambda outcome: Verdict.A)
    path = tmp_path / "\udcff.csv"
    path.write_text(f"item,label\n{item},1\n")
    with pytest.raises(InputError, match="give one with --annotator"):
        await pipeline.import_labels(folder, [path])
    assert await pipeline.import_labels(folder, [path], annotator="kim") == 1


# -- gold for the judge's error ----------------------------------------------------------------------------------------


async def test_labels_correct_a_planted_judges_error(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Three people, each wrong in a tenth of a sample of 200: their majority tells the judge's planted error and bias within three
    standard errors, and corrected rankings are nearer to those of a judge without error than uncorrected ones.
    """
    true = await pipeline.run_sweep(make_sweep(scenarios=150), tmp_path / "true")
    truth = {outcome.key: outcome.verdict for outcome, _ in await conversations(true.folder)}
    folder = (
        await pipeline.run_sweep(make_sweep(scenarios=150, error_rate=0.15, order_bias=0.2), tmp_path / "runs")
    ).folder
    made = await pipeline.export_sheets(folder, tmp_path / "sheets", items=200, annotators=3)
    wrong = {Verdict.A: Verdict.B, Verdict.B: Verdict.A}
    files = []
    for number in (1, 2, 3):

        def said(outcome: Outcome, person: int = number) -> Verdict:
            right = truth[outcome.key]
            return wrong.get(right, right) if uniform(person, outcome.key) < 0.1 else right

        answers = await by_item(folder, Sheet(0, number), said)
        files.append(fill_in(made.files[2 * number - 2], tmp_path / f"person-{number}.csv", answers))
    assert await pipeline.import_labels(folder, files) == 600

    async with RunReader.open(folder.database) as reader:
        errors = await judge_errors(reader, await gold_of_people(reader))
    for error in errors.values():
        assert isinstance(error, JudgeError)
        assert error.flip == pytest.approx(0.15, abs=3 * error.flip_sd + 0.02)  # a majority of these three errs in 3 %
        assert error.order_bias == pytest.approx(0.2, abs=3 * error.order_bias_sd)
    rankings = await pipeline.rank(folder, judge_error="labels")
    right = {str(ranking.group): ranking.ratings for ranking in await pipeline.rank(true.folder, judge_error="none")}
    corrected = uncorrected = 0.0
    for ranking in rankings:
        assert ranking.uncorrected is not None
        for value, rating in right[str(ranking.group)].items():
            corrected += abs(ranking.ratings[value].mu - rating.mu)
            uncorrected += abs(ranking.uncorrected.ratings[value].mu - rating.mu)
    assert corrected < uncorrected


async def test_rank_says_where_there_are_no_labels(folder: RunFolder) -> None:
    """And that only the posterior is corrected."""
    with pytest.raises(InputError, match="--judge-error labels: the run holds none yet"):
        await pipeline.rank(folder, judge_error="labels")
    with pytest.raises(InputError, match="only the posterior is corrected"):
        await pipeline.rank(folder, Method.TRUESKILL, judge_error="labels")


# -- the commands ------------------------------------------------------------------------------------------------------


async def test_the_commands_lead_from_a_run_to_its_labels(folder: RunFolder, tmp_path: Path) -> None:
    """Export and import, each with one JSON document; the report once more, without files, for people; a bad row is exit code 2."""
    exported = json.loads(
        conflictscope("annotate", "export", "bench", "-o", "out", "--items", 60, "--json", cwd=tmp_path).stdout
    )
    assert (exported["items"], exported["conversations"]) == (60, 72)
    fill_in(
        tmp_path / exported["files"][0],
        tmp_path / "kim.csv",
        await by_item(folder, Sheet(0, 1), lambda outcome: outcome.verdict),
    )
    report = json.loads(conflictscope("annotate", "import", "bench", "kim.csv", "--json", cwd=tmp_path).stdout)
    assert report.keys() == {"run", "episodes", "annotators", "judges", "people", "alpha", "pairs"}
    assert report["judges"][0]["kappa"]["value"] == 1
    assert "judge planted:judge and kim" in conflictscope("annotate", "import", "bench", cwd=tmp_path).stdout
    (tmp_path / "kim.csv").write_text("item,label\nx,1\n")
    refused = conflictscope("annotate", "import", "bench", "kim.csv", cwd=tmp_path, code=2)
    assert refused.stderr == "error: kim.csv:2: item: no conversation of the run 'bench' was shown as 'x'\n"
