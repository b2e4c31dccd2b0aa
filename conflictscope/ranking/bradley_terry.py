"""Bradley-Terry strengths, as the paper fits them, with a bootstrap by scenario."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, identity, vstack
from scipy.special import expit, softmax

from conflictscope.ranking.components import components
from conflictscope.ranking.posterior import checked_counts
from conflictscope.ranking.tally import Clusters
from conflictscope.rating import FloatArray, IntArray

_LEAST_ALPHA = 1e-6  # below it, perfect records are beyond the precision of floats
_MOST_STEPS = 1000
_LONGEST_STEP = 1.0  # in log-odds: the curvature changes little over it, so that Newton's method does not overshoot
_STEP_TOLERANCE = 1e-6  # convergence is quadratic: after such a step the error is far smaller
_MOST_NUMBERS = 4_000_000  # of a batch of curvature matrices


@dataclass(frozen=True)
class BradleyTerry:
    """Log strengths of K values: i beats j with probability 1 / (1 + exp(strength[j] - strength[i])).

    strength: (K,), mean 0 in each component. low, high: (K,) central 95 % of the bootstrap. samples: (B, K) of the bootstrap.
    component: (K,) as in Posterior: strengths of different components have no common scale. A value that was never compared is a
    component of its own, with strength 0 in every sample: an interval of no width that says nothing.
    """

    strength: FloatArray
    low: FloatArray
    high: FloatArray
    samples: FloatArray
    component: IntArray

    def p_above(self) -> FloatArray:
        """(K, K): share of the bootstrap in which the row is stronger than the column; 0.5 on the diagonal, and between
        components."""
        above = np.array([0.5 + 0.5 * np.sign(own[:, None] - self.samples).mean(axis=0) for own in self.samples.T])
        return np.where(self.component[:, None] == self.component[None, :], above, 0.5)


def fit_bradley_terry(
    wins: FloatArray,
    ties: FloatArray | None = None,
    *,
    alpha: float = 0.01,
    bootstraps: int = 1000,
    seed: int = 0,
    clusters: Clusters | None = None,
) -> BradleyTerry:
    """Log strengths from counts, the maximum of the likelihood times a Dirichlet prior.

    wins: (K, K), wins[i, j] is how often i beat j. ties: (K, K), symmetric; a tie is half a win for each side. alpha: strength of
    the prior, 0 or at least 1e-6, as in `choix.ilsr_pairwise` (Maystre and Grossglauser 2015), whose fixed point this is: the
    log-prior is alpha K times the sum of log softmax(strength), with K that of a component. clusters: the scenarios that the
    bootstrap draws from; without them each outcome is drawn on its own.

    Raises ValueError for counts that are not such, where there is no decisive outcome, and for alpha = 0 where, in the counts or
    in a sample of the bootstrap, some values won or lost all that they met the others in.
    """
    wins, ties = checked_counts(wins, ties)
    if not (alpha == 0 or _LEAST_ALPHA <= alpha < np.inf):
        raise ValueError(f"alpha must be 0, or finite and at least {_LEAST_ALPHA:g}, got {alpha}")
    if bootstraps < 2:
        raise ValueError(f"bootstraps must be at least 2, got {bootstraps}")
    if not wins.any():
        raise ValueError("no decisive outcome: nothing was won or lost")
    points = wins + ties / 2
    component = components(points + points.T)
    i, j = np.nonzero(np.triu(points + points.T))
    number, first, second = _outcomes(wins, ties, i, j) if clusters is None else _scenarios(clusters, points, i, j)
    strength = _fit(points[None], component, alpha, np.zeros(len(wins)))[0]
    rng = np.random.default_rng(seed)
    total, samples = max(1, round(number.sum())), np.zeros((bootstraps, len(wins)))
    at_once = max(1, _MOST_NUMBERS // len(wins) ** 2)
    for start in range(0, bootstraps, at_once):
        drawn = rng.multinomial(total, number / number.sum(), size=min(at_once, bootstraps - start))
        batch = np.zeros((len(drawn), *wins.shape))
        batch[:, i, j], batch[:, j, i] = drawn @ first, drawn @ second
        samples[start : start + at_once] = _fit(batch, component, alpha, strength)
    low, high = np.percentile(samples, [2.5, 97.5], axis=0)
    return BradleyTerry(strength, low, high, samples, component)


_Drawn = tuple[FloatArray, csr_array, csr_array]
"""What the bootstrap draws from: how many there are of each of N kinds, (N,), and the points that one of each kind gives to the
first and to the second value of each pair, (N, P)."""


def _outcomes(wins: FloatArray, ties: FloatArray, i: IntArray, j: IntArray) -> _Drawn:
    """Single outcomes: a win of the first, a win of the second, a tie, of each pair."""
    one, none = identity(len(i), format="csr"), csr_array((len(i), len(i)))
    number = np.concatenate([wins[i, j], wins[j, i], ties[i, j]])
    return number, vstack([one, none, one / 2], format="csr"), vstack([none, one, one / 2], format="csr")


def _scenarios(clusters: Clusters, points: FloatArray, i: IntArray, j: IntArray) -> _Drawn:
    """Scenarios, each with all its outcomes. Raises ValueError where they are not those that `points` counts."""
    own, others = clusters.wins_i + clusters.ties / 2, clusters.wins_j + clusters.ties / 2
    counted = np.zeros_like(points)
    np.add.at(counted, (clusters.i, clusters.j), clusters.number * own)
    np.add.at(counted, (clusters.j, clusters.i), clusters.number * others)
    if not np.array_equal(counted, points):
        raise ValueError("clusters must hold the outcomes that wins and ties count")
    size, in_order = len(points), clusters.i < clusters.j
    low, high = np.minimum(clusters.i, clusters.j), np.maximum(clusters.i, clusters.j)
    place = (np.arange(len(low)), np.searchsorted(i * size + j, low * size + high))
    shape = (len(low), len(i))
    return (
        clusters.number.astype(np.float64),
        csr_array((np.where(in_order, own, others), place), shape=shape),
        csr_array((np.where(in_order, others, own), place), shape=shape),
    )


def _fit(points: FloatArray, component: IntArray, alpha: float, start: FloatArray) -> FloatArray:
    """(B, K) strengths for (B, K, K) points of the row against the column, each component as if it were alone."""
    strength = np.zeros(points.shape[:2])
    for label in range(int(component.max()) + 1):
        members = np.flatnonzero(component == label)
        if len(members) > 1:
            strength[:, members] = _fit_connected(points[:, members][:, :, members], alpha, start[members])
    return strength


def _fit_connected(points: FloatArray, alpha: float, start: FloatArray) -> FloatArray:
    """The same where all K have a common scale, by Newton's method, all B at once."""
    rounds, size, _ = points.shape
    total = points + points.transpose(0, 2, 1)
    if alpha == 0 and any(components(sample, strong=True).any() for sample in points):
        raise ValueError(
            "some values won, or lost, all that they met the others in"
            f"{' in a sample of the bootstrap' if rounds > 1 else ''}: strengths are infinite unless alpha > 0"
        )
    theta = np.repeat(start[None], rounds, axis=0)
    diagonal = np.arange(size)
    for _ in range(_MOST_STEPS):
        chance = expit(theta[:, :, None] - theta[:, None, :])
        share = softmax(theta, axis=1)
        upset = chance.transpose(0, 2, 1)  # 1 - chance, exact where chance is near 1
        surplus = points * upset
        gradient = (surplus - surplus.transpose(0, 2, 1)).sum(axis=2) + alpha * size * (1 - size * share)
        curvature = -total * chance * upset - alpha * size**2 * share[:, :, None] * share[:, None, :]
        curvature[:, diagonal, diagonal] = 0.0
        curvature[:, diagonal, diagonal] = -curvature.sum(axis=2)
        # Only differences are determined: the last strength stays, then all are centred.
        step = np.linalg.solve(curvature[:, :-1, :-1], gradient[:, :-1, None])[:, :, 0]
        length = np.abs(step).max(axis=1, keepdims=True)
        theta[:, :-1] += step * (_LONGEST_STEP / np.maximum(length, _LONGEST_STEP))
        if float(length.max()) < _STEP_TOLERANCE:
            centred: FloatArray = theta - theta.mean(axis=1, keepdims=True)
            return centred
    raise ArithmeticError(f"Bradley-Terry strengths did not settle in {_MOST_STEPS} steps; a greater alpha may help")
