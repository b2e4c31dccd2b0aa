"""Auditing a run: what its judges, repeats and scenarios are worth, and what the paper's scoring would have made of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from conflictscope.audit import (
    FEWEST_FOR_COEFFICIENT,
    FEWEST_FOR_SHARE,
    Audit,
    Beside,
    Components,
    JudgeAgreement,
    OrderEffect,
    Retest,
    Stability,
)
from conflictscope.errors import InputError
from conflictscope.outcome import Group, JudgedEpisode, Mode, Verdict
from conflictscope.pipeline.judging import judge_errors
from conflictscope.ranking import (
    JudgeError,
    Tally,
    Uncorrected,
    agreement_of,
    judge_agreement,
    judge_retests,
    order_effects,
    retests,
    score_both,
    stability,
    unrated,
    variance_components,
)
from conflictscope.runfolder import RunFolder
from conflictscope.store import RunReader


async def audit(folder: RunFolder, tell: Callable[[str], None] = lambda text: None) -> Audit:
    """Everything about a run that a reader should know before trusting its rankings.

    tell: shows a line while it takes long. Raises InputError for a run without episodes.
    """
    async with RunReader.open(folder.database) as reader, reader.at_one_moment():
        return await audit_in(reader, folder, tell)


async def audit_in(reader: RunReader, folder: RunFolder, tell: Callable[[str], None] = lambda text: None) -> Audit:
    """As `audit`, in a run that is open."""
    values, pairs = await reader.values(), await reader.pairs()
    anew = await _judged_anew(reader, folder)
    errors = await judge_errors(reader)
    groups: dict[Group, list[JudgedEpisode]] = {}
    async for episode in reader.judged_episodes():
        groups.setdefault(episode.outcome.group, []).append(episode)
    if not groups:
        raise InputError("has no episodes to audit", path=folder.database)
    episodes = list(chain.from_iterable(groups.values()))
    tell(f"{len(episodes):,} episodes are read.")
    tallies = {group: Tally(values, pairs) for group in groups}
    for episode in episodes:
        tallies[episode.outcome.group].add(episode.outcome)
    both = {}
    for group, own in groups.items():
        if len(tallies[group].values) >= 2:
            scored = score_both(group, tallies[group], own, errors.get(group))
            if scored is not None:
                both[group] = scored
    moved = tuple(chain.from_iterable(stability(group, tallies[group], own) for group, own in groups.items()))
    orders, agreement = _orders(episodes, anew), judge_agreement(episodes)
    beside_anew = _agreement_of_verdicts(chain(episodes, anew)) if anew else None
    repeated, components = retests(episodes), variance_components(episodes)
    beside = tuple(scored.beside for scored in both.values())
    shifts = tuple(shift for first, second in _comparable(list(both)) for shift in both[first].shifts(both[second]))
    return Audit(
        episodes=len(episodes),
        orders=orders,
        agreement=agreement,
        judged_anew=beside_anew,
        judge_retests=judge_retests(episodes),
        retests=repeated,
        unrated=tuple(chain.from_iterable(unrated(group, tally.pairs()) for group, tally in tallies.items())),
        components=components,
        stability=moved,
        beside=beside,
        shifts=shifts,
        not_told=tuple(_not_told(groups, orders, agreement, beside_anew, repeated, components, moved, beside, errors)),
    )


async def _judged_anew(reader: RunReader, folder: RunFolder) -> list[JudgedEpisode]:
    """The stored conversations, once for each judge who judged them anew, with its verdicts and looks."""
    found = []
    for judge in await reader.verdicts():
        if not judge.isprintable():  # no name that `rejudge` takes; a null character would end the queries
            continue
        async with RunReader.open(folder.database, judge=judge) as theirs:
            found += [episode async for episode in theirs.judged_episodes() if episode.outcome.judge == judge]
    return found


def _orders(episodes: Sequence[JudgedEpisode], anew: Sequence[JudgedEpisode]) -> tuple[OrderEffect, ...]:
    """What the order does to judges as the run was played, then to those who judged anew; one that did both has rows of each."""
    played = order_effects(episodes)
    known = {effect.who for effect in played}
    again = [
        replace(effect, who=f"{effect.who}, anew") if effect.who in known else effect for effect in order_effects(anew)
    ]
    return (*played, *again)


def _agreement_of_verdicts(episodes: Iterable[JudgedEpisode]) -> JudgeAgreement | None:
    """Of those who judged conversations while they went on, a panel as one, and of those who judged them anew."""
    said: dict[str, dict[str, Verdict]] = defaultdict(dict)
    for outcome in (episode.outcome for episode in episodes):
        if outcome.group.mode is Mode.OPEN_ENDED and outcome.judge is not None and not outcome.verdict.failed:
            said[outcome.key][outcome.judge] = outcome.verdict
    return agreement_of(said.values())


def _comparable(groups: Sequence[Group]) -> Iterator[tuple[Group, Group]]:
    """Two modes of one target, steering and behaviour, in the order of their names; a steering and none."""
    for first in groups:
        for second in groups:
            if first.target != second.target:
                continue
            if first.behavior != second.behavior:
                continue
            modes = first.mode < second.mode and first.steering == second.steering
            steered = first.mode == second.mode and first.steering is None and second.steering is not None
            if modes or steered:
                yield first, second


def _not_told(
    groups: Mapping[Group, Sequence[JudgedEpisode]],
    orders: Sequence[OrderEffect],
    agreement: JudgeAgreement | None,
    judged_anew: JudgeAgreement | None,
    repeated: Sequence[Retest],
    components: Sequence[Components],
    moved: Sequence[Stability],
    beside: Sequence[Beside],
    errors: Mapping[Group, JudgeError | Uncorrected],
) -> Iterator[str]:
    """What the run cannot say, and why."""
    if not orders:
        yield "what the order of the actions does: no order was recorded"
    elif not any(effect.both_orders for effect in orders):
        yield (
            "how often a judge changes its mind with the order, and how often it errs: no conversation was judged in both "
            'orders (`orders = "both"`)'
        )
    few = sum(effect.flips is None and effect.bias is None for effect in orders)
    if few:
        yield f"the effect of the order in {few} of {len(orders)} rows: fewer than {FEWEST_FOR_SHARE} verdicts in an order"
    if agreement is None and judged_anew is not None:
        yield "what outcomes vary by, and how the ranking moves, with who judges: no episode was judged by two as it was played"
    elif agreement is None:
        yield "agreement between judges, and what depends on who judges: no episode was judged by two"
    elif agreement.alpha is None:
        yield f"agreement between judges: fewer than {FEWEST_FOR_COEFFICIENT} episodes were judged by two"
    if not repeated:
        yield "how alike repeats end, and what depends on the seed: no scenario was repeated"
    elif any(retest.alpha is None for retest in repeated):
        yield f"how alike repeats end beyond chance, in groups of fewer than {FEWEST_FOR_COEFFICIENT} repeated scenarios"
    if not components:
        yield (
            f"what outcomes vary by: no pair of values has {FEWEST_FOR_SHARE} scenarios with rated outcomes, some of them "
            "repeated or looked at twice"
        )
    together = sorted({name for one in components for name in one.variance if "+" in name})
    for name in together:
        yield f"what is due to {' and what to '.join(name.split(' + '))}: the run has only both at once"
    still = [group for group in groups if not any(one.group == group for one in moved)]
    if still:
        yield f"how far the ranking moves, of {len(still)} of {len(groups)} groups: fewer than {FEWEST_FOR_SHARE} scenarios"
    missing = len(groups) - len(beside)
    if missing:
        yield f"reference-compatible scoring of {missing} of {len(groups)} groups: fewer than {FEWEST_FOR_SHARE} outcomes"
    uncorrected = Counter(
        error.reason
        for group, error in errors.items()
        if isinstance(error, Uncorrected) and group.mode is Mode.OPEN_ENDED
    )
    for reason, count in uncorrected.items():
        yield f"ours without the judge's error, of {count} of {len(groups)} groups: {reason}"
    if any(not one.order_known for one in beside):
        yield "what a fixed order of the actions would have done: none was recorded; all episodes are counted as they are"
    yield "what depends on the user model: a run has one"
