"""How often the judge of each group errs, and where that is not known, why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from conflictscope.errors import InputError
from conflictscope.outcome import Group, Mode, Outcome, PairedLooks, Verdict
from conflictscope.ranking import JudgeError, Uncorrected, estimate_judge_error, judge_error_from_gold
from conflictscope.store import JudgedGroup, RunReader
from conflictscope.tables import GoldLabel, GoldTable

_DECISIVE = (Verdict.A, Verdict.B)


async def judge_errors(reader: RunReader, gold: GoldTable | None = None) -> dict[Group, JudgeError | Uncorrected]:
    """The error of the rated verdicts of each group, ready for `fit_corrected`.

    What a judge did in all groups of the run is counted together. Without `gold` its error is estimated from episodes that it saw
    in both orders, else from the labels of that table. Raises InputError for a label that is not of exactly one episode of
    the run, and for a second label of one episode.
    """
    judged = await reader.judged_groups()
    errors = _from_both_orders(judged) if gold is None else await _from_gold(reader, gold, judged)
    judges = Counter(row.group for row in judged)
    several = Uncorrected("several judges have a part in it")
    return {row.group: errors[row] if judges[row.group] == 1 else several for row in judged}


def _from_both_orders(judged: Sequence[JudgedGroup]) -> Mapping[JudgedGroup, JudgeError | Uncorrected]:
    def estimated(row: JudgedGroup) -> JudgeError | Uncorrected:
        if row.group.mode is not Mode.OPEN_ENDED:
            return Uncorrected(f"{row.group.mode} has no judge")
        looks = sum((other.looks for other in judged if other.judge == row.judge), PairedLooks())
        error = estimate_judge_error(looks)
        return error.agreed() if isinstance(error, JudgeError) else error

    return {row: estimated(row) for row in judged}


async def _from_gold(
    reader: RunReader, gold: GoldTable, judged: Sequence[JudgedGroup]
) -> Mapping[JudgedGroup, JudgeError | Uncorrected]:
    both_orders = {row.group for row in judged if row.looks.conversations}
    looks: dict[str | None, list[tuple[bool | None, bool]]] = defaultdict(list)
    for label, outcome in await _labelled(reader, gold):
        if label.verdict in _DECISIVE and outcome.verdict in _DECISIVE:
            known = outcome.shown_first is not None and outcome.group not in both_orders
            first = outcome.shown_first == label.verdict if known else None
            looks[outcome.judge].append((first, outcome.verdict is not label.verdict))
    return {row: judge_error_from_gold(looks[row.judge]) for row in judged}


async def _labelled(reader: RunReader, gold: GoldTable) -> list[tuple[GoldLabel, Outcome]]:
    """Each label with the one episode that it is of."""
    labels: dict[tuple[str, str], list[GoldLabel]] = defaultdict(list)
    for label in gold.labels():
        labels[label.target, label.scenario_id].append(label)
    found: dict[int, list[Outcome]] = defaultdict(list)  # by line
    async for _, outcome in reader.outcomes():
        for label in labels.get((outcome.group.target, outcome.scenario_id), ()):
            if label.fits(outcome):
                found[label.line].append(outcome)
    matched: list[tuple[GoldLabel, Outcome]] = []
    first_line: dict[str, int] = {}
    for label in sorted((label for same in labels.values() for label in same), key=lambda label: label.line):
        match found[label.line]:
            case [outcome]:
                line = first_line.setdefault(outcome.key, label.line)
                if line != label.line:
                    raise InputError(f"labels the same episode as line {line}", path=gold.path, line=label.line)
                matched.append((label, outcome))
            case []:
                message = f"the run has no such episode (target {label.target!r}, scenario_id {label.scenario_id!r})"
                raise InputError(message, path=gold.path, line=label.line)
            case several:
                raise InputError(
                    f"is of {len(several)} episodes, among them {several[0].key} and {several[1].key}: "
                    "tell them apart with the columns mode, steering, behavior and repeat",
                    path=gold.path,
                    line=label.line,
                )
    return matched
