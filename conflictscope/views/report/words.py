"""What a report says before any figure: sentences made from the numbers, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise

from conflictscope.comparison import Alignment, By, Comparison
from conflictscope.rating import SURE, Ranking
from conflictscope.views.comparison import held, sides
from conflictscope.views.report.contents import Report

_MOST = 12  # sentences of a kind; the tables have them all
_MOST_NAMED = 6
_MUCH_LEFT_OUT = 0.05


def found(report: Report) -> list[str]:
    """The order of each group, what differs between groups for sure, and what steering reached."""
    if not report.main:
        return ["Nothing yet: no episode has ended."]
    # What is settled first: who reads no further has read what is surest.
    said = [_ranked(ranking) for ranking in sorted(report.main, key=lambda ranking: not ranking.converged)]
    compared = [
        text for by in (By.MODE, By.STEERING, By.BEHAVIOR, By.TARGET)
        for each in report.compared_by().get(by, ()) if (text := _moved(each))
    ]  # fmt: skip
    if report.comparisons.comparisons and not compared:
        count = len(report.comparisons.comparisons)
        said.append(f"No value's utility differs for sure between any two groups that were compared ({count}).")
    if compared:
        tested = sum(len(each.shifts) for each in report.comparisons.comparisons)
        said.append(
            f"Of {_count(tested, 'difference')} of a value's utility between two groups, those whose 95 % interval excludes 0 "
            "follow; of 20 that are 0, one will do so by chance."
        )
    return (
        said
        + _some(compared, "differences between groups")
        + [_reached(each) for each in report.comparisons.alignments]
    )


def sure(report: Report) -> list[str]:
    """What is settled, which orders are open, whether methods and checks agree, and whether the judge's error matters."""
    if not report.main:
        return ["Of nothing."]
    return [*_settled(report), *_open_orders(report), *_methods(report), *_judging(report), *_scoring(report)]


def unsaid(report: Report) -> list[str]:
    """What is missing: episodes, verdicts, comparisons, checks."""
    return [*_missing(report), *_left_out(report), *_not_told(report)]


def _ranked(ranking: Ranking) -> str:
    if ranking.unresolved:
        return f"{ranking.group}: no ranking to speak of ({ranking.unresolved.removeprefix('unresolved: ')})."
    ranks = ranking.ranks
    sets: dict[int, list[str]] = {}
    for value in ranking.order:
        if ranks[value] is not None:
            sets.setdefault(ranking.component[value], []).append(value)
    orders = "; and apart from these, ".join(_in_order(ranking, values) for values in sets.values())
    settled = "settled" if ranking.converged else ranking.convergence.words()
    return f"{ranking.group}: {orders} ({ranking.outcomes:,} rated episodes; {settled})."


def _in_order(ranking: Ranking, values: Sequence[str]) -> str:
    """`a, then b = c, then d`, where b and c are practically equal."""
    tied = {value: group for group in ranking.tie_groups for value in group}
    text = values[0]
    for above, below in pairwise(values):
        text += f" = {below}" if below in tied.get(above, ()) else f", then {below}"
    return text


def _moved(comparison: Comparison) -> str | None:
    """Which values differ for sure between two groups."""
    moves = [shift for shift in comparison.shifts if shift.utility_difference.resolved]
    if not moves:
        return None
    told = ", ".join(
        f"{shift.value} {'higher' if shift.utility_difference.value > 0 else 'lower'} by "
        f"{abs(shift.utility_difference.value):.2f} [{min(ends):.2f}, {max(ends):.2f}]"
        for shift in moves[:_MOST_NAMED]
        for ends in [(abs(shift.utility_difference.low), abs(shift.utility_difference.high))]
    )
    more = f", and {len(moves) - _MOST_NAMED} more values" if len(moves) > _MOST_NAMED else ""
    return f"{held(comparison)}, {sides(comparison)}: {told}{more} (probit units)."


def _reached(alignment: Alignment) -> str:
    before, after, reached = alignment.before, alignment.after, alignment.reached
    told = f"{alignment.group}: outcomes that agree with the stated ranking went from {before.value:.0%} to {after.value:.0%}"
    if reached is None:
        told += ", where nothing was to gain"
    elif not alignment.gain.resolved:
        told += ", a change that may be chance"
    else:
        told += f", which is {reached.value:.0%} [{reached.low:.0%}, {reached.high:.0%}] of what there was to gain"
    others = [
        shift.value
        for shift in alignment.others
        if shift.utility_difference.resolved and shift.value not in alignment.ranking
    ]
    if others:
        told += f"; of values that it does not name it moved {', '.join(others[:_MOST_NAMED])}"
    return f"{told}."


def _settled(report: Report) -> Iterator[str]:
    settled = sum(ranking.converged for ranking in report.main)
    rule = report.main[0].convergence.rule
    told = f"Settled: {settled} of {_count(len(report.main), 'ranking')}"
    if settled:
        told += (
            "; there, the chance that neighbours stand in the wrong order and are not practically equal is at most "
            f"{rule.alpha:g}"
        )
    yield f"{told}."


def _open_orders(report: Report) -> list[str]:
    said = []
    for ranking in report.main:
        neighbours = [
            (above, below, p)
            for above, below in pairwise(ranking.order)
            if (p := ranking.above(above, below)) is not None and p < SURE
        ]
        if neighbours and not ranking.unresolved:
            told = ", ".join(f"{above} above {below} (P {p:.2f})" for above, below, p in neighbours[:_MOST_NAMED])
            more = f", and {len(neighbours) - _MOST_NAMED} more" if len(neighbours) > _MOST_NAMED else ""
            said.append(f"{ranking.group}: less than {SURE:.0%} sure are {told}{more}.")
    return _some(said, "rankings with open orders")


def _methods(report: Report) -> Iterator[str]:
    unresolved = {ranking.group for ranking in report.main if ranking.unresolved}
    groups = [(group, methods) for group, methods in report.by_group() if group not in unresolved]
    if not groups:
        yield "No ranking is resolved, so methods are not held against each other."
        return
    differ = [group for group, methods in groups if len({tuple(ranking.order) for ranking in methods.values()}) > 1]
    same = len(groups) - len(differ)
    told = (
        "Posterior, Bradley-Terry and TrueSkill put the values in the same order in "
        f"{same} of {_count(len(groups), 'resolved group')}"
    )
    yield f"{told}; not in {_listed(differ)}." if differ else f"{told}."
    failing = {ranking.group: [c.name for c in ranking.checks if c.passed is False] for ranking in report.main}
    failing = {group: names for group, names in failing.items() if names}
    if failing:
        told = "; ".join(f"{group}: {', '.join(names)}" for group, names in islice(failing.items(), _MOST_NAMED))
        more = f"; and {len(failing) - _MOST_NAMED} more" if len(failing) > _MOST_NAMED else ""
        yield f"Checks of the fit that did not pass, in {len(failing)} of {_count(len(report.main), 'group')}: {told}{more}."
    else:
        missing = sum(check.passed is None for ranking in report.main for check in ranking.checks)
        yield "No check of the fit failed." + (f" {_count(missing, 'check')} could not be made." if missing else "")


def _judging(report: Report) -> Iterator[str]:
    """Whether the judge's error matters."""
    corrected = [ranking for ranking in report.main if ranking.uncorrected is not None]
    turned = [r.group for r in corrected if r.uncorrected is not None and r.order != r.uncorrected.order]
    if corrected:
        says = dict.fromkeys(r.judge_error.says for r in corrected if r.judge_error is not None)
        yield f"The judge's error is corrected for in {_count(len(corrected), 'group')}: {'; '.join(islice(says, 3))}."
        yield (
            f"Without the correction the order would be another in {_listed(turned)}."
            if turned
            else "The correction changes no order."
        )
    if report.audit is not None:
        for effect in report.audit.orders:
            if effect.pair is None and effect.flips is not None:
                flips = effect.flips
                yield (
                    f"{effect.who} judged {flips.value:.0%} [{flips.low:.0%}, {flips.high:.0%}] of {effect.items:,} "
                    "conversations otherwise when the two actions were shown in the other order."
                )


def _scoring(report: Report) -> Iterator[str]:
    if report.audit is not None and report.audit.beside:
        changes = len(report.audit.changes())
        many = f"{_count(changes, 'conclusion')} would change" if changes else "no conclusion would change"
        counted = sum(beside.episodes for beside in report.audit.beside)
        other = sum(beside.other_order for beside in report.audit.beside)
        told = f"Had these episodes been scored as the paper's code does, {many}"
        if other:
            told += (
                f"; it shows one order only, so that rests on the {counted:,} of {counted + other:,} episodes that were seen in "
                "that order, and some of it may be due to their smaller number"
            )
        yield f"{told}."


def _missing(report: Report) -> Iterator[str]:
    progress = report.board.snapshot.progress
    if report.unfinished:
        planned = "" if progress.planned is None else f" of {progress.planned:,} planned"
        state = {"killed": "was killed", "running": "is still going on"}.get(progress.state, f"ended: {progress.state}")
        yield f"The run is not finished (it {state}): {progress.done:,}{planned} episodes have ended. All of this is provisional."
    elif progress.planned is not None and progress.done < progress.planned:
        left = progress.planned - progress.done
        yield f"{left:,} of {progress.planned:,} planned episodes were not played, for the run ended early ({progress.state})."
    if progress.failed:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in islice(_most(report.board.failures), _MOST_NAMED))
        yield f"{progress.failed:,} of {progress.done:,} episodes failed and count for nothing ({kinds or 'no kind is known'})."


def _left_out(report: Report) -> Iterator[str]:
    done, out = report.board.snapshot.progress.done, sum(report.left_out.values())
    if not done:
        return
    if not out:
        yield "Nothing was left out: every episode is rated."
        return
    states = ", ".join(f"{count:,} {verdict.value}" for verdict, count in report.left_out.items())
    yield f"{out:,} of {done:,} episodes ({out / done:.1%}) are left out of the rankings: {states}."
    many = [
        (ranking.group, pair)
        for ranking in report.main
        for pair in ranking.pairs
        if pair.left_out > _MUCH_LEFT_OUT * (pair.rated + pair.left_out)
    ]
    if many:
        groups = len({group for group, _ in many})
        yield (
            f"More than {_MUCH_LEFT_OUT:.0%} of episodes are left out in {_count(len(many), 'pair')} of values, in {groups} of "
            f"{_count(len(report.main), 'group')}: what they would have shown is not known, and may differ from the rest."
        )
    bounds = [
        f"{ranking.group}: {value} {best} to {worst}"
        for ranking in report.main
        for value, (best, worst) in ranking.bounds.items()
        if best != worst and ranking.ranks[value] is not None
    ]
    if bounds:
        yield f"Ranks that they could have changed at the most: {_listed(bounds)}."


def _not_told(report: Report) -> Iterator[str]:
    if report.comparisons.refused:
        yield from _some(
            [f"Not compared: {text}" for text in report.comparisons.refused], "groups that were not compared"
        )
    if report.audit is not None:
        yield from (f"Not told by this run: {text}." for text in report.audit.not_told)
    if report.library is None and report.main:
        yield "What the scenarios are like is not known: the run holds outcomes, and no scenario."


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _listed(things: Sequence[object]) -> str:
    more = f", and {len(things) - _MOST_NAMED} more" if len(things) > _MOST_NAMED else ""
    return ", ".join(str(thing) for thing in things[:_MOST_NAMED]) + more


def _some(said: list[str], what: str) -> list[str]:
    return said if len(said) <= _MOST else [*said[:_MOST], f"And {len(said) - _MOST} more {what}: see the tables."]
