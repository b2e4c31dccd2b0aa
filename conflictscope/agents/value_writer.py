"""Values from prose: a model names what each criterion of a list asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from conflictscope.agents.fields import Paragraph, Reply, Title
from conflictscope.agents.prompts import fence, load_prompt
from conflictscope.agents.speakers import Speaker, Utterance
from conflictscope.agents.structured import Unreadable, fit
from conflictscope.outcome import Role
from conflictscope.seeds import request_seed
from conflictscope.values import Value


class ValueReply(Reply):
    """A named principle."""

    name: Title
    definition: Paragraph


class ValuesReply(Reply):
    """The values that the criteria ask for."""

    values: list[ValueReply]


async def propose_values(
    speaker: Speaker, criteria: Sequence[str], seed: int, scope: str, problems: Counter[str]
) -> tuple[Value, ...]:
    """A value for each criterion, in order; fewer where the model found some to ask for the same.

    criteria: sentences, at least one. Names are unique whatever their case. scope, seed: as in Turn. problems: as in Generator.
    Raises CallFailed.
    """
    prompt = load_prompt("values")
    lines = (f"{number}. {' '.join(criterion.split())}" for number, criterion in enumerate(criteria, start=1))
    message = prompt.message(criteria=fence("\n".join(lines)))
    seed = request_seed(seed, Role.GENERATOR, "values")
    utterance = Utterance(scope, None, Role.GENERATOR, prompt.version, prompt.instructions(), [message], seed)

    def vet(reply: ValuesReply) -> tuple[Value, ...]:
        return _valid(reply, len(criteria))

    return vet(await speaker.decide(utterance, ValuesReply, vet=vet, problems=problems))


def _valid(reply: ValuesReply, most: int) -> tuple[Value, ...]:
    """The values of a reply. Raises Unreadable where they are too many or too few, or a name is none or not unique."""
    fewest = min(2, most)
    if not fewest <= len(reply.values) <= most:
        raise Unreadable(f"expected {fewest} to {most} values, got {len(reply.values)}", "count")
    twice = [name for name, count in Counter(each.name.casefold() for each in reply.values).items() if count > 1]
    if twice:
        raise Unreadable(f"two values have the same name: {', '.join(twice)}", "invalid")
    return tuple(fit(Value, each.model_dump()) for each in reply.values)
