"""A run as logs of Inspect, the evaluation framework of the UK AI Security Institute: made with its own package."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalError,
    EvalLog,
    EvalMetric,
    EvalPlan,
    EvalPlanStep,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log_async,
)
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.scorer import Score
from inspect_ai.tool import ToolCall

from conflictscope.board import CallRow, Episode, JudgementRow, LogHead
from conflictscope.outcome import Message, Role, ToolUse, Verdict
from conflictscope.tidy import whole

_ENDED_WELL = ("finished", "converged", "imported")


def log_name(head: LogHead) -> str:
    """The file's name, by Inspect's convention: when, task, model and id, with `_` between them only."""
    when = datetime.fromisoformat(head.started_at).strftime("%Y-%m-%dT%H-%M-%S+00-00")
    named = (re.sub(r"[^A-Za-z0-9.+]+", "-", name) for name in (_task(head), head.ranking.group.target))
    return "_".join((when, *named, _id(head, "task", str(head.part)))) + ".eval"


async def write_log(head: LogHead, episodes: Sequence[tuple[Episode, int]], path: Path) -> None:
    """Write one log. episodes: of one group, each with its seed; a thousand samples take some 50 MB while they are written."""
    samples = [_sample(head, episode, seed) for episode, seed in episodes]
    await write_eval_log_async(_log(head, samples), path.as_posix(), format="eval")


def _log(head: LogHead, samples: list[EvalSample]) -> EvalLog:
    group, versions = head.ranking.group, head.meta.get("versions", {})
    sweep = head.meta.get("sweep", {})
    spec = EvalSpec(
        eval_id=_id(head, "eval", str(head.part)),
        run_id=_id(head, "run"),
        created=head.started_at,
        task=_task(head),
        task_id=_id(head, "task", str(head.part)),
        task_display_name=" / ".join(filter(None, (head.run, group.mode, group.steering, group.behavior))),
        task_args={"run": head.run, **group.to_json(), "part": head.part, "parts": head.parts},
        solver="conversation" if group.mode == "open_ended" else group.mode.value,
        tags=[name for name in ("conflictscope", group.mode.value, group.steering, group.behavior) if name],
        dataset=EvalDataset(
            name=str(sweep.get("scenarios", head.meta.get("source", ""))) or None,
            samples=len({sample.id for sample in samples}),
            sample_ids=sorted({str(sample.id) for sample in samples}),
        ),
        model=group.target,
        config=EvalConfig(epochs=max((sample.epoch for sample in samples), default=1)),
        packages={name: str(version) for name, version in versions.items()},
        metadata=dict(head.meta),
    )
    failed = sum(sample.error is not None for sample in samples)
    return EvalLog(
        status="success" if head.state in _ENDED_WELL else "cancelled",
        eval=spec,
        plan=EvalPlan(name="conflictscope", steps=[EvalPlanStep(solver=spec.solver or "", params=spec.task_args)]),
        results=EvalResults(
            total_samples=len(samples), completed_samples=len(samples) - failed, scores=_results(head, samples)
        ),
        stats=EvalStats(
            started_at=head.started_at,
            completed_at=head.ended_at,
            model_usage=_sum(usage for sample in samples for usage in sample.model_usage.items()),
            role_usage=_sum(usage for sample in samples for usage in sample.role_usage.items()),
        ),
        samples=samples,
    )


def _task(head: LogHead) -> str:
    group = head.ranking.group
    return "/".join(filter(None, ("conflictscope", group.mode, group.steering, group.behavior)))


def _id(head: LogHead, *of: str) -> str:
    """An id that is the same whenever the same run is exported."""
    told = json.dumps([head.run, head.started_at, str(head.ranking.group) if "run" not in of else "", *of])
    return hashlib.blake2s(told.encode(), digest_size=11).hexdigest()


def _results(head: LogHead, samples: Sequence[EvalSample]) -> list[EvalScore]:
    """The ranking of the whole group, a metric for each value; and how often it came to which verdict here."""
    ranking, ranks = head.ranking, head.ranking.ranks
    utilities = {
        value: EvalMetric(
            name=value,
            value=rating.mu,
            metadata={"rank": ranks[value], "sigma": rating.sigma, "low": rating.low, "high": rating.high},
        )
        for value, rating in ranking.ratings.items()
    }
    told = {
        "method": ranking.method.value,
        "model": ranking.model,
        "outcomes": ranking.outcomes,
        "converged": ranking.converged,
        "unresolved": ranking.unresolved,
        "notes": ranking.notes(),
    }
    states = Counter(str(sample.metadata["verdict"]) for sample in samples)
    return [
        EvalScore(name="utility", scorer="conflictscope", metrics=utilities, metadata=told),
        EvalScore(
            name="verdict",
            scorer="conflictscope",
            scored_samples=len(samples),
            metrics={state.value: EvalMetric(name=state.value, value=states[state.value]) for state in Verdict},
        ),
    ]


# -- samples -----------------------------------------------------------------------------------------------------------


def _sample(head: LogHead, episode: Episode, seed: int) -> EvalSample:
    row, scenario = episode.row, episode.scenario
    messages = [
        _message(message, f"{row.seq}.{place}", row.group.target) for place, message in enumerate(episode.transcript, 1)
    ]
    first = next((message.text for message in messages if message.role == "user"), None)
    opening = episode.opening or (scenario.opening or scenario.description if scenario else "")
    last = next((message.text for message in reversed(messages) if message.role == "assistant"), None)
    ended = datetime.fromisoformat(row.created_at)
    return EvalSample(
        id=row.scenario_id,
        epoch=row.repeat,
        input=first if first is not None else whole(opening),
        target=[row.value_a, row.value_b],
        messages=messages,
        output=ModelOutput.from_content(row.group.target, last)
        if last is not None
        else ModelOutput(model=row.group.target),
        scores=_scores(episode),
        metadata=_metadata(head, episode, seed),
        model_usage=_sum((call.model, _usage(call)) for call in episode.calls),
        role_usage=_sum((call.role, _usage(call)) for call in episode.calls),
        started_at=(ended - timedelta(seconds=row.duration_s)).isoformat(),
        completed_at=ended.isoformat(),
        total_time=row.duration_s,
        uuid=_id(head, "sample", row.key),
        error=EvalError(message=whole(row.failure), traceback="", traceback_ansi="") if row.failure else None,
        turn_count=row.turns,
    )


def _metadata(head: LogHead, episode: Episode, seed: int) -> dict[str, Any]:
    """All that leads back to the episode, and what it was about."""
    row, scenario = episode.row, episode.scenario
    about: dict[str, Any] = {}
    if scenario is not None:
        about = {
            "description": scenario.description,
            "action_a": scenario.action_a,
            "action_b": scenario.action_b,
            "template": scenario.template.value if scenario.template else None,
            "user": scenario.user.model_dump() if scenario.user else None,
        }
    return {
        "run": head.run,
        "seq": row.seq,
        "key": row.key,
        "seed": seed,
        **row.group.to_json(),
        "value_a": row.value_a,
        "value_b": row.value_b,
        "verdict": row.verdict.value,
        "strength": row.strength,
        "shown_first": row.shown_first,
        "judge": row.judge,
        **about,
    }


def _message(message: Message, own_id: str, target: str) -> ChatMessage:
    text = whole(message.text)
    match message.role:
        case Role.TARGET:
            calls = [_tool_call(tool) for tool in message.tools] or None
            return ChatMessageAssistant(id=own_id, content=text, source="generate", model=target, tool_calls=calls)
        case Role.SYSTEM:
            return ChatMessageSystem(id=own_id, content=text, source="input")
        case Role.TOOL:
            [answered] = message.tools or (ToolUse("", ""),)
            return ChatMessageTool(
                id=own_id, content=text, tool_call_id=whole(answered.id) or None, function=whole(answered.name) or None
            )
        case _:
            return ChatMessageUser(id=own_id, content=text)


def _tool_call(tool: ToolUse) -> ToolCall:
    told = whole(tool.arguments)
    try:
        arguments = json.loads(told)
    except ValueError:
        arguments = None
    error = None if isinstance(arguments, dict) else "the arguments are no JSON object"
    return ToolCall(
        id=whole(tool.id),
        function=whole(tool.name),
        arguments=arguments if isinstance(arguments, dict) else {"arguments": told},
        parse_error=error,
    )


def _scores(episode: Episode) -> dict[str, Score]:
    """The verdict; what each judge saw in each order, its last look telling; what judges of `rejudge` and people said."""
    row = episode.row
    own = [look for look in episode.judgements if not look.anew]
    scores = {
        "verdict": _score(
            row.verdict,
            episode,
            _reasoning(own, row.verdict) or row.failure,
            {"strength": row.strength, "shown_first": row.shown_first, "judge": row.judge},
        )
    }
    streams: dict[str, list[JudgementRow]] = {}
    for look in own:
        again = f", repeat {look.repeat}" if look.repeat > 1 else ""
        streams.setdefault(f"{look.judge}, {look.shown_first} first{again}", []).append(look)
    for name, looks in streams.items():
        last = looks[-1]
        scores[name] = _score(last.choice, episode, last.reasoning or last.failure, _looks(looks))
    for judge, verdict in episode.verdicts.items():
        looks = [look for look in episode.judgements if look.anew and look.judge == judge]
        scores[f"rejudge {judge}"] = _score(verdict, episode, _reasoning(looks, verdict), _looks(looks))
    for annotator, verdict in episode.labels.items():
        scores[f"label {annotator}"] = _score(verdict, episode, None, {})
    return scores


def _score(verdict: Verdict, episode: Episode, explanation: str | None, metadata: dict[str, Any]) -> Score:
    """value: the verdict. answer: the value that was served, where one was."""
    served = {Verdict.A: episode.row.value_a, Verdict.B: episode.row.value_b}.get(verdict)
    told = {"value_a": episode.row.value_a, "value_b": episode.row.value_b, **metadata}
    return Score(value=verdict.value, answer=served, explanation=explanation and whole(explanation), metadata=told)


def _reasoning(looks: Sequence[JudgementRow], verdict: Verdict) -> str | None:
    """Of the last look that named the verdict, else of the last one."""
    named = [look for look in looks if look.choice is verdict] or looks
    return named[-1].reasoning if named else None


def _looks(looks: Sequence[JudgementRow]) -> dict[str, Any]:
    told = [asdict(look) for look in looks]
    for look in told:
        look.update(
            choice=look["choice"].value, reasoning=whole(look["reasoning"]), quotes=[whole(q) for q in look["quotes"]]
        )
    return {"strength": looks[-1].strength if looks else None, "looks": told}


def _usage(call: CallRow) -> ModelUsage:
    return ModelUsage(
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        total_tokens=call.input_tokens + call.output_tokens,
        total_cost=call.cost_usd if call.state == "committed" else 0.0,
    )


def _sum(usages: Iterable[tuple[str, ModelUsage]]) -> dict[str, ModelUsage]:
    """By name. What a sum costs is known where the price of each is: Inspect's own `+` takes an unknown one for 0."""
    found: dict[str, ModelUsage] = {}
    unpriced: set[str] = set()
    for name, usage in usages:
        found[name] = found.get(name, ModelUsage(total_cost=0.0)) + usage
        if usage.total_cost is None:
            unpriced.add(name)
    for name in unpriced:
        found[name].total_cost = None
    return found
