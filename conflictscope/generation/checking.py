"""The six checks of a scenario by every checker, in a library in the making or on their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from conflictscope.errors import CallFailed
from conflictscope.generation.gate import Gate, all_of
from conflictscope.ports import Checker
from conflictscope.scenario import Check, CheckName, Scenario
from conflictscope.seeds import derive
from conflictscope.values import Value


class CheckPanel:
    """Every checker makes every check. values: by name. names: which checks."""

    def __init__(
        self,
        checkers: Sequence[Checker],
        names: Sequence[CheckName],
        *,
        seed: int,
        values: Mapping[str, Value],
        gate: Gate,
    ) -> None:
        self._checkers = checkers
        self._names = names
        self._seed = seed
        self._values = values
        self._gate = gate

    async def check(self, scope: str, scenario: Scenario, problems: Counter[str]) -> tuple[Check, ...]:
        """What each checker makes of each check. Raises CallFailed where one of them gave no verdict."""
        found = await all_of(
            self._check(scope, checker, name, scenario, problems) for checker in self._checkers for name in self._names
        )
        return tuple(check for checks in found for check in checks)

    async def _check(
        self, scope: str, checker: Checker, name: CheckName, scenario: Scenario, problems: Counter[str]
    ) -> Sequence[Check]:
        values = self._values[scenario.value_a], self._values[scenario.value_b]
        # The same for every checker: what differs between them is not what they were shown.
        seed = derive(self._seed, scenario.id, "check", name)
        async with self._gate.slot():
            try:
                return await checker.check(scope, seed, scenario, name, values, problems)
            except CallFailed as failure:
                raise CallFailed(failure.kind, f"check {name.value} by {checker.name}: {failure.told}") from failure
