"""Write a study's results between two markers in its README."""

from collections.abc import Sequence
from pathlib import Path

MEASURED = ("<!-- measured: begin -->", "<!-- measured: end -->")


def write_between(page: Path, text: str, marks: tuple[str, str] = MEASURED) -> None:
    """Replace the text between the marks. ValueError unless the page has each once, in that order."""
    begin, end = marks
    whole = page.read_text(encoding="utf-8")
    before, _, rest = whole.partition(begin)
    _, _, after = rest.partition(end)
    if whole.count(begin) != 1 or whole.count(end) != 1 or end in before:
        raise ValueError(f"{page} must have {begin!r} once, and after it {end!r} once")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format cells that are already texts as a Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
