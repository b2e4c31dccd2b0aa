"""What ratings cost: the live update, the posterior and the bootstrap, against `trueskill`, `choix` and the paper's loop.

    python -m benchmarks.ratings [--write]          half a minute

The same outcomes of six planted values for both sides of each line; both sides' numbers are compared, too. CPU time, medians
of rounds that take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import choix
import numpy as np
import trueskill

from benchmarks.figures import Table, arguments, show
from benchmarks.rankings.simulation import NAMES, SIZE, World, world
from conflictscope.outcome import Verdict
from conflictscope.ranking import TrueSkillRanker, fit_bradley_terry, fit_posterior
from conflictscope.ranking.probit import PRIOR_SD
from conflictscope.ranking.trueskill import BETA

ROUNDS = 7
BOOTSTRAPS = 1_000
LOOPS = 10


@dataclass(frozen=True)
class Race:
    """The same work by two: what each took, in seconds of CPU, and the greatest difference of what they found."""

    ours_s: float
    theirs_s: float
    difference: float

    def row(self, what: str, theirs: str, unit_s: float = 1e-3, unit: str = "ms") -> dict[str, str]:
        """As it is shown."""
        return {
            "what": what,
            "ours": f"{self.ours_s / unit_s:.2f} {unit}",
            "theirs": f"{self.theirs_s / unit_s:,.2f} {unit} ({theirs})",
            "times as fast": f"{self.theirs_s / self.ours_s:,.1f}",
            "greatest difference of the numbers": f"{self.difference:.1g}",
        }


def raced(ours: Callable[[], Sequence[float]], theirs: Callable[[], Sequence[float]], rounds: int = ROUNDS) -> Race:
    """Both in turns; each returns what it found."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        found = []
        for side, seconds in zip((ours, theirs), taken, strict=True):
            started = time.process_time()
            found.append(side())
            seconds.append(time.process_time() - started)
    return Race(median(taken[0]), median(taken[1]), float(np.abs(np.subtract(found[0], found[1])).max()))


def updates(drawn: World) -> Race:
    """Live updates, per update."""
    won = rows_of(drawn)
    environment = trueskill.TrueSkill(mu=0, sigma=BETA, beta=BETA, tau=0, draw_probability=0.1)

    def ours() -> Sequence[float]:
        ranker = TrueSkillRanker(draw_probability=0.1)
        ranker.add(NAMES[:SIZE])
        for winner, loser in won:
            ranker.update(NAMES[winner], NAMES[loser], Verdict.A)
        return [rating.mu for rating in ranker.ratings().values()]

    def theirs() -> Sequence[float]:
        ratings = [environment.create_rating() for _ in range(SIZE)]
        for winner, loser in won:
            ratings[winner], ratings[loser] = trueskill.rate_1vs1(ratings[winner], ratings[loser], env=environment)
        return [rating.mu for rating in ratings]

    race = raced(ours, theirs)
    return Race(race.ours_s / len(won), race.theirs_s / len(won), race.difference)


def rows_of(drawn: World) -> list[tuple[int, int]]:
    """(winner, loser) of each outcome, as `choix` takes them."""
    winner, loser = np.where(drawn.won, drawn.i, drawn.j), np.where(drawn.won, drawn.j, drawn.i)
    return [(int(one), int(other)) for one, other in zip(winner, loser, strict=True)]


def paper_loop(data: Sequence[tuple[int, int]], rounds: int) -> None:
    """As the paper's code has it: rows drawn one by one, a fit of `choix` for each round."""
    rng = np.random.default_rng(7)
    for _ in range(rounds):
        choix.ilsr_pairwise(SIZE, [data[row] for row in rng.integers(0, len(data), len(data))], alpha=0.01)


def posteriors(drawn: World) -> Race:
    """The joint posterior of the same prior and link."""
    data, wins = rows_of(drawn), drawn.counts()
    return raced(
        lambda: list(fit_posterior(wins).mu),
        lambda: list(choix.ep_pairwise(SIZE, data, 1 / PRIOR_SD**2, model="probit")[0]),
        rounds=3,
    )


def bootstraps(drawn: World) -> Race:
    """The fit of Bradley-Terry with all its bootstraps; the loop's time is reckoned from a few rounds of it."""
    data, wins = rows_of(drawn), drawn.counts()
    fit = choix.ilsr_pairwise(SIZE, data, alpha=0.01)

    def theirs() -> Sequence[float]:
        paper_loop(data, LOOPS)
        return list(fit)

    race = raced(lambda: list(fit_bradley_terry(wins, bootstraps=BOOTSTRAPS).strength), theirs)
    return Race(race.ours_s, race.theirs_s / LOOPS * BOOTSTRAPS, race.difference)


def million() -> float:
    """Seconds of a joint posterior from the counts of a million outcomes."""
    wins = world(np.random.default_rng(8), 1_000_000, len(NAMES)).counts()
    taken = []
    for _ in range(ROUNDS):
        started = time.process_time()
        fit_posterior(wins)
        taken.append(time.process_time() - started)
    return median(taken)


def main() -> None:
    """Measure and show."""
    given = arguments(__doc__).parse_args()
    drawn = world(np.random.default_rng(6), 3_000)
    rows = [
        updates(drawn).row("TrueSkill, one live update", "`trueskill.rate_1vs1`", 1e-6, "µs"),
        posteriors(drawn).row("joint posterior, 6 values, 3,000 outcomes", "`choix.ep_pairwise`"),
        {
            "what": f"joint posterior, {len(NAMES)} values, 1,000,000 outcomes, once they are counted",
            "ours": f"{million() * 1e3:.2f} ms",
            "theirs": "",
            "times as fast": "",
            "greatest difference of the numbers": "",
        },
        bootstraps(drawn).row(
            "Bradley-Terry, 6 values, 3,000 outcomes, 1,000 bootstraps", "the paper's loop over choix"
        ),
    ]
    notes = [
        f"CPU time. The loop's is that of {LOOPS} rounds times {BOOTSTRAPS // LOOPS}; its difference is that of the fits.",
        "The tests hold our numbers against the same two packages, which are here what the speed is held against.",
    ]
    packages = ["numpy", "scipy", "trueskill", "choix"]
    show(Table("ratings", "Ratings, posterior, bootstrap", rows, packages, notes), given)


if __name__ == "__main__":
    main()
