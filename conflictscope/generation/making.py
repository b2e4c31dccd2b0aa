"""Making a library: pair by pair, round after round, until each pair has what it shall have or was given up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from conflictscope.drafts import Draft, DraftState, Lot, Round
from conflictscope.errors import CallFailed
from conflictscope.generation.checking import CheckPanel
from conflictscope.generation.gate import LEFT, Gate, all_of
from conflictscope.generation.lots import MOST_PER_ROUND, cells_of, draft_id, have, next_lots, walks_of_life
from conflictscope.generation.similarity import Embedding, NearDuplicates
from conflictscope.ports import Generator, OpeningWriter, OutlineRequest, RoundSink
from conflictscope.scenario import Outline, Scenario
from conflictscope.seeds import derive
from conflictscope.spec import LibraryPlan
from conflictscope.values import Value

_KNOWN = 20  # contexts that a generator is told not to repeat
_KNOWN_LENGTH = 200  # characters of each

Pair = tuple[str, str]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Crew:
    """Who makes a library. writer: None where openings are left to the runs."""

    generator: Generator
    panel: CheckPanel
    writer: OpeningWriter | None
    embedding: Embedding


class LibraryMaker:
    """Makes the scenarios of a plan; what is stored of former processes counts, and is not asked for again.

    values: by name. existing: scenarios that the library holds already, from elsewhere; they count, and are not to be repeated.
    others: scenarios of other libraries that are not to be repeated, whatever their values.
    """

    def __init__(
        self,
        plan: LibraryPlan,
        crew: Crew,
        sink: RoundSink,
        *,
        seed: int,
        values: Mapping[str, Value],
        existing: Sequence[Scenario],
        others: Sequence[Scenario],
        gate: Gate,
    ) -> None:
        self._plan = plan
        self._crew = crew
        self._sink = sink
        self._seed = seed
        self._values = values
        self._existing = existing
        self._others = others
        self._gate = gate
        self._copies = NearDuplicates(plan.similarity.threshold)

    async def run(self, pairs: Sequence[Pair]) -> None:
        """Work until every pair has its count or was given up, or until no new work is taken.

        Raises CallFailed, LimitReached, LaneClosed where what is there already could not be embedded.
        """
        stored: dict[Pair, list[Round]] = {pair: [] for pair in pairs}
        for one in await self._sink.rounds():
            stored.setdefault(one.pair, []).append(one)
        if self._others:
            texts = [scenario.description for scenario in self._others]
            self._copies.add([scenario.id for scenario in self._others], await self._crew.embedding.embed(texts))
        works = [await self._known(pair, stored[pair]) for pair in pairs]
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(self._make_pair(work))

    async def _known(self, pair: Pair, stored: Sequence[Round]) -> _Pair:
        """What is there of a pair."""
        of_pair = [scenario for scenario in self._existing if scenario.pair == tuple(sorted(pair))]
        work = _Pair(pair, of_pair, NearDuplicates(self._plan.similarity.threshold))
        for one in stored:
            if one.ended:
                work.learn(one)
            else:
                work.begun = one
        if work.told:
            work.held.add(list(work.told), await self._crew.embedding.embed(list(work.told.values())))
        return work

    async def _make_pair(self, work: _Pair) -> None:
        try:
            while (begun := work.begun or self._next_round(work)) is not None:
                work.begun = None
                ended = await self._play(begun, work)
                self._sink.end_round(ended)
                work.learn(ended)
        except LEFT as halt:
            self._gate.left(halt)
            log.info("pair.left", pair="/".join(work.pair), error=str(halt))

    def _next_round(self, work: _Pair) -> Round | None:
        """The next round; None where the pair has its count, or as many outlines were asked for as it may take."""
        missing = self._plan.count - work.passed
        left = self._plan.tries * self._plan.count - work.asked
        wanted = min(missing, left, MOST_PER_ROUND)
        if wanted <= 0:
            return None
        self._gate.check()
        cells = cells_of(work.pair, self._plan.templates, self._seed)
        begun = Round(work.pair, work.rounds + 1, next_lots(cells, have(work.scenarios), wanted, self._plan.batch))
        self._sink.begin_round(begun)
        return begun

    async def _play(self, begun: Round, work: _Pair) -> Round:
        problems: Counter[str] = Counter()
        known = work.contexts[-_KNOWN:]
        lots = await all_of([self._ask(begun, number, lot, known, problems) for number, lot in enumerate(begun.lots)])
        drafts: list[Draft] = []
        fresh: list[tuple[str, Outline]] = []
        for outline in (outline for lot in lots for outline in lot):
            own_id = draft_id(outline)
            if own_id in work.ids or any(own_id == other for other, _ in fresh):
                told = "the same words as an outline before it"
                drafts.append(Draft(own_id, outline, DraftState.DUPLICATE, reason=told, like=own_id, cosine=1.0))
            else:
                fresh.append((own_id, outline))
        elaborated = await all_of([self._elaborate(begun, own_id, outline, problems) for own_id, outline in fresh])
        drafts += await all_of(
            [self._assess(begun, draft, problems) for draft in await self._without_duplicates(elaborated, work)]
        )
        return replace(begun, drafts=drafts, problems=dict(problems), ended=True)

    async def _ask(
        self, begun: Round, number: int, lot: Lot, known: Sequence[str], problems: Counter[str]
    ) -> Sequence[Outline]:
        """The outlines of a lot; none where no reply could be used, which the next round makes up for."""
        cell = lot.cell
        seed = derive(self._seed, begun.key, number)
        request = OutlineRequest(
            scope=begun.key,
            seed=seed,
            value_a=self._values[cell.value_a],
            value_b=self._values[cell.value_b],
            template=cell.template,
            count=lot.count,
            settings=walks_of_life(seed),
            known=tuple(known),
        )
        try:
            async with self._gate.slot():
                return await self._crew.generator.outline(request, problems)
        except CallFailed as failure:
            log.warning("outlines.failed", round=begun.key, lot=number, error=str(failure))
            problems[f"outlines {failure.kind}"] += 1
            return ()

    async def _elaborate(self, begun: Round, own_id: str, outline: Outline, problems: Counter[str]) -> Draft:
        seed = derive(self._seed, own_id, "elaborate")
        values = self._values[outline.value_a], self._values[outline.value_b]
        try:
            async with self._gate.slot():
                scenario = await self._crew.generator.elaborate(begun.key, seed, own_id, outline, values, problems)
        except CallFailed as failure:
            return Draft(own_id, outline, DraftState.FAILED, reason=f"elaborate: {failure}")
        return Draft(own_id, outline, DraftState.PASSED, scenario)

    async def _without_duplicates(self, drafts: Sequence[Draft], work: _Pair) -> list[Draft]:
        """The drafts, with those marked that repeat another scenario."""
        scenarios = [draft.scenario for draft in drafts if draft.scenario is not None]
        if not scenarios:
            return list(drafts)
        try:
            vectors = await self._crew.embedding.embed([scenario.description for scenario in scenarios])
        except CallFailed as failure:
            told = f"embedding: {failure}"
            return [replace(d, state=DraftState.FAILED, reason=told) if d.scenario else d for d in drafts]
        ids = [scenario.id for scenario in scenarios]
        matches = dict(zip(ids, self._copies.nearest(vectors), strict=True))
        new = [row for row, own_id in enumerate(ids) if matches[own_id] is None]
        own = [ids[row] for row in new]
        matches |= zip(own, work.held.add(own, vectors[new]), strict=True)
        marked = []
        for draft in drafts:
            match = matches.get(draft.id)
            if match is not None:
                told = f"as like {match.id} as {match.cosine:.2f}"
                draft = replace(draft, state=DraftState.DUPLICATE, reason=told, like=match.id, cosine=match.cosine)
            marked.append(draft)
        return marked

    async def _assess(self, begun: Round, draft: Draft, problems: Counter[str]) -> Draft:
        """The draft with its checks and, where it passes them, its opening message."""
        scenario = draft.scenario
        if scenario is None or draft.state is not DraftState.PASSED:
            return draft
        try:
            checks = await self._crew.panel.check(begun.key, scenario, problems)
            scenario = scenario.model_copy(update={"checks": checks})
            if not scenario.passes:
                return replace(draft, state=DraftState.REJECTED, scenario=scenario)
            if self._crew.writer is not None:
                async with self._gate.slot():
                    seed = derive(self._seed, scenario.id, "opening")
                    opening = await self._crew.writer.write(begun.key, seed, scenario, problems)
                scenario = scenario.model_copy(update={"opening": opening})
        except CallFailed as failure:
            return replace(draft, state=DraftState.FAILED, reason=str(failure))
        return replace(draft, scenario=scenario)


class _Pair:
    """What is known of a pair while its scenarios are made."""

    def __init__(self, pair: Pair, existing: Sequence[Scenario], held: NearDuplicates) -> None:
        self.pair = pair
        self.held = held
        self.begun: Round | None = None  # by a former process, which did not end it
        self.scenarios = list(existing)
        self.passed = sum(scenario.passes for scenario in existing)
        self.contexts = [scenario.description[:_KNOWN_LENGTH] for scenario in existing]
        # By id: what others are held against. Also drafts that failed for want of a reply: what is held must not hang on when.
        self.told = {scenario.id: scenario.description for scenario in existing}
        self.ids = {scenario.id for scenario in existing}
        self.rounds = 0
        self.asked = 0

    def learn(self, ended: Round) -> None:
        """What a round brought."""
        self.rounds = ended.number
        self.asked += ended.asked
        for draft in ended.drafts:
            self.ids.add(draft.id)
            if draft.state is not DraftState.DUPLICATE:
                self.contexts.append(draft.outline.context[:_KNOWN_LENGTH])
                if draft.scenario is not None:
                    self.told[draft.id] = draft.scenario.description
            if draft.kept and draft.scenario is not None:
                self.scenarios.append(draft.scenario)
                self.passed += draft.state is DraftState.PASSED
