"""How far a ranking moves when the scenarios, the repeats or the judges that it rests on are drawn anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from conflictscope.audit import FEWEST_FOR_SHARE, Figure, Stability
from conflictscope.outcome import Group, JudgedEpisode, Verdict
from conflictscope.ranking.comparing import kendall, order_signs
from conflictscope.ranking.components import components
from conflictscope.ranking.looks import opinion
from conflictscope.ranking.posterior import fit_posterior
from conflictscope.ranking.probit import fit_map_batched
from conflictscope.ranking.tally import Tally
from conflictscope.rating import FloatArray

_ROUNDS = 200
_MOST_NUMBERS = 4_000_000  # of a batch of count matrices
# What a judge says of the first value of a pair, as a column; any other verdict is none of them.
_WON, _LOST, _TIED, _NONE = range(4)
_COLUMNS = {Verdict.A: _WON, Verdict.B: _LOST, Verdict.TIE: _TIED}
_TURNED = {_WON: _LOST, _LOST: _WON}


def stability(
    group: Group, tally: Tally, episodes: Iterable[JudgedEpisode], *, rounds: int = _ROUNDS, seed: int = 0
) -> Iterator[Stability]:
    """What becomes of a group's ranking in `rounds` draws, with replacement: of scenarios; of the repeats of each scenario;
    and of judges, whose majority (more than half of those drawn) is the verdict then.

    tally: of the same episodes. Utilities are the most probable ones of the probit model, not corrected for the judge's
    error. Only what there are two of is drawn, and only of FEWEST_FOR_SHARE scenarios or more.
    """
    clusters = tally.clusters()
    scenarios = int(clusters.number.sum())
    if scenarios < FEWEST_FOR_SHARE or not tally.wins().any():
        return
    rng = np.random.default_rng(seed)
    wins, ties = tally.wins(), tally.ties()
    size, margin = len(wins), fit_posterior(wins, ties).margin
    i, j = clusters.i, clusters.j
    of_one = np.stack([clusters.wins_i, clusters.wins_j, clusters.ties], axis=1).astype(np.float64)  # (C, 3)
    component = components(wins + wins.T + ties)
    same = component[:, None] == component[None, :]

    def counted(kinds: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(B, K, K) wins and ties from (B, C, 3) outcomes of each kind of scenario."""
        won, tied = np.zeros((len(kinds), size * size)), np.zeros((len(kinds), size * size))
        for row in range(len(kinds)):
            for target, at, column in (
                (won, i * size + j, _WON),
                (won, j * size + i, _LOST),
                (tied, i * size + j, _TIED),
            ):
                target[row] += np.bincount(at, kinds[row, :, column], minlength=size * size)
        shape = (len(kinds), size, size)
        return won.reshape(shape), tied.reshape(shape) + np.swapaxes(tied.reshape(shape), 1, 2)

    def compared(drawn: str, items: int, won: FloatArray, tied: FloatArray) -> Stability:
        at_once = max(1, _MOST_NUMBERS // size**2)
        batches = (slice(start, start + at_once) for start in range(0, len(won), at_once))
        mu = np.concatenate([fit_map_batched(won[some], tied[some], margin)[0] for some in batches])
        as_it_is = fit_map_batched(wins[None], ties[None], margin)[0]
        both = np.stack([np.broadcast_to(as_it_is, mu.shape), mu], axis=1)
        signs = order_signs(both, same)
        tau = kendall(signs)
        low, high = np.percentile(tau, [2.5, 97.5])
        unlike = np.abs(signs[:, 0] - signs[:, 1])
        top = int(np.argmax(np.where(component == 0, as_it_is[0], -np.inf)))
        return Stability(
            group,
            drawn,
            Figure(float(tau.mean()), float(low), float(high), items),
            same_order=float(np.mean(~unlike.any(axis=(1, 2)))),
            same_top=float(np.mean(~(signs[:, 1, top] < 0).any(axis=1))),
        )

    often = rng.multinomial(scenarios, clusters.number / scenarios, size=rounds)
    yield compared("scenarios", scenarios, *counted(often[:, :, None] * of_one))
    if tally.repeated:
        # Repeats of all scenarios that came out alike are drawn in one go: a sum of multinomials with equal chances is one.
        repeats = of_one.sum(axis=1)
        each = rng.multinomial(
            (clusters.number * repeats).astype(np.int64), of_one / repeats[:, None], size=(rounds, len(of_one))
        )
        yield compared("repeats", int(clusters.number @ repeats), *counted(each.astype(np.float64)))
    said = _opinions(tally, episodes)
    if said is not None:
        opinions, of_pair = said
        judges = opinions.shape[1]
        draws, number = np.unique(
            rng.multinomial(judges, np.full(judges, 1 / judges), size=rounds), axis=0, return_counts=True
        )
        won, tied = np.zeros((len(draws), size, size)), np.zeros((len(draws), size, size))
        for row, votes in enumerate(draws):
            share = np.stack([(opinions == column) @ votes for column in (_WON, _LOST, _TIED)])  # (3, N)
            for column, matrix in ((_WON, won), (_LOST, won), (_TIED, tied)):
                at = of_pair[share[column] * 2 > judges]
                at = at[:, ::-1] if column == _LOST else at
                np.add.at(matrix[row], (at[:, 0], at[:, 1]), 1)
        tied += np.swapaxes(tied, 1, 2)
        yield compared("judges", judges, np.repeat(won, number, axis=0), np.repeat(tied, number, axis=0))


def _opinions(tally: Tally, episodes: Iterable[JudgedEpisode]) -> tuple[np.ndarray, np.ndarray] | None:
    """(N, J) what each judge says of the first value of the pair, by its column, and (N, 2) the two values; None of one judge."""
    said = [(episode.outcome, episode.deciding) for episode in episodes if episode.looks]
    judges = {judge: place for place, judge in enumerate(sorted({judge for _, turn in said for judge in turn}))}
    if len(judges) < 2:
        return None
    opinions = np.full((len(said), len(judges)), _NONE)
    for row, (outcome, turn) in enumerate(said):
        for judge, looks in turn.items():
            column = _COLUMNS.get(opinion(looks), _NONE)
            opinions[row, judges[judge]] = column if outcome.pair[0] == outcome.value_a else _TURNED.get(column, column)
    i, j = tally.indices([outcome.pair for outcome, _ in said])
    return opinions, np.stack([i, j], axis=1)
