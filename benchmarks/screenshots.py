"""Pictures of a sweep for README and docs: the terminal at two sizes and each page in light and dark.

    python -m benchmarks.screenshots [DIR]        # default: docs/images

A planted sweep (the demo's models, but steerable) is run in tmux, where `run` (200x60) and `watch` (80x24) are caught half-way as
they stand on the screen; then `view` shows it, beside a finished `demo`, to Chromium, and `report` writes its page. Needs tmux
and chromium; all on loopback.
"""

from __future__ import annotations

import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import StringIO
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from benchmarks.watching import COMMAND, serving

RUN = "steering"
SWEEP = f"""
name = "{RUN}"
value_set = "hhh"
scenarios = "hhh"
world = "world.toml"
seed = 7
repeats = 2
modes = ["open_ended", "multiple_choice"]
targets = [{{ model = "planted:guardian" }}, {{ model = "planted:pleaser" }}]
user = {{ model = "planted:user" }}
judge = {{ models = ["planted:judge"], orders = "both" }}
steering = [{{ name = "helpful-first", ranking = ["helpfulness", "honesty", "harmlessness"] }}]
limits = {{ concurrency = 24, cost_usd = 5.0 }}
"""
SIZES = ((200, 60), (80, 24))
WIDTH, HEIGHT = 1280, 1000
THEME = TerminalTheme(
    (20, 22, 26),
    (228, 230, 234),
    [
        (40, 44, 52), (242, 130, 130), (127, 214, 178), (229, 192, 123),
        (124, 192, 242), (198, 146, 233), (110, 205, 215), (200, 204, 210),
    ],
    [
        (130, 136, 145), (255, 150, 150), (150, 230, 195), (245, 210, 150),
        (150, 210, 255), (215, 170, 245), (140, 225, 232), (255, 255, 255),
    ],
)  # fmt: skip
_HTML = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: {background}; color: {foreground}; }}
pre {{ display: inline-block; margin: 0; padding: 12px 14px; font: 12px/15px "DejaVu Sans Mono", monospace; }}
{stylesheet}</style><pre>{code}</pre>"""


@contextmanager
def terminals(folder: Path) -> Iterator[list[str]]:
    """tmux of our own, with one session for each size: the command line up to the session's name."""
    tmux = ["tmux", "-L", f"shots-{folder.name}", "-f", "/dev/null"]
    try:
        yield tmux
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, capture_output=True)


def half_way(database: Path) -> None:
    """Wait until half of a run's episodes have ended."""
    done, planned = 0, 1
    while 2 * done < planned:
        time.sleep(0.2)
        if database.exists():
            with closing(sqlite3.connect(database)) as run:
                try:
                    [(done,)] = run.execute("SELECT count(*) FROM episodes")
                    planned = int(run.execute("SELECT value FROM meta WHERE key = 'planned'").fetchone()[0])
                except (sqlite3.OperationalError, TypeError):  # it is being made
                    continue


def in_terminals(folder: Path, runs: Path) -> dict[str, str]:
    """Run the sweep; what stood on each terminal half-way, with its escape sequences."""
    run = [*COMMAND, "run", str(folder / "sweep.toml"), "--runs-dir", str(runs)]
    watch = [*COMMAND, "watch", RUN, "--runs-dir", str(runs)]
    with terminals(folder) as tmux:
        for command, (width, height) in zip((run, watch), SIZES, strict=True):
            over = [*tmux, "wait-for", "-S", f"{width}x{height}"]
            size = ["-x", str(width), "-y", str(height), f"{shlex.join(command)}; {shlex.join(over)}"]
            subprocess.run([*tmux, "new-session", "-d", "-s", f"{width}x{height}", *size], check=True)
            half_way(runs / RUN / "run.db")
        found = {f"{width}x{height}": on_screen(tmux, f"{width}x{height}") for width, height in SIZES}
        subprocess.run([*tmux, "wait-for", "{}x{}".format(*SIZES[0])], check=True)
    return found


def on_screen(tmux: list[str], session: str) -> str:
    """The screen of a session, once the run stands on it."""
    while True:
        captured = subprocess.run(
            [*tmux, "capture-pane", "-e", "-p", "-t", session], check=True, capture_output=True, text=True
        )
        if RUN in captured.stdout:
            return captured.stdout
        time.sleep(0.2)


def drawn(screen: str, size: str) -> str:
    """A screen as HTML."""
    console = Console(
        record=True, width=int(size.partition("x")[0]), file=StringIO(), color_system="truecolor", force_terminal=True
    )
    console.print(Text.from_ansi(screen.rstrip("\n")), no_wrap=True, crop=True)
    return console.export_html(theme=THEME, code_format=_HTML, inline_styles=True)


def pictures_of_terminals(browser: Browser, screens: dict[str, str], out: Path) -> None:
    """Each screen as a picture."""
    page = browser.new_page(viewport={"width": 1900, "height": 1100})
    for size, screen in screens.items():
        page.set_content(drawn(screen, size))
        page.locator("pre").screenshot(path=out / f"terminal-{size}.png")
    page.close()


def pictures_of_pages(browser: Browser, address: str, report: Path, out: Path) -> None:
    """Each page in both themes."""
    before = address.split("/?")[0]
    for theme in ("light", "dark"):
        context = browser.new_context(
            color_scheme=theme, viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce"
        )
        page = context.new_page()
        page.goto(address)
        take(page, out / f"runs-{theme}.png")
        for name, path in (("run", ""), ("episodes", "/episodes?steering=helpful-first"), ("compare", "/compare")):
            page.goto(f"{before}/runs/{RUN}{path}")
            take(page, out / f"{name}-{theme}.png")
            if name == "episodes":
                page.locator("tbody tr", has_text="open_ended").locator("th a").first.click()
                page.get_by_role("heading", name="Conversation").wait_for()
                take(page, out / f"episode-{theme}.png")
        page.goto(report.as_uri())
        take(page, out / f"report-{theme}.png")
        context.close()


def take(page: Page, path: Path) -> None:
    """The upper part of a page, once its charts are there."""
    for plot in page.locator(".plot:visible").all():
        plot.scroll_into_view_if_needed()
        plot.locator("canvas").wait_for()
    page.evaluate("scrollTo(0, 0)")
    height = min(HEIGHT, page.evaluate("Math.ceil(document.body.getBoundingClientRect().bottom)"))
    page.screenshot(path=path, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})


def main() -> None:
    """Run, catch, show, write."""
    if any(word.startswith("-") for word in sys.argv[1:]):
        sys.exit(__doc__)
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder, runs = Path(name), Path(name, "runs")
        (folder / "sweep.toml").write_text(SWEEP)
        world = Path("scenarios/worlds/demo.toml").read_text()
        (folder / "world.toml").write_text(world.replace("neither_rate", "steerability = 0.6\nneither_rate"))
        subprocess.run([*COMMAND, "demo", "--no-live", "--runs-dir", str(runs)], check=True, capture_output=True)
        screens = in_terminals(folder, runs)
        report = folder / "report.html"
        subprocess.run(
            [*COMMAND, "report", RUN, "--runs-dir", str(runs), "-o", str(report)], check=True, capture_output=True
        )
        with serving(runs) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            pictures_of_terminals(browser, screens, out)
            pictures_of_pages(browser, address, report, out)
            browser.close()
    for path in sorted(out.glob("*.png")):
        print(f"{path}  {path.stat().st_size / 1_000:,.0f} kB")


if __name__ == "__main__":
    main()
