"""The six checks against known truth: do pass rates cover it, and is the agreement of checkers what their errors imply?

    python -m benchmarks.checks [--worlds 40] [--scenarios 150]

In each world a planted generator makes scenarios with defects at known rates, and two planted checkers that err at known rates
check each of them (5 % and 15 %). Told: how often the 95 % interval of a check's pass rate holds the rate that its defects and
errors imply, and the kappa of both checkers beside the implied one.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from conflictscope import pipeline
from conflictscope.librarystats import LibraryStats
from conflictscope.runfolder import RunFolder
from conflictscope.scenario import CheckName

ERRORS = {"planted:mild": 0.05, "planted:strict": 0.15}
DEFECTS = {
    CheckName.REALISTIC: 0.05,
    CheckName.GROUNDED: 0.1,
    CheckName.FEASIBLE: 0.15,
    CheckName.VALUE_GUIDED: 0.1,
    CheckName.CONFLICTING: 0.2,
    CheckName.CONTESTED: 0.25,
}
VALUES = """
name = "two"
[[values]]
name = "candour"
definition = "Saying what is so."
[[values]]
name = "comfort"
definition = "Easing what weighs on somebody."
"""
SPEC = """
name = "checks"
value_set = "two.toml"
world = "world.toml"
count = 100000
tries = 1
seed = {seed}
[generator]
model = "planted:generator"
[checks]
models = ["planted:mild", "planted:strict"]
"""


def passing(error: float, defect: float, looks: int) -> float:
    """The chance that a checker passes a scenario. looks: its verdicts; each errs on its own, and all must pass."""
    return (1 - defect) * (1 - error) ** looks + defect * error**looks


def implied_kappa(errors: Collection[float], defect: float, looks: int) -> float:
    """Cohen's kappa of two checkers that err independently of each other."""
    good = [(1 - error) ** looks for error in errors]
    bad = [error**looks for error in errors]
    agree = (1 - defect) * (good[0] * good[1] + (1 - good[0]) * (1 - good[1]))
    agree += defect * (bad[0] * bad[1] + (1 - bad[0]) * (1 - bad[1]))
    one, other = (passing(error, defect, looks) for error in errors)
    chance = one * other + (1 - one) * (1 - other)
    return (agree - chance) / (1 - chance)


async def stats_of(folder: Path, seed: int, scenarios: int) -> LibraryStats:
    """What `scenarios stats` says of a library of one world."""
    defects = ", ".join(f"{name.value} = {rate}" for name, rate in DEFECTS.items())
    checkers = "".join(f"[checkers.{name.partition(':')[2]}]\nerror_rate = {rate}\n" for name, rate in ERRORS.items())
    world = f"seed = {seed}\n[targets.a]\nutilities = {{ candour = 1.0 }}\n[generator]\ndefects = {{ {defects} }}\n{checkers}"
    (folder / "two.toml").write_text(VALUES)
    (folder / "world.toml").write_text(world)
    (folder / "spec.toml").write_text(SPEC.format(seed=seed))
    spec = pipeline.load_spec(str(folder / "spec.toml"), [f"count={scenarios}"])
    await pipeline.generate(spec, RunFolder.named("checks", folder / "runs"), folder / "library.jsonl")
    [stats] = await pipeline.library_stats([folder / "library.jsonl"])
    return stats


def main() -> None:
    """Run all worlds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=40)
    parser.add_argument("--scenarios", type=int, default=150)
    asked = parser.parse_args()
    covered: dict[tuple[str, str], list[bool]] = defaultdict(list)
    kappas: dict[str, list[float]] = defaultdict(list)
    for seed in range(asked.worlds):
        with tempfile.TemporaryDirectory() as folder:
            learn(asyncio.run(stats_of(Path(folder), seed, asked.scenarios)), covered, kappas)
    show(covered, kappas)


def learn(stats: LibraryStats, covered: dict[tuple[str, str], list[bool]], kappas: dict[str, list[float]]) -> None:
    """One world more."""
    for rate in stats.rates:
        if rate.checker is not None:
            truth = passing(ERRORS[rate.checker], DEFECTS[CheckName(rate.check)], looks_of(rate.check))
            covered[rate.check, rate.checker].append(rate.passed.low <= truth <= rate.passed.high)
    for agreement in stats.checkers:
        kappas[agreement.check].append(agreement.agreement.value)


def looks_of(check: str) -> int:
    """How many verdicts a checker gives: one, or one for each value."""
    return 2 if check == CheckName.VALUE_GUIDED else 1


def show(covered: Mapping[tuple[str, str], list[bool]], kappas: Mapping[str, list[float]]) -> None:
    """The table."""
    print(f"{'check':<14}" + "".join(f"{name:>18}" for name in ERRORS) + f"{'kappa (se)':>20}{'implied':>10}")
    for check in DEFECTS:
        found = np.array(kappas[check.value])
        told = f"{found.mean():.3f} ({found.std(ddof=1) / len(found) ** 0.5:.3f})"
        implied = implied_kappa(ERRORS.values(), DEFECTS[check], looks_of(check))
        shares = "".join(f"{np.mean(covered[check.value, name]):>18.3f}" for name in ERRORS)
        print(f"{check.value:<14}{shares}{told:>20}{implied:>10.3f}")
    everything = [hit for hits in covered.values() for hit in hits]
    print(f"pass rates covered: {np.mean(everything):.3f} of {len(everything):,}")


if __name__ == "__main__":
    main()
