from __future__ import annotations

import asyncio
import contextlib
import html
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import httpx2
import pytest

from conflictscope import pipeline
from conflictscope.errors import InputError
from conflictscope.outcome import Group, Judgement, Message, Mode, Outcome, Role, Verdict
from conflictscope.pipeline.viewing import RunsFolder, view_runs
from conflictscope.ports import EpisodeRecord
from conflictscope.scenario import Scenario
from conflictscope.store import RunWriter
from conflictscope.views.text import visible
from conflictscope.views.web import NoSuchRun, TooManyRuns
from tests.commands import conflictscope, environment
from tests.hostile import HOSTILE

SHUT = "default-src 'none'"


@pytest.fixture(autouse=True)
def _state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def episode(
    number: int, words: str = "hello", values: tuple[str, str] = ("care", "thrift"), target: str = "alpha"
) -> EpisodeRecord:
    verdict = (Verdict.A, Verdict.B)[number % 2]
    outcome = Outcome(Group(target, Mode.OPEN_ENDED), f"s{number}", 1, *values, verdict, 5, "a", "judge")
    looks = (Judgement("judge", "a", verdict, True, 5, words, quotes=(words,)),)
    return EpisodeRecord(outcome, 7, (Message(Role.USER, words), Message(Role.TARGET, words)), looks, None, 0.5)


async def write(path: Path, *episodes: EpisodeRecord) -> None:
    """A run of these episodes, or these added to it."""
    path.mkdir(parents=True, exist_ok=True)
    new = not (path / "run.db").exists()
    async with RunWriter.open(path / "run.db") as writer:
        if new:
            await writer.begin({"kind": "import", "name": path.name, "source": "", "versions": {}}, ["care", "thrift"])
        for each in episodes:
            await writer.record_episode(each)


_TOKENS: WeakKeyDictionary[httpx2.AsyncClient, str] = WeakKeyDictionary()


@contextlib.asynccontextmanager
async def viewing(runs_dir: Path, port: int = 0) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser, so to speak, before a server of a folder on loopback; `token` tells its token."""
    announced: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(view_runs(runs_dir, "127.0.0.1", port, announced.set_result))
    try:
        await asyncio.wait({server, announced}, return_when=asyncio.FIRST_COMPLETED)
        if server.done():
            await server
        base, token = announced.result().split("/?token=")
        async with httpx2.AsyncClient(base_url=base, timeout=60) as client:
            _TOKENS[client] = token
            yield client
    finally:
        if not server.done():
            os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C ends it
            await server


@contextlib.asynccontextmanager
async def let_in(runs_dir: Path, port: int = 0) -> AsyncIterator[httpx2.AsyncClient]:
    """The same, with the cookie."""
    async with viewing(runs_dir, port) as client:
        assert (await client.get(f"/?token={token(client)}")).status_code == 303
        yield client


def token(client: httpx2.AsyncClient) -> str:
    return _TOKENS[client]


async def states(client: httpx2.AsyncClient, run: str) -> AsyncIterator[dict[str, Any]]:
    """The states that the server sends of a run."""
    async with client.stream("GET", f"/runs/{run}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        event = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: ") and event == "state":
                yield json.loads(line.removeprefix("data: "))


# -- who is let in -----------------------------------------------------------------------------------------------------


async def test_only_who_has_the_token_sees_a_page(tmp_path: Path) -> None:
    """Without it 401 and no data, also with a wrong one; with it a cookie that scripts and other sites cannot use, and the page."""
    await write(tmp_path / "runs" / "first", episode(1))
    async with viewing(tmp_path / "runs") as client:
        for path in (
            "/",
            "/runs/first",
            "/runs/first/events",
            "/runs/first/charts",
            "/?token=",
            "/?token=wrong",
            "/runs/nope",
        ):
            answer = await client.get(path)
            assert answer.status_code == 401
            assert "first" not in answer.text
        came = await client.get(f"/runs/first?token={token(client)}&x=1")
        assert (came.status_code, came.headers["location"]) == (303, "/runs/first?x=1")
        cookie = came.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert (await client.get("/runs/first")).status_code == 200
        assert "first" in (await client.get("/")).text


async def test_a_token_leads_to_no_other_host(tmp_path: Path) -> None:
    """A path of two slashes is a path of one."""
    (tmp_path / "runs").mkdir()
    async with viewing(tmp_path / "runs") as client:
        came = await client.get(httpx2.URL(f"{client.base_url}//evil.example/?token={token(client)}"))
        assert came.headers["location"].startswith("/evil.example")


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "localhost.evil.example"},
        {"host": "127.0.0.1.evil.example:80"},
        {"host": ""},
        {"host": "[::1"},
        {"host": "10.0.0.1"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_pages_of_other_sites_read_nothing(tmp_path: Path, headers: dict[str, str]) -> None:
    """A Host that is not ours (DNS rebinding), another Origin, a request that a page elsewhere made: 403, whatever the cookie."""
    await write(tmp_path / "runs" / "first", episode(1))
    async with let_in(tmp_path / "runs") as client:
        for path in ("/", "/runs/first", "/runs/first/events", "/runs/first/charts"):
            answer = await client.get(path, headers=headers)
            assert answer.status_code in (400, 403)
            assert "first" not in answer.text


async def test_what_browsers_send_for_our_own_pages_is_let_in(tmp_path: Path) -> None:
    """Other names of loopback, our own Origin, a request of our own page."""
    (tmp_path / "runs").mkdir()
    async with let_in(tmp_path / "runs") as client:
        own = str(client.base_url).rstrip("/")
        port = client.base_url.port
        for headers in (
            {"host": f"localhost:{port}"},
            {"host": "[::1]:1"},
            {"origin": own},
            {"sec-fetch-site": "same-origin"},
        ):
            assert (await client.get("/", headers=headers)).status_code == 200


async def test_who_comes_from_a_link_elsewhere_is_let_in_by_a_click(tmp_path: Path) -> None:
    """A browser keeps a strict cookie back on a redirect that another site began, so there is a page with a link."""
    (tmp_path / "runs").mkdir()
    async with viewing(tmp_path / "runs") as client:
        came = await client.get(f"/?token={token(client)}", headers={"sec-fetch-site": "cross-site"})
        assert came.status_code == 200
        assert '<a href="/">' in came.text
        assert "set-cookie" in came.headers


async def test_every_answer_forbids_scripts_that_are_not_ours(tmp_path: Path) -> None:
    """Pages, data, events, static files, refusals: the same policy, no sniffing, no referrer; pages are never kept."""
    await write(tmp_path / "runs" / "first", episode(1))
    async with let_in(tmp_path / "runs") as client:
        page = await client.get("/runs/first")
        static = [part.split('"')[0] for part in page.text.split('src="')[1:]]
        assert any("vega.js" in path for path in static)
        for path in ("/", "/runs/first", "/runs/first/charts", "/runs/first/episodes", "/nope", "/runs/nope", *static):
            headers = (await client.get(path)).headers
            policy = headers["content-security-policy"]
            assert SHUT in policy
            assert "script-src 'self';" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert "access-control-allow-origin" not in headers
            assert ("immutable" in headers["cache-control"]) == path.startswith("/static/")
        assert "<script>" not in page.text
        assert "://" not in page.text
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert (await client.request(method, "/")).status_code == 405


# -- names -------------------------------------------------------------------------------------------------------------

TRAVERSALS = (
    "%2e%2e", "..%2f..%2foutside", "%2e%2e%2foutside", "%252e%252e%252foutside", "..%5coutside", "first%2f..%2f..%2foutside",
    "%2fetc", "first%00", "first%2frun.db", "linked", "database-linked", ".hidden", "%ff", "first%20", "FIRST",
)  # fmt: skip


async def test_names_cannot_leave_the_runs_folder(tmp_path: Path) -> None:
    """Dots, slashes however they are written, absolute paths, links to elsewhere: there is no such run; nor are links listed."""
    runs = tmp_path / "runs"
    for place in (runs / "first", tmp_path / "outside", runs / ".hidden"):
        await write(place, episode(1))
    (runs / "linked").symlink_to(tmp_path / "outside")
    (runs / "database-linked").mkdir()
    (runs / "database-linked" / "run.db").symlink_to(tmp_path / "outside" / "run.db")
    async with let_in(runs) as client:
        assert "linked" not in (await client.get("/")).text
        for name in [*TRAVERSALS, str(tmp_path / "outside").replace("/", "%2f")]:
            for rest in ("", "/events", "/charts", "/episodes", "/episodes/1", "/compare"):
                answer = await client.get(
                    httpx2.URL(f"{client.base_url}/runs/").copy_with(raw_path=f"/runs/{name}{rest}".encode())
                )
                assert answer.status_code == 404, (name, rest)
        assert (await client.get("/runs/first/compare?other=..%2Foutside")).status_code == 404
        for name in ("..%2fapp.py", "%2e%2e%2fapp.py", "..%2ftemplates%2fbase.html"):
            assert (await client.get(f"/static/{name}")).status_code == 404


# -- hostile text ------------------------------------------------------------------------------------------------------


async def test_no_text_becomes_anything_but_text(tmp_path: Path) -> None:
    """Messages, reasoning, quotes, values, targets, actions, kinds of failure, queries: on every page each is there, escaped."""
    runs = tmp_path / "runs"
    path = runs / "hostile"
    path.mkdir(parents=True)
    texts = [text for text in HOSTILE if text.isprintable()]
    async with RunWriter.open(path / "run.db") as writer:
        await writer.begin({"kind": "import", "name": "hostile", "source": "", "versions": {}}, [])
        held = [text for text in HOSTILE if "\ud800" not in text]  # a run file holds no half of a pair
        scenarios = (
            Scenario(
                id=f"s{number}",
                value_a="care",
                value_b="thrift",
                description=f"d {text}",
                action_a=f"a {text}",
                action_b=f"b {text}",
            )
            for number, text in enumerate(held)
        )
        await writer.add_scenarios(scenarios, {})
        for number, text in enumerate(held):
            await writer.record_episode(episode(number, text, ("care", text), target=text))
            if number % 5 == 0:
                failed = Outcome(
                    Group(text, Mode.MULTIPLE_CHOICE, text), f"f{number}", 1, "care", text, Verdict.TARGET_FAILED
                )
                await writer.record_episode(EpisodeRecord(failed, 7, (), (), f"{text}: {text}", 0.5))
    async with let_in(runs) as client:
        page = await client.get("/runs/hostile/episodes")
        pages = ["/", "/runs/hostile", "/runs/hostile/episodes", "/runs/hostile/compare"]
        newest = int(page.text.split("/episodes/")[1].split('"')[0])
        pages += [f"/runs/hostile/episodes/{seq}" for seq in range(1, newest + 1)]
        pages += [
            str(httpx2.URL("/runs/hostile/episodes", params={"text": text, "target": text, "scenario": text}))
            for text in texts
        ]
        seen = ""
        for path_of_page in pages:
            answer = await client.get(path_of_page)
            assert answer.status_code == 200, path_of_page
            seen += answer.text
            for text in HOSTILE:
                if "<" in text and not text.startswith("&lt;"):
                    assert text not in answer.text
            shown = re.sub(r'value="[^"]*"', "", answer.text)  # what a form sends is as it is
            assert not set(shown) & set("\x00\x07\x1b\x9b\u202e\u2066\u2028\ud800")
        for text in texts:
            assert html.escape(visible(text)).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in seen
        event = await anext(states(client, "hostile"))
        assert not set(json.dumps(event, ensure_ascii=False)) & set("\x00\x07\x1b\x9b\u202e\u2066\u2028")


async def test_a_long_text_is_cut_until_all_of_it_is_asked_for(tmp_path: Path) -> None:
    """A megabyte does not fill the page by itself; it is all there on request."""
    await write(tmp_path / "runs" / "long", episode(1, "word " * 200_000 + "end of it"))
    async with let_in(tmp_path / "runs") as client:
        cut = (await client.get("/runs/long/episodes/1")).text
        assert len(cut) < 200_000
        assert "980,009 characters more" in cut
        assert "end of it" not in cut
        assert "end of it" in (await client.get("/runs/long/episodes/1?all=1")).text


# -- pages -------------------------------------------------------------------------------------------------------------


async def test_a_planted_sweep_on_every_page(tmp_path: Path, make_sweep: Callable[..., pipeline.Sweep]) -> None:
    """Runs, one run, its episodes, filtered and searched and paged, one in full, comparisons with itself and with another run."""
    runs = tmp_path / "runs"
    for name in ("one", "two"):
        sweep = make_sweep(f"name={name}", 'modes=["open_ended", "multiple_choice"]', scenarios=40)
        await pipeline.run_sweep(sweep, runs)
    async with let_in(runs) as client:
        listed = (await client.get("/")).text
        assert "/runs/one" in listed
        assert "240 of 240" in listed
        assert "planted:alpha" in listed
        page = (await client.get("/runs/one")).text
        assert "240 of 240" in page
        assert "Posterior ranking" in page
        assert "the judge's error" in page  # which is not in these figures
        assert page.count('data-chart="ratings-') == 6
        charts = (await client.get("/runs/one/charts")).json()
        assert {"doubt", "throughput", "spend"} <= charts["charts"].keys()
        assert all(chart["spec"]["data"]["name"] == "rows" for chart in charts["charts"].values())
        everything, pages, onward = set[str](), 0, "/runs/one/episodes"
        while onward:
            text = (await client.get(onward)).text
            everything |= {part.split('"')[0] for part in text.split('<th scope="row"><a href="')[1:]}
            pages += 1
            onward = text.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0] if 'rel="next"' in text else ""
            onward = html.unescape(onward) and f"/runs/one/episodes{html.unescape(onward)}"
        assert (len(everything), pages) == (240, 5)
        some = (await client.get("/runs/one/episodes?mode=multiple_choice&target=planted:alpha&verdict=a")).text
        assert "multiple_choice" in some
        assert 'rel="next"' not in some
        assert "No episode is like that" in (await client.get("/runs/one/episodes?text=xyzzy")).text
        one = (await client.get(min(everything))).text
        for heading in ("Scenario", "Action a", "Conversation", "Calls", "seed"):
            assert heading in one
        compared = await client.get("/runs/one/compare")
        assert "tau" in compared.text
        assert "All comparisons" in compared.text
        assert (await client.get("/runs/one/compare?charts=1")).json()["charts"].keys() == {"shift"}
        between = (await client.get("/runs/one/compare?other=two")).text
        assert "planted:alpha in one" in between
        assert "planted:alpha in two" in between


@pytest.mark.parametrize(
    "query", ["mode=x", "verdict=x", "pair=x", "pair=[1,2]", "pair=[]", "before=x", "before=-1", "before=" + "9" * 30]
)
async def test_an_address_that_was_changed_by_hand_gets_one_clear_message(tmp_path: Path, query: str) -> None:
    """400, and what is wrong."""
    await write(tmp_path / "runs" / "first", episode(1))
    async with let_in(tmp_path / "runs") as client:
        answer = await client.get(f"/runs/first/episodes?{query}")
        assert answer.status_code == 400
        assert "Traceback" not in answer.text


async def test_a_run_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    """It is in the list, with the reason."""
    await write(tmp_path / "runs" / "good", episode(1))
    (tmp_path / "runs" / "bad").mkdir()
    (tmp_path / "runs" / "bad" / "run.db").write_text("this is no database, but long enough to be looked at" * 20)
    async with let_in(tmp_path / "runs") as client:
        listed = (await client.get("/")).text
        assert "/runs/good" in listed
        assert "cannot be read" in listed
        assert (await client.get("/runs/bad")).status_code == 500


# -- live --------------------------------------------------------------------------------------------------------------


async def test_what_is_new_comes_without_asking_and_nothing_else(tmp_path: Path) -> None:
    """The first event is the whole state; the next has what has changed, and a chart's new rows."""
    path = tmp_path / "runs" / "live"
    await write(path, *(episode(number) for number in range(6)))
    async with let_in(tmp_path / "runs") as client:
        seen = states(client, "live")
        first = await anext(seen)
        assert first["texts"]["done"] == "6"
        [ratings] = [name for name in first["charts"] if name.startswith("ratings-")]
        await write(path, *(episode(number) for number in range(6, 12)))
        then = await anext(seen)
        assert then["texts"]["done"] == "12"
        assert "spent" not in then["texts"]
        assert then["layout"] == first["layout"]
        assert then["charts"][ratings]["form"] == first["charts"][ratings]["form"]
        assert then["charts"][ratings]["rows"] != first["charts"][ratings]["rows"]
        await seen.aclose()


async def test_a_page_comes_back_when_the_server_does(tmp_path: Path) -> None:
    """Another server of the folder on the same port has the same token: the cookie holds, and the newest state comes at once."""
    path = tmp_path / "runs" / "live"
    await write(path, episode(1))
    async with let_in(tmp_path / "runs") as client:
        assert (await anext(states(client, "live")))["texts"]["done"] == "1"
        cookies, port = client.cookies, client.base_url.port
    await write(path, episode(2))
    async with viewing(tmp_path / "runs", port or 0) as client:
        client.cookies = cookies
        assert (await anext(states(client, "live")))["texts"]["done"] == "2"
    key = tmp_path / "state" / "conflictscope" / "view.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


async def test_tokens_of_two_folders_differ(tmp_path: Path) -> None:
    """Who may see one folder may not see another."""
    tokens = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        async with viewing(tmp_path / name) as client:
            tokens.add(token(client))
    assert len(tokens) == 2


def test_what_charts_need_is_there_before_somebody_comes(tmp_path: Path) -> None:
    """Altair takes a while to be imported: whoever opens the first page does not wait for it."""
    program = f"""
import asyncio, sys
from pathlib import Path
from conflictscope.pipeline.viewing import view_runs

async def main():
    assert "altair" not in sys.modules
    serving = asyncio.create_task(view_runs(Path({str(tmp_path)!r}), "127.0.0.1", 0, print))
    while "altair" not in sys.modules:
        await asyncio.sleep(0.01)
    serving.cancel()

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program], env=environment(), check=True, timeout=60)


async def test_viewers_share_one_monitor_and_the_slow_get_the_newest(tmp_path: Path) -> None:
    """However many look, one follows the run; who was busy meanwhile sees the newest board, not those between."""
    path = tmp_path / "runs" / "live"
    await write(path, episode(1))
    runs = RunsFolder(tmp_path / "runs")
    quick, slow = runs.boards("live"), runs.boards("live")
    try:
        assert await anext(quick) is await anext(slow)
        for number in (2, 3, 4):
            await write(path, episode(number))
            newest = await anext(quick)
            assert newest.snapshot.progress.done == number
        assert await anext(slow) is newest
        assert runs.watched == ["live"]
    finally:
        await runs.close()


async def test_who_come_at_once_follow_one_run_and_make_room_once(tmp_path: Path) -> None:
    """While room is made, another viewer of the same run comes: still one task reads it, and nothing is left after the end."""
    for number in range(9):
        await write(tmp_path / "runs" / f"r{number}", episode(1))
    before = asyncio.all_tasks()
    runs = RunsFolder(tmp_path / "runs")
    for number in range(8):
        async with contextlib.aclosing(runs.boards(f"r{number}")) as boards:
            await anext(boards)
    both = [runs.boards("r8"), runs.boards("r8")]
    first, second = await asyncio.gather(*(anext(boards) for boards in both))
    assert first is second
    assert len(runs.watched) == 8
    await runs.close()
    for boards in both:
        await boards.aclose()
    assert asyncio.all_tasks() == before


async def test_a_folder_that_nobody_can_name_hides_no_other(tmp_path: Path) -> None:
    """A name that is no UTF-8 stands in no address; the other runs are shown."""
    await write(tmp_path / "runs" / "good", episode(1))
    await write(tmp_path / "runs" / os.fsdecode(b"bad\xff"), episode(1))
    async with let_in(tmp_path / "runs") as client:
        page = await client.get("/")
    assert page.status_code == 200
    assert "good" in page.text


async def test_a_run_that_nobody_looks_at_is_let_go(tmp_path: Path) -> None:
    """A while after the last one has left, its file is closed; it is opened anew for the next one."""
    await write(tmp_path / "runs" / "live", episode(1))
    runs = RunsFolder(tmp_path / "runs", linger_s=0.0)
    first = runs.boards("live")
    await anext(first)
    [watched] = runs._watched.values()
    await first.aclose()  # type: ignore[attr-defined]
    await asyncio.wait([watched._task])
    assert watched.over
    again = runs.boards("live")
    assert (await anext(again)).snapshot.progress.done == 1
    await runs.close()


async def test_few_runs_are_followed_at_once(tmp_path: Path) -> None:
    """The one that was looked at longest ago, and is looked at by nobody, makes room; where all are looked at, there is none."""
    for number in range(10):
        await write(tmp_path / "runs" / f"r{number}", episode(number))
    runs = RunsFolder(tmp_path / "runs")
    looking = [runs.boards(f"r{number}") for number in range(8)]
    try:
        for boards in looking:
            await anext(boards)
        with pytest.raises(TooManyRuns):
            await anext(runs.boards("r8"))
        await looking[2].aclose()  # type: ignore[attr-defined]
        await anext(runs.boards("r8"))
        assert "r2" not in runs.watched
        assert len(runs.watched) == 8
    finally:
        await runs.close()


async def test_a_run_that_is_made_anew_is_read_anew(tmp_path: Path) -> None:
    """`demo` deletes its last run: who looks sees the end of that one, and then the other one."""
    path = tmp_path / "runs" / "live"
    await write(path, *(episode(number) for number in range(5)))
    runs = RunsFolder(tmp_path / "runs")
    boards = runs.boards("live")
    assert (await anext(boards)).snapshot.progress.done == 5
    shutil.rmtree(path)
    with pytest.raises(StopAsyncIteration):
        await anext(boards)
    with pytest.raises(NoSuchRun):
        await anext(runs.boards("live"))
    await write(path, episode(1))
    assert (await anext(runs.boards("live"))).snapshot.progress.done == 1
    await runs.close()


# -- the command -------------------------------------------------------------------------------------------------------


def test_bad_options_get_one_message(tmp_path: Path) -> None:
    """No such folder, a port that is none, a host that is none: exit code 2."""
    (tmp_path / "runs").mkdir()
    for arguments, told in (
        (["nowhere"], "no such folder"),
        (["runs", "--port", "99999"], "--port"),
        (["runs", "--port", "0", "--host", "no.such.host.invalid"], "cannot listen"),
    ):
        ended = conflictscope("view", *arguments, cwd=tmp_path, code=2)
        assert told in ended.stderr
        assert "Traceback" not in ended.stderr


async def test_a_port_that_is_taken_gets_one_message(tmp_path: Path) -> None:
    """It names the port."""
    (tmp_path / "runs").mkdir()
    async with viewing(tmp_path / "runs") as client:
        with pytest.raises(InputError, match="the port is in use"):
            await view_runs(tmp_path / "runs", "127.0.0.1", client.base_url.port or 0, lambda url: None)
