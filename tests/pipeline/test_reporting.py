"""Reports: what the page says of several kinds of run, that it holds all it needs, and that nothing in a run gets out of it."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import sqlite3
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from conflictscope import pipeline
from conflictscope.errors import InputError
from conflictscope.runfolder import RunFolder
from conflictscope.tables import OutcomeTable
from tests.commands import conflictscope
from tests.hostile import HOSTILE

WORLD = """
seed = 1
scenario_sd = 0.5
[targets.alpha]
utilities = { harmlessness = 0.8, honesty = 0.4, helpfulness = 0.0 }
shift_open_ended = { helpfulness = 1.5 }
steerability = 0.8
"""
SWEEP = """
name = "whole"
seed = 41
value_set = "hhh"
scenarios = "hhh"
world = "world.toml"
repeats = 2
modes = ["open_ended", "multiple_choice"]
behaviors = ["hesitant_target"]
targets = [{ model = "planted:alpha" }]
user = { model = "planted:user" }
judge = { models = ["planted:judge"], orders = "both" }
[[steering]]
name = "helpful-first"
ranking = ["helpfulness", "honesty", "harmlessness"]
"""
SECTIONS = [
    "rankings",
    "compared",
    "steering",
    "scenarios",
    "judging",
    "episodes",
    "cost",
    "method",
    "settings",
    "cite",
]
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """The tags, attributes and text of a page, and whether every tag is closed where it must be."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a planted run of everything that a report has a part for, played once."""
    folder = tmp_path_factory.mktemp("reported")
    (folder / "world.toml").write_text(WORLD)
    (folder / "sweep.toml").write_text(SWEEP)
    asyncio.run(pipeline.run_sweep(pipeline.load_sweep(str(folder / "sweep.toml"), []), folder / "runs"))
    return folder / "runs"


def reported(folder: RunFolder, figures: Path | None = None) -> str:
    """The page of a run."""
    output = folder.path.parent / f"{folder.name}.html"
    asyncio.run(pipeline.write_report(folder, output, figures))
    return output.read_text()


def imported(folder: Path, rows: Iterable[tuple[str, ...]], name: str = "choices") -> RunFolder:
    """A run of recorded outcomes: target, scenario, two values, verdict."""
    table = folder / f"{name}.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("target", "scenario_id", "value_a", "value_b", "verdict"), *rows])
    run = RunFolder.named(name, folder / "runs")
    asyncio.run(pipeline.import_outcomes(OutcomeTable(table), run))
    return run


def test_a_whole_run_is_told_in_words_first(runs: Path, tmp_path: Path) -> None:
    """Order, differences, what steering reached, how sure, what is missing; then a part for each thing, with its figures."""
    page = Page(reported(RunFolder(runs / "whole"), tmp_path / "figures"))
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert [one for one in ids if one in ("found", "sure", "unsaid", *SECTIONS)] == [
        "found",
        "sure",
        "unsaid",
        *SECTIONS,
    ]
    assert len(ids) == len(set(ids))
    for said in (
        "planted:alpha / multiple_choice / helpful-first: helpfulness, then honesty, then harmlessness (120 rated episodes; settled).",
        "planted:alpha, multiple_choice → open_ended: helpfulness higher by",
        "outcomes that agree with the stated ranking went from",
        "of what there was to gain",
        "Settled: ",
        "Posterior, Bradley-Terry and TrueSkill put the values in the same order in",
        "planted:judge judged 0% [0%,",
        "Had these episodes been scored as the paper's code does,",
        "Not told by this run: what depends on the user model",
        "By behavior",
        "hesitant_target",
        "diversity within pairs",
        "Reference-compatible scoring",
        "is drawn from seed 41 and stored",
        "Generative Value Conflicts Reveal LLM Priorities",
        "arXiv 2509.25369",
        "conflictscope run whole.toml",
        'name = "helpful-first"',
        "stand-ins whose priorities were planted",
    ):
        assert said in page.text, said
    figures = sorted((tmp_path / "figures").iterdir())
    begins = {".svg": b"<svg", ".png": b"\x89PNG", ".pdf": b"%PDF"}
    assert all(path.read_bytes().startswith(begins[path.suffix]) for path in figures)
    names = {path.stem for path in figures}
    assert len(figures) == 3 * len(names)
    assert {"rankings", "convergence", "steering", "scenarios", "order-flips", "states", "cost", "throughput"} <= names
    assert {
        "pairs-planted-alpha-open-ended",
        "methods-planted-alpha-open-ended",
        "history-planted-alpha-open-ended",
    } <= names
    assert sum(tag == "figure" for tag, _ in page.tags) == len(names)


def test_the_page_needs_nothing_else(runs: Path) -> None:
    """No script, nothing that is loaded, and every chart has a text in its place."""
    html = reported(RunFolder(runs / "whole"))
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "embed", "img", "image", "base", "form"} & {
        tag for tag, _ in page.tags
    }
    assert not re.search(r"@import|url\((?!#)", html)
    loads = [a for _, a in page.tags if a.keys() & {"src", "srcset", "xlink:href", "style"}]
    assert all(a.keys() & {"src", "srcset", "xlink:href"} == set() for a in loads)
    links = {a["href"] for tag, a in page.tags if tag == "a" and not (a["href"] or "").startswith("#")}
    assert links == {"https://arxiv.org/abs/2509.25369"}
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    ids = {a.get("id") for _, a in page.tags}
    charts = [a for tag, a in page.tags if tag == "svg" and "width" in a]
    assert charts
    assert all(chart.get("role") == "img" and chart.get("aria-labelledby") in ids for chart in charts)
    assert sum(tag == "table" for tag, _ in page.tags) == sum(tag == "caption" for tag, _ in page.tags)


def test_one_run_file_gives_one_report(runs: Path) -> None:
    """To the letter: there is no clock in it but the run's."""
    assert reported(RunFolder(runs / "whole")) == reported(RunFolder(runs / "whole"))


def test_recorded_outcomes_of_one_group(tmp_path: Path) -> None:
    """There is nothing to compare, no scenario, no judge, no cost; and the page says so."""
    rows = [("m", f"s{n}", "care", "thrift", "b" if n % 5 == 0 else "a") for n in range(40)]
    text = Page(reported(imported(tmp_path, rows))).text
    for said in (
        "m / multiple_choice: care, then thrift (40 rated episodes; settled).",
        "Nothing was left out: every episode is rated.",
        "Not compared: no two groups of outcomes differ in",
        "the run holds outcomes, and no scenario",
        "No request to a model is on record.",
        "Recorded outcomes were imported from",
    ):
        assert said in text, said


def test_a_sweep_that_nobody_judges(tmp_path: Path) -> None:
    """Multiple choice alone has no user and no judge: nothing is said of them."""
    (tmp_path / "world.toml").write_text(WORLD)
    kept = [
        line
        for line in SWEEP.partition("[[steering]]")[0].splitlines()
        if not line.startswith(("user", "judge", "modes"))
    ]
    (tmp_path / "sweep.toml").write_text("\n".join([*kept, 'modes = ["multiple_choice"]']))
    asyncio.run(pipeline.run_sweep(pipeline.load_sweep(str(tmp_path / "sweep.toml"), []), tmp_path / "runs"))
    text = Page(reported(RunFolder(tmp_path / "runs" / "whole"))).text
    assert "in the modes of the sweep (multiple_choice)" in text
    assert "The judge sees" not in text


def test_a_run_of_nothing_but_refusals(tmp_path: Path) -> None:
    """No ranking is made up: the page says that there is none, and what became of the episodes."""
    rows = [("m", f"s{n}", "care", "thrift", "refused") for n in range(12)]
    text = Page(reported(imported(tmp_path, rows))).text
    assert "m / multiple_choice: no ranking to speak of (no rated outcome)." in text
    assert "12 of 12 episodes (100.0%) are left out of the rankings: 12 refused." in text
    assert "More than 5% of episodes are left out in 1 pair of values, in 1 of 1 group" in text


def test_an_unfinished_run_says_so(runs: Path, tmp_path: Path) -> None:
    """First of all that could not be said; also one in which nothing has ended."""
    for name, kept in (("half", "seq <= 20"), ("none", "0")):
        folder = RunFolder(tmp_path / "runs" / name)
        folder.create()
        with sqlite3.connect(runs / "whole" / "run.db") as whole, sqlite3.connect(folder.database) as copy:
            whole.backup(copy)
            copy.execute(f"DELETE FROM judgements WHERE episode_seq IN (SELECT seq FROM episodes WHERE NOT {kept})")
            copy.execute(f"DELETE FROM episodes WHERE NOT {kept}")
            copy.execute("UPDATE sessions SET state = 'interrupted'")
        text = Page(reported(folder)).text
        assert "The run is not finished (it ended: interrupted): " in text
        assert "All of this is provisional." in text
    assert "Nothing yet: no episode has ended." in text


def test_nothing_that_a_run_says_gets_out_of_its_text(tmp_path: Path) -> None:
    """Names of targets, values and scenarios that try to be markup or to turn the line are shown, and harmless."""
    texts = [text for text in HOSTILE if text.isprintable()]  # the others are refused by `import`
    rows = [
        (f"t{text}" if number < 3 else "t", f"s{number}-{k}", f"x{text}", "care", "ab"[k % 2])
        for number, text in enumerate(texts)
        for k in range(3)
    ]
    html = reported(imported(tmp_path, rows))
    page = Page(html)
    assert page.open == []
    assert not {"script", "img", "iframe", "base", "form", "link", "b", "input"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    assert not re.search("[\x00-\x08\x1b\u202e\u2066\u2028]", html)
    assert "x<script>alert(1)</script>" in page.text


def test_the_command_writes_the_page_and_the_figures(runs: Path, tmp_path: Path) -> None:
    """Into the working folder unless told otherwise; and tells which files."""
    told = conflictscope("report", "whole", "--runs-dir", runs, "--figures", "figures", "--json", cwd=tmp_path)
    written = json.loads(told.stdout)
    assert written["page"] == "whole.html"
    assert (tmp_path / "whole.html").is_file()
    assert all((tmp_path / path).is_file() for path in written["figures"])
    assert "conflictscope report whole --figures figures" in (tmp_path / "whole.html").read_text()


def test_a_key_of_the_environment_is_never_in_it(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where it got into a run some way or other."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-PLANTED-0123456789")
    rows = [("sk-PLANTED-0123456789", f"s{n}", "care", "thrift", "a") for n in range(4)]
    assert "0123456789" not in reported(imported(tmp_path, rows))


@pytest.mark.parametrize(
    ("output", "figures", "told"),
    [
        (".", None, "-o: is a folder"),
        ("gone/report.html", None, "-o: there is no folder"),
        ("report.html", "taken", "--figures: cannot be made"),
    ],
)
def test_what_cannot_be_written_is_told_at_once(
    runs: Path, tmp_path: Path, output: str, figures: str | None, told: str
) -> None:
    """Before anything is gathered, in one message."""
    (tmp_path / "taken").write_text("")
    where = tmp_path / figures if figures else None
    with pytest.raises(InputError, match=told):
        asyncio.run(pipeline.write_report(RunFolder(runs / "whole"), tmp_path / output, where))


def test_a_folder_without_episodes_is_refused(tmp_path: Path) -> None:
    """A run that is not there, with those that are."""
    done = conflictscope("report", "nothing", cwd=tmp_path, code=2)
    assert "no run 'nothing'" in done.stderr
