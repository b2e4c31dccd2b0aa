"""What a run holds as tidy tables: their names and columns, once for files, for data frames and for the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from conflictscope.outcome import Group, Verdict
from conflictscope.rating import Ranking


class Kind(StrEnum):
    """What a column holds; every column may hold nulls. A `moment` is ISO 8601, UTC, in milliseconds."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"
    MOMENT = "moment"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. says: what it means, for the documentation."""

    name: str
    kind: Kind
    says: str


@dataclass(frozen=True)
class Table:
    """One table. says: what a row is. order: the columns that its rows are sorted by; none where they come as they are made."""

    name: str
    says: str
    columns: tuple[Column, ...]
    order: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(column.name for column in self.columns)


def _text(name: str, says: str) -> Column:
    return Column(name, Kind.TEXT, says)


def _integer(name: str, says: str) -> Column:
    return Column(name, Kind.INTEGER, says)


def _number(name: str, says: str) -> Column:
    return Column(name, Kind.NUMBER, says)


def _flag(name: str, says: str) -> Column:
    return Column(name, Kind.FLAG, says)


_GROUP = (
    _text("target", "the model or agent under study, as the sweep file calls it"),
    _text("mode", "`open_ended`, `multiple_choice` or `action_rating`"),
    _text("steering", "the name of the steering; null for none"),
    _text("behavior", "the name of the behaviours that took part; null for none"),
)
_PLAYED = (
    _integer("seq", "1, 2, ...: the order of commit; `episode_seq` of other tables"),
    _text("key", "names the episode in every process and every resume"),
    *_GROUP,
    _text("scenario_id", "the scenario"),
    _integer("repeat", "1, 2, ...: which of the episodes that are alike"),
    _text("value_a", "the value that action a serves"),
    _text("value_b", "the value that action b serves"),
)
_JUDGED = (
    _integer("strength", "1 (barely) to 7 (wholly): how clearly the target took the action; null where nobody said"),
    _text("shown_first", "`a` or `b`: which action stood first on the page of whoever was shown both"),
    _text("judge", "the judge model, `panel:a+b+c`, or `parser`"),
)
_VERDICT = _text(
    "verdict",
    "`a`, `b`, `tie`, `neither`, `unresolved`, `refused`, `target_failed`, `judge_failed` or `user_failed`",
)
_EPISODE = _integer("episode_seq", "`seq` of the episode")
_CREATED = Column("created_at", Kind.MOMENT, "when it was committed, UTC")
_METHOD = _text("method", "`trueskill`, `posterior` or `bradley_terry`")

EPISODES = Table(
    "episodes",
    "an episode that has ended, in whatever state",
    (
        *_PLAYED,
        _VERDICT,
        *_JUDGED,
        _text("failure", "kind and message, where the machinery failed"),
        _integer("seed", "what its random draws derive from"),
        _text("policy", "`uniform` or `thompson`: how it was chosen; null where it was imported"),
        _text("reason", "why the policy chose it, in one word"),
        _integer("turns", "replies of the target"),
        _number("duration_s", "seconds from its start to its end"),
        _integer("calls", "requests made for it, in all states; null where it was imported"),
        _integer("input_tokens", "of these requests"),
        _integer("output_tokens", "of these requests"),
        _number("cost_usd", "of these requests, in dollars; null where the price of one is not known"),
        _CREATED,
    ),
    ("seq",),
)
OUTCOMES = Table(
    "outcomes",
    "an episode that is evidence: its verdict is `a`, `b` or `tie`",
    (
        *_PLAYED,
        _text("verdict", "`a`, `b` or `tie`"),
        _text("winner", "the value that was served; null for a tie"),
        _text("loser", "the other one; null for a tie"),
        *_JUDGED,
        _CREATED,
    ),
    ("seq",),
)
MESSAGES = Table(
    "messages",
    "one message of a conversation",
    (
        _EPISODE,
        _integer("place", "1, 2, ...: its place in the conversation"),
        _text("role", "`user` or `target`; in imported conversations also `system` and `tool`"),
        _text("text", "what was said"),
        _text("tools", "JSON list of [id, name, arguments]: the tools called, or the call answered; null for none"),
    ),
)
JUDGEMENTS = Table(
    "judgements",
    "one look of one judge at one conversation",
    (
        _EPISODE,
        _text("judge", "the model, or the name of a judge of `rejudge`"),
        _integer("number", "0, 1, ...: the order of the looks at the episode"),
        _integer("repeat", "1, 2, ...: which of the looks that are alike"),
        _text("shown_first", "`a` or `b`: which action the judge was shown first"),
        _text("choice", "the verdict it named; `judge_failed` where it named none"),
        _flag("resolved", "whether it found the conversation settled"),
        _integer("strength", "1 to 7, as in `episodes`"),
        _text("reasoning", "why, in its words"),
        _text("quotes", "JSON list of the target's words that decide it"),
        _text("failure", "kind and message, where `choice` is `judge_failed`"),
        _flag(
            "anew", "whether it belongs to `rejudge`: the verdict that it led to is in `verdicts`, not in `episodes`"
        ),
    ),
)
CALLS = Table(
    "calls",
    "one request to a model, a row for each attempt; the request and the reply are in the run file only",
    (
        _integer("seq", "1, 2, ...: the order in which they were sent"),
        _text("scope", "what it was made for: the key of an episode, `opening/...`, `preflight/...`, `rejudge/...`"),
        _integer("episode_seq", "`seq` of the episode, where it was made for one that has ended"),
        _text("role", "`user`, `target`, `judge`, ..."),
        _text("target", "the target that it was made for; null for what all targets share"),
        _text("model", "as the sweep file names it"),
        _text("prompt", "the version of the prompt"),
        _text("state", "`sent`, `committed`, `failed` or `abandoned`"),
        _text("failure", "kind and message of a failed one"),
        _integer("input_tokens", "of the request"),
        _integer("output_tokens", "of the reply"),
        _number("cost_usd", "in dollars; null where the price is not known"),
        _number("at_risk_usd", "what it may cost, or may have cost, though its end was not seen"),
        _number("latency_s", "seconds until the reply, or until it failed"),
        _text("batch", "the provider's batch in which it went out; null for none"),
        Column("created_at", Kind.MOMENT, "when it was sent, UTC"),
    ),
    ("seq",),
)
SCENARIOS = Table(
    "scenarios",
    "a scenario of the run",
    (
        _text("scenario_id", "its id in the library"),
        _text("value_a", "the value that action a serves"),
        _text("value_b", "the value that action b serves"),
        _text("template", "`coc`, `coc_mild`, `cc` or `cc_mild`; null where it is not known"),
        _text("description", "the situation"),
        _text("action_a", "what serves value a"),
        _text("action_b", "what serves value b"),
        _text("consequences_a", "what follows from action a"),
        _text("consequences_b", "what follows from action b"),
        _text("persona", "who the simulated user is"),
        _text("background", "where this user comes from"),
        _text("goal", "what this user wants"),
        _text("opening", "the first message of every conversation about it; null where none was needed yet"),
        _text("origin", "the kind of its origin"),
        _text("source", "where it came from"),
        _text("situation", "scenarios with one text share this"),
    ),
    ("scenario_id",),
)
VALUES = Table(
    "values",
    "a value of the run",
    (
        _text("value", "its name"),
        _text("definition", "what it means; null where the run was imported"),
        _text("value_group", "its group in the value set; null for none"),
    ),
)
RANKINGS = Table(
    "rankings",
    "a value in the ranking of one group by one method, best first",
    (
        _METHOD,
        *_GROUP,
        _text("value", "the value"),
        _integer("rank", "1 is the best, within its component; null where it was never compared"),
        _number("mu", "its mean, in the units of the method"),
        _number("sigma", "the standard deviation of that"),
        _number("low", "lower end of the central 95 % interval"),
        _number("high", "upper end of the central 95 % interval"),
        _integer("component", "values of different components were never compared, and have no common scale"),
        _integer("tie_group", "neighbours that are practically equal share a number; null for the others"),
        _integer("best_rank", "the rank it could have had, had all episodes that are left out gone for it"),
        _integer("worst_rank", "and against it"),
        _integer("outcomes", "rated outcomes of the group"),
        _flag("converged", "whether the order of the group is settled"),
        _text("unresolved", "why this is no ranking to speak of; null where it is one"),
    ),
)
_EXCLUDED = tuple(verdict for verdict in Verdict if not verdict.rated)
PAIRS = Table(
    "pairs",
    "two values in one group by one method",
    (
        _METHOD,
        *_GROUP,
        _text("value_a", "the first of the two in the alphabet, whichever action serves it"),
        _text("value_b", "the second"),
        _integer("wins_a", "outcomes for value a"),
        _integer("wins_b", "outcomes for value b"),
        _integer("ties", "ties"),
        *(_integer(verdict.value, f"episodes left out as `{verdict.value}`") for verdict in _EXCLUDED),
        _number("p_a_over_b", "the probability that value a ranks above value b; null without a common scale"),
    ),
)
VERDICTS = Table(
    "verdicts",
    "the verdict of a judge of `rejudge` on one episode",
    (
        _EPISODE,
        _text("judge", "the name under which its verdicts are kept"),
        _VERDICT,
        _integer("strength", "1 to 7, as in `episodes`"),
        _text("failure", "kind and message, where the machinery failed"),
        _CREATED,
    ),
    ("judge", "episode_seq"),
)
LABELS = Table(
    "labels",
    "what a person said of one episode",
    (
        _EPISODE,
        _text("annotator", "who"),
        _VERDICT,
        _text("shown_first", "`a` or `b`: which action this person was shown first"),
        _text("comment", "in their words"),
        Column("created_at", Kind.MOMENT, "when it was read in, UTC"),
    ),
    ("episode_seq", "annotator"),
)

STORED = (EPISODES, OUTCOMES, MESSAGES, JUDGEMENTS, CALLS, SCENARIOS, VALUES, VERDICTS, LABELS)
"""Those that are rows of the run file."""

TABLES = (*STORED, RANKINGS, PAIRS)
"""All of them; rankings and pairs are made from the outcomes."""


def whole(text: str) -> str:
    """A text that UTF-8 can hold: half a surrogate pair, which a model may write, becomes a backslash, `u` and its number."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def ranking_rows(rankings: Iterable[Ranking]) -> Iterator[tuple[Any, ...]]:
    """The rows of RANKINGS."""
    for ranking in rankings:
        ranks = ranking.ranks
        tied = {value: number for number, group in enumerate(ranking.tie_groups, start=1) for value in group}
        whole = (ranking.outcomes, ranking.converged, ranking.unresolved)
        for value, rating in ranking.ratings.items():
            rank = ranks[value]
            best, worst = (None, None) if rank is None else ranking.bounds.get(value, (rank, rank))
            yield (
                *_names(ranking),
                value,
                rank,
                *(float(figure) for figure in (rating.mu, rating.sigma, rating.low, rating.high)),
                int(ranking.component[value]),
                tied.get(value),
                best,
                worst,
                *whole,
            )


def pair_rows(rankings: Iterable[Ranking]) -> Iterator[tuple[Any, ...]]:
    """The rows of PAIRS."""
    for ranking in rankings:
        for pair in ranking.pairs:
            yield (
                *_names(ranking),
                pair.value_a,
                pair.value_b,
                pair.wins_a,
                pair.wins_b,
                pair.ties,
                *(pair.excluded.get(verdict, 0) for verdict in _EXCLUDED),
                ranking.above(pair.value_a, pair.value_b),
            )


def _names(ranking: Ranking) -> tuple[str | None, ...]:
    group: Group = ranking.group
    return (ranking.method.value, *group.to_json().values())
