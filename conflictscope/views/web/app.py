"""The pages of a runs folder as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2
from markupsafe import Markup
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from conflictscope.board import Board, EpisodeFilter, FilterChoices
from conflictscope.comparison import Comparison
from conflictscope.errors import ConflictScopeError, InputError
from conflictscope.outcome import Mode, Verdict
from conflictscope.views import charts
from conflictscope.views.text import duration, visible
from conflictscope.views.web.gate import Gate
from conflictscope.views.web.source import NoSuchRun, RunSource, TooManyRuns
from conflictscope.views.web.state import Chart, GroupCard, RunState, found, moment, run_path, run_state

_FOLDER = Path(__file__).parent
_STATIC = "/static/"
_LATEST = 8
_PER_PAGE = 50
_LARGEST = 2**63 - 1  # that SQLite can count to
_MOST_STATES = 8
_MOST_TEXT = 20_000
"""A longer text is cut until somebody asks for all of it."""

_PING_S = 5
_SLOW_S = 60
"""A viewer that takes nothing for so long is gone."""


def web_app(runs: RunSource, *, token: str, cookie: str, host: str) -> Starlette:
    """The pages of these runs. token, cookie, host: as in Gate."""
    pages = _Pages(runs)
    threading.Thread(target=_prepare, daemon=True).start()  # while nobody has come yet
    gate = Middleware(Gate, token=token, cookie=cookie, host=host, static=_STATIC, refusal=_refusal)
    return Starlette(
        routes=[
            Route("/", pages.runs),
            Route("/runs/{run}", pages.run),
            Route("/runs/{run}/events", pages.events),
            Route("/runs/{run}/charts", pages.charts),
            Route("/runs/{run}/episodes", pages.episodes),
            Route("/runs/{run}/episodes/{seq:int}", pages.episode),
            Route("/runs/{run}/compare", pages.compare),
            Route(_STATIC + "{name}", _static),
        ],
        middleware=[gate],
        exception_handlers={
            HTTPException: _http_error,
            NoSuchRun: _told(404, "There is no run of that name in this folder."),
            TooManyRuns: _told(503, "Too many runs are being watched at once: close some of their pages."),
            InputError: _told(400),
            ConflictScopeError: _told(500),
        },
    )


class _Pages:
    """A page a method. Every one is made from the run file at the moment in which it is asked for."""

    def __init__(self, runs: RunSource) -> None:
        self._runs = runs
        self._states: dict[str, tuple[Board, RunState]] = {}
        self._drawing = asyncio.Lock()

    async def runs(self, request: Request) -> Response:
        cards = [(card, run_path(card.name)) for card in await self._runs.runs()]
        return _page(request, "runs.html", cards=cards)

    async def run(self, request: Request) -> Response:
        name = request.path_params["run"]
        return _page(request, "run.html", path=run_path(name), state=await self._now(name))

    async def charts(self, request: Request) -> Response:
        return _charts((await self._now(request.path_params["run"])).charts)

    async def events(self, request: Request) -> Response:
        run = request.path_params["run"]
        states = self._live(run)
        first = await _newest(states, run)  # what is wrong with the run is told by the status of the answer

        async def told() -> AsyncIterator[ServerSentEvent]:
            yield ServerSentEvent(_json(first.news(None)), event="state")
            before = first
            async with contextlib.aclosing(states):
                async for state in states:  # while the event before was on its way, states may have come and gone
                    yield ServerSentEvent(_json(state.news(before)), event="state")
                    before = state

        return EventSourceResponse(
            told(),
            ping=_PING_S,
            ping_message_factory=lambda: ServerSentEvent("", event="ping"),
            send_timeout=_SLOW_S,
            headers={"cache-control": "no-store"},
        )

    async def _now(self, run: str) -> RunState:
        states = self._live(run)
        try:
            return await _newest(states, run)
        finally:
            await states.aclose()

    async def _live(self, run: str) -> AsyncGenerator[RunState]:
        """The states of a run, as `boards` gives its boards; each is made once, whoever asks."""
        async with contextlib.aclosing(self._runs.boards(run)) as boards:
            async for board in boards:
                yield await self._drawn(run, board)

    async def _drawn(self, run: str, board: Board) -> RunState:
        async with self._drawing:
            known = self._states.pop(run, None)
            if known is None or known[0] is not board:
                latest = (await self._runs.episode_page(run, EpisodeFilter(), None, _LATEST)).rows
                # Charts take a while to be made, and others want their pages meanwhile.
                known = board, await asyncio.to_thread(run_state, board, latest, run_path(run))
            self._states[run] = known
            while len(self._states) > _MOST_STATES:
                del self._states[next(iter(self._states))]
            return known[1]

    async def episodes(self, request: Request) -> Response:
        name, asked = request.path_params["run"], request.query_params
        wanted, before = _wanted(asked), _number(asked, "before")
        page = await self._runs.episode_page(name, wanted, before, _PER_PAGE)
        kept = [(key, value) for key, value in asked.items() if key != "before" and value]
        onward = None if page.before is None else "?" + urlencode([*kept, ("before", str(page.before))])
        return _page(
            request,
            "episodes.html",
            name=name,
            path=run_path(name),
            rows=page.rows,
            onward=onward,
            newest="?" + urlencode(kept) if before is not None else None,
            choices=_options(await self._runs.choices(name)),
            asked=asked,
            filtered=bool(kept),
        )

    async def episode(self, request: Request) -> Response:
        name, seq = request.path_params["run"], request.path_params["seq"]
        episode = await self._runs.episode(name, seq) if seq <= _LARGEST else None
        if episode is None:
            raise HTTPException(404, f"This run has no episode {seq}.")
        return _page(
            request, "episode.html", name=name, path=run_path(name), episode=episode, row=episode.row,
            whole="all" in request.query_params,
        )  # fmt: skip

    async def compare(self, request: Request) -> Response:
        """The groups of one run, or with `other` those of two, of which a pair can be looked at closely."""
        name, asked = request.path_params["run"], request.query_params
        other = asked.get("other") or None
        others = [
            card.name for card in await self._runs.runs() if card.kind in ("sweep", "import") and card.name != name
        ]
        found, problem = None, None
        try:
            found = await self._runs.comparisons(name, other)
        except InputError as error:
            problem = str(error)
        pairs = [(_pair_id(each), each) for each in found.comparisons] if found else []
        # Unless one is asked for, the one in which most is sure.
        telling = max((each for _, each in pairs), key=lambda each: each.resolved, default=None)
        shown = next((each for own, each in pairs if own == asked.get("pair")), telling)
        drawn = {} if shown is None else {"shift": charts.shift_chart(shown)}
        if found is not None and found.alignments:
            drawn["steering"] = charts.steering_chart(found.alignments)
        if "charts" in asked:
            return _charts({own: Chart(charts.chart_spec(chart)) for own, chart in drawn.items()})
        here = {"other": other} if other else {}
        return _page(
            request,
            "compare.html",
            name=name,
            path=run_path(name),
            others=others,
            other=other,
            found=found,
            problem=problem,
            pairs=[("?" + urlencode({**here, "pair": own}), each) for own, each in pairs],
            shown=shown,
            charts="?" + urlencode({**here, "pair": _pair_id(shown) if shown else "", "charts": "1"}),
        )


async def _newest(states: AsyncGenerator[RunState], run: str) -> RunState:
    try:
        return await anext(states)
    except StopAsyncIteration:  # it was deleted while it was looked for
        raise NoSuchRun(run) from None


# -- what is asked -----------------------------------------------------------------------------------------------------


def _wanted(asked: Mapping[str, str]) -> EpisodeFilter:
    """The filter of a query. Raises InputError."""

    def one(key: str) -> str | None:
        return asked.get(key) or None

    pair = one("pair")
    try:
        return EpisodeFilter(
            target=one("target"),
            mode=Mode(asked["mode"]) if one("mode") else None,
            steering=one("steering"),
            behavior=one("behavior"),
            verdict=Verdict(asked["verdict"]) if one("verdict") else None,
            pair=_two(json.loads(pair)) if pair else None,
            scenario_id=one("scenario"),
            failure=one("failure"),
            text=asked.get("text", ""),
        )
    except (
        ValueError,
        RecursionError,
    ) as error:  # of an address that somebody changed: the form offers only what there is
        raise InputError(f"cannot filter by that: {error}") from None


def _options(choices: FilterChoices) -> Mapping[str, Sequence[tuple[str, str]]]:
    """What can be chosen, by key of the query: what it is in an address, and in words."""
    words: dict[str, Sequence[str]] = {
        "target": choices.targets,
        "mode": choices.modes,
        "steering": choices.steerings,
        "behavior": choices.behaviors,
        "verdict": choices.verdicts,
        "failure": choices.failures,
    }
    options = {key: [(str(word), str(word)) for word in found] for key, found in words.items()}
    return {**options, "pair": [(json.dumps(pair), " / ".join(pair)) for pair in choices.pairs]}


def _two(pair: Any) -> tuple[str, str]:
    if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(value, str) for value in pair)):
        raise ValueError("pair: expected a list of two values")
    return pair[0], pair[1]


def _number(asked: Mapping[str, str], key: str) -> int | None:
    text = asked.get(key, "")
    if not text:
        return None
    if not (text.isdecimal() and text.isascii() and len(text) < 19):
        raise InputError(f"{key}: expected a number, got {text[:40]!r}")
    return int(text)


def _pair_id(comparison: Comparison) -> str:
    return f"{GroupCard.of(comparison.first).id}-{GroupCard.of(comparison.second).id}"


# -- what is answered --------------------------------------------------------------------------------------------------


def _safe(value: Any) -> Any:
    """Text as it may be seen: autoescape makes it text, this what is invisible in it visible."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _cut(text: str, whole: bool) -> tuple[str, int]:
    """The text, or its beginning, and how many characters are missing."""
    return (text, 0) if whole or len(text) <= _MOST_TEXT else (text[:_MOST_TEXT], len(text) - _MOST_TEXT)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        finalize=_safe,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cut": _cut, "moment": moment, "duration": duration, "found": found}
    environment.globals |= {"static": _address}
    return environment


def _page(request: Request, template: str, status: int = 200, **what: Any) -> Response:
    text = _environment().get_template(template).render(here=request.url.path, **what)
    return HTMLResponse(text.encode(errors="replace"), status)


def _charts(drawn: Mapping[str, Chart]) -> Response:
    """Charts by id as a page draws them, with the looks of both themes."""
    themes = {"light": charts.theme(dark=False), "dark": charts.theme(dark=True)}
    specs = {own: {"form": chart.form, "spec": chart.spec} for own, chart in drawn.items()}
    return Response(_json({"themes": themes, "charts": specs}), media_type="application/json")


def _json(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def _refusal(request: Request, status: int, reason: str, onward: str | None = None) -> Response:
    return _page(request, "message.html", status, reason=reason, onward=onward)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = "There is no such page." if error.detail == "Not Found" else error.detail
    response = _refusal(request, error.status_code, reason)
    response.headers.update(error.headers or {})
    return response


def _told(status: int, words: str | None = None) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        return _refusal(request, status, words or str(error))

    return answer


# -- static files ------------------------------------------------------------------------------------------------------

_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


_READING = threading.Lock()


def _files() -> Mapping[str, tuple[bytes, str]]:
    """What pages load, by name, with its media type."""
    with _READING:  # whoever comes while it is read waits for that
        return _read_files()


def _prepare() -> None:
    """What takes a while and every page with charts needs."""
    import altair  # noqa: F401

    _files()


@cache
def _read_files() -> Mapping[str, tuple[bytes, str]]:
    """Vega's scripts come out of vl-convert, which takes a second: nothing is fetched from elsewhere."""
    import vl_convert

    own = {
        path.name: (path.read_bytes(), _KINDS[path.suffix])
        for path in (_FOLDER / "static").iterdir()
        if path.suffix in _KINDS
    }
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub asks for a default
    return {**own, "vega.js": (bundle.encode(), _KINDS[".js"])}


@cache
def _address(name: str) -> str:
    """Where a static file is; another address where it is another file, so that browsers may keep it."""
    return f"{_STATIC}{name}?{hashlib.sha256(_files()[name][0]).hexdigest()[:16]}"


async def _static(request: Request) -> Response:
    file = (await asyncio.to_thread(_files)).get(request.path_params["name"])
    if file is None:
        raise HTTPException(404)
    return Response(file[0], headers={"cache-control": "public, max-age=31536000, immutable"}, media_type=file[1])
