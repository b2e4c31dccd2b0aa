from __future__ import annotations

import io
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from conflictscope.outcome import Group, Message, Mode, Outcome, Role, Verdict
from conflictscope.ranking import GroupFold
from conflictscope.rating import Convergence, Ranking, Rating
from conflictscope.snapshot import Conversation, LaneLoad, Progress, Purpose, Snapshot, Usage
from conflictscope.views.live import Frames
from conflictscope.views.screen import ASCII, Change, Trail, screen, settled_share, signs_for
from tests.hostile import HOSTILE

LANE = LaneLoad("openai:m", 12, 45, 64, 3, 2, 5)


def ranking(target: str = "openai:t", values: int = 3, wins: int = 9, winner: int = 0) -> Ranking:
    names = [f"value{number}" for number in range(values)]
    group = Group(target, Mode.OPEN_ENDED)
    fold = GroupFold(group, names)
    for number in range(wins):
        for other in names:
            if other != names[winner]:
                fold.add(Outcome(group, f"s{number}", 1, names[winner], other, Verdict.A))
    return fold.ranking()


def snapshot(rankings: int = 2, values: int = 3, **changes: object) -> Snapshot:
    known: dict[str, object] = {
        "run": "demo", "state": "running", "planned": 1000, "verdicts": {Verdict.A: 300, Verdict.TIE: 20, Verdict.TARGET_FAILED: 5},
        "usage": {Purpose("target", "alpha", "openai:m"): Usage(calls=1000, failed=5, cost_usd=1.5)}, "in_flight": 3,
        "reserved_usd": 0.0, "limit_usd": 6.0, "elapsed_s": 65.0, "rate_per_s": 5.0, "lanes": [LANE],
    }  # fmt: skip
    outcome = Outcome(Group("openai:t0", Mode.OPEN_ENDED), "s1", 1, "value0", "value1", Verdict.B)
    talk = Conversation(
        "k", [Message(Role.USER, "Hello\nthere"), Message(Role.TARGET, "Hi")], "value0 over value1. So."
    )
    progress = Progress(**{**known, **changes})  # type: ignore[arg-type]
    return Snapshot(progress, [ranking(f"openai:t{n}", values) for n in range(rankings)], [outcome] * 8, talk)


def text_of(lines: list[Text]) -> str:
    return "\n".join(line.plain.rstrip() for line in lines)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60), (40, 10), (100, 16), (140, 30)])
@pytest.mark.parametrize("rankings", [0, 1, 6, 40])
def test_all_that_matters_is_on_the_screen(width: int, height: int, rankings: int) -> None:
    """Progress, rate, spend, states, lanes and rankings with bars, at every size; what there is no room for is counted."""
    shown = text_of(screen(snapshot(rankings), height, width))
    for part in ("demo  running", "32%", "325/1,000", "$1.5000 of $6.00", "tie 20", "target_failed 5", "openai:m"):
        assert part in shown
    if rankings:
        assert " 1. value0" in shown
        assert "●" in shown
    assert ("more below" in shown) == (shown.count(" 1. value0") < rankings)


def test_a_wide_screen_has_groups_side_by_side_and_more_of_each() -> None:
    """At 200 columns two rankings share a line, with their intervals as numbers, and lanes stand beside the progress."""
    lines = screen(snapshot(6), 60, 200)
    shown = text_of(lines)
    assert any("t0 / open_ended" in line.plain and "t1 / open_ended" in line.plain for line in lines)
    assert any(
        "demo" in line.plain and "12 of 45 in flight  3 wait  2 retries  5 errors  slowed, from 64" in line.plain
        for line in lines
    )
    assert " [ +" in shown
    for part in ("value1 over value0", "Hello there", "value0 over value1. So."):
        assert part in shown


def test_six_rankings_fit_the_smallest_common_terminal() -> None:
    """At 80 x 24 all rankings of the demo are there, two a row, with bars."""
    shown = text_of(screen(snapshot(6), 24, 80))
    assert [f"t{n} / open_ended" in shown for n in range(6)] == [True] * 6
    assert "more below" not in shown


def test_scrolling_begins_with_another_ranking() -> None:
    """What is above and below is counted; past the end, the last one stays."""
    shown = text_of(screen(snapshot(40), 24, 80, first=10))
    assert "t9 /" not in shown
    assert "t10 /" in shown
    assert "rankings: 10 more above, " in shown
    assert "t39 /" in text_of(screen(snapshot(40), 24, 80, first=1_000))


def test_what_fits_is_shown_wherever_one_has_scrolled_to() -> None:
    """A terminal that was made larger shows the rankings above again."""
    assert "4 more above" in text_of(screen(snapshot(8), 24, 80, first=4))
    shown = text_of(screen(snapshot(8), 60, 200, first=4))
    assert all(f"t{n} / open_ended" in shown for n in range(8))
    assert "more above" not in shown


def test_lanes_in_trouble_come_first() -> None:
    """Of many lanes those that are closed or slowed are shown, with the reason, and the rest is summed up."""
    fine = [LaneLoad(f"openai:fine{n}", 1, 64, 64, 0, 0, 1) for n in range(9)]
    shut = LaneLoad("openai:shut", 0, 64, 64, 0, 0, 5, "no such key")
    shown = text_of(screen(snapshot(lanes=[*fine, LANE, shut]), 24, 120))
    assert shown.index("closed: no such key") < shown.index("slowed, from 64")
    assert "and 9 more lanes: 9 in flight, 9 errors" in shown


def test_a_utility_of_nearly_0_has_no_minus() -> None:
    """A value in the middle stands at 0, not at a little less than that."""
    found = snapshot(1)
    middle = replace(found.rankings[0], ratings=dict.fromkeys(found.rankings[0].ratings, Rating(-0.001, 0.0)))
    shown = text_of(screen(replace(found, rankings=[middle]), 60, 200))
    assert "+0.00" in shown
    assert "-0.00" not in shown


def test_values_that_moved_lately_have_arrows() -> None:
    """A value that rose or fell in rank has an arrow with the number of ranks, one that only moved has its own sign."""
    found = snapshot(1)
    group = found.rankings[0].group
    changes = {
        (group, "value0"): Change(1, 0.4),
        (group, "value1"): Change(-1, -0.3),
        (group, "value2"): Change(0, 0.01),
    }
    lines = text_of(screen(found, 24, 120, changes)).splitlines()
    told = {name: next(line for line in lines if f". {name}" in line) for name in ("value0", "value1", "value2")}
    assert "↑1 +0.40" in told["value0"]
    assert "↓1 -0.30" in told["value1"]
    assert not {"↑", "↓", "+0.01"} & set(told["value2"].split())


def test_a_trail_compares_with_a_moment_ago() -> None:
    """What changed within the last ten seconds is a change; older moves are forgotten; a value new to the ranking has none."""
    trail, before, after = Trail(), ranking(winner=0), ranking(winner=1, wins=20)
    key = (before.group, "value1")
    assert trail.changes([before], 0.0)[key] == Change(0, 0.0)
    moved = trail.changes([after], 5.0)[key]
    assert moved.ranks == before.ranks["value1"] - after.ranks["value1"] > 0  # type: ignore[operator]
    assert moved.mu == pytest.approx(after.ratings["value1"].mu - before.ratings["value1"].mu)
    assert trail.changes([after], 9.0)[key] == moved
    assert trail.changes([after], 30.0)[key] == Change(0, 0.0)
    assert trail.changes([ranking("another")], 31.0) == {}


def test_the_gauge_of_convergence_grows_as_doubt_falls() -> None:
    """Nothing known is 0, settled is 1 and only settled is; a pair that lacks outcomes holds it back."""
    shares = [settled_share(Convergence(doubt, 5), 3) for doubt in (1.0, 0.5, 0.1, 0.06, 0.05)]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert shares[-2] < 1
    assert settled_share(Convergence(0.01, 1), 3) == pytest.approx(0.2)
    assert settled_share(Convergence(0.0, 0), 1) == 0.0


def test_a_terminal_without_our_signs_has_others() -> None:
    """Where the encoding is not UTF, all that we draw with is ASCII."""
    assert signs_for("utf-8") != ASCII == signs_for("iso8859-1") == signs_for("ANSI_X3.4-1968")
    for width, height in ((80, 24), (200, 60)):
        assert text_of(screen(snapshot(40), height, width, signs=ASCII)).isascii()


def test_a_notice_stands_at_the_bottom_and_the_keys_are_told() -> None:
    """Whatever else there is, what the user was just told is there."""
    lines = screen(snapshot(40), 24, 80, notice="Stopping: wait", keys=True)
    assert lines[-1].plain.startswith("Stopping: wait")
    shown = text_of(screen(snapshot(40), 24, 80, keys=True))
    assert "q leaves" in shown.splitlines()[0]
    assert "more below  (arrows scroll)" in shown


def test_a_line_of_a_megabyte_costs_nothing() -> None:
    """It is cut before anything is done with it."""
    huge = "\u0301\x1b[2J" * 300_000
    found = snapshot()
    talk = Conversation(huge, [Message(Role.USER, huge), Message(Role.TARGET, huge)], huge)
    outcome = replace(found.recent[0], scenario_id=huge, value_a=huge)
    huge_run = replace(found, recent=[outcome] * 8, conversation=talk, progress=replace(found.progress, run=huge))
    began = time.perf_counter()
    for _ in range(10):
        screen(huge_run, 60, 200)
    assert time.perf_counter() - began < 5  # untouched, it takes minutes


# -- whatever there is -------------------------------------------------------------------------------------------------

TEXTS = st.sampled_from(
    [*HOSTILE, "x" * 300, "漢字" * 50, "👩‍👩‍👧" * 30, "e\u0301" * 200, "", " ", "openai:gpt"]
) | st.text(max_size=40)
COUNTS = st.integers(0, 10**9)
FLOATS = st.floats(0, 1e9)
GROUPS = st.builds(Group, TEXTS, st.sampled_from(Mode), st.none() | TEXTS, st.none() | TEXTS)


@st.composite
def rankings(draw: st.DrawFn) -> Ranking:
    values = draw(st.lists(TEXTS, min_size=1, max_size=6, unique=True))
    fold = GroupFold(draw(GROUPS), values)
    base = fold.ranking()
    ratings = {value: Rating(draw(st.floats(-50, 50)), draw(st.floats(1e-3, 50))) for value in values}
    component = draw(st.lists(st.integers(0, 2), min_size=len(values), max_size=len(values)))
    found = Convergence(draw(st.floats(0, 10)), draw(st.integers(0, 10)))
    return replace(base, ratings=ratings, component=dict(zip(values, component, strict=True)), convergence=found)


LANES = st.builds(LaneLoad, TEXTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, st.none() | TEXTS)
OUTCOMES = st.builds(Outcome, GROUPS, TEXTS, st.just(1), TEXTS, TEXTS, st.sampled_from(Verdict))
TALKS = st.builds(
    Conversation, TEXTS, st.lists(st.builds(Message, st.sampled_from(Role), TEXTS), max_size=6), TEXTS
)  # fmt: skip
PROGRESS = st.builds(
    Progress, run=TEXTS, state=st.sampled_from(["running", "killed", "imported"]), planned=st.none() | COUNTS,
    verdicts=st.dictionaries(st.sampled_from(Verdict), COUNTS), usage=st.just({}), in_flight=COUNTS, reserved_usd=FLOATS,
    limit_usd=st.none() | FLOATS, elapsed_s=FLOATS, rate_per_s=FLOATS, ends_early=st.booleans(), lanes=st.lists(LANES, max_size=12),
)  # fmt: skip
SNAPSHOTS = st.builds(
    Snapshot, PROGRESS, st.lists(rankings(), max_size=8, unique_by=lambda r: r.group), st.lists(OUTCOMES, max_size=8),
    st.none() | TALKS,
)  # fmt: skip


@settings(max_examples=150)
@given(SNAPSHOTS, st.integers(1, 260), st.integers(1, 80), st.integers(0, 20), st.sampled_from(["", "told\x1b[2J"]))
def test_whatever_there_is_fits_the_screen_and_controls_nothing(
    found: Snapshot, width: int, height: int, first: int, notice: str
) -> None:
    """So many lines and columns at the most, no character that a terminal would act on, and what is sent is ours alone."""
    changes = Trail().changes(found.rankings)
    lines = screen(found, height, width, changes, first=first, notice=notice, keys=True)
    assert len(lines) <= height
    for line in lines:
        assert line.cell_len <= width
        assert line.plain.isprintable()


def drawn(frames: Frames, lines: list[str], height: int = 5, width: int = 20) -> str:
    return frames.frame(Text("\n").join(map(Text, lines)), height, width)


def test_only_lines_that_differ_are_sent() -> None:
    """The same again is nothing; one line is that line; another size is all of it."""
    frames = Frames(Console(file=io.StringIO(), force_terminal=True, color_system=None))
    first = drawn(frames, ["one", "two", "three"])
    assert all(word in first for word in ("\x1b[2J", "one", "two", "three"))
    assert drawn(frames, ["one", "two", "three"]) == ""
    assert drawn(frames, ["one", "2", "three"]) == "\x1b[2;1H\x1b[K2"
    assert drawn(frames, ["one", "2"]) == "\x1b[3;1H\x1b[K"
    again = drawn(frames, ["one", "2"], height=6)
    assert again.startswith("\x1b[0m\x1b[2J")
    assert "one" in again
