"""Comparing the groups of a run: which differ in one thing only, and what the steerings with a stated ranking reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from conflictscope.comparison import Alignment, By, Comparison, Comparisons
from conflictscope.errors import InputError
from conflictscope.outcome import Group, Mode
from conflictscope.pipeline.judging import judge_errors, seen_by
from conflictscope.pipeline.runs import check_played
from conflictscope.ranking import GroupOutcomes, JudgeError, Tally, Uncorrected, align
from conflictscope.ranking import compare as compare_groups
from conflictscope.runfolder import RunFolder
from conflictscope.store import RunReader

_TELL_EVERY_S = 5.0


async def compare(
    folder: RunFolder,
    by: Collection[By] = tuple(By),
    tell: Callable[[str], None] = lambda text: None,
    judge: str | None = None,
) -> Comparisons:
    """All pairs of groups that differ in one thing only, if that is among `by`; and alignments where `by` has steering.

    tell: shows a line while it takes long. judge: whose verdicts are compared; the run's own unless given. Raises InputError
    where no two groups can be compared.
    """
    async with seen_by(folder, judge) as reader:
        return await compare_in(reader, folder, by, tell)


async def compare_in(
    reader: RunReader,
    folder: RunFolder,
    by: Collection[By] = tuple(By),
    tell: Callable[[str], None] = lambda text: None,
) -> Comparisons:
    """As `compare`, in a run that is open."""
    meta = await reader.meta()
    check_played(meta, folder)
    errors = await judge_errors(reader)
    outcomes = await _outcomes(reader, errors)
    wanted = [(first, second) for first, second in combinations(outcomes, 2) if _differ_in_one_of(by, first, second)]
    if not wanted:
        asked = " or ".join(By) if set(by) == set(By) else " or ".join(by)
        there = "; ".join(map(str, outcomes)) or "none"
        raise InputError(f"no two groups of outcomes differ in {asked} only; there are: {there}", path=folder.database)
    comparisons: list[Comparison] = []
    refused: list[str] = []
    told_at = time.monotonic()
    for number, (first, second) in enumerate(wanted, start=1):
        try:
            comparisons.append(compare_groups(outcomes[first], outcomes[second]))
        except InputError as error:
            refused.append(str(error))
        if time.monotonic() - told_at >= _TELL_EVERY_S:
            told_at = time.monotonic()
            tell(f"{number} of {len(wanted)} pairs of groups are compared.")
    alignments = _alignments(outcomes, _stated_rankings(meta), comparisons, refused) if By.STEERING in by else []
    if not comparisons and not alignments:
        raise InputError("nothing can be compared:\n" + "\n".join(refused), path=folder.database)
    judges = _judges(errors, comparisons)
    return Comparisons(tuple(comparisons), tuple(alignments), tuple(refused), tuple(judges))


def _judges(errors: Mapping[Group, JudgeError | Uncorrected], comparisons: Sequence[Comparison]) -> list[str]:
    """What is known of those who judged the conversations that are compared."""
    both = [(each, group) for each in comparisons for group in (each.first, each.second)]
    judged = {group for _, group in both if group.mode is Mode.OPEN_ENDED}
    beside_others = any(each.by[0] is By.MODE for each, group in both if group in judged)
    told: dict[str, None] = {}
    for group in (group for group in errors if group in judged):
        match errors[group]:
            case JudgeError() as error:
                told[f"corrected, as the judge {error.says}"] = None
            case Uncorrected(reason):
                draws = (
                    "; errors draw utilities together, which passes for a shift between modes" if beside_others else ""
                )
                told[f"not corrected{draws}: {reason}"] = None
    return list(told)


async def compare_runs(first: RunFolder, second: RunFolder) -> Comparisons:
    """Of each group that two runs share: what it did in the one and in the other, on the scenarios that are in both.

    A target is named with its run. Raises InputError where nothing can be compared.
    """
    both = []
    for folder in (first, second):
        async with RunReader.open(folder.database) as reader:
            check_played(await reader.meta(), folder)
            both.append(await _outcomes(reader, await judge_errors(reader)))
    comparisons: list[Comparison] = []
    refused: list[str] = []
    for group in both[0].keys() & both[1].keys():
        named = [
            replace(outcomes[group], group=replace(group, target=f"{group.target} in {folder.name}"))
            for outcomes, folder in zip(both, (first, second), strict=True)
        ]
        try:
            comparisons.append(compare_groups(*named))
        except InputError as error:
            refused.append(str(error))
    if not comparisons:
        why = "\n".join(refused) or "no group of outcomes is in both"
        raise InputError(f"{first.name} and {second.name} cannot be compared: {why}")
    return Comparisons(tuple(sorted(comparisons, key=lambda each: str(each.first))), (), tuple(sorted(refused)))


async def _outcomes(reader: RunReader, errors: Mapping[Group, JudgeError | Uncorrected]) -> dict[Group, GroupOutcomes]:
    """The rated outcomes of each group of a run."""
    values, pairs = await reader.values(), await reader.pairs()
    tallies: dict[Group, Tally] = {}
    async for outcome in reader.canonical_outcomes():
        if outcome.group not in tallies:
            tallies[outcome.group] = Tally(values, pairs)
        tallies[outcome.group].add(outcome)
    return {group: GroupOutcomes.of(group, tally, errors.get(group)) for group, tally in tallies.items()}


def _differ_in_one_of(by: Collection[By], first: Group, second: Group) -> bool:
    differing = [one for one in By if one.of(first) != one.of(second)]
    return len(differing) == 1 and differing[0] in by


def _stated_rankings(meta: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """By steering, of those that have one; empty for a run of recorded outcomes, which states none."""
    steerings = meta.get("sweep", {}).get("steering", ())
    return {steering["name"]: tuple(steering["ranking"]) for steering in steerings if "ranking" in steering}


def _alignments(
    outcomes: Mapping[Group, GroupOutcomes],
    rankings: Mapping[str, tuple[str, ...]],
    comparisons: Sequence[Comparison],
    refused: list[str],
) -> list[Alignment]:
    """Of every steered group whose steering states a ranking. Adds to `refused` what could not be told."""
    found = []
    from_unsteered = {
        each.second: each for each in comparisons if each.first == Group(each.second.target, each.second.mode)
    }
    for group, steered in outcomes.items():
        ranking = rankings.get(group.steering or "")
        unsteered = outcomes.get(replace(group, steering=None))
        if ranking is None:
            continue
        if unsteered is None:
            refused.append(f"{group}: there are no outcomes without steering to set beside it")
            continue
        try:
            alignment = align(ranking, unsteered, steered)
        except InputError as error:
            refused.append(str(error))
            continue
        others = from_unsteered[group].beside(ranking) if group in from_unsteered else ()
        found.append(replace(alignment, others=others))
    return found
