"""What models, people and files say is text on every page, whatever it looks like; `open_page` fails where any of it does something."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from conflictscope.views.text import plain, visible
from tests.browser.hostile_runs import FOLDERS, GROUPS, LONG, NAMES, TEXTS, TOLD, write_runs
from tests.browser.site import OpenPage, Site, unfold
from tests.commands import conflictscope


@pytest.fixture(scope="module", autouse=True)
def _runs(site: Site) -> None:
    write_runs(site.folder / "sweep", site.runs)


def told(page: Page) -> str:
    """The text of a page, blanks as one."""
    return " ".join((page.locator("body").text_content() or "").split())


def test_the_corpus_is_large_enough() -> None:
    """At least forty texts, one of them a line of a megabyte."""
    assert len(set(TEXTS)) >= 40
    assert len(LONG) > 1_000_000
    assert "\n" not in LONG


def test_names_of_run_folders_are_text(site: Site, open_page: OpenPage) -> None:
    """In the list of runs, and on the page of a run of such a name."""
    page = open_page(site.address)
    shown = told(page)
    assert len(FOLDERS) >= 15
    for name in FOLDERS:
        assert " ".join(visible(name).split()) in shown
    page.get_by_role("link", name="<img src=x onerror=alert(1)>").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("<img src=x onerror=alert(1)>")
    unfold(page)


def test_names_are_text_on_the_page_of_a_run(site: Site, open_page: OpenPage) -> None:
    """Of targets, steerings, behaviours, values, models and scenarios; in charts and in the tables of their numbers too."""
    page = open_page(site.of(GROUPS))
    unfold(page)
    shown = told(page)
    for name in NAMES:
        assert " ".join(visible(name).split()) in shown


@pytest.mark.parametrize("rest", ["/episodes", "/episodes/7", "/compare", f"/compare?other={TOLD}"])
def test_names_are_text_on_other_pages(rest: str, site: Site, open_page: OpenPage) -> None:
    """In tables, in filters, in headings."""
    page = open_page(site.of(GROUPS, rest))
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    if rest == "/episodes":
        shown = told(page)
        assert all(" ".join(visible(name).split()) in shown for name in NAMES)


def test_what_was_said_is_text_on_the_page_of_an_episode(site: Site, open_page: OpenPage) -> None:
    """The conversation, the scenario, the judges' reasoning and quotes, failures, names of people who labelled; all of a megabyte on demand."""
    page = open_page(site.of(TOLD, "/episodes/1"))
    expect(page.get_by_role("link", name="Show all: 1,030,003 characters more").first).to_be_visible()
    page.goto(site.of(TOLD, "/episodes/1?all=1"))
    everything = page.locator("main").all_text_contents()[0]
    assert " ".join(visible(LONG).split()) in " ".join(everything.split())
    for place, texts in (
        (".chat", TEXTS), ("[aria-labelledby^=look-]", NAMES), ("[aria-labelledby^=action-]", NAMES), ("details.more", NAMES), ("main", NAMES)
    ):  # fmt: skip
        shown = " ".join("\n".join(page.locator(place).all_text_contents()).split())
        for text in texts:
            assert " ".join(visible(text).split()) in shown, place


@pytest.mark.parametrize("rest", ["", "/episodes", f"/episodes/{len(TEXTS) + 1}"])
def test_failures_are_text(rest: str, site: Site, open_page: OpenPage) -> None:
    """In the chart of a run, in the list of its episodes and on the page of one, also one of a megabyte."""
    page = open_page(site.of(TOLD, rest))
    unfold(page)


def test_what_is_asked_for_is_text(site: Site, open_page: OpenPage) -> None:
    """Words that are looked for, filters, pages that are not there."""
    page = open_page(site.address)
    for place in range(0, len(NAMES), 10):
        asked = urlencode(
            {"text": " ".join(NAMES[place : place + 10]), "scenario": NAMES[place], "target": NAMES[place]}
        )
        page.goto(site.of(TOLD, f"/episodes?{asked}"))
        expect(page.get_by_text("No episode is like that.")).to_be_visible()
        expect(page.get_by_label("Words in it")).to_have_value(re.compile("."))
    for name in NAMES[:4]:
        page.goto(site.of(name))
        expect(page.get_by_role("heading", level=1)).to_be_visible()


@pytest.mark.parametrize("run", [TOLD, GROUPS])
def test_a_report_shows_text(run: str, site: Site, open_page: OpenPage) -> None:
    """The whole file, opened as a file."""
    report = site.folder / f"{run}.html"
    conflictscope("report", run, "--runs-dir", site.runs, "-o", report, cwd=site.folder)
    page = open_page(report.as_uri())
    assert page.locator("script, iframe, object, embed, form, base, link, [onload], [onerror]").count() == 0
    shown = told(page)
    if run == GROUPS:
        assert all(" ".join(plain(name).plain.split()) in shown for name in NAMES[: len(NAMES) // 3])


def test_an_annotation_sheet_shows_text(site: Site, open_page: OpenPage) -> None:
    """Every item of it, answered by its keys, to its end."""
    conflictscope("annotate", "export", TOLD, "-o", "sheets", "--runs-dir", site.runs, cwd=site.folder)
    page = open_page((site.folder / "sheets" / "sheet.html").as_uri())
    shown = []
    while page.locator("#item").is_visible():
        shown.append(page.locator("body").inner_text())
        page.keyboard.press("1")
    assert shown
    assert any(NAMES[0] in each for each in shown)
