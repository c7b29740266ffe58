"""Sizes: no file and no function of the code that ships outgrows what can be read in one go."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.sources import CORE, PLUGINS, ROOT

LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 60


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Each function of a file, with the lines from its first decorator to its end."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - first + 1


@pytest.mark.parametrize("path", [*CORE, *PLUGINS], ids=label)
def test_a_file_and_its_functions_can_be_read_in_one_go(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= LINES_OF_A_FILE, f"{label(path)}: split it by what its parts do"
    long = [f"{name}: {lines} lines" for name, lines in functions(source) if lines > LINES_OF_A_FUNCTION]
    assert not long, f"{label(path)}: {long}"


def test_lines_are_counted_from_the_first_decorator() -> None:
    source = "@one\n@two\ndef outer():\n    def inner():\n        return 1\n    return inner\n"
    assert dict(functions(source)) == {"outer": 6, "inner": 2}
