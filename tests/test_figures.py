"""The page of figures that benchmarks write."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import Table, write


def table(name: str, value: str) -> Table:
    return Table(name, f"About {name}", [{"what": "a", "figure": value}], packages=["numpy"], notes=["A note."])


def test_a_section_is_written_anew_in_its_place_and_the_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\nWords.\n")
    write(table("one", "1"), page)
    write(table("two", "2"), page)
    before = page.read_text()
    write(table("one", "3"), page)
    assert page.read_text() == before.replace("| a | 1 |", "| a | 3 |")
    assert before.startswith("# Page\n\nWords.\n\n<!-- one -->\n## About one\n")
    assert before.index("| a | 1 |") < before.index("<!-- two -->") < before.index("| a | 2 |")
