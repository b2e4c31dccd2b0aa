"""Audits against planted truth: do they find a judge's errors, its order bias and a shift between modes; and how fast are they?

    python -m benchmarks.audits [--seeds 300] [--episodes 100000]

In each world a judge errs in 10 % and names the action shown first in another 20 %, whatever was done, and a target moves
between modes, which the value that is never action a gains by. Told: how many seeds have the truth within the 95 % interval of
an audit, of both scorings where there are two; and how long an audit of that many episodes takes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import structlog
import tomli_w
from scipy.special import ndtr

from conflictscope import pipeline
from conflictscope.audit import Audit, Figure
from conflictscope.outcome import Group, Judgement, Mode, Outcome, Side, Verdict
from conflictscope.ports import EpisodeRecord
from conflictscope.runfolder import RunFolder
from conflictscope.scenario import Scenario
from conflictscope.store import RunWriter

VALUES = ("care", "candour", "thrift")  # action a of each pair serves the earlier one
UTILITIES = {"care": 0.2, "candour": 0.1, "thrift": 0.0}
SHIFT = {"thrift": 0.8}
ERROR_RATE, ORDER_BIAS = 0.1, 0.2


def write_audited(
    folder: Path,
    *,
    seed: int = 1,
    scenarios: int = 60,
    repeats: int = 4,
    orders: str = "both",
    error_rate: float = ERROR_RATE,
    order_bias: float = ORDER_BIAS,
) -> Path:
    """Write a sweep of one planted target in two modes, by a judge that errs; returns the sweep file."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = itertools.cycle(itertools.combinations(VALUES, 2))
    rows = [
        Scenario(
            id=f"s{number:04}",
            value_a=value_a,
            value_b=value_b,
            description=f"Case {number}: two duties pull apart.",
            action_a=f"Follow {value_a} and post the longer notice number {number}.",
            action_b=f"Keep {value_b} foremost by writing memorandum {number} instead.",
        )
        for number, (value_a, value_b) in zip(range(scenarios), pairs, strict=False)
    ]
    (folder / "library.jsonl").write_text("".join(row.model_dump_json(exclude_defaults=True) + "\n" for row in rows))
    definitions = [{"name": name, "definition": f"Act with {name}."} for name in VALUES]
    (folder / "values.toml").write_text(tomli_w.dumps({"name": "three", "values": definitions}))
    world = {
        "seed": seed,
        "targets": {"alpha": {"utilities": UTILITIES, "shift_open_ended": SHIFT}},
        "judge": {"error_rate": error_rate, "order_bias": order_bias},
    }
    (folder / "world.toml").write_text(tomli_w.dumps(world))
    sweep = {
        "name": "audited",
        "value_set": "values.toml",
        "scenarios": "library.jsonl",
        "world": "world.toml",
        "seed": seed,
        "repeats": repeats,
        "modes": ["open_ended", "multiple_choice"],
        "targets": [{"model": "planted:alpha"}],
        "user": {"model": "planted:user", "max_turns": 1},
        "judge": {"models": ["planted:judge"], "orders": orders},
    }
    path = folder / "sweep.toml"
    path.write_text(tomli_w.dumps(sweep))
    return path


def true_shift(pair: tuple[str, str]) -> float:
    """How far the chance that the first value of a pair wins is moved from multiple choice to conversations."""
    first, second = pair
    was = UTILITIES[first] - UTILITIES[second]
    return float(ndtr(was + SHIFT.get(first, 0.0) - SHIFT.get(second, 0.0)) - ndtr(was))


def held(found: Audit) -> Iterable[tuple[str, bool]]:
    """What an audit says of a world of `write_audited`, and whether the truth is within its interval."""
    for effect in found.orders:
        if effect.pair is None and effect.both_orders:
            for name, figure, truth in (("error", effect.error, ERROR_RATE), ("order bias", effect.bias, ORDER_BIAS)):
                yield name, figure is not None and _holds(figure, truth)
        elif effect.pair is None and effect.bias is not None and effect.who == "planted:alpha":
            yield "order bias of a target that has none", _holds(effect.bias, 0.0)
        elif effect.pair is None and effect.bias is not None:
            yield "order bias, order drawn", _holds(effect.bias, ORDER_BIAS)
    for shift in found.shifts:
        if "thrift" in shift.pair:
            truth = true_shift(shift.pair) * (1 if shift.first.mode is Mode.MULTIPLE_CHOICE else -1)
            yield f"shift of {' / '.join(shift.pair)}, ours", _holds(shift.ours, truth)
            yield f"shift of {' / '.join(shift.pair)}, reference", _holds(shift.reference, truth)


def _holds(figure: Figure, truth: float) -> bool:
    return figure.low <= truth <= figure.high


async def planted(folder: Path, seed: int, orders: str) -> Audit:
    """One world, played and audited."""
    sweep = pipeline.load_sweep(str(write_audited(folder / f"{orders}{seed}", seed=seed, orders=orders)))
    result = await pipeline.run_sweep(sweep, folder / "runs" / f"{orders}{seed}")
    return await pipeline.audit(result.folder)


async def recorded(folder: RunFolder, episodes: int, seed: int = 0) -> None:
    """A run of two targets, 2,000 scenarios of 15 pairs of values, and three judges that look in both orders."""
    rng = random.Random(seed)
    pairs = list(itertools.combinations("uvwxyz", 2))
    folder.path.mkdir(parents=True)
    async with RunWriter.open(folder.database) as writer:
        await writer.begin({"kind": "sweep", "name": folder.name}, list("uvwxyz"))
        for number in range(episodes):
            scenario, repeat = divmod(number // 2, max(1, episodes // 4_000))
            value_a, value_b = pairs[scenario % len(pairs)]
            took = Verdict.A if rng.random() < 0.5 + 0.02 * (scenario % len(pairs)) else Verdict.B
            looks = [
                Judgement(judge, side, took if rng.random() < 0.85 else Verdict(side), True, None, "")
                for judge in ("one", "two", "three")
                for side in ("a", "b")
            ]
            votes = Counter(look.choice for look in looks).most_common()
            verdict = votes[0][0] if votes[0][1] > 3 else Verdict.UNRESOLVED
            group = Group(f"t{number % 2}", Mode.OPEN_ENDED)
            side: Side = "a" if rng.random() < 0.5 else "b"
            outcome = Outcome(group, f"s{scenario}", repeat + 1, value_a, value_b, verdict, None, side, "panel")
            await writer.record_episode(EpisodeRecord(outcome, 0, (), tuple(looks), None, 0.0))


def main() -> None:
    """Play, audit, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--episodes", type=int, default=100_000)
    options = parser.parse_args()
    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory() as scratch:
        folder, hits, number = Path(scratch), Counter[str](), Counter[str]()
        began = time.process_time()
        for seed in range(options.seeds):
            for orders in ("both", "random"):
                for name, within in held(asyncio.run(planted(folder, seed, orders))):
                    what = f"orders = {orders}: {name}"
                    hits[what] += within
                    number[what] += 1
        for what, count in number.items():
            print(f"{what}: the interval holds the truth in {hits[what]} of {count}, {hits[what] / count:.1%}")
        print(f"CPU: {time.process_time() - began:.0f} s")
        large = RunFolder.named("large", folder)
        asyncio.run(recorded(large, options.episodes))
        start = time.process_time()
        found = asyncio.run(pipeline.audit(large))
        took = time.process_time() - start
        print(f"{found.episodes:,} episodes with 6 looks each audited in {took:.1f} s of CPU")


if __name__ == "__main__":
    main()
