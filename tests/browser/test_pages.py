"""What every page of ours owes to everybody: assistive technology, keyboards, small screens."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.site import OpenPage, Site, unfold
from tests.commands import conflictscope

RUN = "paper"
PAGES = {
    "runs": None,
    "run": "",
    "episodes": "/episodes?verdict=a",
    "episode": "/episodes/3",
    "compare": "/compare",
    "missing": "/episodes/999999",
}
FILES = {"report": "report.html", "annotation": "sheets/sheet.html"}
SWEEP = """
name = "paper"
value_set = "hhh"
scenarios = "hhh"
world = "demo"
seed = 7
targets = [{ model = "planted:guardian" }]
user = { model = "planted:user" }
judge = { models = ["planted:judge"], orders = "both" }
modes = ["open_ended", "multiple_choice"]
steering = [{ name = "helpful-first", ranking = ["helpfulness", "honesty", "harmlessness"] }]
"""


@pytest.fixture(scope="module", autouse=True)
def _run(site: Site) -> None:
    (site.folder / "sweep.toml").write_text(SWEEP)
    for command in (
        ("run", "sweep.toml", "--no-live"),
        ("report", RUN, "-o", FILES["report"]),
        ("annotate", "export", RUN, "-o", Path(FILES["annotation"]).parent),
    ):
        conflictscope(*command, "--runs-dir", site.runs, cwd=site.folder)


def address(site: Site, name: str) -> str:
    """Of a page or a file, by its name here."""
    if name in FILES:
        return (site.folder / FILES[name]).as_uri()
    rest = PAGES[name]
    return site.address if rest is None else site.of(RUN, rest)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", [*PAGES, *FILES])
def test_axe_finds_nothing_serious(name: str, dark: bool, site: Site, open_page: OpenPage) -> None:
    """On no page, in either theme, with everything open: neither serious nor critical."""
    page = open_page(address(site, name), dark=dark)
    unfold(page)
    found = Axe().run(page).response["violations"]
    bad = [
        (each["id"], each["help"], [node["html"][:200] for node in each["nodes"]][:5])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    assert bad == []


@pytest.mark.parametrize("name", [*PAGES, *FILES])
def test_a_phone_shows_a_page_without_sideways_scrolling(name: str, site: Site, open_page: OpenPage) -> None:
    """At 360 pixels; tables and charts that are wider scroll by themselves."""
    page = open_page(address(site, name), width=360)
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("name", ["run", "episodes"])
def test_a_phone_shows_what_became_of_an_episode(name: str, site: Site, open_page: OpenPage) -> None:
    """Beside the scenario, before anybody has scrolled a table."""
    page = open_page(address(site, name), width=360)
    box = page.get_by_role("columnheader", name="Verdict").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 360


def test_charts_of_a_report_cut_no_name(site: Site, open_page: OpenPage) -> None:
    """Where nothing can be scrolled to: to the left of the box that they stand in."""
    page = open_page(address(site, "report"))
    cut = page.evaluate(
        """() => [...document.querySelectorAll("figure svg text")].filter((own) =>
            own.getBoundingClientRect().left < own.closest(".wide").getBoundingClientRect().left - 1).map((own) => own.textContent)"""
    )
    assert page.locator("figure svg").count() > 10
    assert cut == []


def test_columns_of_words_in_a_report_stand_below_their_titles(site: Site, open_page: OpenPage) -> None:
    """At the left, as their titles do; numbers at the right."""
    page = open_page(address(site, "report"))
    apart = page.evaluate(
        """() => [...document.querySelectorAll("tbody td")].map((own) =>
            [own, own.closest("table").tHead.rows[0].cells[own.cellIndex]]).filter(([own, title]) =>
            getComputedStyle(own).textAlign !== getComputedStyle(title).textAlign).map(([_, title]) => title.textContent)"""
    )
    assert page.locator("td.words").count() > 10
    assert apart == []


def tabbed(page: Page, most: int = 400) -> list[str]:
    """What the tab key comes to, in turn, until it leaves the page."""
    stops = []
    for _ in range(most):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            """() => { const own = document.activeElement;
                return own === document.body ? null
                    : own.name || own.getAttribute("aria-label") || own.textContent.trim().slice(0, 80); }"""
        )
        if stop is None:
            break
        stops.append(stop)
    return stops


def test_the_tab_key_reaches_everything_on_the_page_of_a_run(site: Site, open_page: OpenPage) -> None:
    """First a way past the navigation, then pages, the numbers of every chart, tables that scroll, the latest episodes."""
    page = open_page(site.of(RUN))
    expect(page.locator("[data-chart^=ratings-] canvas").first).to_be_visible()
    stops = tabbed(page)
    assert stops[0] == "Skip to the content"
    assert stops.index("Episodes") < stops.index("Compare") < stops.index("Numbers")
    assert stops.count("Numbers") == page.locator("summary:visible", has_text="Numbers").count() >= 4
    assert {"Latest episodes", "Posterior ranking", "All episodes, with filters and search"} <= set(stops)
    assert page.locator("tbody[data-table=latest] a").first.inner_text() in stops


def test_a_chart_gives_its_numbers_to_the_keyboard(site: Site, open_page: OpenPage) -> None:
    """Enter on `Numbers` opens the table of what the chart shows."""
    page = open_page(site.of(RUN))
    figure = page.locator("[data-chart^=ratings-]").first
    figure.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(figure.locator("tbody tr").first).to_be_visible()
    expect(figure.locator("thead th").first).not_to_be_empty()


def test_episodes_are_filtered_and_opened_by_keyboard(site: Site, open_page: OpenPage) -> None:
    """Filters come before episodes; Enter in the search field searches, Enter on an episode opens it."""
    page = open_page(site.of(RUN, "/episodes"))
    stops = tabbed(page)
    names = [name for name in ("text", "mode", "steering", "verdict", "pair") if name in stops]
    assert names == ["text", "mode", "steering", "verdict", "pair"]
    first = page.locator("tbody th a").first
    assert stops.index("pair") < stops.index("Show") < stops.index(first.inner_text())
    page.get_by_label("Words in it").focus()
    page.keyboard.type("the")
    page.keyboard.press("Enter")
    page.wait_for_url("**text=the**")
    page.locator("tbody th a").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Conversation")).to_be_visible()
