"""Plain English: words that mean something else to its readers, in code, its comments and messages, and the docs."""

import re
from pathlib import Path

import pytest
from helpers.sources import CORE, PLUGINS, ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "experiments").rglob("README.md")])
# What is written, and what an engineer writes.
REWRITES = {
    r"\bbehind (?!(each promise|the scores|one metric|it\.|them\b|a clear))": "after: behind is a place, not an order",
    r"\bfor certain\b": "significantly, or certainly",
    r"\b(of|by|with|for|in) (the )?(\w+ ){1,2}alone[.,;:]": "only, before the word that it limits",
}
FINE = ("is left alone", "leave it alone", "same as alone", "in a batch as alone", "of each alone", "states than alone")


def found(text: str) -> list[str]:
    """Return each line with such words, and the rewrite."""
    return [
        f"{number}: {line.strip()} ({rewrite})"
        for number, line in enumerate(text.splitlines(), 1)
        for pattern, rewrite in REWRITES.items()
        if re.search(pattern, line) and not any(fine in line for fine in FINE)
    ]


@pytest.mark.parametrize("path", [*CORE, *PLUGINS, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_words_mean_what_they_say(path: Path) -> None:
    if path != ROOT / "CHANGELOG.md":
        assert not (lines := found(path.read_text())), "\n".join(lines)


def test_what_is_written_wrongly_is_seen() -> None:
    for line in ("what follows behind the last picture", "it does not change for certain", "read by its name alone."):
        assert found(line), line
    for line in ("the test behind each promise", "a row gives the same as alone", "only its name is read"):
        assert not found(line), line
