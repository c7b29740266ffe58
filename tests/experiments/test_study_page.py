"""What studies share: a page keeps all that stands outside of its marks."""

import runpy
from pathlib import Path

import pytest

SHARED = runpy.run_path(str(Path(__file__).resolve().parents[2] / "experiments" / "study_page.py"))
BEGIN, END = SHARED["MEASURED"]


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nstale\n{END}\nafter\n", encoding="utf-8")
    SHARED["write_between"](page, SHARED["table"](["a", "b"], [["1", "ü"]]))
    assert page.read_text(encoding="utf-8") == (f"before\n{BEGIN}\n| a | b |\n| --- | --- |\n| 1 | ü |\n{END}\nafter\n")


@pytest.mark.parametrize("text", ["nothing", BEGIN, END, f"{END} {BEGIN}", f"{BEGIN} {END} {END}"])
def test_a_page_without_its_marks_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    page = tmp_path / "README.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="must have"):
        SHARED["write_between"](page, "new")
    assert page.read_text() == text
