"""What somebody sees who watches a sweep in a browser while it goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from benchmarks.worlds import write_sweep
from tests.browser.site import OpenPage, Site, sweeping
from tests.commands import conflictscope

LIVE, OTHER = "live", "other"


@pytest.fixture(scope="module", autouse=True)
def _sweeps(site: Site) -> Iterator[None]:
    """One that outlasts every test here, for each of its episodes takes three calls of a quarter of a second; and one that is done."""
    sweep = write_sweep(site.folder / "sweep", scenarios=1_000, targets=2, concurrency=8, median_s=0.25, p95_s=0.4)
    with sweeping(sweep, site.runs, LIVE):
        short = write_sweep(site.folder / "short", scenarios=1_000, targets=2, seed=2)
        conflictscope("run", short, "--runs-dir", site.runs, "--name", OTHER, "--no-live", cwd=site.folder)
        yield


PICTURE = "document.querySelector('[data-chart^=ratings-] canvas')"


def count(page: Page) -> int:
    """Episodes that have ended, as the page tells."""
    return int(re.sub(r"\D", "", page.locator('[data-text="done"]').inner_text().split(" of ")[0]))


def opened(open_page: OpenPage, site: Site) -> Page:
    """The page of the live run, found from the printed address, once it shows ratings; it is never loaded anew after that."""
    page = open_page(site.address)
    page.get_by_role("link", name=LIVE).click()
    expect(page.locator("[data-chart^=ratings-] canvas")).to_have_count(2)
    page.evaluate("window.sameDocument = true")
    return page


def test_ratings_move_without_a_reload(site: Site, open_page: OpenPage) -> None:
    """Outcomes are counted, rankings change and the charts get new rows, in the document that was opened."""
    page = opened(open_page, site)
    figure = page.locator("[data-chart^=ratings-]").first
    figure.locator("summary", has_text="Numbers").click()
    numbers, ranking = figure.locator(".numbers tbody tr"), page.locator("tbody[data-table^=ranking-]").first
    expect(numbers.first).to_be_visible()
    done, points, ranked = count(page), numbers.count(), ranking.inner_text()
    drawn = page.evaluate(f"{PICTURE}.toDataURL()")
    page.wait_for_function(
        "n => document.querySelectorAll('[data-chart^=ratings-] .numbers tbody')[0].rows.length > n", arg=points
    )
    expect(ranking).not_to_have_text(ranked)
    page.wait_for_function(
        "n => +document.querySelector('[data-text=done]').textContent.split(' of ')[0].replace(/\\D/g, '') > n + 5",
        arg=done,
    )
    page.wait_for_function(f"drawn => {PICTURE}.toDataURL() !== drawn", arg=drawn)
    assert page.evaluate("window.sameDocument")


def test_an_episode_can_be_opened_from_the_live_page(site: Site, open_page: OpenPage) -> None:
    """The newest one, with its conversation, both actions, the judge's reasoning and the calls."""
    page = opened(open_page, site)
    page.locator("tbody[data-table=latest] a").first.click()
    expect(page.locator(".chat li.target")).not_to_have_count(0)
    for heading in ("Scenario", "Conversation", "Judgements", "Calls"):
        expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    for action in ("Action a", "Action b"):
        expect(page.get_by_role("region", name=re.compile(action))).to_be_visible()
    expect(page.get_by_role("region", name="Calls").locator("tbody tr")).not_to_have_count(0)


def test_episodes_are_filtered_and_searched(site: Site, open_page: OpenPage) -> None:
    """By what a form offers, and by words of the conversation; the page says so where none is like that."""
    page = opened(open_page, site)
    page.get_by_role("link", name="Episodes", exact=True).click()
    page.get_by_label("Target").select_option("planted:beta")
    page.get_by_role("button", name="Show").click()
    targets = page.locator("tbody tr td:nth-child(3)")
    expect(targets.first).to_have_text("planted:beta")
    assert set(targets.all_inner_texts()) == {"planted:beta"}
    name = page.locator("tbody tr th a").first.inner_text()
    number = str(int(name[1:]))
    page.get_by_label("Words in it").fill(f"CASE {number}:")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile("text=CASE"))
    names = page.locator("tbody tr th").all_inner_texts()
    assert name in names
    assert all(name.endswith(number) for name in names)
    page.get_by_label("Words in it").fill("words that nobody said")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("No episode is like that.")).to_be_visible()
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("tbody tr")).not_to_have_count(0)


def test_groups_and_runs_are_compared(site: Site, open_page: OpenPage) -> None:
    """The targets of a run, and the run with another: as a chart and as numbers."""
    page = opened(open_page, site)
    page.get_by_role("link", name="Compare", exact=True).click()
    expect(page.locator("[data-chart=shift] canvas")).to_be_visible()
    expect(page.get_by_role("region", name="Values").locator("tbody tr")).to_have_count(4)
    page.get_by_role("combobox").select_option(OTHER)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name=f"{LIVE} against {OTHER}")).to_be_visible()
    expect(page.locator("[data-chart=shift] canvas")).to_be_visible()
    expect(page.get_by_role("region", name="All comparisons").locator("tbody tr")).to_have_count(2)


def test_a_page_comes_back_by_itself_when_the_server_does(site: Site, open_page: OpenPage) -> None:
    """It says that the connection is lost; when the server is there again, at its port, it goes on in the same document."""
    page = opened(open_page, site)
    lost = page.get_by_text("The connection is lost")
    site.kill()
    expect(lost).to_be_visible()
    done = count(page)
    site.start()
    expect(lost).to_be_hidden()
    page.wait_for_function(
        "n => +document.querySelector('[data-text=done]').textContent.split(' of ')[0].replace(/\\D/g, '') > n",
        arg=done,
    )
    assert page.evaluate("window.sameDocument")
