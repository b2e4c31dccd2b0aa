from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from conflictscope.outcome import Group, Message, Mode, Outcome, Role, Verdict
from conflictscope.ranking import GroupFold
from conflictscope.rating import Ranking, Rating
from conflictscope.snapshot import Conversation, Progress, Purpose, Snapshot, Usage
from conflictscope.views import print_conversation, print_rankings, print_status
from conflictscope.views.terminal import line
from conflictscope.views.text import duration, plain

ALPHA, JUDGE = Purpose("target", "alpha", "openai:m"), Purpose("judge", None, "openai:m")
USED = Usage(calls=1000, failed=5, abandoned=2, input_tokens=10_000, output_tokens=2_000, cost_usd=1.5)
HOSTILE = "\x1b[31mred\x1b]0;title\x07 [bold]markup[/bold] \u202eright to left\x00 <script>"


def console(width: int = 80, height: int = 24) -> Console:
    return Console(file=io.StringIO(), width=width, height=height, highlight=False, color_system=None)


def shown(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def ranking(target: str = "alpha", values: int = 3, wins: int = 9) -> Ranking:
    names = [f"value{number}" for number in range(values)]
    group = Group(target, Mode.OPEN_ENDED)
    fold = GroupFold(group, names)
    for number in range(wins):
        fold.add(Outcome(group, f"s{number}", 1, names[0], names[1], Verdict.A if number % 3 else Verdict.REFUSED))
    return fold.ranking()


def progress(**changes: object) -> Progress:
    known: dict[str, object] = {
        "run": "demo", "state": "running", "planned": 1000, "verdicts": {Verdict.A: 300, Verdict.TIE: 20, Verdict.TARGET_FAILED: 5},
        "usage": {ALPHA: USED, JUDGE: Usage(calls=234)}, "in_flight": 3, "reserved_usd": 0.25, "limit_usd": None,
        "elapsed_s": 65.0, "rate_per_s": 5.0, "stored_bytes": 1_300_000,
    }  # fmt: skip
    return Progress(**{**known, **changes})  # type: ignore[arg-type]


def snapshot(rankings: int = 2, **changes: object) -> Snapshot:
    outcome = Outcome(Group("alpha", Mode.OPEN_ENDED), "s1", 1, "value0", "value1", Verdict.B)
    conversation = Conversation(
        "k", [Message(Role.USER, "Hello\nthere"), Message(Role.TARGET, "Hi")], "value0 over value1. So."
    )
    return Snapshot(
        progress(**changes), [ranking(f"t{number}") for number in range(rankings)], [outcome] * 8, conversation
    )


def test_unknown_prices_are_told_not_counted_as_free() -> None:
    """Calls without a known price are named beside the cost."""
    on = console(160)
    used = {ALPHA: replace(USED, unpriced=7)}
    on.print(line(snapshot(usage=used)), soft_wrap=True)
    print_status(on, snapshot(usage=used))
    assert "+ 7 unpriced calls" in shown(on)
    assert "7 calls of unknown price" in shown(on)


def test_a_line_for_logs_says_the_same_in_one_line() -> None:
    """Without a terminal a run is one line at a time."""
    text = line(snapshot()).plain
    assert "\n" not in text
    for part in ("325/1,000", "a 300", "t0 / open_ended: value0 > value1 > value2"):
        assert part in text


def test_rankings_show_order_intervals_pairs_and_notes() -> None:
    """Best first, with the interval, the wins per pair, what was left out, and what a reader must know."""
    on = console(100)
    print_rankings(on, [ranking()])
    text = shown(on)
    assert text.index("1.  value0") < text.index("2.  value1") < text.index("-  value2")
    assert "value0 6 : 0 value1, 3 refused" in text
    assert "never compared, so not ranked: value2" in text
    assert "3 of 9 episodes (33%) left out: 3 refused" in " ".join(text.split())
    assert "6 outcomes, settled" in text


def test_a_utility_of_nearly_0_has_no_minus() -> None:
    """A value in the middle stands at 0, not at a little less than that."""
    on = console(100)
    print_rankings(on, [replace(ranking(), ratings=dict.fromkeys(ranking().ratings, Rating(-0.001, 0.0)))])
    assert "value0  +0.00  [+0.00, +0.00]" in shown(on)


def test_bars_are_drawn_with_what_the_terminal_can_show() -> None:
    """In ASCII where it is not UTF-8."""
    raw = io.BytesIO()
    on = Console(file=io.TextIOWrapper(raw, "ascii", "replace"), width=100, highlight=False, color_system=None)
    print_rankings(on, [ranking()])
    on.file.flush()
    assert b"--o" in raw.getvalue()
    assert b"?" not in raw.getvalue()


def test_a_truth_that_differs_is_not_hidden() -> None:
    """Beside a planted truth, an equal ranking says so, and so does one that is not."""
    on = console(100)
    one = ranking()
    print_rankings(on, [one], {str(one.group): ["value0", "value1", "value2"]})
    print_rankings(on, [one], {str(one.group): ["value1", "value0", "value2"]})
    assert "equals the ranking" in shown(on)
    assert "DIFFERS from the ranking" in shown(on)


@pytest.mark.parametrize("width", [34, 50, 60, 80])
def test_a_narrow_terminal_keeps_rank_value_and_utility(width: int) -> None:
    """Bars give way first, then intervals; who leads, and by how much, is always there."""
    on = console(width)
    print_rankings(on, [ranking()])
    lines = [text.split() for text in shown(on).splitlines()]
    assert ["1.", "value0"] in [words[:2] for words in lines]
    utility = next(words[2] for words in lines if words[:2] == ["1.", "value0"])
    assert float(utility) > 0


def test_no_outcome_is_told_in_words() -> None:
    """A run without outcomes has nothing to rank, and says so."""
    on = console()
    print_rankings(on, [])
    assert "No outcome yet" in shown(on)


def test_status_counts_states_and_kinds_of_failure() -> None:
    """Every state that occurs, and what the failed ones failed by."""
    on = console()
    print_status(on, snapshot(failures={"timeout": 3, "http_500": 2}))
    text = " ".join(shown(on).split())
    for part in (
        "episodes 325 of 1,000",
        "target_failed 5",
        "failed by timeout 3",
        "failed by http_500 2",
        "left 2:15",
        "stored 1.3 MB, 4.0 kB per episode",
    ):
        assert part in text


def test_status_tells_what_became_of_calls_and_dollars() -> None:
    """Answered, failed, abandoned and in flight; spent, at risk, reserved and forecast; by role, target and lane."""
    on = console(200)
    used = {ALPHA: replace(USED, at_risk_usd=0.5), JUDGE: Usage(calls=234, cost_usd=1.0)}
    print_status(on, snapshot(usage=used, limit_usd=10.0, verdicts={Verdict.A: 250}))
    text = " ".join(shown(on).split())
    for part in (
        "calls 1,227 answered, 5 failed, 2 abandoned, 3 in flight",
        "spent $3.0000 of $10.00 ($0.5000 of it set aside for calls whose end was not seen), $0.2500 reserved",
        ", about $9.0000 for the rest",
        "judge for all openai:m 234 0 0 0 $1.0000",
        "target for alpha openai:m 1,000 7 10,000 2,000 $2.0000",
    ):
        assert part in text


def test_a_run_that_may_end_early_tells_the_most_it_can_take() -> None:
    """Time and dollars left are bounds then, and a group that is settled says since when it takes no more episodes."""
    plain, early = (replace(snapshot(), progress=progress(ends_early=ends_early)) for ends_early in (False, True))
    early = replace(early, stopped={early.rankings[0].group: 1234})
    texts = []
    for told in (plain, early):
        on = console(120)
        print_status(on, told)
        on.print(line(told))
        texts.append(" ".join(shown(on).split()))
    assert "left 2:15" in texts[0]
    assert "left at most 2:15" in texts[1]
    assert ", at most 2:15 left " in texts[1]
    assert "about $3.1154 for the rest" in texts[0]
    assert "at most $3.1154 for the rest" in texts[1]
    assert "at most" not in texts[0]
    assert [text.count("settled at 1,234 outcomes, takes no more") for text in texts] == [0, 1]


def test_progress_as_json_adds_up() -> None:
    """The totals are the sums over the purposes; calls are those that ended; what has none is null."""
    used = {ALPHA: replace(USED, at_risk_usd=0.5), JUDGE: Usage(calls=234, cost_usd=1.0, unpriced=1)}
    document = progress(usage=used, limit_usd=10.0).to_json()
    for total, part in (
        ("calls", "calls"),
        ("failed_calls", "failed"),
        ("abandoned_calls", "abandoned"),
        ("input_tokens", "input_tokens"),
        ("output_tokens", "output_tokens"),
        ("cost_usd", "cost_usd"),
        ("at_risk_usd", "at_risk_usd"),
        ("unpriced_calls", "unpriced"),
    ):
        assert document[total] == sum(row[part] for row in document["usage"]), total
    assert [(row["role"], row["target"]) for row in document["usage"]] == [("judge", None), ("target", "alpha")]
    assert (document["calls_in_flight"], document["reserved_usd"], document["limit_usd"]) == (3, 0.25, 10.0)
    assert document["forecast_usd"] == pytest.approx(3.0 / 325 * 675)
    assert progress(planned=None).to_json()["forecast_usd"] is None


def test_hostile_text_is_shown_as_text() -> None:
    """Escape sequences, markup and direction marks in a name or a message reach the terminal as visible characters."""
    on = console(200)
    print_conversation(on, Conversation(HOSTILE, [Message(Role.TARGET, HOSTILE)], HOSTILE))
    print_rankings(on, [ranking(HOSTILE)])
    text = shown(on)
    assert "[bold]markup[/bold]" in text
    assert "\\x1b[31mred" in text
    assert not set(text) & set("\x1b\x07\x00\u202e")


@given(st.text())
def test_nothing_unprintable_ever_gets_through(text: str) -> None:
    """Whatever a model writes, what is printed is printable."""
    assert plain(text).plain.isprintable()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (65, "1:05"), (3600, "1:00:00"), (90_061, "25:01:01")]
)
def test_durations_read_as_people_write_them(seconds: float, text: str) -> None:
    """Seconds, minutes, hours."""
    assert duration(seconds) == text
