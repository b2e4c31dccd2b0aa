"""How often the judge of each group errs, and where that is not known, why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from conflictscope.annotation import majority
from conflictscope.errors import InputError
from conflictscope.outcome import Group, Mode, Outcome, PairedLooks, Verdict
from conflictscope.ranking import JudgeError, Uncorrected, estimate_judge_error, judge_error_from_gold
from conflictscope.runfolder import RunFolder
from conflictscope.store import JudgedGroup, RunReader
from conflictscope.tables import GoldLabel, GoldTable

if TYPE_CHECKING:
    from conflictscope.pipeline.sweep import Sweep

_DECISIVE = (Verdict.A, Verdict.B)
_LEAST_ERROR = 0.001  # that a judge never erred is no reason to let it decide alone, whatever the others say
_Judged: TypeAlias = tuple[Group, str | None]


Gold = Sequence[tuple[Verdict, Outcome]]
"""What was done, by somebody who knows, and the outcome that tells what the judge made of it."""


@asynccontextmanager
async def seen_by(folder: RunFolder, judge: str | None) -> AsyncIterator[RunReader]:
    """A run as it is now, with the verdicts of a judge who judged it anew; with its own where the judge is its own, or None.

    Raises InputError where no verdicts are kept under that name.
    """
    anew = None
    if judge is not None:
        async with RunReader.open(folder.database) as reader:
            own, known = await reader.own_judges(), await reader.verdicts()
        if judge not in own and judge not in known:
            there = ", ".join([*own, *known]) or "nobody"
            raise InputError(f"--judge {judge}: has not judged here; who has: {there}", path=folder.path)
        anew = judge if judge in known else None
    async with RunReader.open(folder.database, anew) as reader, reader.at_one_moment():
        yield reader


async def judge_errors(reader: RunReader, gold: Gold | None = None) -> dict[Group, JudgeError | Uncorrected]:
    """The error of the rated verdicts of each group, ready for `fit_corrected`.

    What a judge did in all groups of the run is counted together. Without `gold` its error is estimated from episodes that it saw
    in both orders, else from those labels. How often a vote errs, of a panel or of repeats, only labels tell, for nobody knows
    how far the judges err together; what is known of each of them is told instead.
    """
    judged = await reader.judged_groups()
    errors = _from_both_orders(judged) if gold is None else _from_gold(gold, judged)
    judges = Counter(row.group for row in judged)
    several = Uncorrected("several judges have a part in it")
    return {row.group: errors[row.group, row.judge] if judges[row.group] == 1 else several for row in judged}


def _from_both_orders(judged: Sequence[JudgedGroup]) -> Mapping[_Judged, JudgeError | Uncorrected]:
    of_one_look = _of_one_look(judged)

    def estimated(row: JudgedGroup) -> JudgeError | Uncorrected:
        if row.group.mode is not Mode.OPEN_ENDED:
            return Uncorrected(f"{row.group.mode} has no judge")
        if row.voted:
            told = (f"{judge} {_words(of_one_look[judge])}" for judge in row.looks)
            return Uncorrected("; ".join(["how often a vote errs, only gold labels tell", *told]))
        error = of_one_look.get(row.judge) or estimate_judge_error(PairedLooks())
        return error.agreed() if isinstance(error, JudgeError) else error

    return {(row.group, row.judge): estimated(row) for row in judged}


def _of_one_look(judged: Sequence[JudgedGroup]) -> dict[str | None, JudgeError | Uncorrected]:
    """Of each judge, from all that it saw in both orders."""
    looks: dict[str | None, PairedLooks] = defaultdict(PairedLooks)
    for row in judged:
        for judge, seen in row.looks.items():
            looks[judge] += seen
    return {judge: estimate_judge_error(seen) for judge, seen in looks.items()}


def _words(error: JudgeError | Uncorrected) -> str:
    return error.says if isinstance(error, JudgeError) else f"is not known to err: {error.reason}"


async def measured_votes(sweep: Sweep) -> Sweep:
    """The sweep with `judge.errors` as they were in the run that `judge.errors_from` names, where it names one.

    With orders = "both" they are those of verdicts on which two looks agree, else those of one look. Raises InputError where
    the run is not there, or one of the judges did not judge enough there in both orders.
    """
    judging = sweep.config.judge
    if judging is None or judging.errors_from is None:
        return sweep
    folder = RunFolder(sweep.base / judging.errors_from)
    if not folder.exists:
        raise InputError(f"judge.errors_from: {folder.path} holds no run")
    async with RunReader.open(folder.database) as reader:
        known = _of_one_look(await reader.judged_groups())
    errors = {}
    for model in judging.models:
        error = known.get(model) or estimate_judge_error(PairedLooks())
        if isinstance(error, Uncorrected):
            raise InputError(f"judge.errors_from: {folder.path}, {model}: {error.reason}")
        of_vote = error.agreed() if judging.orders == "both" else error
        errors[model] = max(_LEAST_ERROR, (of_vote.wrong_first + of_vote.wrong_second) / 2)
    measured = judging.model_copy(update={"errors": errors, "errors_from": None})
    return replace(sweep, config=sweep.config.model_copy(update={"judge": measured}))


def _from_gold(gold: Gold, judged: Sequence[JudgedGroup]) -> Mapping[_Judged, JudgeError | Uncorrected]:
    both_orders = {row.group for row in judged if row.looks}
    looks: dict[str | None, list[tuple[bool | None, bool]]] = defaultdict(list)
    for done, outcome in gold:
        if done in _DECISIVE and outcome.verdict in _DECISIVE:
            known = outcome.shown_first is not None and outcome.group not in both_orders
            first = outcome.shown_first == done if known else None
            looks[outcome.judge].append((first, outcome.verdict is not done))
    return {(row.group, row.judge): judge_error_from_gold(looks[row.judge]) for row in judged}


async def gold_of_people(reader: RunReader) -> Gold:
    """What more than half of the people said of each episode that they labelled. Raises InputError where nobody did."""
    labelled = await reader.labels()
    if not labelled:
        raise InputError("--judge-error labels: the run holds none yet, see `annotate export` and `annotate import`")
    return [(done, outcome) for outcome, said in labelled if (done := majority([*said.values()])) is not None]


async def gold_of_table(reader: RunReader, gold: GoldTable) -> Gold:
    """The labels of a table. Raises InputError for one that is not of exactly one episode of the run, and for a second one of an
    episode.
    """
    return [(label.verdict, outcome) for label, outcome in await _labelled(reader, gold)]


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
