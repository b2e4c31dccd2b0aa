from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic_ai.settings import ThinkingEffort as Theirs

from benchmarks.worlds import write_sweep
from conflictscope.config import SweepConfig, parse_sweep
from conflictscope.documents import read_document
from conflictscope.errors import InputError
from conflictscope.services import ThinkingEffort


def sweep(folder: Path, *overrides: str) -> SweepConfig:
    return parse_sweep(read_document(write_sweep(folder, scenarios=1)), overrides)


def test_a_role_that_sets_nothing_has_a_bound_and_a_derived_seed(tmp_path: Path) -> None:
    """Every request has a token limit and a seed; temperature and thinking are left to the model."""
    config = sweep(tmp_path)
    assert config.user is not None
    assert config.judge is not None
    for role in (*config.targets, config.user, config.judge):
        assert (role.max_tokens, role.seed, role.temperature, role.thinking) == (8192, True, None, None)


def test_each_role_has_its_own_settings(tmp_path: Path) -> None:
    """Targets, user and judge are set apart, and a seed of 1 is not the `true` that it equals in Python."""
    targets = 'targets=[{model="planted:alpha", temperature=0, seed=false}, {model="planted:beta", max_tokens=10}]'
    config = sweep(tmp_path, targets, "user.seed=1", 'judge.thinking="low"', "judge.temperature=0.5")
    alpha, beta = config.targets
    assert (alpha.temperature, alpha.seed, beta.max_tokens) == (0.0, False, 10)
    assert config.user is not None
    assert (config.user.seed, type(config.user.seed)) == (1, int)
    assert config.judge is not None
    assert (config.judge.thinking, config.judge.temperature) == ("low", 0.5)


def test_settings_are_part_of_what_a_run_is(tmp_path: Path) -> None:
    """A run that was started with other settings is another run."""
    started = sweep(tmp_path)
    for override in ("judge.temperature=0.5", "user.max_tokens=9", "judge.thinking=true", "user.seed=1"):
        assert sweep(tmp_path, override).identity() != started.identity()


def test_what_an_agent_is_not_told_stays_untold_in_the_file_as_executed(tmp_path: Path) -> None:
    """A default spelled out would win over the agent's own setting when that file is run again; a model has no own."""
    targets = 'targets=[{agent="m:a", seed=4}, {model="planted:alpha"}]'
    dumped = sweep(tmp_path, targets).model_dump(mode="json", exclude_none=True)["targets"]
    assert dumped == [
        {"agent": "m:a", "seed": 4, "batch": False},
        {"model": "planted:alpha", "max_tokens": 8192, "seed": True, "batch": False},
    ]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("judge.temperature=2.5", "judge.temperature: Input should be less than or equal to 2, got 2.5"),
        ("judge.temperature=nan", "judge.temperature: Input should be less than or equal to 2, got nan"),
        ("user.max_tokens=0", "user.max_tokens: Input should be greater than or equal to 1, got 0"),
        ("user.max_tokens=true", "user.max_tokens: Input should be a valid integer, got True"),
        ('judge.thinking="hard"', "judge.thinking: expected true, false or one of minimal, low, medium, high, xhigh, max, got 'hard'"),
        ("judge.thinking=3", "got 3"),
        ('user.seed="random"', "user.seed: expected true (derived from the episode), false (none) or an integer 0..2147483647, got 'random'"),
        ("user.seed=-1", "got -1"),
        ("user.seed=2147483648", "got 2147483648"),
        ('stop.when="settled"', "stop.when: Input should be 'plan' or 'converged', got 'settled'"),
        ("stop.delta=0", "stop.delta: Input should be greater than 0, got 0"),
        ("stop.delta=inf", "stop.delta: Input should be less than or equal to 10, got inf"),
        ("stop.alpha=0", "stop.alpha: Input should be greater than "),
        ("stop.alpha=1", "stop.alpha: Input should be less than 1, got 1"),
        ("stop.alpha=nan", "stop.alpha: Input should be less than 1, got nan"),
        ("stop.least_per_pair=0", "stop.least_per_pair: Input should be greater than or equal to 1, got 0"),
        ("stop.least_per_pair=2.5", "stop.least_per_pair: Input should be a valid integer"),
        ('schedule.policy="greedy"', "schedule.policy: Input should be 'uniform' or 'thompson', got 'greedy'"),
        ("schedule.floor=1.5", "schedule.floor: Input should be less than or equal to 1, got 1.5"),
        ("schedule.floor=-0.1", "schedule.floor: Input should be greater than or equal to 0, got -0.1"),
        ("schedule.floor=nan", "got nan"),
        ("schedule.least_pool=0", "schedule.least_pool: Input should be greater than or equal to 1, got 0"),
        ("schedule.seed=1", "unknown key 'schedule.seed'"),
        ("executor.workers=2", 'executor: workers: of workers on Ray; say kind = "ray", or "local" to play without them'),
        ("executor.workers=0", "executor.workers: Input should be greater than or equal to 1, got 0"),
        ('judge.models=["p:a", "p:b", "p:a"]', "judge.models: names a judge twice: p:a; to ask one several times, set repeats"),
        ("judge.repeats=0", "judge.repeats: Input should be greater than or equal to 1, got 0"),
        ("judge={models=['planted:judge'], repeats=2, seed=5}", "judge: repeats > 1 needs seed = true, so that each look is a request of its own, got 5"),
        ('judge.vote="weighted"', 'judge: vote = "weighted" needs `errors` or `errors_from`, one of them'),
        ('judge.errors={"planted:judge"=0.1}', "and no other vote takes any"),
        ("judge={models=['planted:judge'], vote='weighted', errors={'planted:judge'=0.1}, errors_from='runs/x'}", "one of them"),
        ("judge={models=['planted:judge'], vote='weighted', errors={'planted:juge'=0.1}}", "judge: errors needs a figure for each of the models and for nothing else: see 'planted:judge'"),
        ("judge={models=['planted:judge'], vote='weighted', errors={'planted:judge'=0.5}}", "Input should be less than 0.5, got 0.5"),
        ("judge.max_token=5", "unknown key 'judge.max_token'; did you mean 'max_tokens'?"),
    ],
)  # fmt: skip
def test_a_bad_setting_is_told_once_with_what_would_do(tmp_path: Path, override: str, told: str) -> None:
    """One line that names the key, what was expected and what came."""
    with pytest.raises(InputError, match=re.escape(told)) as caught:
        sweep(tmp_path, override)
    assert len(str(caught.value).splitlines()) == 2  # the problem, and the --set it came with


def test_when_a_sweep_ends_and_what_comes_next_is_no_part_of_what_it_is(tmp_path: Path) -> None:
    """A resume may change both: the plan, uniformly, unless the file says otherwise."""
    plain = sweep(tmp_path)
    assert (plain.stop.when, plain.schedule.policy) == ("plan", "uniform")
    assert (plain.stop.rule.delta, plain.stop.rule.alpha, plain.stop.rule.least_per_pair) == (0.1, 0.05, 5)
    assert (plain.schedule.floor, plain.schedule.least_pool) == (0.25, 200)
    changed = sweep(
        tmp_path, 'stop.when="converged"', "stop.delta=0.2", 'schedule.policy="thompson"', "schedule.floor=0"
    )
    assert changed.identity() == plain.identity()
    assert (changed.stop.rule.delta, changed.schedule.floor) == (0.2, 0.0)


RANKED = 'ranking=["care", "thrift"]'


def test_a_steering_defines_its_values_unless_told_otherwise(tmp_path: Path) -> None:
    """The style is `definitions` where the wording is ours, and none where a prompt file brings its own; both ways it is read again."""
    steerings = f'steering=[{{name="ours", {RANKED}}}, {{name="own", prompt="p.txt"}}, {{name="both", prompt="p.txt", {RANKED}}}]'
    config = sweep(tmp_path, steerings)
    assert [(each.style, each.ranking) for each in config.steering] == [
        ("definitions", ("care", "thrift")),
        (None, None),
        (None, ("care", "thrift")),
    ]
    assert SweepConfig.model_validate(config.model_dump(mode="json", exclude_none=True)) == config
    assert sweep(tmp_path, f'steering=[{{name="ours", style="detailed", {RANKED}}}]').identity() != config.identity()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("", 'needs `ranking = ["...", "..."]`, or `prompt = "FILE"`, or both'),
        ('style="detailed"', 'needs `ranking = ["...", "..."]`, or `prompt = "FILE"`, or both'),
        (
            f'style="detailed", prompt="p.txt", {RANKED}',
            "style = 'detailed' is a wording of ours, and `prompt` brings its own",
        ),
        (
            f'style="loud", {RANKED}',
            "steering[0].style: Input should be 'ordering', 'definitions' or 'detailed', got 'loud'",
        ),
        ('ranking=["care"]', "steering[0].ranking: "),
        ('ranking=["care", "care"]', "names a value twice: care"),
        ('prompt=""', "steering[0].prompt: String should have at least 1 character"),
    ],
)
def test_a_steering_has_one_wording(tmp_path: Path, section: str, message: str) -> None:
    """A ranking in one of three styles, or a prompt file; nothing, both at once, or another style is refused by key."""
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        sweep(tmp_path, "steering=[{" + ", ".join(filter(None, ('name="x"', section))) + "}]")
    assert str(raised.value).count("steering[0]") == 1


def test_efforts_of_thinking_are_those_of_pydantic_ai() -> None:
    """Ours are written down once more, so that reading a sweep file does not import it."""
    assert get_args(ThinkingEffort) == get_args(Theirs)
