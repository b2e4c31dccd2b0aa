"""The ranking of each group, by the method asked for, with everything that says how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy.special import ndtr

from conflictscope.errors import InputError
from conflictscope.outcome import Group
from conflictscope.ports import OutcomeLog
from conflictscope.ranking.bradley_terry import fit_bradley_terry
from conflictscope.ranking.checks import fit_checks
from conflictscope.ranking.clustering import intraclass_of
from conflictscope.ranking.fold import GroupFold, in_order
from conflictscope.ranking.judge_error import JudgeError, Uncorrected, fit_corrected
from conflictscope.ranking.posterior import Posterior, fit_cells
from conflictscope.ranking.probit import fit_map_batched
from conflictscope.ranking.stopping import convergence
from conflictscope.ranking.strength import strength_test
from conflictscope.ranking.tally import Tally
from conflictscope.rating import DEFAULT_RULE, SURE, Check, Method, Ranking, Rating, StopRule, resolved_share

_MOST_NUMBERS = 4_000_000  # of a batch of covariance matrices


async def rank_log(
    log: OutcomeLog,
    method: Method = Method.POSTERIOR,
    rule: StopRule = DEFAULT_RULE,
    errors: Mapping[Group, JudgeError | Uncorrected] | None = None,
) -> list[Ranking]:
    """The ranking of each group: equal outcomes give equal rankings, in whatever order they came.

    errors: how often the verdicts of each group are wrong, for the posterior to take into account, or why that is not known. The
    live TrueSkill rating is folded in the canonical order here; the other methods know counts only.
    """
    return [rank_group(fold, method, rule, (errors or {}).get(fold.group)) for fold in await folded(log, rule)]


async def folded(log: OutcomeLog, rule: StopRule = DEFAULT_RULE) -> list[GroupFold]:
    """Each group with all its outcomes, in the canonical order: what every method ranks by."""
    values, pairs, ties = await log.values(), await log.pairs(), await log.tie_shares()
    folds: dict[Group, GroupFold] = {}
    async for outcome in log.canonical_outcomes():
        fold = folds.get(outcome.group)
        if fold is None:
            fold = GroupFold(outcome.group, values, pairs, rule, ties.get(outcome.group, 0.0))
            folds[outcome.group] = fold
        fold.add(outcome)
    return list(folds.values())


def rank_group(
    fold: GroupFold,
    method: Method = Method.POSTERIOR,
    rule: StopRule = DEFAULT_RULE,
    error: JudgeError | Uncorrected | None = None,
) -> Ranking:
    """The ranking of one group, with its fit checks. Whether it is settled is told by the joint posterior, for all methods.

    error: as in rank_log. A ranking that is corrected holds the one that is not as `uncorrected`.
    """
    group, tally = fold.group, fold.tally
    if len(tally.values) < 2:
        raise InputError(f"{group}: a ranking needs at least 2 values, got {len(tally.values)}")
    intraclass = intraclass_of(tally)
    cells = tally.cells(intraclass)
    strength = strength_test(tally, intraclass)
    posterior = fit_cells(cells, len(tally.values), graded=strength.graded)
    checks = fit_checks(tally, cells, posterior)
    match method:
        case Method.TRUESKILL:
            return replace(fold.ranking(), checks=checks, resolved_share=_resolved_share(posterior))
        case Method.POSTERIOR:
            effect = _effect_words(intraclass)
            tied = f"; ties within {posterior.margin:.2f}" if posterior.margin else ""
            ranking = posterior_ranking(group, tally, posterior, rule)
            ranking = replace(ranking, checks=checks, model=f"probit, {strength.says}{tied}{effect}")
            match error:
                case JudgeError():
                    corrected = posterior_ranking(group, tally, fit_corrected(cells, len(tally.values), error), rule)
                    says = f"corrected, as the judge {error.says}"
                    return replace(
                        corrected,
                        checks=checks,
                        model=f"probit, three levels (win, tie, loss) seen through the judge's error{effect}",
                        judge_error=Check("judge_error", None, says, error.figures),
                        uncorrected=ranking,
                    )
                case Uncorrected(reason):
                    return replace(ranking, judge_error=Check("judge_error", None, f"not corrected: {reason}"))
            return ranking
        case Method.BRADLEY_TERRY:
            return replace(bradley_terry_ranking(group, tally, posterior, rule), checks=checks)


def live_posterior(fold: GroupFold) -> Ranking:
    """The joint posterior of a group as it is while its run goes on: of wins, ties and losses.

    What takes a second is left to `rank`: whether strengths are worth listening to, the fit checks, the judge's error. Where no
    strengths count, the two agree in all else.
    """
    return replace(
        posterior_ranking(fold.group, fold.tally, fold.posterior, fold.rule),
        model="probit, three levels (win, tie, loss), as the outcomes come in",
    )


def best_posterior(tally: Tally, error: JudgeError | Uncorrected | None = None) -> Posterior:
    """The joint posterior of a group that `rank` shows, corrected for the judge's error where that is known."""
    intraclass = intraclass_of(tally)
    cells = tally.cells(intraclass)
    if isinstance(error, JudgeError):
        return fit_corrected(cells, len(tally.values), error)
    return fit_cells(cells, len(tally.values), graded=strength_test(tally, intraclass).graded)


def _effect_words(intraclass: float) -> str:
    if intraclass == 1:
        return "; each scenario counts once, however often it was repeated"
    return f"; repeats of a scenario are alike (intraclass correlation {intraclass:.2f})" if intraclass else ""


def posterior_ranking(group: Group, tally: Tally, posterior: Posterior, rule: StopRule) -> Ranking:
    """A joint posterior as a ranking. Utilities are centred within each component."""
    mu, cov = posterior.centred()
    alone = np.bincount(posterior.component)[posterior.component] == 1
    # Of a value that was never compared we believe what we believed before; less its own mean it would be surely 0.
    sigma = np.sqrt(np.where(alone, np.diag(posterior.cov), np.diag(cov)))
    order = in_order(tally.values, mu, posterior.component)
    return Ranking(
        group=group,
        method=Method.POSTERIOR,
        ratings={tally.values[k]: Rating(float(mu[k]), float(sigma[k])) for k in order},
        component={tally.values[k]: int(posterior.component[k]) for k in order},
        p_above=posterior.p_above()[np.ix_(order, order)],
        pairs=tally.pairs(),
        convergence=convergence(posterior.mu, posterior.cov, tally.pairs(), rule, posterior.component),
        resolved_share=_resolved_share(posterior),
        tie_groups=tie_groups(tally, posterior, rule.delta),
        bounds=rank_bounds(tally, posterior),
    )


def bradley_terry_ranking(group: Group, tally: Tally, posterior: Posterior, rule: StopRule) -> Ranking:
    """The Bradley-Terry fit of the paper as a ranking, in log-odds, with a bootstrap by scenario.

    Where nothing was won or lost it cannot be made; then the posterior is shown, and says so.
    """
    if not tally.wins().any():
        shown = posterior_ranking(group, tally, posterior, rule)
        return replace(shown, model="no Bradley-Terry fit without a decisive outcome; this is the joint posterior")
    fit = fit_bradley_terry(tally.wins(), tally.ties(), clusters=tally.clusters())
    order = in_order(tally.values, fit.strength, fit.component)
    return Ranking(
        group=group,
        method=Method.BRADLEY_TERRY,
        ratings={
            tally.values[k]: Rating(
                float(fit.strength[k]), float(fit.samples[:, k].std(ddof=1)), (float(fit.low[k]), float(fit.high[k]))
            )
            for k in order
        },
        component={tally.values[k]: int(fit.component[k]) for k in order},
        p_above=fit.p_above()[np.ix_(order, order)],
        pairs=tally.pairs(),
        convergence=convergence(posterior.mu, posterior.cov, tally.pairs(), rule, posterior.component),
        resolved_share=_resolved_share(posterior),
        model="Bradley-Terry, logistic, alpha 0.01, 1,000 bootstraps by scenario; a tie is half a win for each side",
    )


def _resolved_share(posterior: Posterior) -> float:
    return resolved_share(posterior.p_above(), posterior.component)


def tie_groups(tally: Tally, posterior: Posterior, delta: float) -> tuple[tuple[str, ...], ...]:
    """Runs of neighbours that are practically equal: P(|difference| < delta) is at least 95 %. Best first."""
    order = in_order(tally.values, posterior.mu, posterior.component)
    groups: list[list[str]] = []
    joined = False
    for above, below in pairwise(order):
        gap = float(posterior.mu[above] - posterior.mu[below])
        spread = math.sqrt(posterior.cov[above, above] + posterior.cov[below, below] - 2 * posterior.cov[above, below])
        equal = float(ndtr((delta - gap) / spread) - ndtr((-delta - gap) / spread)) >= SURE
        equal = equal and bool(posterior.component[above] == posterior.component[below])
        if equal:
            if not joined:
                groups.append([tally.values[above]])
            groups[-1].append(tally.values[below])
        joined = equal
    return tuple(map(tuple, groups))


def rank_bounds(tally: Tally, posterior: Posterior) -> dict[str, tuple[int, int]]:
    """By value, its best and worst rank had all its episodes that are left out gone for it, or all against it.

    Empty where nothing is left out. Ranks are those within the component.
    """
    missing = np.zeros((len(tally.values), len(tally.values)))
    pairs = tally.pairs()
    i, j = tally.indices([(pair.value_a, pair.value_b) for pair in pairs])
    missing[i, j] = missing[j, i] = [pair.left_out for pair in pairs]
    affected = np.flatnonzero(missing.any(axis=1))
    wins, ties, size = tally.wins(), tally.ties(), len(tally.values)
    ranks: dict[int, list[int]] = {int(k): [] for k in affected}
    cases = [(int(k), favoured) for k in affected for favoured in (True, False)]
    at_once = max(1, _MOST_NUMBERS // size**2)
    for start in range(0, len(cases), at_once):
        some = cases[start : start + at_once]
        batch = np.repeat(wins[None], len(some), axis=0)
        for row, (k, favoured) in enumerate(some):
            if favoured:
                batch[row, k] += missing[k]
            else:
                batch[row, :, k] += missing[k]
        mu, _ = fit_map_batched(batch, np.repeat(ties[None], len(some), axis=0), posterior.margin)
        for row, (k, _) in enumerate(some):
            rivals = posterior.component == posterior.component[k]
            ranks[k].append(1 + int(np.sum(mu[row][rivals] > mu[row, k])))
            # The ranking may weigh repeats and strengths, which these fits do not: its own rank is one that is possible.
            ranks[k].append(1 + int(np.sum(posterior.mu[rivals] > posterior.mu[k])))
    return {tally.values[k]: (min(both), max(both)) for k, both in ranks.items()}
