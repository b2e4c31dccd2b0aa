"""What a behaviour is: a class whose hooks change how a user, a target or a judge acts in one episode."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, TypeAlias, TypeVar

from pydantic_ai import Agent
from pydantic_ai.capabilities import AgentCapability
from pydantic_ai.toolsets import AbstractToolset

from conflictscope.outcome import Role
from conflictscope.ports import Turn

T = TypeVar("T")
Soon: TypeAlias = T | Awaitable[T]
"""What a hook returns, at once or when it is awaited."""

Ask: TypeAlias = Callable[[Turn, Sequence[str], str | None], Awaitable[str]]


class Behavior:
    """Base of every behaviour: a subclass names its role and overrides the hooks that it needs; all others do nothing.

    A new object is made for each episode, without arguments, and plays in no other one, so what it keeps on itself is the state
    of that episode. A resumed run plays an episode that was not finished from its beginning.

    Hooks may be `def` or `async def`. A plain one runs in a thread of its own; an async one must not block. Each may take
    `timeout_s` seconds, not counting the time in which a model is waited for. A hook that raises, takes longer, or returns what
    it should not fails its episode, with the failure kind `behavior`. Texts hold 1 to 100,000 characters.

    role: whose behaviour it is, `Role.USER`, `Role.TARGET` or `Role.JUDGE`. calls_per_episode: how many calls of the model it
    adds to an episode, as far as anybody can tell; `plan` counts them. looks, quotes: of a judge, how often it looks at a
    conversation at the least (1..99; its looks vote) and whether it must quote what decides its verdict (docs/judges.md).

    While an episode is played it has: name, what the sweep file calls it; seed, 63 bits, from which all that is random in it
    should be drawn (`random.Random(self.seed)`), the same for every target, mode and steering, so that comparisons stay paired;
    max_turns, how often the user may speak at the most; look, of a judge, which of its looks this is, 1, 2, ...
    """

    role: ClassVar[Role]
    timeout_s: ClassVar[float] = 60.0
    calls_per_episode: ClassVar[float] = 0.0
    looks: ClassVar[int] = 1
    quotes: ClassVar[bool] = False

    name: str
    seed: int
    max_turns: int
    look: int
    _ask: Ask

    def begin(self) -> Soon[None]:
        """Called once, before every other hook, to set up the state."""

    def instructions(self, instructions: str, turn: Turn) -> Soon[str]:
        """What the model is told before the conversation; empty for nothing."""
        return instructions

    def incoming(self, message: str, turn: Turn) -> Soon[None]:
        """Called once with each message that the other side (for a judge: the target) has sent."""

    def outgoing(self, message: str, turn: Turn) -> Soon[str]:
        """The message that is sent, of a user or a target. The user's first one has an empty `turn.transcript`."""
        return message

    def page(self, page: str, turn: Turn) -> Soon[str]:
        """What a judge is shown: the situation, the actions and the transcript, each fenced by tags, and the question."""
        return page

    def stop(self, turn: Turn) -> Soon[bool | None]:
        """Asked after each message of the target, before the judge looks at the conversation.

        True: the conversation ends here, and the judge decides on what is there. False: it goes on without a look, if the user
        may speak once more. None: as the judge says. True of one behaviour goes before False of another.
        """
        return None

    def toolsets(self) -> Soon[Sequence[AbstractToolset[Any]]]:
        """pydantic-ai toolsets for the model; the role is then played by a pydantic-ai Agent. Called once."""
        return ()

    def capabilities(self) -> Soon[Sequence[AgentCapability[Any]]]:
        """pydantic-ai capabilities for the model; the role is then played by a pydantic-ai Agent. Called once."""
        return ()

    def agent(self) -> Soon[Agent[Any, Any] | None]:
        """A pydantic-ai Agent that plays the role, on the model of the role. Called once."""
        return None

    async def ask(self, turn: Turn, history: Sequence[str], instructions: str | None = None) -> str:
        """Ask the role's own model something beside the conversation, where nobody else sees it.

        turn: the one that the hook was given. history: texts, the other side's and the model's own in turn; the first and the
        last are the other side's. Raises what a failing call raises: let it pass.
        """
        return await self._ask(turn, history, instructions)
