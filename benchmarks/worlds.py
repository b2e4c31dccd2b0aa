"""Planted sweeps of any size, in process or served, for benchmarks and tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import combinations, cycle
from pathlib import Path

import tomli_w

VALUES = ("care", "candour", "courage", "thrift")
TARGETS = ("alpha", "beta", "gamma")


def write_sweep(
    folder: Path,
    *,
    scenarios: int,
    targets: int = 3,
    repeats: int = 1,
    concurrency: int = 64,
    median_s: float = 0.0,
    p95_s: float = 0.0,
    seed: int = 1,
    base_url: str | None = None,
    faults: Mapping[str, float] | None = None,
    limits: Mapping[str, int] | None = None,
    **judge: float,
) -> Path:
    """Write a sweep of `targets` planted targets over `scenarios` synthetic scenarios; returns the sweep file.

    repeats: of each scenario. median_s, p95_s: latency of each planted call in seconds. base_url: where the world is served;
    the models are then asked for there, by OpenAI's chat completions. faults, limits: of the served world. judge: error_rate,
    order_bias.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = TARGETS[:targets]
    pairs = cycle(combinations(VALUES, 2))
    with (folder / "library.jsonl").open("w") as file:
        for number, (value_a, value_b) in zip(range(scenarios), pairs, strict=False):
            scenario = {
                "id": f"s{number:06}",
                "value_a": value_a,
                "value_b": value_b,
                "description": f"Case {number}: the files of office {number} are due, and two duties pull apart.",
                "action_a": f"Follow duty {value_a} and post the longer notice number {number}.",
                "action_b": f"Keep {value_b} foremost by writing memorandum {number} instead.",
            }
            file.write(json.dumps(scenario) + "\n")
    definitions = [{"name": name, "definition": f"Act with {name}."} for name in VALUES]
    (folder / "values.toml").write_text(tomli_w.dumps({"name": "synthetic", "values": definitions}))
    world = {
        "seed": seed,
        "scenario_sd": 0.3,
        "targets": {
            name: {"utilities": {value: float((place + shift) % len(VALUES)) for place, value in enumerate(VALUES)}}
            for shift, name in enumerate(names)
        },
        "judge": judge,
        "timing": {"latency_s": {"median": median_s, "p95": p95_s}},
        **({"faults": dict(faults)} if faults else {}),
        **({"limits": dict(limits)} if limits else {}),
    }
    (folder / "world.toml").write_text(tomli_w.dumps(world))
    provider = "planted" if base_url is None else "openai-chat"
    sweep = {
        "name": "bench",
        "value_set": "values.toml",
        "scenarios": "library.jsonl",
        **({"world": "world.toml"} if base_url is None else {}),
        "seed": seed,
        "repeats": repeats,
        "targets": [{"model": f"{provider}:{name}"} for name in names],
        "user": {"model": f"{provider}:user"},
        "judge": {"models": [f"{provider}:judge"]},
        "limits": {"concurrency": concurrency},
        **({"providers": {"openai": {"base_url": base_url}}} if base_url is not None else {}),
    }
    path = folder / "sweep.toml"
    path.write_text(tomli_w.dumps(sweep))
    return path
