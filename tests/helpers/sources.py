"""What the source files import, at any depth: for the tests of the architecture."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "vlframe").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
MODULE = re.compile(r"vlframe(\.(?!__main__)\w+)+(:\w+)?")  # to start vlframe as a process is no import


@dataclass(frozen=True)
class Import:
    """One imported name, and the line that imports it."""

    name: str  # absolute, with the name that is taken: vlframe.errors.ConfigError
    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.name}"


def imports(file: Path, *, top_only: bool = False) -> Iterator[Import]:
    """Imports at the top, inside functions and for types alone; ``top_only``: those of loading the file.

    A string that is nothing but the path of a module or of a function in one counts: it is imported later.
    """
    tree = ast.parse(file.read_text())
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, file, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import; they hide where things come from"
            yield from (Import(f"{node.module}.{alias.name}", file, node.lineno) for alias in node.names)
        elif not top_only and isinstance(node, ast.Constant) and MODULE.fullmatch(str(node.value)):
            yield Import(str(node.value).replace(":", "."), file, node.lineno)


def module_of(name: str) -> Path | None:
    """The file of ``vlframe`` that an imported name comes from; None for the names of others."""
    parts = name.split(".")
    if parts[0] != "vlframe":
        return None
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None
