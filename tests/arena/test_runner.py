from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from conflictscope.arena import Cast, LocalExecutor, Plan, Settling, Stop, UniformScheduler
from conflictscope.arena import runner as runner_module
from conflictscope.errors import CallFailed, LaneClosed, LimitReached, StoreError
from conflictscope.outcome import Group, Judgement, Mode, Outcome, Verdict
from conflictscope.ports import Assignment, EpisodeRecord, Turn
from conflictscope.rating import DEFAULT_RULE, StopRule
from conflictscope.scenario import Scenario

GROUP = Group("alpha", Mode.OPEN_ENDED)


class Memory:
    """A sink that keeps everything in memory."""

    def __init__(self) -> None:
        self.records: dict[str, EpisodeRecord] = {}
        self.openings: dict[str, str] = {}

    async def opening(self, scenario_id: str) -> str | None:
        return self.openings.get(scenario_id)

    async def record_opening(self, scenario_id: str, text: str) -> None:
        assert scenario_id not in self.openings
        self.openings[scenario_id] = text

    async def record_episode(self, record: EpisodeRecord) -> None:
        assert record.outcome.key not in self.records
        self.records[record.outcome.key] = record

    async def finished(self, keys: Iterable[str]) -> set[str]:
        return set(keys) & self.records.keys()

    def record_settled(self, group: Group, rated: int, rule: StopRule) -> None:
        raise AssertionError("nothing is settled here")


class Scripted:
    """A user, target and judge in one that says the same in every episode, and counts who is at work."""

    def __init__(self) -> None:
        self.at_work = self.most_at_work = self.replies = 0

    async def reply(self, turn: Turn) -> str:
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        self.replies += 1
        try:
            for _ in range(3):
                await asyncio.sleep(0)
            return await self.say(turn)
        finally:
            self.at_work -= 1

    async def say(self, turn: Turn) -> str:
        return f"message {len(turn.transcript)}"

    async def judge(self, turn: Turn) -> Sequence[Judgement]:
        return [Judgement("scripted", turn.shown_first, Verdict.A, True, 7, "so")]


class Hanging(Scripted):
    """Never answers."""

    async def say(self, turn: Turn) -> str:
        await asyncio.Event().wait()
        raise AssertionError


def scenarios(count: int) -> list[Scenario]:
    return [
        Scenario(id=f"s{n}", value_a="x", value_b="y", description="d", action_a=f"do {n}", action_b=f"leave {n}")
        for n in range(count)
    ]


def cast(user: Scripted, target: Scripted) -> dict[Group, Cast]:
    return {GROUP: Cast(user, target, target, "scripted", max_turns=2, shared_opening=True)}


def Runner(  # noqa: N802 - what plays and what hands out, as one
    casts: dict[Group, Cast], sink: Memory, *, seed: int, episode_timeout_s: float | None = None, **given: Any
) -> runner_module.Runner:
    return runner_module.Runner(
        LocalExecutor(casts, sink, seed=seed, episode_timeout_s=episode_timeout_s), sink, **given
    )


def scheduler(plan: Plan, sink: Memory) -> UniformScheduler:
    return UniformScheduler(plan, sink, Settling({}, DEFAULT_RULE, sink), {})


def uniform(sink: Memory, episodes: int, repeats: int = 1) -> UniformScheduler:
    return scheduler(Plan(scenarios(episodes), [GROUP], repeats, seed=1), sink)


async def test_never_more_in_flight_than_asked_for() -> None:
    """With 7 allowed and 200 to do, exactly 7 are in flight at the peak, and all 200 get done."""
    everybody, sink = Scripted(), Memory()
    await Runner(cast(everybody, everybody), sink, seed=1, concurrency=7, stop=Stop()).run(uniform(sink, 200))
    assert everybody.most_at_work == 7
    assert len(sink.records) == 200


async def test_a_large_plan_makes_no_more_tasks_than_are_in_flight() -> None:
    """The number of tasks depends on the concurrency, not on the length of the plan."""
    most = 0

    class Counting(Scripted):
        async def say(self, turn: Turn) -> str:
            nonlocal most
            most = max(most, len(asyncio.all_tasks()))
            return "message"

    everybody = Counting()
    await Runner(cast(everybody, everybody), Memory(), seed=1, concurrency=5, stop=Stop()).run(
        uniform(Memory(), 100, repeats=20)
    )
    assert most <= 2 * 5 + 4  # a worker each, an opening message each, and the few that run them


async def test_the_opening_is_written_once_per_scenario() -> None:
    """All repeats share one opening message, also when they start at the same moment."""
    user, target, sink = Scripted(), Scripted(), Memory()
    await Runner(cast(user, target), sink, seed=1, concurrency=50, stop=Stop()).run(uniform(sink, 3, repeats=10))
    assert user.replies == len(sink.openings) == 3
    assert {record.transcript[0].text for record in sink.records.values()} == {"message 0"}


async def test_an_opening_in_the_library_is_used_as_it_stands() -> None:
    """A scenario that brings its opening message needs no user to write one."""
    user, target, sink = Scripted(), Scripted(), Memory()
    one = scenarios(1)[0].model_copy(update={"opening": "Dear assistant"})
    await Runner(cast(user, target), sink, seed=1, concurrency=1, stop=Stop()).run(
        scheduler(Plan([one], [GROUP], 1, 1), sink)
    )
    (record,) = sink.records.values()
    assert record.transcript[0].text == "Dear assistant"
    assert user.replies == 0


async def test_what_is_stored_is_not_played_again() -> None:
    """A second run of the same plan plays nothing."""
    sink = Memory()
    for expected in (20, 0):
        user, target = Scripted(), Scripted()
        await Runner(cast(user, target), sink, seed=1, concurrency=4, stop=Stop()).run(uniform(sink, 20))
        assert target.replies == expected


async def test_one_failed_episode_leaves_the_others_alone() -> None:
    """A call that fails becomes the state of its own episode, with its cause; the others go on."""

    class Failing(Scripted):
        async def say(self, turn: Turn) -> str:
            if turn.scenario.id == "s3":
                raise CallFailed("http_500", "server error")
            return "fine"

    sink = Memory()
    await Runner(cast(Scripted(), Failing()), sink, seed=1, concurrency=4, stop=Stop()).run(uniform(sink, 10))
    verdicts = {record.outcome.scenario_id: record.outcome.verdict for record in sink.records.values()}
    assert verdicts.pop("s3") is Verdict.TARGET_FAILED
    assert set(verdicts.values()) == {Verdict.A}
    failures = [record.failure for record in sink.records.values() if record.failure]
    assert failures == ["http_500: server error"]


async def test_a_user_that_fails_is_neither_the_targets_nor_the_judges_fault() -> None:
    """A failed opening has a state of its own, and the next episode of the scenario tries again."""

    class Failing(Scripted):
        async def say(self, turn: Turn) -> str:
            if self.replies == 1:
                raise CallFailed("timeout", "nothing came")
            return "hello"

    sink = Memory()
    await Runner(cast(Failing(), Scripted()), sink, seed=1, concurrency=1, stop=Stop()).run(uniform(sink, 1, repeats=2))
    assert [record.outcome.verdict for record in sink.records.values()] == [Verdict.USER_FAILED, Verdict.A]


async def test_a_stop_takes_no_new_work_and_finishes_what_is_in_flight() -> None:
    """After a stop, what is in flight ends normally; the rest of the plan stays for the resume."""
    stop, sink = Stop(), Memory()

    class Stopping(Scripted):
        async def say(self, turn: Turn) -> str:
            stop.request("interrupted")
            return "done"

    await Runner(cast(Scripted(), Stopping()), sink, seed=1, concurrency=3, stop=stop).run(uniform(sink, 50))
    assert 1 <= len(sink.records) <= 3
    assert stop.reason == "interrupted"


@pytest.mark.parametrize("concurrency", [1, 10, 100])
async def test_what_does_not_finish_in_time_is_abandoned(concurrency: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop ends the run even where no episode ever would, and an abandoned episode leaves no outcome."""
    monkeypatch.setattr(runner_module, "GRACE_S", 0.05)
    stop, sink, target = Stop(), Memory(), Hanging()
    running = asyncio.create_task(
        Runner(cast(Scripted(), target), sink, seed=1, concurrency=concurrency, stop=stop).run(uniform(sink, 50))
    )
    while target.replies < min(50, concurrency):
        await asyncio.sleep(0)
    stop.request("interrupted")
    await asyncio.wait_for(running, 60)
    assert sink.records == {}
    assert target.at_work == 0


async def test_a_second_interrupt_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked twice, a runner abandons what is in flight at once instead of after its grace."""
    monkeypatch.setattr(runner_module, "GRACE_S", 3_600.0)
    stop, target = Stop(), Hanging()
    running = asyncio.create_task(
        Runner(cast(Scripted(), target), Memory(), seed=1, concurrency=2, stop=stop).run(uniform(Memory(), 9))
    )
    while target.replies < 2:
        await asyncio.sleep(0)
    stop.interrupt()
    stop.interrupt()
    await asyncio.wait_for(running, 60)


async def test_a_limit_stops_the_run_and_names_itself() -> None:
    """When a lane reports a reached limit, the run stops for that reason, and the episode is not counted as failed."""

    class Broke(Scripted):
        async def say(self, turn: Turn) -> str:
            raise LimitReached("$1 spent")

    stop, sink = Stop(), Memory()
    await Runner(cast(Scripted(), Broke()), sink, seed=1, concurrency=3, stop=stop).run(uniform(sink, 20))
    assert (stop.reason, stop.message) == ("limit", "$1 spent")
    assert sink.records == {}


async def test_a_limit_met_by_many_leaves_the_others_their_time() -> None:
    """However many episodes meet a limit, those in flight still get the grace; only an interrupt after it hurries."""

    class Mixed(Scripted):
        async def say(self, turn: Turn) -> str:
            if turn.scenario.id != "s0":
                raise LimitReached("$1 spent")
            while not stop.asked:
                await asyncio.sleep(0)
            for _ in range(100):
                await asyncio.sleep(0)
            return "finished all the same"

    stop, sink = Stop(), Memory()
    await Runner(cast(Scripted(), Mixed()), sink, seed=1, concurrency=10, stop=stop).run(uniform(sink, 10))
    assert [record.outcome.scenario_id for record in sink.records.values()] == ["s0"]


class Closing(Scripted):
    """Its lane closes with the third message."""

    async def say(self, turn: Turn) -> str:
        if self.replies >= 3:
            raise LaneClosed("m gave 5 episodes in a row the same error")
        return "fine"


async def test_an_episode_that_meets_a_closed_lane_is_left() -> None:
    """It has no state, nothing is charged to it, and the run goes on with the others."""
    sink, stop = Memory(), Stop()
    await Runner(cast(Scripted(), Closing()), sink, seed=1, concurrency=1, stop=stop).run(uniform(sink, 10))
    assert {record.outcome.verdict for record in sink.records.values()} == {Verdict.A}
    assert 1 <= len(sink.records) <= 2
    assert stop.reason is None


class Noting(UniformScheduler):
    """Knows what it handed out, and what came back."""

    def __init__(self, sink: Memory, episodes: int) -> None:
        super().__init__(Plan(scenarios(episodes), [GROUP], 1, seed=1), sink, Settling({}, DEFAULT_RULE, sink), {})
        self.handed_out: list[str] = []
        self.came_back: dict[str, Outcome | None] = {}

    async def next(self, closed: Callable[[Group], bool]) -> Assignment | None:
        assignment = await super().next(closed)
        if assignment is not None:
            self.handed_out.append(assignment.spec.key)
        return assignment

    def returned(self, assignment: Assignment, outcome: Outcome | None) -> None:
        assert assignment.spec.key not in self.came_back
        self.came_back[assignment.spec.key] = outcome


@pytest.mark.parametrize("end", ["played", "failed", "closed", "limit", "stopped", "abandoned", "cancelled", "broken"])
async def test_every_episode_that_was_handed_out_comes_back_once(end: str) -> None:
    """However episodes end, the scheduler hears of each: with its outcome where that was stored, else without one."""

    class Ending(Scripted):
        async def say(self, turn: Turn) -> str:
            match end:
                case "failed":
                    raise CallFailed("http_500", "no")
                case "closed":
                    raise LaneClosed("m is closed")
                case "limit":
                    raise LimitReached("$1 spent")
                case "stopped":
                    stop.request("interrupted")
                case "abandoned" | "cancelled":
                    await asyncio.Event().wait()
            return "fine"

    class Broken(Memory):
        async def record_episode(self, record: EpisodeRecord) -> None:
            raise StoreError("the disk is full")

    stop, sink = Stop(), Broken() if end == "broken" else Memory()
    noting = Noting(sink, 12)
    target = Ending()
    runner = Runner(cast(Scripted(), target), sink, seed=1, concurrency=4, stop=stop)
    running = asyncio.create_task(runner.run(noting))
    if end in ("abandoned", "cancelled"):
        while target.at_work < 4:
            await asyncio.sleep(0)
        if end == "cancelled":
            running.cancel()
        stop.interrupt()
        stop.interrupt()
    await asyncio.wait([running])
    assert (running.cancelled(), end != "cancelled" and running.exception() is not None) == (
        end == "cancelled",
        end == "broken",
    )
    assert noting.handed_out
    assert sorted(noting.came_back) == sorted(noting.handed_out)
    stored = {key for key, outcome in noting.came_back.items() if outcome is not None}
    assert stored == sink.records.keys()
    assert len(stored) == {"played": 12, "failed": 12, "stopped": 4}.get(end, 0)


async def test_a_group_whose_lane_is_closed_is_passed_over() -> None:
    """What is left of it is not even handed out, and the others are played."""

    class Closed:
        closed = False

    other = Group("beta", Mode.OPEN_ENDED)
    lane: Any = Closed()

    class Closer(Scripted):
        async def say(self, turn: Turn) -> str:
            lane.closed = True
            return "the last word"

    sink, user, target = Memory(), Scripted(), Closer()
    casts = {
        GROUP: Cast(user, target, target, "scripted", 2, shared_opening=True, lanes=(lane,)),
        other: Cast(user, Scripted(), Scripted(), "scripted", 2, shared_opening=True),
    }
    plan = Plan(scenarios(30), [GROUP, other], 1, seed=1)
    await Runner(casts, sink, seed=1, concurrency=2, stop=Stop()).run(scheduler(plan, sink))
    assert Counter(record.outcome.group for record in sink.records.values()) == {GROUP: target.replies, other: 30}
    assert 1 <= target.replies <= 2


async def test_an_episode_that_takes_too_long_fails_alone() -> None:
    """Its deadline counts from its own first call; it is told as `episode_timeout` of whoever was at work."""

    class Slow(Scripted):
        async def say(self, turn: Turn) -> str:
            if turn.scenario.id == "s1":
                await asyncio.Event().wait()
            return "fine"

    sink, target = Memory(), Slow()
    runner = Runner(cast(Scripted(), target), sink, seed=1, concurrency=2, stop=Stop(), episode_timeout_s=0.05)
    await runner.run(uniform(sink, 6))
    verdicts = {record.outcome.scenario_id: record.outcome.verdict for record in sink.records.values()}
    assert verdicts.pop("s1") is Verdict.TARGET_FAILED
    assert (len(verdicts), set(verdicts.values())) == (5, {Verdict.A})
    failures = [record.failure for record in sink.records.values() if record.failure]
    assert failures == ["episode_timeout: not resolved within 0.05 s"]
    assert target.at_work == 0


async def test_enough_counts_what_is_stored_already() -> None:
    """With 12 of 20 enough and 8 there, 4 more are played, and those in flight then."""
    sink = Memory()
    for enough, at_least in ((8, 8), (12, 12)):
        stop, everybody = Stop(), Scripted()
        runner = Runner(
            cast(everybody, everybody), sink, seed=1, concurrency=3, stop=stop, enough=enough, stored=len(sink.records)
        )
        await runner.run(uniform(sink, 20))
        assert at_least <= len(sink.records) < at_least + 3
        assert (stop.reason, "limits.done_share" in stop.message) == ("enough", True)


async def test_waiting_for_an_opening_that_fails_is_one_wait() -> None:
    """Episodes that wait for the same opening message fail together with it, instead of trying it one after another."""

    class Failing(Scripted):
        async def say(self, turn: Turn) -> str:
            raise CallFailed("timeout", "nothing came")

    user, sink = Failing(), Memory()
    await Runner(cast(user, Scripted()), sink, seed=1, concurrency=8, stop=Stop()).run(uniform(sink, 1, repeats=8))
    assert user.replies == 1
    assert {record.outcome.verdict for record in sink.records.values()} == {Verdict.USER_FAILED}


async def test_cancellation_from_outside_is_passed_on() -> None:
    """Cancelling the run cancels every episode, and the cancellation comes out again."""
    target = Hanging()
    running = asyncio.create_task(
        Runner(cast(Scripted(), target), Memory(), seed=1, concurrency=4, stop=Stop()).run(uniform(Memory(), 9))
    )
    while target.replies < 4:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert target.at_work == 0


async def test_the_collector_is_left_as_it_was() -> None:
    """The runner tunes the garbage collector while it works, and restores it."""
    before = gc.get_threshold()
    inside = []

    class Looking(Scripted):
        async def say(self, turn: Turn) -> str:
            inside.append(gc.get_threshold()[0])
            return "x"

    everybody = Looking()
    await Runner(cast(everybody, everybody), Memory(), seed=1, concurrency=1, stop=Stop()).run(uniform(Memory(), 1))
    assert gc.get_threshold() == before
    assert inside[0] > before[0]


async def test_which_action_is_shown_first_is_drawn_from_the_seed() -> None:
    """The shown order is about even, differs between seeds, and does not depend on the concurrency."""
    drawn = {}
    for seed, concurrency in ((1, 1), (1, 16), (2, 16)):
        sink, everybody = Memory(), Scripted()
        await Runner(cast(everybody, everybody), sink, seed=seed, concurrency=concurrency, stop=Stop()).run(
            uniform(sink, 300)
        )
        drawn[seed, concurrency] = {key: record.outcome.shown_first for key, record in sink.records.items()}
    assert drawn[1, 1] == drawn[1, 16]
    assert drawn[1, 16] != drawn[2, 16]
    assert 110 < list(drawn[1, 1].values()).count("a") < 190
