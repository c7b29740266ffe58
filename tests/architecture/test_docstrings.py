"""A function's docstring begins with a verb: what it does, before anything else about it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.sources import CORE, PLUGINS, ROOT

# Words that a sentence about what a function does cannot begin with: they lead a noun, a clause or a place.
NO_VERBS = {
    "a", "an", "the", "this", "that", "these", "those", "its", "their", "one", "each", "every", "all", "both", "no",
    "nothing", "what", "which", "who", "whose", "whether", "where", "when", "why", "how", "if", "as", "so", "and", "or",
    "but", "of", "for", "in", "on", "at", "by", "to", "from", "with", "without", "after", "before", "between", "among",
    "like", "only", "also", "plain", "same", "none",
}  # fmt: skip


def docstrings(source: str) -> Iterator[tuple[str, int, str]]:
    """Yield the name, line and docstring of each function that has one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
            yield node.name, node.lineno, text


def begins_with_a_verb(text: str) -> bool:
    """Return whether the first word may be a verb: a capital and small letters, and none that leads something else."""
    first = re.match(r"[^\s,.:;]*", text)
    assert first is not None
    return re.fullmatch(r"[A-Z][a-z-]+", first[0]) is not None and first[0].lower() not in NO_VERBS


@pytest.mark.parametrize("path", [*CORE, *PLUGINS], ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_of_functions_say_first_what_is_done(path: Path) -> None:
    wrong = [f"{path.relative_to(ROOT)}:{line} {name}: {text.splitlines()[0]}"
             for name, line, text in docstrings(path.read_text()) if not begins_with_a_verb(text)]  # fmt: skip
    assert not wrong, "\n".join(wrong)


def test_what_is_no_verb_is_seen() -> None:
    for text in ("The score of a run.", "Of every seed.", "ConfigError for a wrong key.", "``frames_TCYX`` of a clip.",
                 "Whether it ends.", "P(T > t).", "the output layer", "None: unknown."):  # fmt: skip
        assert not begins_with_a_verb(text), text
    for text in ("Return the score.", "Draw curves: a line for each seed.", "Re-read the file.", "Yield rows"):
        assert begins_with_a_verb(text), text
