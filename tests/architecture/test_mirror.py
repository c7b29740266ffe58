"""The tests lie as the code does: a folder for each room, and a few beside them for what belongs to no room."""

import re

import pytest
from helpers.sources import ROOT

# Beside the rooms, and what each is about.
OTHERS = {
    "architecture": "the house itself",
    "cases": "situations that people reported",
    "conf": "presets and experiments that only tests need",
    "experiments": "experiments/",
    "gpu": "what needs a CUDA device",
    "helpers": "what tests share",
    "plugins": "plugins/",
    "real_input": "real files, by the commands that a user types",
    "recordings": "outputs of reference code",
}
NO_TESTS = {"conf", "helpers", "recordings"}
ROOMS = {path.parent.name for path in (ROOT / "vlframe").glob("*/*.py")}
FOLDERS = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
FILES = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")}
TESTS = {file for file in FILES if file.rpartition("/")[2].startswith("test_")}
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "experiments").rglob("README.md")])


def test_every_room_has_a_folder_of_tests_and_no_folder_is_of_nothing() -> None:
    assert ROOMS | OTHERS.keys() == FOLDERS
    for folder in FOLDERS - NO_TESTS:
        assert any(file.startswith(f"tests/{folder}/") for file in TESTS), f"tests/{folder} has no test"


def test_no_test_lies_outside_of_a_folder() -> None:
    assert not [file for file in TESTS if file.count("/") == 1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_tests_that_a_page_names_are_there(page) -> None:
    gone = set(re.findall(r"\btests/[\w/]*\w+\.py\b", page.read_text())) - FILES
    assert not gone, f"{page.name} names {sorted(gone)}"
