"""A run on one screen, as lines that fit it: whatever the snapshot holds and however small the terminal is."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.text import Text

from conflictscope.outcome import Group, Outcome, Verdict
from conflictscope.rating import Convergence, Ranking, Rating
from conflictscope.snapshot import Conversation, LaneLoad, Progress, Snapshot
from conflictscope.views.terminal import calls, lane_state, left, spent
from conflictscope.views.text import brief, duration, plain

WIDE = 140
"""From so many columns on, blocks stand side by side."""

_CELL = 38  # columns that a ranking takes at the least
_ROOMY_CELL = 90
_CELL_FOR_INTERVALS = 66
_GAP = 2
_LONGEST_NAME = 24
_TALL, _SHORT = 30, 14  # lines
_EPISODES = 8
_AIR = 8  # lines that are left over where rankings stand apart
_MESSAGES = 4
_STEP = 0.5  # the scale of the bars ends at multiples of it, so that it holds still for a while
_STYLES = {"running": "green", "finished": "green", "converged": "green", "killed": "red", "failed": "red"}


@dataclass(frozen=True, slots=True)
class Signs:
    """What bars and arrows are drawn with; each one column wide."""

    full: str = "━"
    rest: str = "─"
    middle: str = "●"
    up: str = "↑"
    down: str = "↓"
    more: str = "▴"
    less: str = "▾"
    cut: str = "…"


ASCII = Signs("#", "-", "o", "^", "v", "+", "-", "~")


# -- what has changed --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """How a value moved. ranks: by which it rose, negative where it fell. mu: by which its utility did."""

    ranks: int
    mu: float


Changes = Mapping[tuple[Group, str], Change]


@dataclass(slots=True)
class Trail:
    """Where every value stood a while ago: at the oldest look of the last `span_s` seconds."""

    span_s: float = 10.0
    _looks: deque[tuple[float, dict[tuple[Group, str], tuple[int, float]]]] = field(default_factory=deque)

    def changes(self, rankings: Iterable[Ranking], at: float | None = None) -> Changes:
        """What is different now (or at this time, in seconds). A value that was not ranked then has not moved."""
        at = time.monotonic() if at is None else at
        now = {
            (ranking.group, value): (rank, ranking.ratings[value].mu)
            for ranking in rankings
            for value, rank in ranking.ranks.items()
            if rank is not None
        }
        if not self._looks or at - self._looks[-1][0] >= self.span_s / 10:
            self._looks.append((at, now))
        while at - self._looks[0][0] > self.span_s:
            self._looks.popleft()
        then = self._looks[0][1]
        return {key: Change(then[key][0] - rank, mu - then[key][1]) for key, (rank, mu) in now.items() if key in then}


# -- the whole ---------------------------------------------------------------------------------------------------------


def screen(
    snapshot: Snapshot,
    height: int,
    width: int,
    changes: Changes | None = None,
    *,
    signs: Signs = Signs(),
    first: int = 0,
    keys: bool = False,
    notice: str = "",
) -> list[Text]:
    """A run as at most `height` lines of at most `width` columns: progress, lanes, rankings, the latest episodes.

    changes: by which values moved lately. first: the number of the first ranking that is shown, from 0. keys: whether they leave
    and scroll. notice: a line at the bottom. What does not fit is cut or counted; rankings take what they need before the rest.
    """
    names = _names(snapshot.rankings)
    wide, tall = width >= WIDE, height >= _TALL
    half = (width - _GAP) // 2
    bottom = [_notice(notice, width, signs)] if notice else []
    height -= len(bottom)
    head = _head(snapshot.progress, half if wide else width, signs, keys)[: max(1, height)]
    lanes = snapshot.progress.lanes
    if wide:
        head = _beside(head, _lanes(lanes, max(len(head), 8 if tall else 4), half, signs), half)
    else:
        head += _lanes(lanes, 1 if height < _SHORT else 8 if tall else 3, width, signs)
    room = height - len(head)
    told = snapshot.conversation if height >= _SHORT else None
    episodes = min(len(snapshot.recent), 1 if height < _SHORT else 2)
    least = max(episodes, 3 * bool(told)) if wide else episodes + 3 * bool(told)
    titles = 1 + (1 if wide else bool(episodes) + bool(told)) if tall else 0
    rankings = _grid(snapshot, names, changes or {}, first, max(0, room - least - titles), width, signs, keys)
    room -= len(rankings) + titles
    episodes = min(len(snapshot.recent), _EPISODES if tall else episodes, max(0, room))
    if wide:
        latest = _episodes(snapshot.recent[:episodes], names, half, signs)
        talk = _conversation(told, room, half, signs)
        if tall:
            latest = [_title("latest episodes", half, signs), *latest]
            talk = [_title("the latest conversation", half, signs), *talk]
        tail = _beside(latest, talk, half)
    else:
        latest = _episodes(snapshot.recent[:episodes], names, width, signs)
        talk = _conversation(told, room - episodes, width, signs)
        if tall:
            latest = [_title("latest episodes", width, signs), *latest] if latest else []
            talk = [_title("the latest conversation", width, signs), *talk] if talk else []
        tail = latest + talk
    middle = [_title(_which(len(snapshot.rankings)), width, signs), *rankings] if tall else rankings
    lines = [*head, *middle, *tail][: max(0, height)]
    return [_cut(text, width, signs) for text in (*lines, *bottom)]


def signs_for(encoding: str) -> Signs:
    """What a terminal of this encoding can show."""
    return Signs() if encoding.lower().startswith("utf") else ASCII


def _which(rankings: int) -> str:
    return "rankings: utility in probit units, 95 % intervals" if rankings else "no ranking yet"


# -- head --------------------------------------------------------------------------------------------------------------


def _head(progress: Progress, width: int, signs: Signs, keys: bool) -> list[Text]:
    state = plain(progress.state, _STYLES.get(progress.state, "yellow"))
    about = f"{duration(progress.elapsed_s)}  {progress.rate_per_s:,.1f} episodes/s  {calls(progress)}"
    headline = brief(progress.run, 40, "bold").append("  ").append_text(state).append(f"  {about}")
    if keys:
        headline = _right(_cut(headline, max(0, width - 10), signs), Text("q leaves", "dim"), width)
    total = progress.total
    money = Text()
    if progress.limit_usd:
        money = _gauge(total.spent_usd / progress.limit_usd, 12, "yellow", signs).append("  ")
    money.append(spent(progress))
    money.append(f"  {_thousands(total.input_tokens)} tokens in, {_thousands(total.output_tokens)} out", "dim")
    return [headline, _far(progress, width, signs), money, _states(progress.verdicts)]


def _far(progress: Progress, width: int, signs: Signs) -> Text:
    if not progress.planned:
        return Text(f"{progress.done:,} episodes")
    share = progress.done / progress.planned
    label = f"  {share:.0%}  {progress.done:,}/{progress.planned:,} episodes"
    label += f"  reading, {progress.read:.0%}" if progress.read < 1 else ""
    label += f"  {words} left" if (words := left(progress)) else ""
    return _gauge(share, max(4, width - len(label)), "green", signs).append(label, "bold")


def _states(verdicts: Mapping[Verdict, int]) -> Text:
    text = Text()
    for verdict in Verdict:
        if count := verdicts.get(verdict, 0):
            style = "red" if verdict.failed else "" if verdict.rated else "yellow"
            text.append(f"{verdict.value} ", "dim").append(f"{count:,}  ", style)
    return text


def _lanes(lanes: Sequence[LaneLoad], room: int, width: int, signs: Signs) -> list[Text]:
    """A line a lane; those that are closed or slowed come first, and what does not fit is counted."""
    lanes = sorted(lanes, key=lambda lane: (lane.closed is None, lane.limit >= lane.most, lane.model))
    shown = list(lanes) if len(lanes) <= room else lanes[: max(0, room - 1)]
    longest = min(_LONGEST_NAME, max((cell_len(brief(lane.model, 60).plain) for lane in shown), default=0))
    lines = []
    for lane in shown:
        text = _column(brief(lane.model, 60, "bold"), longest, signs).append(" ")
        if width >= 100:
            text.append_text(_gauge(lane.in_flight / max(1, lane.limit), 10, "cyan", signs)).append(" ")
        text.append(f"{lane.in_flight:>4,} of {lane.limit:,} in flight")
        text.append(f"  {lane.waiting:,} wait", "" if lane.waiting else "dim")
        text.append(f"  {lane.retries:,} retries", "yellow" if lane.retries else "dim")
        text.append(f"  {lane.errors:,} errors", "yellow" if lane.errors else "dim")
        state, style = lane_state(lane)
        lines.append(text.append("  ").append_text(brief(state, width, style)))
    if len(lanes) > len(shown) and room > 0:
        rest = lanes[len(shown) :]
        flying, errors = sum(lane.in_flight for lane in rest), sum(lane.errors for lane in rest)
        lines.append(Text(f"and {len(rest):,} more lanes: {flying:,} in flight, {errors:,} errors", "dim"))
    return lines


# -- rankings ----------------------------------------------------------------------------------------------------------


def _grid(
    snapshot: Snapshot,
    names: Mapping[Group, str],
    changes: Changes,
    first: int,
    room: int,
    width: int,
    signs: Signs,
    keys: bool,
) -> list[Text]:
    """Rankings in as few columns as show them all, wherever one has scrolled to; where the most do not, the rest are counted."""
    rankings = snapshot.rankings
    if not rankings or room < 1:
        return []
    tallest = max(len(ranking.ratings) for ranking in rankings) + 1
    most = max(1, (width + _GAP) // (_CELL + _GAP))
    columns = min(most, len(rankings), max(1, round(width / _ROOMY_CELL)))
    while columns < most and math.ceil(len(rankings) / columns) * tallest > room:
        columns += 1
    all_fit = math.ceil(len(rankings) / columns) * tallest <= room
    before = 0 if all_fit else max(0, min(first, len(rankings) - 1))
    rankings = rankings[before:]
    fits = columns * max(1, room // tallest)
    if before or fits < len(rankings):
        fits = columns * max(1, (room - 1) // tallest)
    shown = rankings[:fits]
    cell = (width - (columns - 1) * _GAP) // columns
    scale = _scale(shown)
    longest = max(cell_len(brief(value, 60).plain) for ranking in shown for value in ranking.ratings)
    rows = math.ceil(len(shown) / columns)
    airy = before + len(shown) == len(snapshot.rankings) and rows * (tallest + 1) + _AIR <= room
    lines: list[Text] = []
    for start in range(0, len(shown), columns):
        lines += [Text()] * (airy and start > 0)
        row = [
            _cell(ranking, names[ranking.group], snapshot.stopped, changes, scale, cell, longest, signs)
            for ranking in shown[start : start + columns]
        ]
        lines += (_joined(parts, cell, signs) for parts in zip_longest(*row, fillvalue=Text()))
    after = len(rankings) - len(shown)
    if before or after:
        lines = lines[: room - 1]
        parts = [f"{before:,} more above"] * bool(before) + [f"{after:,} more below"] * bool(after)
        lines.append(Text(f"rankings: {', '.join(parts)}{'  (arrows scroll)' if keys else ''}", "dim"))
    return lines[:room]


def _cell(
    ranking: Ranking,
    name: str,
    stopped: Mapping[Group, int],
    changes: Changes,
    scale: tuple[float, float],
    width: int,
    longest: int,
    signs: Signs,
) -> list[Text]:
    """One ranking: how far it is from being settled, then a line a value."""
    numbers = width >= _CELL_FOR_INTERVALS
    told = _settling(ranking, stopped.get(ranking.group), numbers, signs)
    title = _cut(brief(name, width, "bold"), max(4, width - told.cell_len - 1), signs)
    lines = [_right(title, told, width)]
    longest = min(longest, _LONGEST_NAME, max(6, width - 24))
    bar = width - longest - (20 + 6 if numbers else 0) - 16
    for value, rank in ranking.ranks.items():
        rating = ranking.ratings[value]
        text = Text(" -  " if rank is None else f"{rank:>2}. ")
        text.append_text(_column(brief(value, 60), longest, signs))
        if rank is None:
            lines.append(text.append("  never compared", "dim"))
            continue
        text.append(f" {rating.mu:+z6.2f} ", "bold")
        text.append_text(_moved(changes.get((ranking.group, value)), numbers, signs))
        if numbers:
            text.append(f" [{rating.low:+z6.2f}, {rating.high:+z6.2f}] ".ljust(19), "dim")
        if bar >= 6:
            text.append(" ").append_text(_bar(rating, scale, bar, signs))
        lines.append(text)
    return lines


def _settling(ranking: Ranking, stopped: int | None, numbers: bool, signs: Signs) -> Text:
    """How far a ranking is from being settled, as a gauge and as the doubt that is left."""
    found = ranking.convergence
    text = Text(f"{ranking.outcomes:,} outcomes  " if numbers else "", "dim")
    if stopped is not None or found.settled:
        return text.append("settled" if stopped is None else f"settled at {stopped:,}", "green")
    text.append_text(_gauge(settled_share(found, len(ranking.ratings)), 12 if numbers else 5, "yellow", signs))
    if found.least_rated < found.rule.least_per_pair:
        rest = f" {found.least_rated} of {found.rule.least_per_pair}"
        return text.append(rest + (" outcomes of a pair" if numbers else ""), "yellow")
    rest = f" doubt {found.doubt:.2g}, settled at {found.rule.alpha:g}" if numbers else f" {found.doubt:.2g}"
    return text.append(rest, "yellow")


def settled_share(found: Convergence, values: int) -> float:
    """How far a ranking of so many values has come, from 0 (nothing is known of it) to 1 (settled).

    In steps of the logarithm of the doubt, which halves as evidence comes in; no more than the share of the outcomes that its
    rarest pair must have.
    """
    if found.settled:
        return 1.0
    ignorance = 0.5 * max(1, values - 1)
    way = math.log(max(ignorance, found.rule.alpha * 2) / found.rule.alpha)
    gone = 1 - math.log(max(found.doubt, found.rule.alpha) / found.rule.alpha) / way
    counted = found.least_rated / found.rule.least_per_pair if found.rule.least_per_pair else 1.0
    return max(0.0, min(gone, counted, 0.99))


def _moved(change: Change | None, numbers: bool, signs: Signs) -> Text:
    """3 columns, with numbers 9: by how many ranks a value rose or fell lately, and by how much its utility did."""
    text = Text()
    mu = change.mu if change is not None else 0.0
    style = "green" if mu > 0 else "red"
    told = f"{mu:+z.2f}"
    moved = abs(mu) >= 0.05
    if change is not None and change.ranks:
        style = "bold green" if change.ranks > 0 else "bold red"
        text.append(f"{signs.up if change.ranks > 0 else signs.down}{min(99, abs(change.ranks))}".ljust(3), style)
    else:
        text.append((signs.more if mu > 0 else signs.less) + "  " if moved and not numbers else "   ", style)
    return text.append((told if moved else "").ljust(6)[:6], style) if numbers else text


def _scale(rankings: Sequence[Ranking]) -> tuple[float, float]:
    """The ends of the bars: common to all rankings on the screen, so that they can be compared."""
    rated = [r.ratings[value] for r in rankings for value, rank in r.ranks.items() if rank is not None]
    low = min((rating.low for rating in rated), default=0.0)
    high = max((rating.high for rating in rated), default=1.0)
    return math.floor(low / _STEP) * _STEP, max(math.ceil(high / _STEP) * _STEP, low + _STEP)


def _bar(rating: Rating, scale: tuple[float, float], width: int, signs: Signs) -> Text:
    """An interval and its middle."""
    low, high = scale
    first, dot, last = (round((at - low) / (high - low) * (width - 1)) for at in (rating.low, rating.mu, rating.high))
    cells = [signs.rest if first <= at <= last else " " for at in range(width)]
    cells[max(0, min(dot, width - 1))] = signs.middle
    return Text("".join(cells), "cyan")


# -- what came last ----------------------------------------------------------------------------------------------------


def _episodes(recent: Sequence[Outcome], names: Mapping[Group, str], width: int, signs: Signs) -> list[Text]:
    """A line an episode: who won against whom, of which target under which condition, in which scenario."""
    found = [_found(outcome) for outcome in recent]
    longest = min(max((text.cell_len for text in found), default=0), max(12, width // 2))
    lines = []
    for outcome, text in zip(recent, found, strict=True):
        line = _column(text, longest, signs).append("  ")
        line.append_text(brief(names.get(outcome.group, str(outcome.group)), width)).append("  ")
        lines.append(line.append_text(brief(outcome.scenario_id, width, "dim")))
    return lines


def _found(outcome: Outcome) -> Text:
    a, b = outcome.value_a, outcome.value_b
    if outcome.verdict in (Verdict.A, Verdict.B):
        winner, loser = (a, b) if outcome.verdict is Verdict.A else (b, a)
        return brief(winner, 40, "cyan").append(" over ", "dim").append_text(brief(loser, 40, "not bold"))
    style = "red" if outcome.verdict.failed else "yellow"
    return Text(outcome.verdict.value, style).append(": ", "dim").append_text(brief(f"{a[:40]} / {b[:40]}", 80))


def _conversation(told: Conversation | None, room: int, width: int, signs: Signs) -> list[Text]:
    """What was said last and what the judge made of it: the fewer lines there are, the less of each."""
    if told is None or room < 1:
        return []
    said = [(message.role.value, message.words) for message in told.transcript[-_MESSAGES:]]
    said = [*said, ("judge", told.conclusion)][-room:]
    wrapped = [_wrapped(text, max(8, width - 9), room) for _, text in said]
    shown = [1] * len(said)
    for _ in range(room - len(said)):  # a line more for the one that has had the fewest of those that have more to say
        waiting = [place for place, lines in enumerate(wrapped) if shown[place] < len(lines)]
        if not waiting:
            break
        shown[min(waiting, key=lambda place: shown[place])] += 1
    lines = []
    for (who, _), parts, count in zip(said, wrapped, shown, strict=True):
        for number, part in enumerate(parts[:count]):
            if number == count - 1 and count < len(parts):
                part = set_cell_size(part, width - 10).rstrip() + signs.cut
            lines.append(Text(f"{'' if number else who:>7}  ", "bold").append(part, "not bold"))
    return lines


def _wrapped(text: str, width: int, room: int) -> list[str]:
    """Words in lines, one line more than there is room for at the most; always one."""
    lines = [""]
    for word in brief(text, width * (room + 1)).plain.split(" "):
        for part in chop_cells(word, width) or [""]:
            if lines[-1] and cell_len(lines[-1]) + 1 + cell_len(part) > width:
                lines.append(part)
            else:
                lines[-1] = f"{lines[-1]} {part}" if lines[-1] else part
        if len(lines) > room:
            break
    return lines


# -- lines -------------------------------------------------------------------------------------------------------------


def _names(rankings: Sequence[Ranking]) -> dict[Group, str]:
    """What each group is called: without its provider where that tells no two targets apart."""
    targets = {ranking.group.target for ranking in rankings}
    short = {target: target.partition(":")[2] or target for target in targets}
    if len(set(short.values())) < len(targets):
        return {ranking.group: str(ranking.group) for ranking in rankings}
    return {r.group: str(replace(r.group, target=short[r.group.target])) for r in rankings}


def _cut(text: Text, width: int, signs: Signs) -> Text:
    """No more than so many columns."""
    if text.cell_len > width:
        text = text.copy()
        text.truncate(max(0, width - 1), overflow="crop")
        text.append(signs.cut if width > 0 else "")
    text.no_wrap, text.overflow, text.end = True, "crop", "\n"
    return text


def _column(text: Text, width: int, signs: Signs) -> Text:
    """Exactly so many columns."""
    text = _cut(text, width, signs)
    text.append(" " * (width - text.cell_len))
    return text


def _right(left: Text, right: Text, width: int) -> Text:
    """One at the left and one at the right end of a line; where there is no room for both, the left one."""
    gap = width - left.cell_len - right.cell_len
    return left.append(" " * gap).append_text(right) if gap >= 1 else left


def _joined(parts: Sequence[Text], width: int, signs: Signs) -> Text:
    """Cells of a row."""
    line = Text()
    for number, part in enumerate(parts):
        line.append(" " * _GAP if number else "").append_text(_column(part, width, signs))
    return line


def _beside(left_side: Sequence[Text], right_side: Sequence[Text], width: int) -> list[Text]:
    return [_joined(parts, width, Signs()) for parts in zip_longest(left_side, right_side, fillvalue=Text())]


def _title(text: str, width: int, signs: Signs) -> Text:
    return Text(f"{signs.rest * 2} {text} ", "dim").append(signs.rest * max(0, width - len(text) - 4), "dim")


def _notice(text: str, width: int, signs: Signs) -> Text:
    return _cut(brief(text, width, "bold yellow"), width, signs)


def _gauge(share: float, width: int, style: str, signs: Signs) -> Text:
    full = max(0, min(width, math.floor(share * width)))
    return Text(signs.full * full, style).append(signs.rest * (width - full), "dim")


def _thousands(count: int) -> str:
    return (
        f"{count:,}"
        if count < 10_000
        else f"{count / 1_000:,.0f}k"
        if count < 10_000_000
        else f"{count / 1_000_000:,.0f}M"
    )
