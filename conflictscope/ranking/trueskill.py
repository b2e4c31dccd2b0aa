"""Online ratings: TrueSkill for two players, one outcome at a time.

A two-player TrueSkill update has a closed form (Herbrich, Minka, Graepel 2006, eqs. 6 to 13 of the tech report
MSR-TR-2006-80), far cheaper than passing messages through the factor graph of the `trueskill` package. The package stays
the authority: its distribution functions and draw margins are used here, and the tests hold every update against its
`rate_1vs1`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import trueskill

from conflictscope.outcome import Verdict
from conflictscope.rating import STANDARD_NORMAL, Rating

# A noise of 1/sqrt(2) per side makes the noise of a difference 1, so that ratings are in probit units.
BETA = 1 / math.sqrt(2)
# Below this, pdf/cdf comes from its asymptotic series (error 105/x^8 < 1e-8); further out the package raises
# FloatingPointError, for its cdf underflows.
_TAIL = -20.0
_cdf, _pdf, _ = trueskill.backends.choose_backend(None)
_A, _B, _TIE = Verdict.A, Verdict.B, Verdict.TIE  # looked up once: an enumeration takes its time


class TrueSkillRanker:
    """Ratings of any number of values, updated by one pairwise outcome at a time.

    The defaults suit values, which do not drift (`tau` 0): mean 0, `sigma` = `beta` = 1/sqrt(2). The final ratings depend
    on the order of the outcomes, so a reported ranking feeds them in a canonical order (`conflictscope.ranking`).

    mu, sigma: prior mean and standard deviation (sigma > 0). beta: noise of one side (> 0). tau: standard deviation added
    to both sides before each update (>= 0). draw_probability: of two equal values, in [0, 1); None: the share of ties
    observed so far, which is what the live view uses. Raises ValueError for a number out of range.
    """

    def __init__(
        self,
        mu: float = 0.0,
        sigma: float = BETA,
        beta: float = BETA,
        tau: float = 0.0,
        draw_probability: float | None = None,
    ) -> None:
        for name, number, least in (("sigma", sigma, "> 0"), ("beta", beta, "> 0"), ("tau", tau, ">= 0")):
            if not math.isfinite(number) or number < 0 or (number == 0 and least == "> 0"):
                raise ValueError(f"{name} must be finite and {least}, got {number}")
        if draw_probability is not None and not 0 <= draw_probability < 1:
            raise ValueError(f"draw_probability must be in [0, 1), got {draw_probability}")
        self.prior = Rating(mu, sigma)
        self.beta = beta
        self.tau = tau
        self.draw_probability = draw_probability
        self._margin = None if draw_probability is None else self._margin_of(draw_probability)
        self._believed: dict[str, tuple[float, float]] = {}  # value -> mean, variance
        self._updates = 0
        self._ties = 0

    def add(self, values: Iterable[str]) -> None:
        """Rate `values` at the prior until they are compared; those already rated stay as they are."""
        for value in values:
            self._believed.setdefault(value, (self.prior.mu, self.prior.sigma**2))

    def update(self, value_a: str, value_b: str, verdict: Verdict | str) -> None:
        """Learn one outcome: `a`: the first value won, `b`: the second, `tie`: neither.

        Raises ValueError for any other verdict, for a value compared with itself, and for a tie where
        `draw_probability` is 0, for that would be an impossible event.
        """
        verdict = verdict if isinstance(verdict, Verdict) else Verdict(verdict)
        if verdict is not _A and verdict is not _B and verdict is not _TIE:
            raise ValueError(f"only a, b and tie can be rated, got {verdict.value!r}")
        if value_a == value_b:
            raise ValueError(f"a value cannot be compared with itself: {value_a!r}")
        tied = verdict is _TIE
        if tied and self.draw_probability == 0:
            raise ValueError("a tie needs draw_probability > 0")
        self._updates += 1
        self._ties += tied
        margin = self._margin if self._margin is not None else self._margin_of(self._ties / (self._updates + 1))
        winner, loser = (value_b, value_a) if verdict is _B else (value_a, value_b)
        prior = (self.prior.mu, self.prior.sigma**2)
        mean_w, var_w = self._believed.get(winner, prior)
        mean_l, var_l = self._believed.get(loser, prior)
        var_w += self.tau**2
        var_l += self.tau**2
        spread2 = 2 * self.beta**2 + var_w + var_l
        spread = math.sqrt(spread2)
        gap, margin = (mean_w - mean_l) / spread, margin / spread
        v, w = _tie_moments(gap, margin) if tied else _win_moments(gap - margin)
        self._believed[winner] = (mean_w + var_w / spread * v, var_w * (1 - var_w / spread2 * w))
        self._believed[loser] = (mean_l - var_l / spread * v, var_l * (1 - var_l / spread2 * w))

    def ratings(self) -> Mapping[str, Rating]:
        """What is believed now, by value, in the order in which values were first seen."""
        return {value: Rating(mean, math.sqrt(variance)) for value, (mean, variance) in self._believed.items()}

    def _margin_of(self, draw_probability: float) -> float:
        if draw_probability == 0:
            return 0.0
        # As trueskill.calc_draw_margin, which takes longer than all the rest of an update.
        return STANDARD_NORMAL.inv_cdf((draw_probability + 1) / 2) * math.sqrt(2) * self.beta


def _win_moments(x: float) -> tuple[float, float]:
    """v and w: how far a win moves the mean and shrinks the variance, at standardised margin-corrected gap `x`."""
    v = -x / (1 - 1 / x**2 + 3 / x**4 - 15 / x**6) if x < _TAIL else _pdf(x) / _cdf(x)
    return v, min(1.0, v * (v + x))


def _tie_moments(gap: float, margin: float) -> tuple[float, float]:
    """The same for a tie: the difference is known to lie within +-margin (margin > 0)."""
    distance = abs(gap)
    upper, lower = margin - distance, -margin - distance
    mass = _cdf(upper) - _cdf(lower)
    if upper < _TAIL or mass <= 0:
        # Far outside the margin a tie says what a narrow defeat of the stronger side says.
        v, w = _win_moments(upper)
        return (-v if gap > 0 else v), w
    density_upper, density_lower = _pdf(upper), _pdf(lower)
    v = (density_lower - density_upper) / mass
    w = v * v + (upper * density_upper - lower * density_lower) / mass
    return (v if gap >= 0 else -v), w
