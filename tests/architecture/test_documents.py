"""What the pages say about the code is true of the code."""

import ast
import re
import runpy
import textwrap

import pytest
from helpers.sources import ROOT

from vlframe.contracts.kinds import _TABLE
from vlframe.registry.registry import Registry

PAGE = (ROOT / "docs/architecture.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w/]+\.py):([\w.]+)`", PAGE)))
FLOORS = runpy.run_path(str(ROOT / "tests/architecture/test_rooms.py"))["FLOORS"]
# Rooms that have a floor and no files yet.
TO_COME = {"serving"}


def defined(source: str) -> set[str]:
    """Every class and function of a file, methods as ``Class.method``."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
    return names


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[":".join(step) for step in NAMED])
def test_every_step_of_a_walk_is_there(file: str, name: str) -> None:
    path = ROOT / "vlframe" / file
    assert path.is_file(), f"docs/architecture.md names {file}:{name}; that file has moved"
    assert name in defined(path.read_text()), f"docs/architecture.md names {file}:{name}; it has another name now"


def test_there_are_steps() -> None:
    assert len(NAMED) > 40


def test_the_forward_pass_is_quoted_as_it_is() -> None:
    quoted = re.search(r"```python\n(def forward.*?)```", PAGE, re.DOTALL)
    assert quoted is not None
    source = (ROOT / "vlframe/model/video_llm.py").read_text()
    assert textwrap.indent(quoted[1], "    ") in source


def test_the_floors_are_listed_as_they_are() -> None:
    table = PAGE.partition("## The floors")[2].partition("Beside it:")[0]
    listed = [
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert listed == [room for floor in FLOORS for room in floor]
    for room in listed:
        there = (ROOT / "vlframe" / room).is_dir() or (ROOT / "vlframe" / f"{room}.py").is_file()
        assert there != (room in TO_COME), room


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs/index.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages == {name for name in re.findall(r"\]\((?:\.\./)?([\w/.-]+\.md)\)", index) if "/" not in name} & pages


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_what_swaps_with_what_is_what_is_installed() -> None:
    written = runpy.run_path(str(ROOT / "docs/site/reference.py"))["swaps"](Registry.installed())
    table = re.search(r"<!-- components -->\n(.*?)<!-- /components -->", (ROOT / "README.md").read_text(), re.DOTALL)
    assert table is not None and table[1] == written, f"README's table should be\n{written}"


def test_the_glossary_lists_every_kind() -> None:
    row = next(line for line in (ROOT / "docs/glossary.md").read_text().splitlines() if line.startswith("| **kind** |"))
    assert re.findall(r"`(\w+)`", row.split("|")[2]) == [kind.name for kind in _TABLE]
