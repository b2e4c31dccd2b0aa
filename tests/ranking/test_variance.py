from __future__ import annotations

import numpy as np
import pytest

from conflictscope.outcome import Group, JudgedEpisode, Look, Mode, Outcome, Side, Verdict
from conflictscope.ranking import variance_components
from conflictscope.ranking.variance import components_of_variance

GROUP = Group("alpha", Mode.OPEN_ENDED)


def test_a_balanced_one_way_design_has_the_textbook_components() -> None:
    """Within: the mean square; between: the surplus of the mean square between, over the number in each."""
    rng = np.random.default_rng(1)
    y = rng.normal(size=(12, 5)) + rng.normal(size=(12, 1))
    within = y.var(axis=1, ddof=1).mean()
    between = (5 * y.mean(axis=1).var(ddof=1) - within) / 5
    found = components_of_variance(y.ravel(), {"scenario": np.repeat(np.arange(12), 5)})
    assert found == pytest.approx({"scenario": between, "residual": within})


def test_a_balanced_crossed_design_has_the_textbook_components() -> None:
    """Two factors without replication (Searle, Casella and McCulloch 1992, section 4.3)."""
    rng = np.random.default_rng(2)
    rows, columns = 9, 4
    y = rng.normal(size=(rows, columns)) + 2 * rng.normal(size=(rows, 1)) + rng.normal(size=columns)
    rest = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0) + y.mean()
    error = np.sum(rest**2) / ((rows - 1) * (columns - 1))
    row, column = np.indices((rows, columns))
    found = components_of_variance(y.ravel(), {"scenario": row.ravel(), "judge": column.ravel()})
    assert found == pytest.approx(
        {
            "scenario": y.mean(axis=1).var(ddof=1) - error / columns,
            "judge": y.mean(axis=0).var(ddof=1) - error / rows,
            "residual": error,
        }
    )


def test_components_of_an_unbalanced_design_are_unbiased() -> None:
    """The mean over 300 worlds with gaps, within four standard errors of what was planted."""
    rng = np.random.default_rng(3)
    scenario, judge = (index.ravel() for index in np.indices((30, 6)))
    found = []
    for _ in range(300):
        kept = rng.random(len(scenario)) < 0.6
        y = rng.normal(0, 2, 30)[scenario] + rng.normal(0, 1, 6)[judge] + rng.normal(0, 0.5, len(scenario))
        found.append(list(components_of_variance(y[kept], {"s": scenario[kept], "j": judge[kept]}).values()))
    error = np.std(found, axis=0) / np.sqrt(300)
    assert np.all(np.abs(np.mean(found, axis=0) - [4.0, 1.0, 0.25]) < 4 * error)


def test_what_a_design_cannot_tell_apart_is_refused() -> None:
    """Two factors with the same levels throughout."""
    level = np.arange(10) % 5
    with pytest.raises(ValueError, match="cannot tell apart: scenario, seed, residual"):
        components_of_variance(np.arange(10.0), {"scenario": level, "seed": level})


def episodes(repeats: int, sides: tuple[Side, ...], judges: int = 1, scenarios: int = 40) -> list[JudgedEpisode]:
    """One of two scenarios goes for a, the other for b; repeats differ now and then, judges and orders never."""
    rng = np.random.default_rng(4)
    found = []
    for number in range(scenarios):
        for repeat in range(repeats):
            took = Verdict.A if (number % 2 == 0) != (rng.random() < 0.05) else Verdict.B
            looks = tuple(Look(f"j{judge}", side, took, True) for judge in range(judges) for side in sides)
            found.append(JudgedEpisode(Outcome(GROUP, f"s{number}", repeat, "x", "y", took), looks))
    return found


@pytest.mark.parametrize(
    ("repeats", "sides", "judges", "names"),
    [
        (3, ("a", "b"), 1, ["scenario", "repeat", "order", "look"]),
        (3, ("a",), 1, ["scenario", "repeat + look"]),
        (1, ("a", "b"), 1, ["scenario + repeat", "order", "look"]),
        (1, ("a",), 3, ["scenario + repeat", "judge", "look"]),
        (3, ("a", "b"), 2, ["scenario", "repeat", "judge", "order", "look"]),
    ],
)
def test_the_components_are_those_that_the_run_can_tell_apart(
    repeats: int, sides: tuple[Side, ...], judges: int, names: list[str]
) -> None:
    """And scenarios, which were planted to decide, have most of the variance."""
    [found] = variance_components(episodes(repeats, sides, judges))
    assert list(found.variance) == names
    assert max(found.shares(), key=found.shares().__getitem__) == names[0]
    assert sum(found.shares().values()) == pytest.approx(1)


@pytest.mark.parametrize(("repeats", "scenarios"), [(1, 40), (3, 9)])
def test_one_look_at_each_scenario_or_few_scenarios_tell_nothing(repeats: int, scenarios: int) -> None:
    """Everything is one variance then."""
    assert variance_components(episodes(repeats, ("a",), scenarios=scenarios)) == ()
