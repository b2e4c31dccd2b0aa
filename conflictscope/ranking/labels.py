"""How far people and judges agree on what targets did."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain, combinations

from conflictscope.annotation import LabelReport, PairLabels, RaterAgreement, majority
from conflictscope.librarystats import Coefficient, Share
from conflictscope.outcome import Outcome, Verdict
from conflictscope.ranking.agreement import Agreement, cohen_kappa, flip_rate, krippendorff_alpha

_OTHER_SIDE = {Verdict.A: Verdict.B, Verdict.B: Verdict.A}
Labelled = Sequence[tuple[Outcome, Mapping[str, Verdict]]]
"""Episodes, each with the judge's verdict and what people said of it, by person."""


def label_report(labelled: Labelled) -> LabelReport:
    """How the labels compare, of episodes that have one at least."""
    people = sorted({name for _, said in labelled for name in said})
    judges = []
    for judge in sorted({outcome.judge or "" for outcome, _ in labelled}):
        judged = [(outcome.verdict, said) for outcome, said in labelled if (outcome.judge or "") == judge]
        whose = f"judge {judge}".strip()
        for name in people:
            judges += _agreement(whose, name, [(verdict, said[name]) for verdict, said in judged if name in said])
        if len(people) > 1:
            agreed = [(verdict, majority([*said.values()])) for verdict, said in judged]
            judges += _agreement(
                whose, "majority of people", [(verdict, most) for verdict, most in agreed if most is not None]
            )
    between = [
        agreement
        for first, second in combinations(people, 2)
        for agreement in _agreement(
            first, second, [(said[first], said[second]) for _, said in labelled if {first, second} <= said.keys()]
        )
    ]
    several = [[*said.values()] for _, said in labelled if len(said) > 1]
    return LabelReport(
        episodes=len(labelled),
        annotators={name: _counts([said[name] for _, said in labelled if name in said]) for name in people},
        judges=tuple(judges),
        people=tuple(between),
        alpha=_coefficient("krippendorff_alpha", krippendorff_alpha(several)) if several else None,
        pairs=_pairs(labelled),
    )


def _agreement(first: str, second: str, verdicts: Sequence[tuple[Verdict, Verdict]]) -> list[RaterAgreement]:
    """One, or none where there is no episode that both have a verdict of."""
    if not verdicts:
        return []
    said, other = zip(*verdicts, strict=True)
    differs = flip_rate(said, other)
    count = sum(one == two for one, two in verdicts)
    same = Share(count, len(verdicts), 1 - differs.high, 1 - differs.low)
    return [RaterAgreement(first, second, same, _coefficient("cohen_kappa", cohen_kappa(said, other)))]


def _pairs(labelled: Labelled) -> tuple[PairLabels, ...]:
    verdicts: dict[tuple[str, str], list[tuple[Verdict, Verdict]]] = defaultdict(list)
    split: Counter[tuple[str, str]] = Counter()
    for outcome, said in labelled:
        agreed = majority([*said.values()])
        if agreed is None:
            split[outcome.pair] += 1
        else:
            verdicts[outcome.pair].append((_in_order(outcome, agreed), _in_order(outcome, outcome.verdict)))
    return tuple(
        PairLabels(
            *pair,
            people=_counts([people for people, _ in verdicts[pair]]),
            judge=_counts([judge for _, judge in verdicts[pair]]),
            same=sum(people == judge for people, judge in verdicts[pair]),
            split=split[pair],
        )
        for pair in sorted({*chain(verdicts, split)})
    )


def _in_order(outcome: Outcome, verdict: Verdict) -> Verdict:
    """The verdict for the pair in alphabetical order."""
    return verdict if (outcome.value_a, outcome.value_b) == outcome.pair else _OTHER_SIDE.get(verdict, verdict)


def _counts(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """In the order of the states."""
    count = Counter(verdicts)
    return {verdict.value: count[verdict] for verdict in Verdict if count[verdict]}


def _coefficient(name: str, found: Agreement) -> Coefficient:
    return Coefficient(name, found.value, found.low, found.high, found.items)
