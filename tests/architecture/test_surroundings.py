"""What is read and written is the same whatever the surroundings: encodings are stated, and ``~`` has one meaning."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.sources import CORE, PLUGINS, ROOT

TEXT = {"read_text": 0, "write_text": 1, "open": 2}  # arguments before the one that may be the encoding


def calls(path: Path) -> Iterator[tuple[ast.Call, str, bool]]:
    """Every call in a file: the name that is called, and whether it is an attribute of something."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node, node.func.id, False
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node, node.func.attr, True


def modes(node: ast.Call) -> list[str]:
    given = [*node.args, *(item.value for item in node.keywords if item.arg == "mode")]
    return [str(item.value) for item in given if isinstance(item, ast.Constant) and isinstance(item.value, str)]


def leaves_its_encoding_to_the_locale(node: ast.Call, name: str, of_something: bool) -> bool:
    if name not in TEXT or any(item.arg == "encoding" for item in node.keywords):
        return False
    if name == "open":  # of other libraries, with other arguments, when it belongs to something
        return not of_something and not any("b" in mode for mode in modes(node))
    return of_something and len(node.args) <= TEXT[name]


@pytest.mark.parametrize("path", [*CORE, *PLUGINS], ids=lambda path: str(path.relative_to(ROOT)))
def test_text_files_have_an_encoding_that_no_locale_decides(path: Path) -> None:
    found = [node.lineno for node, *what in calls(path) if leaves_its_encoding_to_the_locale(node, *what)]
    assert not found, f"{path}: say encoding=, at lines {found}"


@pytest.mark.parametrize("path", [*CORE, *PLUGINS], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_home_folder_is_expanded_in_one_place(path: Path) -> None:
    """``Path.expanduser`` raises for ``~file``, and where there is no home."""
    if path != ROOT / "vlframe" / "paths.py":
        found = [node.lineno for node, name, _ in calls(path) if name == "expanduser"]
        assert not found, f"{path}: take at_home of vlframe.paths, at lines {found}"
