"""What judges did, from their single looks: what the order does to them, how far they agree, how alike repeats end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy.special import ndtri

from conflictscope.audit import (
    FEWEST_FOR_COEFFICIENT,
    FEWEST_FOR_SHARE,
    Figure,
    JudgeAgreement,
    JudgeRetest,
    OrderEffect,
    Retest,
    Unrated,
)
from conflictscope.outcome import Group, JudgedEpisode, Look, Mode, PairedLooks, Side, Verdict
from conflictscope.ranking.agreement import (
    cohen_kappa,
    difference,
    fleiss_kappa,
    krippendorff_alpha,
    proportion,
    retest_agreement,
)
from conflictscope.ranking.judge_error import JudgeError, estimate_judge_error, wrong_rates
from conflictscope.rating import FloatArray, PairCount

_Z95 = float(ndtri(0.975))
_DRAWS = 2000
_AS_SEEN = 1e-9  # a Dirichlet distribution wants more than 0
_DECISIVE = (Verdict.A, Verdict.B)


def opinion(looks: Sequence[Look]) -> Verdict:
    """What one judge says at one turn: what more than half of its repeats say, else unresolved, as in `outcome.settle`."""
    said = _repeats(looks)
    choice, count = Counter(said).most_common(1)[0]
    return choice if 2 * count > len(said) else Verdict.UNRESOLVED


def _repeats(looks: Sequence[Look]) -> list[Verdict]:
    """What one judge says at one turn, repeat by repeat: unresolved where its looks in the two orders do not agree."""
    choices: dict[int, set[Verdict]] = defaultdict(set)
    for look in looks:
        choices[look.repeat].add(look.choice if look.resolved else Verdict.UNRESOLVED)
    return [alike.pop() if len(alike) == 1 else Verdict.UNRESOLVED for alike in choices.values()]


# -- the order of the two actions ---------------------------------------------------------------------------------------


class _Named:
    """What somebody named: in both orders of one conversation, and in one order that was drawn."""

    def __init__(self) -> None:
        self.both: Counter[tuple[bool, bool]] = Counter()  # whether a was named when shown first, and when shown second
        self.single: Counter[tuple[Side, Verdict]] = Counter()

    def effect(self, who: str, pair: tuple[str, str] | None, error: bool) -> OrderEffect:
        """error: whether somebody else took the action, so that naming the other one is an error."""
        if self.both:
            return self._in_both(who, pair, error)
        shares = []
        for side in ("a", "b"):
            total = sum(self.single[side, choice] for choice in _DECISIVE)
            shares.append(proportion(self.single[side, Verdict(side)], total) if total >= FEWEST_FOR_SHARE else None)
        first_a, first_b = shares
        bias = None
        if first_a is not None and first_b is not None:
            # Of those that saw b first, the share that names a: without an effect of the order it is that of the others.
            other = Figure(1 - first_b.value, 1 - first_b.high, 1 - first_b.low, first_b.items)
            bias = difference(first_a, other)
        items = sum(self.single.values())
        return OrderEffect(who, pair, False, items, first_a=first_a, first_b=first_b, bias=bias)

    def _in_both(self, who: str, pair: tuple[str, str] | None, error: bool) -> OrderEffect:
        looks = PairedLooks(
            self.both[True, True], self.both[False, False], self.both[True, False], self.both[False, True]
        )
        total = looks.conversations
        if total < FEWEST_FOR_SHARE:
            return OrderEffect(who, pair, True, total)
        estimated = estimate_judge_error(looks) if error else None
        # Which of the two it names each time is that of the first, and of the second: what they share cancels.
        return OrderEffect(
            who,
            pair,
            True,
            total,
            flips=proportion(looks.changed, total),
            first_a=proportion(looks.both_a + looks.both_first, total),
            first_b=proportion(looks.both_b + looks.both_first, total),
            bias=_paired_difference(looks.both_first, looks.both_second, total),
            error=_flip(looks, estimated) if isinstance(estimated, JudgeError) else None,
        )


def order_effects(episodes: Iterable[JudgedEpisode]) -> tuple[OrderEffect, ...]:
    """What the order does to each judge, and to each target that was not judged: in all, then by pair of values.

    Of a judge's looks in both orders counts the first turn in which both named an action (as `RunReader.judged_groups` does);
    of single looks the first that is resolved. Where the order was drawn for each episode on its own, the difference between
    the orders is due to the order and chance only, so its interval holds however alike scenarios or repeats are (Neyman
    1923). Without an order on record an episode says nothing.
    """
    named: dict[tuple[str, bool], dict[tuple[str, str] | None, _Named]] = defaultdict(lambda: defaultdict(_Named))
    for episode in episodes:
        outcome = episode.outcome
        if not episode.looks:
            if outcome.shown_first is not None and outcome.verdict in _DECISIVE:
                who = named[outcome.judge or outcome.group.target, outcome.judge is not None]
                for pair in (None, outcome.pair):
                    who[pair].single[outcome.shown_first, outcome.verdict] += 1
            continue
        # In the other modes a parser reads off what the target itself names, so the effect of the order is one on the target.
        judged = outcome.group.mode is Mode.OPEN_ENDED
        pending = {look.judge for look in episode.looks}
        for turn in episode.turns:
            for judge in [judge for judge in turn if judge in pending]:
                looks = [look for look in turn[judge] if look.repeat == 1]  # two looks are not two conversations
                if not all(look.resolved and look.choice in _DECISIVE for look in looks):
                    continue
                pending.discard(judge)
                said = {look.shown_first: look.choice for look in looks}
                for pair in (None, outcome.pair):
                    counts = named[judge if judged else outcome.group.target, judged][pair]
                    if len(said) == 2:
                        counts.both[said["a"] is Verdict.A, said["b"] is Verdict.A] += 1
                    else:
                        counts.single[looks[0].shown_first, looks[0].choice] += 1
    return tuple(
        counts.effect(who, pair, judged)
        for (who, judged), by_pair in sorted(named.items())
        for pair, counts in sorted(by_pair.items(), key=lambda item: item[0] or ())
    )


def _flip(looks: PairedLooks, error: JudgeError) -> Figure:
    """The chance that a judge errs where the order does not decide, with an interval from Dirichlet posteriors.

    As Clopper and Pearson's interval of a share is that of two Beta posteriors, the ends are those of two: for the lower one
    the rarer of the two kinds of change is as rare as was seen, for the upper one it was seen once more. It is the lesser of two
    rates, each over 1 - bias, and which is the lesser may be left open: then the interval spans both, as the lesser of two equal
    ones would be too small too often. (Coverage .94 to .99 for 80 to 1,000 conversations; with Jeffreys' posterior .92 to .99.)
    """
    counts = np.array([looks.both_first, looks.both_second, looks.both_a + looks.both_b], dtype=np.float64)
    rarer = int(counts[1] < counts[0])
    (low, _), (_, high) = (_flip_ends(counts, rarer, seen) for seen in (_AS_SEEN, 1.0))
    return Figure(error.flip, low, high, looks.conversations)


def _flip_ends(counts: FloatArray, rarer: int, seen: float) -> tuple[float, float]:
    """The ends of an interval of the lesser rate. seen: how often the rarer kind of change is seen beyond its count."""
    softened = counts + 0.5
    softened[rarer] = counts[rarer] + seen
    first, second, _ = np.random.default_rng(0).dirichlet(softened, size=_DRAWS).T
    wrong_first, wrong_second = wrong_rates(first, second)
    bias = wrong_second - wrong_first
    low_bias, high_bias = np.percentile(bias, [2.5, 97.5])
    rates = ([wrong_first / (1 - bias)] if high_bias > 0 else []) + (
        [wrong_second / (1 + bias)] if low_bias < 0 else []
    )
    ends = np.percentile(rates, [2.5, 97.5], axis=1)
    return float(ends[0].min()), float(ends[1].max())


def _paired_difference(more: int, less: int, total: int) -> Figure:
    """The difference (more - less) / total of two shares of the same items, with the interval of Agresti and Min 2005."""
    softened = (more + 0.5, less + 0.5, total + 2.0)
    middle = (softened[0] - softened[1]) / softened[2]
    spread = _Z95 * float(np.sqrt(((softened[0] + softened[1]) / softened[2] - middle**2) / softened[2]))
    return Figure((more - less) / total, max(-1.0, middle - spread), min(1.0, middle + spread), total)


# -- judges, repeats, what is left out ---------------------------------------------------------------------------------


def judge_agreement(episodes: Iterable[JudgedEpisode]) -> JudgeAgreement | None:
    """How far judges of the same episodes agree; None where no episode has two. Every verdict is a category, unresolved too."""
    return agreement_of(
        {judge: opinion(looks) for judge, looks in episode.deciding.items()} for episode in episodes if episode.looks
    )


def agreement_of(answers: Iterable[Mapping[str, Verdict]]) -> JudgeAgreement | None:
    """The same from what each judge says of an episode; None where no episode has two answers."""
    said = [opinions for opinions in answers if len(opinions) >= 2]
    if not said:
        return None
    judges = sorted({judge for opinions in said for judge in opinions})
    cohen = {}
    for one, other in combinations(judges, 2):
        both = [(opinions[one], opinions[other]) for opinions in said if one in opinions and other in opinions]
        if len(both) >= FEWEST_FOR_COEFFICIENT:
            first, second = zip(*both, strict=True)
            cohen[one, other] = cohen_kappa(first, second)
    items = [list(opinions.values()) for opinions in said]
    whole = [item for item in items if len(item) == len(judges)]
    return JudgeAgreement(
        tuple(judges),
        len(said),
        cohen,
        fleiss_kappa(whole) if len(whole) >= FEWEST_FOR_COEFFICIENT else None,
        krippendorff_alpha(items) if len(items) >= FEWEST_FOR_COEFFICIENT else None,
    )


def retests(episodes: Iterable[JudgedEpisode]) -> tuple[Retest, ...]:
    """How alike repeats of a scenario end, by group; failures of the machinery are no answers. Only groups with repeats."""
    answers: dict[Group, dict[tuple[str, str, str], list[Verdict]]] = defaultdict(lambda: defaultdict(list))
    for episode in episodes:
        outcome = episode.outcome
        if not outcome.verdict.failed:
            of_scenario = answers[outcome.group][outcome.scenario_id, outcome.value_a, outcome.value_b]
            of_scenario.append(outcome.verdict)
    found = []
    for group, by_scenario in answers.items():
        repeated = [verdicts for verdicts in by_scenario.values() if len(verdicts) >= 2]
        if repeated:
            found.append(Retest(group, len(repeated), *_alike(repeated)))
    return tuple(found)


def judge_retests(episodes: Iterable[JudgedEpisode]) -> tuple[JudgeRetest, ...]:
    """How alike the repeated looks of a judge at one conversation are; only of judges that looked several times.

    One opinion a repeat, at the turn that `JudgedEpisode.deciding` names, both orders together. Failed looks are no answers.
    """
    answers: dict[str, list[list[Verdict]]] = defaultdict(list)
    for episode in episodes:
        for judge, looks in episode.deciding.items():
            said = [verdict for verdict in _repeats(looks) if not verdict.failed]
            if len(said) >= 2:
                answers[judge].append(said)
    return tuple(JudgeRetest(judge, len(repeated), *_alike(repeated)) for judge, repeated in sorted(answers.items()))


def _alike(repeated: Sequence[Sequence[Verdict]]) -> tuple[Figure | None, Figure | None]:
    """The chance that two answers to one question are the same, and the same beyond chance; None where of too few."""
    same = retest_agreement(repeated) if len(repeated) >= FEWEST_FOR_SHARE else None
    return same, krippendorff_alpha(repeated) if len(repeated) >= FEWEST_FOR_COEFFICIENT else None


def unrated(group: Group, pairs: Iterable[PairCount]) -> tuple[Unrated, ...]:
    """What the ranking of a group leaves out, by pair; only of pairs with episodes enough."""
    found = []
    for pair in pairs:
        total = pair.rated + pair.left_out
        if total >= FEWEST_FOR_SHARE:
            states = {state: proportion(count, total) for state, count in sorted(pair.excluded.items()) if count}
            found.append(Unrated(group, (pair.value_a, pair.value_b), proportion(pair.left_out, total), states))
    return tuple(found)
