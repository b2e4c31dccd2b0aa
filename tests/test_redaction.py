from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.worlds import write_sweep
from conflictscope import pipeline, redaction
from conflictscope.errors import InputError
from conflictscope.redaction import MARK, know_secrets, redact, redact_bytes
from tests.commands import conflictscope, environment
from tests.moody import KEYS, planted, play, rows, served
from tests.scripted import VERDICT, Answer, Asked, Service, serving
from tests.written import written


@contextmanager
def knowing(environment: Mapping[str, str], *more: str | None) -> Iterator[None]:
    """With these secrets and no others."""
    with patch.object(redaction, "_secrets", []), patch.object(redaction, "_secrets_bytes", []):
        know_secrets(environment, *more)
        yield


# No secret begins as an escape ends: a text that held the rest of it behind a control character would match by accident.
SECRETS = st.builds(str.__add__, st.sampled_from("sk-_§é"), st.text(min_size=7, max_size=40)).filter(
    lambda secret: secret.strip() == secret and not re.fullmatch("[a-z]{1,15}", secret)  # a mere word is no key
)
PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)  # what UTF-8 can say


@given(st.lists(SECRETS, min_size=1, max_size=4), st.lists(PLAIN, min_size=5, max_size=5), st.data())
def test_no_secret_survives_wherever_it_stands(secrets: list[str], between: list[str], data: st.DataObject) -> None:
    """At the beginning, in the middle, at the end, several times, one inside of another: in text, in bytes and in JSON."""
    parts = [data.draw(st.sampled_from(secrets)) if data.draw(st.booleans()) else text for text in between]
    text = "".join(parts)
    with knowing({f"KEY_{number}": secret for number, secret in enumerate(secrets)}):
        for secret in secrets:
            assert secret not in redact(text)
            assert secret.encode() not in redact_bytes(text.encode())
            for ascii_only in (True, False):
                document = redact(json.dumps({"said": text, secret: 1}, ensure_ascii=ascii_only))
                assert secret not in str(json.loads(document))
                assert secret not in str(json.loads(redact_bytes(document.encode())))


@given(PLAIN)
def test_what_holds_no_secret_is_left_as_it_is(text: str) -> None:
    """The very same text, and the very same bytes."""
    with knowing({"API_KEY": "sk-0123456789"}):
        data = text.encode()
        assert redact(text) is text
        assert redact_bytes(data) is data


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *((name, True) for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "my_password",
                                    "DB_PASSWD", "SomeCredentials", "ANTHROPIC_AUTH_TOKEN", "KEY")),
        *((name, False) for name in ("HOME", "PATH", "LANG", "OPENAI_BASE_URL", "USER")),
    ],
)  # fmt: skip
def test_what_looks_like_a_key_in_the_environment_is_one(name: str, secret: bool) -> None:
    """By its name, in whatever case."""
    with knowing({name: "sk-0123456789"}):
        assert redact("the key sk-0123456789.") == ("the key [redacted]." if secret else "the key sk-0123456789.")


@pytest.mark.parametrize("value", ["", " ", "1", "true", "secret", "1234567", " 1234567 \n"])
def test_short_values_are_left(value: str) -> None:
    """A value of less than eight characters is no key, and would take ordinary words out of every text."""
    with knowing({"API_KEY": value}):
        assert redact(f"it is {value} and secret true 1") == f"it is {value} and secret true 1"


def test_a_path_to_a_file_with_keys_is_no_key(tmp_path: Path) -> None:
    """GOOGLE_APPLICATION_CREDENTIALS names a file; its path is in messages that people need."""
    (tmp_path / "keys.json").touch()
    with knowing({"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "keys.json")}):
        assert redact(f"{tmp_path}/keys.json cannot be read") == f"{tmp_path}/keys.json cannot be read"


def test_space_around_a_key_is_not_part_of_it() -> None:
    """A key that was read from a file with a line feed at its end is found without one."""
    with knowing({"API_KEY": " sk-0123456789\n"}):
        assert redact("the key sk-0123456789.") == "the key [redacted]."


def test_a_key_that_holds_another_goes_whole() -> None:
    """No tail of the longer one is left."""
    with knowing({"A_KEY": "sk-01234567", "B_KEY": "sk-01234567-and-more"}):
        assert redact("sk-01234567-and-more sk-01234567") == "[redacted] [redacted]"


def test_keys_that_are_not_in_the_environment_can_be_told() -> None:
    """What a client was made with is secret too, and what was known before stays so."""
    with knowing({"A_KEY": "sk-01234567"}, "sk-from-a-client", None):
        know_secrets({})
        assert redact("sk-01234567 sk-from-a-client") == "[redacted] [redacted]"


def test_a_key_that_is_no_text_is_a_key_too() -> None:
    """Bytes in the environment that are not UTF-8 come as surrogates, and stop nobody."""
    with knowing({"API_KEY": "caf\udce9-0123456789"}):
        assert redact("caf\udce9-0123456789") == MARK
        assert redact_bytes(b"caf\xe9-0123456789") == MARK.encode()


# -- a sweep whose service gives keys away -----------------------------------------------------------------------------

CANARY = "sk-CANARY-0123456789abcdef"
AWKWARD = 'sk-CANARY-"0123\\456\\n789'  # JSON and Python write it otherwise than it is
OTHER = "hunter2-CANARY-of-a-database"


MODELS = ["openai-chat:gpt-4o-mini", "openai-responses:gpt-4o-mini", "anthropic:claude-sonnet-5"]
CASES = ["refused", "fails later", "says it", "garbles it"]


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as fresh:
        yield fresh


def indiscreet(service: Service, case: str, key: str) -> None:
    """Make the service quote the key that it was sent, and one that it should not know."""
    said = f"you sent {key}, and I know {OTHER}"

    def answer(asked: Asked) -> Answer:
        if case == "refused":
            return Answer(401, text=said)
        if len(service.asked) == 1:
            return Answer()  # the small question before the sweep
        if case == "fails later":
            return Answer(500, text=said, headers={"x-request-id": key.replace("\\", "")})
        if case == "garbles it":
            return Answer(body=f"<html>{said}".encode())
        return Answer(text=json.dumps({**json.loads(VERDICT), "reasoning": said}) if asked.wants_verdict else said)

    service.otherwise = answer


def settings(service: Service, model: str) -> list[str]:
    section, base_url = ("anthropic", service.url) if "anthropic" in model else ("openai", f"{service.url}/v1")
    return [
        f'targets=[{{model="{model}"}}]',
        f'judge.models=["{model}"]',
        f'providers={{{section}={{base_url="{base_url}"}}}}',
        "limits.attempts=1",
    ]


def keys(key: str) -> dict[str, str]:
    return {"OPENAI_API_KEY": key, "ANTHROPIC_API_KEY": key, "DATABASE_PASSWORD": OTHER}


def check_nothing_tells(service: Service, folder: Path, key: str, *outputs: str) -> dict[str, bytes]:
    """The key was sent, and is in no file of the run and in none of the outputs; returns the files."""
    assert all(key in " ".join(asked.headers.values()) for asked in service.asked)
    files = written(folder / "runs")
    assert files.keys() >= {"run.db", "log.jsonl"}
    for name, content in [*files.items(), *((f"output {n}", text.encode()) for n, text in enumerate(outputs))]:
        assert b"CANARY" not in content, name
    return files


@pytest.mark.parametrize("key", [CANARY, AWKWARD], ids=["plain", "awkward"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("case", CASES)
async def test_a_key_is_in_nothing_that_a_run_leaves_behind(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, case: str, key: str
) -> None:
    """Quoted by the service in an error, in a reply or in garbage: in no file and in no message."""
    for name, value in keys(key).items():
        monkeypatch.setenv(name, value)
    indiscreet(service, case, key)
    sweep = pipeline.load_sweep(str(write_sweep(tmp_path, scenarios=2)), settings(service, model))
    told: list[str] = []
    with knowing({}):
        try:
            result = await pipeline.run_sweep(sweep, tmp_path / "runs", tell=told.append)
        except InputError as error:
            told.append(str(error))
        else:
            assert result.snapshot.progress.done == 2
            told += [result.message, repr(result.snapshot)]
    assert (MARK in told[-1]) == (case in ("refused", "says it"))
    files = check_nothing_tells(service, tmp_path, key, *told)
    if case in ("fails later", "says it"):
        assert MARK.encode() in files["run.db"], "what was said is there, without the keys"


@pytest.mark.parametrize("case", ["refused", "says it"])
def test_a_key_is_in_no_output_of_any_command(service: Service, tmp_path: Path, case: str) -> None:
    """Neither on stdout nor on stderr of `run`, `status` and `rank`."""
    indiscreet(service, case, AWKWARD)
    write_sweep(tmp_path, scenarios=2)
    options = [part for setting in settings(service, MODELS[0]) for part in ("--set", setting)]
    done = [
        conflictscope("run", "sweep.toml", *options, cwd=tmp_path, code=2 * (case == "refused"), keys=keys(AWKWARD))
    ]
    if case == "says it":
        done += [conflictscope(command, "bench", "--json", cwd=tmp_path) for command in ("status", "rank")]
    check_nothing_tells(service, tmp_path, AWKWARD, *(text for each in done for text in (each.stdout, each.stderr)))


# -- a user's own agent, whose tool has a key of its own -----------------------------------------------------------------

SERVICE_TOKEN = "token-CANARY-of-a-service"
AGENTS = '''
import os
from pydantic_ai import Agent

TOKEN = os.environ["MY_SERVICE_TOKEN"]
settings = {"extra_headers": {"x-my-service": TOKEN}, "extra_body": {"my_service": TOKEN}}


def as_it_is(word: str) -> str:
    """The end of the conversation."""
    return f"{word}, by {TOKEN}"


helper = Agent(instructions="Ask the service.", model_settings=settings)
around = Agent(output_type=as_it_is)


@helper.tool_plain
def look_up(word: str) -> str:
    """Asks the service."""
    if word == "fail":
        raise RuntimeError(f"the service does not take {TOKEN}")
    return f"the service took {TOKEN}"
'''


@pytest.mark.parametrize(
    ("agent", "word", "fails"),
    [("helper", SERVICE_TOKEN, False), ("helper", "fail", True), ("around", "done", False)],
    ids=["the tool says it", "the tool raises it", "the output is it"],
)
def test_the_key_of_a_tool_stays_with_the_tool(
    service: Service, tmp_path: Path, agent: str, word: str, fails: bool
) -> None:
    """In its arguments, in its result, in its exception, in an output past the model: on disk, on screen, and at the judge."""

    def answer(asked: Asked) -> Answer:
        if asked.wants_verdict:
            return Answer(text=json.dumps({**json.loads(VERDICT), "reasoning": f"it said {SERVICE_TOKEN}"}))
        if "tools" in asked.body and asked.body["messages"][-1]["role"] != "tool":
            return Answer(text=None, arguments={"word": word})
        return Answer(text=f"the tool said {SERVICE_TOKEN}")

    service.otherwise = answer
    (tmp_path / "my_agents.py").write_text(AGENTS)
    write_sweep(tmp_path, scenarios=2)
    given = [*settings(service, MODELS[0]), f'targets=[{{agent="my_agents:{agent}", model="{MODELS[0]}"}}]']
    options = [part for setting in given for part in ("--set", setting)]
    tokens = keys(CANARY) | {"MY_SERVICE_TOKEN": SERVICE_TOKEN}
    done = conflictscope("run", "sweep.toml", *options, "--json", cwd=tmp_path, keys=tokens, code=int(fails))
    files = check_nothing_tells(service, tmp_path, CANARY, done.stdout, done.stderr)
    assert MARK.encode() in files["run.db"]
    assert json.loads(done.stdout)["status"]["failures"] == ({"agent": 2} if fails else {})
    told = [json.dumps(asked.body) for asked in service.asked]
    if agent == "helper":
        sent = [asked for asked in service.asked if asked.body.get("my_service") == SERVICE_TOKEN]
        assert sent, "where the agent itself sends it, it goes"
        assert {asked.headers["x-my-service"] for asked in sent} == {SERVICE_TOKEN}
    assert not any(
        SERVICE_TOKEN in body for body, asked in zip(told, service.asked, strict=True) if asked.wants_verdict
    )


# -- batches, addresses, crashes -----------------------------------------------------------------------------------------


async def test_a_batch_is_kept_without_the_key_that_it_was_sent_with(tmp_path: Path) -> None:
    """Its handle, its requests and its replies: in no table."""
    folder = planted(tmp_path, scenarios=3, targets=1)
    async with served(folder) as planted_service:
        given = [
            'targets=[{model="openai:alpha"}]',
            'user.model="openai:user"',
            'judge={models=["openai:judge"], batch=true}',
            f'providers.openai.base_url="{planted_service.url}/v1"',
            "limits.batch_poll_s=0.05",
        ]
        with patch.dict(KEYS, {"OPENAI_API_KEY": CANARY}), knowing({}):
            result = await play(folder, given)
    assert result.snapshot.progress.done == 3
    ((handle,),) = rows(folder, "SELECT handle FROM batches")
    assert handle
    for name, content in written(result.folder.path).items():
        assert b"CANARY" not in content, name


@pytest.mark.parametrize("address", ["http://127.0.0.1/v1?key=", "http://127.0.0.1/v1#", "http://me:"])
def test_a_key_in_an_address_is_refused_and_not_repeated(tmp_path: Path, address: str) -> None:
    """It would be stored with the run: the message says what to do instead, and does not quote it."""
    sweep = write_sweep(tmp_path, scenarios=2)
    end = "@127.0.0.1/v1" if address == "http://me:" else ""
    sweep.write_text(sweep.read_text() + f'\n[providers.planted]\nbase_url = "{address}{CANARY}{end}"\n')
    done = conflictscope("run", "sweep.toml", cwd=tmp_path, code=2)
    assert "put keys in the environment" in done.stderr
    assert "CANARY" not in done.stdout + done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_traceback_tells_no_key(tmp_path: Path) -> None:
    """A bug of ours ends the command with Python's traceback, less the keys."""
    code = (
        "import os\nfrom conflictscope import cli, pipeline\n"
        "def read_sweep(*_, **__):\n    raise RuntimeError(f'a bug with {os.environ[\"OPENAI_API_KEY\"]}')\n"
        "pipeline.read_sweep = read_sweep\ncli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "sweep.toml"],
        cwd=tmp_path, env=environment() | keys(CANARY), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith(f"RuntimeError: a bug with {MARK}\n")
    assert "CANARY" not in done.stdout + done.stderr
