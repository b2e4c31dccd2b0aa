"""The runs of a folder as pages: read from their files, followed while somebody looks, and served."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import math
import os
import secrets
import signal
import tempfile
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog

from conflictscope.board import Board, Episode, EpisodeFilter, EpisodePage, FilterChoices
from conflictscope.comparison import Comparisons
from conflictscope.errors import ConflictScopeError, InputError
from conflictscope.listening import listen, url_of
from conflictscope.monitor import PATIENCE_S, Monitor, is_running, run_state
from conflictscope.pipeline.comparing import compare, compare_runs
from conflictscope.runfolder import RunFolder
from conflictscope.store import RunReader
from conflictscope.views.web import NoSuchRun, RunCard, TooManyRuns

_Found = TypeVar("_Found")

log = structlog.get_logger()

_MOST_WATCHED = 8
_MOST_CARDS = 10_000  # small; a folder with more runs is read anew at each look
_MOST_COMPARISONS = 64
_EVERY_S = 0.5
_IDLE_EVERY_S = 1.0  # of a run that has ended
_LINGER_S = 30.0


class RunsFolder:
    """The runs that lie in a folder. A RunSource.

    However many look at a run, it is read once; and at most _MOST_WATCHED runs are followed at once, each until `linger_s`
    seconds after the last one has left. A run that lies elsewhere and is only linked into the folder is none of its runs.

    runs_dir: the folder, or that of a single run.
    """

    def __init__(self, runs_dir: Path, *, linger_s: float = _LINGER_S) -> None:
        self._folder = runs_dir.resolve()
        self._linger_s = linger_s
        self._closed = False
        self._watched: OrderedDict[str, _Watched] = OrderedDict()
        self._cards: _Kept[RunCard] = _Kept(_MOST_CARDS)
        self._comparisons: _Kept[Comparisons] = _Kept(_MOST_COMPARISONS)
        self._opening = asyncio.Lock()
        self._spent: dict[int, tuple[int, float]] = {}  # by file: up to which call, in dollars

    @property
    def watched(self) -> Sequence[str]:
        """The runs that are followed, the one last asked for at the end."""
        return list(self._watched)

    async def close(self) -> None:
        """Follow no run any longer; whoever looks at one sees its end."""
        self._closed = True
        for watched in list(self._watched.values()):
            await watched.close()
        self._watched.clear()

    def _all(self) -> dict[str, RunFolder]:
        """Every run by name."""
        single = (self._folder / "run.db").is_file()
        places = [self._folder] if single else [place for place in self._folder.iterdir() if place.name[0] != "."]
        inside = self._folder.parent if single else self._folder
        return {place.name: RunFolder(place) for place in places if _is_run(place, inside)}

    def _find(self, run: str) -> RunFolder:
        # Among the names that there are, so that no name leads elsewhere.
        folder = self._all().get(run)
        if folder is None:
            raise NoSuchRun(run)
        return folder

    async def runs(self) -> Sequence[RunCard]:
        """All runs, the newest first."""
        cards = [
            await self._cards.get(name, [folder], partial(self._card, folder)) for name, folder in self._all().items()
        ]
        return sorted(cards, key=lambda card: (card.started_at or "", card.name), reverse=True)

    async def _card(self, folder: RunFolder) -> RunCard:
        try:
            async with RunReader.open(folder.database) as reader:
                meta, sessions = await reader.meta(), await reader.sessions()
                kind = meta.get("kind", "sweep")
                targets = meta.get("sweep", {}).get("targets")
                last, spent_usd = self._spent.pop(file := _stamp(folder)[0], (0, 0.0))
                last, more_usd = await reader.spent_usd(last)
                self._spent[file] = last, spent_usd + more_usd
                return RunCard(
                    name=folder.path.name,
                    kind=kind,
                    state=run_state(kind, sessions, running=is_running(sessions, folder)),
                    planned=meta.get("planned"),
                    done=await reader.episodes(),
                    targets=[one.get("name") or one["model"] for one in targets]
                    if targets
                    else sorted({group.target for group in (await reader.groups()).values()}),
                    started_at=sessions[0].started_at if sessions else None,
                    spent_usd=self._spent[file][1],
                    limit_usd=meta.get("limits", {}).get("cost_usd"),
                )
        except ConflictScopeError as error:
            return RunCard(folder.path.name, "", "", None, 0, (), None, 0.0, None, problem=str(error))

    async def boards(self, run: str) -> AsyncGenerator[Board]:
        """The run as of now, and then anew whenever something has happened; always the newest."""
        folder = self._find(run)
        if self._closed:
            return
        async with self._opening:  # two who come at once follow one run
            watched = self._watched.get(run)
            if watched is None or watched.over:
                await self._make_room()
                watched = self._watched[run] = _Watched(folder, self._linger_s)
            self._watched.move_to_end(run)
        async with contextlib.aclosing(watched.boards()) as boards:
            async for board in boards:
                yield board

    async def _make_room(self) -> None:
        for name, watched in list(self._watched.items()):
            if watched.over or (len(self._watched) >= _MOST_WATCHED and not watched.viewers):
                await watched.close()
                self._watched.pop(name, None)
        if len(self._watched) >= _MOST_WATCHED:
            raise TooManyRuns

    async def choices(self, run: str) -> FilterChoices:
        """What episodes can be filtered by."""
        async with RunReader.open(self._find(run).database) as reader:
            return await reader.filter_choices()

    async def episode_page(self, run: str, wanted: EpisodeFilter, before: int | None, limit: int) -> EpisodePage:
        """The episodes that are wanted."""
        async with RunReader.open(self._find(run).database) as reader:
            return await reader.episode_page(wanted, before, limit)

    async def episode(self, run: str, seq: int) -> Episode | None:
        """One episode."""
        async with RunReader.open(self._find(run).database) as reader:
            return await reader.episode(seq)

    async def comparisons(self, run: str, other: str | None) -> Comparisons:
        """Of the groups of a run, or of those that it shares with another."""
        folders = [self._find(run)] if other is None else [self._find(run), self._find(other)]

        async def made() -> Comparisons:
            making = compare(folders[0]) if other is None else compare_runs(folders[0], folders[1])
            return await _elsewhere(making)

        return await self._comparisons.get("\0".join(folder.name for folder in folders), folders, made)


def _is_run(place: Path, inside: Path) -> bool:
    """Whether a run lies there itself, and not only a link to one, under a name that an address can hold."""
    try:
        place.name.encode()
        file = place / "run.db"
        return file.is_file() and file.resolve() == inside / place.name / "run.db"
    except (OSError, UnicodeEncodeError):  # a folder that nobody may read must not hide the others
        return False


class _Watched:
    """One run that is followed, in a task of its own, as long as somebody looks and a while longer."""

    def __init__(self, folder: RunFolder, linger_s: float) -> None:
        self.viewers = 0
        self._folder = folder
        self._linger_s = linger_s
        self._board: Board | None = None
        self._made_at = -math.inf
        self._wanted = asyncio.Event()
        self._news = asyncio.get_running_loop().create_future()  # done at the next look at the run, and at the end
        self._task = asyncio.create_task(self._follow())
        self._task.add_done_callback(lambda _: self._tell())

    @property
    def over(self) -> bool:
        """Whether it is followed no longer."""
        return self._task.done()

    async def close(self) -> None:
        """End it."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def boards(self) -> AsyncGenerator[Board]:
        """The newest board, then each time the newest once there is a newer one; ends where it is followed no longer."""
        self.viewers += 1
        self._wanted.set()
        try:
            came_at, seen = time.monotonic(), None
            while not self.over and self._made_at < came_at - _IDLE_EVERY_S:  # nobody has looked for a while
                await asyncio.wait([self._news])
            while True:
                news = self._news
                if self._board is not None and self._board is not seen:
                    yield (seen := self._board)
                elif not self.over:
                    await asyncio.wait([news])  # which leaves it alone where this viewer is cancelled
                elif not self._task.cancelled() and (error := self._task.exception()) is not None:
                    raise error
                else:
                    return
        finally:
            self.viewers -= 1
            if not self.viewers:
                self._wanted.clear()

    async def _follow(self) -> None:
        async with RunReader.open(self._folder.database) as reader:
            monitor, file = Monitor(reader, self._folder, PATIENCE_S), _stamp(self._folder)[0]
            while _stamp(self._folder)[0] == file:  # else somebody has deleted the run, or made it anew
                began = time.monotonic()
                board = await monitor.board()
                self._made_at = time.monotonic()
                running = board.snapshot.progress.state == "running"
                if running or self._board is None or board.snapshot.progress != self._board.snapshot.progress:
                    self._board = board
                self._tell()
                if board.snapshot.progress.read < 1:  # a page shows how far it is
                    continue
                # A run that is slow to read must not take more than half of a core.
                await asyncio.sleep(max(_EVERY_S if running else _IDLE_EVERY_S, self._made_at - began))
                try:
                    async with asyncio.timeout(self._linger_s):
                        await self._wanted.wait()
                except TimeoutError:
                    return

    def _tell(self) -> None:
        self._news.set_result(None)
        self._news = asyncio.get_running_loop().create_future()


class _Kept(Generic[_Found]):
    """What was found in runs, kept as long as their files stay as they were; of those asked for last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[str, tuple[Any, _Found]] = OrderedDict()
        self._making: dict[str, asyncio.Lock] = {}

    async def get(self, name: str, folders: Sequence[RunFolder], make: Callable[[], Awaitable[_Found]]) -> _Found:
        """What is kept under a name, or made now; who asks meanwhile waits for that."""
        async with self._making.setdefault(name, asyncio.Lock()):
            stamp = [(_stamp(folder), folder.in_work) for folder in folders]
            known = self._found.pop(name, None)
            if known is None or known[0] != stamp:
                known = stamp, await make()
            self._found[name] = known
        if len(self._found) > self._most:
            gone, _ = self._found.popitem(last=False)
            self._making.pop(gone, None)
        return known[1]


def _stamp(folder: RunFolder) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Which file it is (0: none), and what changes whenever something is written to it."""
    found = []
    for path in (folder.database, folder.path / "run.db-wal"):
        try:
            stat = path.stat()
        except FileNotFoundError:
            found.append((0, 0, 0))
        else:
            found.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return found[0][0], tuple((written, size) for _, written, size in found)


async def _elsewhere(work: Coroutine[Any, Any, _Found]) -> _Found:
    """Do what computes for long in a thread, so that pages go on meanwhile."""
    return await asyncio.to_thread(asyncio.run, work)


# -- serving -----------------------------------------------------------------------------------------------------------


async def view_runs(runs_dir: Path, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve the pages of a runs folder until SIGINT or SIGTERM; `announce` gets the address, with its token, once they can be
    reached. Raises InputError.
    """
    # Imported here: no other command needs a web server.
    import uvicorn

    from conflictscope.views.web import web_app

    if not runs_dir.is_dir():
        raise InputError("no such folder; the runs folder of a project is made by its first run", path=runs_dir)
    listening = listen(host, port)
    token = hmac.new(_secret(), str(runs_dir.resolve()).encode(), hashlib.sha256).hexdigest()[:32]
    runs = RunsFolder(runs_dir)
    server = uvicorn.Server(
        uvicorn.Config(
            web_app(
                runs, token=token, cookie=f"conflictscope-{hashlib.sha256(token.encode()).hexdigest()[:8]}", host=host
            ),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
    )
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]

    def stop() -> None:
        server.should_exit = True
        ending.append(asyncio.ensure_future(runs.close()))  # which ends the streams that pages listen to

    ending: list[asyncio.Future[None]] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    announce(f"{url_of(listening)}/?token={token}")
    try:
        await server.serve(sockets=[listening])
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)
        listening.close()
        await runs.close()


def _secret() -> bytes:
    """What tokens are derived from: of this user, and the same in every process, so that pages come back by themselves when the
    server does. One of this process alone, where none can be kept.
    """
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    path = home / "conflictscope" / "view.key"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            with tempfile.NamedTemporaryFile(dir=path.parent) as made:  # nobody else may read it
                made.write(secrets.token_bytes(32))
                made.flush()
                with contextlib.suppress(FileExistsError):  # whole or not at all, and the first of several
                    os.link(made.name, path)
        secret = path.read_bytes()
    except OSError as error:
        log.warning("view.secret", error=str(error))
        secret = b""
    return secret if len(secret) == 32 else secrets.token_bytes(32)
