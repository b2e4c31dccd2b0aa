"""Libraries as people see them: tables and charts."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from conflictscope.errors import InputError
from conflictscope.librarystats import (
    CheckerAgreement,
    ClearPreference,
    Coefficient,
    ConditionStats,
    LibraryStats,
    Likeness,
    PairCounts,
    PassRate,
    Share,
)
from conflictscope.outcome import Mode
from conflictscope.tables import ImportedDilemmas, RefusedRow
from conflictscope.views import chart_format, library_chart, print_import, print_libraries, save_chart

HALF = Share(5, 10, 0.24, 0.76)
ALPHA = Coefficient("krippendorff_alpha", 0.4, 0.1, 0.7, 10)
STATS = LibraryStats(
    "mine",
    scenarios=10,
    situations=9,
    passing=5,
    pairs=(PairCounts("care", "candour", 9, 0.71, 2), PairCounts("care", "thrift", 1, None, 0)),
    templates={"cc": 4, "coc": 6},
    rates=(PassRate("realistic", None, HALF), PassRate("realistic", "checker-1", Share(9, 10, 0.6, 0.98))),
    checkers=(
        CheckerAgreement("realistic", ("checker-1", "checker-2"), Coefficient("cohen_kappa", 0.5, 0.2, 0.8, 10)),
    ),
    likeness=Likeness("hashing (words, offline)", 0.8, 0.71, 0.8, Share(2, 10, 0.06, 0.51)),
    runs=("r",),
    conditions=(ConditionStats(Mode.OPEN_ENDED, "kind", None, HALF, ALPHA, (ClearPreference("a:m", HALF),)),),
)
BARE = replace(STATS, name="bare", rates=(), checkers=(), conditions=(), templates={"none": 10})
HOSTILE = "x</script><script>alert(1)</script>\x1b[2J"


def shown(*libraries: LibraryStats, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_libraries(console, libraries)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_one_library_is_shown_in_full() -> None:
    """Shares with their intervals, checkers one by one, agreement, what targets made of it, pairs; and what likeness is by."""
    told = " ".join(shown(STATS).split())
    for part in (
        "situations 9",
        "template coc 6",
        "diversity within pairs 0.71",
        "near-duplicates 20% [6%, 51%] of 10",
        "passes: realistic 50% [24%, 76%] of 10 by checker-1 90%",
        "checkers agree: realistic (cohen_kappa) 0.50 [0.20, 0.80]",
        "targets agree: open_ended / kind 50%",
        "beyond chance (krippendorff_alpha) 0.40 [0.10, 0.70]",
        "clear for a:m 50%",
        "care / candour 9 0.71 2",
        "care / thrift 1 - 0",
        "Likeness by hashing (words, offline); near-duplicates from a cosine of 0.8 on.",
    ):
        assert part in told


def test_several_libraries_stand_side_by_side() -> None:
    """A row for whatever any of them has, a dash where another has not; without intervals where they do not fit."""
    told = shown(STATS, BARE)
    assert re.search(r"passes: realistic +50% \[24%, 76%\] +-\n", told)
    assert re.search(r"template none +0 +10\n", told)
    assert re.search(r"clear for a:m +50% \[24%, 76%\] +-\n", told)
    narrow = shown(*(replace(STATS, name=f"library-{number}") for number in range(4)), width=80)
    assert re.search(r"passes: realistic +50% +50% +50% +50%\n", narrow)
    assert max(map(len, narrow.splitlines())) <= 80


def test_what_a_library_says_does_not_reach_the_terminal_as_it_is() -> None:
    """Names come from files: no escape sequence gets through."""
    hostile = replace(STATS, name=HOSTILE, rates=(PassRate(HOSTILE, None, HALF),))
    assert "\x1b[2J" not in shown(hostile) + shown(hostile, STATS)


def test_refused_rows_are_told_by_reason() -> None:
    """With the first line of each; five reasons at most."""
    console = Console(file=io.StringIO(), width=100)
    rows = [RefusedRow(3, "no"), RefusedRow(2, "no"), *(RefusedRow(n, f"reason {n}") for n in range(4, 10))]
    print_import(console, ImportedDilemmas((), 0, rows))
    told = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert told[:2] == ["left out: 2 rows, first on line 3: no", "left out: 1 row, line 4: reason 4"]
    assert told[-1] == "left out for 2 more reasons: see --json"


# -- charts ------------------------------------------------------------------------------------------------------------


def test_a_chart_shows_every_share_of_every_library() -> None:
    """With its interval where it has one, and templates as shares, so that sizes do not matter."""
    spec = library_chart([STATS, BARE]).to_dict()
    rows = [row for data in spec["datasets"].values() for row in data] if "datasets" in spec else find_rows(spec)
    measures = {(row["library"], row["measure"]): row for row in rows if "measure" in row}
    assert [measure for library, measure in measures if library == "mine"] == [
        "passes: realistic",
        "diversity within pairs",
        "near-duplicates",
        "targets agree: open_ended / kind",
        "clear for a:m: open_ended / kind",
    ]
    assert measures["mine", "passes: realistic"]["low"] == 0.24
    assert "low" not in measures["bare", "diversity within pairs"]
    assert {(row["library"], row["template"]): row["share"] for row in rows if "template" in row} == {
        ("mine", "cc"): 0.4, ("mine", "coc"): 0.6, ("bare", "none"): 1.0,
    }  # fmt: skip


def find_rows(spec: object) -> list[dict[str, object]]:
    """The rows of inline data, wherever they stand."""
    if isinstance(spec, dict):
        data = spec.get("data")
        own = data["values"] if isinstance(data, dict) and "values" in data else []
        return [*own, *(row for key, part in spec.items() if key != "data" for row in find_rows(part))]
    return [row for part in spec for row in find_rows(part)] if isinstance(spec, list) else []


@pytest.mark.parametrize(
    ("name", "begins"), [("c.svg", b"<svg"), ("c.png", b"\x89PNG"), ("c.pdf", b"%PDF"), ("c.html", b"<!DOCTYPE html>")]
)
def test_a_chart_is_written_as_its_file_is_named(tmp_path: Path, name: str, begins: bytes) -> None:
    """In each of the four formats, without a network."""
    save_chart(library_chart([STATS, BARE]), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_a_page_needs_nothing_else_and_no_name_gets_out_of_its_data(tmp_path: Path) -> None:
    """No script is loaded from elsewhere, and a name that looks like the end of the script is data."""
    save_chart(library_chart([replace(STATS, name=HOSTILE)]), tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text()
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page)
    assert "</script><script>alert(1)" not in page
    assert page.count("</script>") == 2


@pytest.mark.parametrize("name", ["c.gif", "c", "c.svg.txt"])
def test_another_format_is_refused(name: str) -> None:
    """The endings that there are get told."""
    with pytest.raises(InputError, match=r"--chart: expected a file that ends in \.svg, \.png, \.pdf, \.html"):
        chart_format(Path(name))


def test_a_chart_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """In a folder that is not there."""
    for name in ("c.svg", "c.html"):
        with pytest.raises(InputError, match="cannot be written"):
            save_chart(library_chart([STATS]), tmp_path / "gone" / name)


def test_stats_are_json() -> None:
    """Plain types throughout."""
    assert json.loads(json.dumps(STATS.to_json()))["pairs"][1]["diversity"] is None
