"""Writes the package that an author of a plugin begins with: a component that works, its preset, and its test.

``starters/`` has a text for each kind, and ``package.txt`` with the files that all have in common. In both, a line
``#### name`` begins a piece; ``$name`` and the like are filled in.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

from vlframe.contracts.kinds import kinds
from vlframe.errors import ConfigError, did_you_mean
from vlframe.registry.hooks import API
from vlframe.registry.registry import Registry

STARTERS = Path(__file__).parent / "starters"
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
PIECE = re.compile(r"^#### (.+)\n", re.MULTILINE)
LONGEST = 40  # of a name; file systems and package indexes take more


@dataclass(frozen=True)
class Starter:
    """A package that is to be written: of which kind, under which name."""

    kind: str
    name: str

    @property
    def distribution(self) -> str:
        return "vlframe-" + self.name.replace("_", "-")

    @property
    def module(self) -> str:
        return f"vlframe_{self.name}"

    @property
    def class_name(self) -> str:
        return "".join(part.capitalize() for part in self.name.split("_"))

    def files(self) -> dict[str, str]:
        """Return the text of each file, by its path in the package."""
        words = {
            "kind": self.kind,
            "name": self.name,
            "group": kinds()[self.kind].group,
            "distribution": self.distribution,
            "api": str(API),
            "module": self.module,
            "Class": self.class_name,
        }
        of_kind = _filled(_pieces(STARTERS / f"{self.kind}.txt"), words)
        words |= {"preset": "", **of_kind}
        words["typing"] = "from typing import Any\n" if "Any" in words["parameters"] else ""
        found = _filled(_pieces(STARTERS / "package.txt"), words)
        if not words["preset"]:  # of a kind that no run chooses
            found = {path: text for path, text in found.items() if not path.endswith(".yaml")}
            marker = f"src/{self.module}/conf/.gitkeep"
            found[marker] = ""
        return {path: text.strip("\n") + "\n" if text else "" for path, text in found.items()}


def starter_kinds() -> list[str]:
    """Return the kinds that a package can be written for, in the order in which kinds are listed."""
    return [kind for kind in kinds() if (STARTERS / f"{kind}.txt").is_file()]


def write_starter(kind: str, name: str, folder: Path | None, registry: Registry) -> tuple[Starter, Path]:
    """Write a package into a new folder, ``vlframe-<name>`` by default; return it and the folder.

    ConfigError: no such kind, a name that cannot be used or is taken, a folder that is there already.
    """
    starter = Starter(kind, name)
    if kind not in starter_kinds():
        there = starter_kinds()
        raise ConfigError(
            f"no package can be begun for the kind {kind!r}; there are {', '.join(there)}{did_you_mean(kind, there)}"
        )
    _check_name(starter, registry)
    folder = Path(starter.distribution) if folder is None else folder
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise ConfigError(f"{folder} is there already, and nothing is overwritten; give another folder=") from None
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}; give another folder=") from error
    for path, text in starter.files().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return starter, folder


def _check_name(starter: Starter, registry: Registry) -> None:
    name = starter.name
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise ConfigError(
            f"{name!r} cannot be a name: it takes small letters, digits and single _ between them, begins with a "
            f"letter, and has at most {LONGEST} characters, like gated_pool"
        )
    if keyword.iskeyword(name) or keyword.iskeyword(starter.class_name):
        raise ConfigError(f"{name!r} is a word of Python; choose another name")
    if name in registry.names(starter.kind):
        plugin = registry.row(starter.kind, name).plugin
        raise ConfigError(
            f"there is a {starter.kind} {name!r} already, from {plugin.distribution}; choose another name"
        )
    if importlib.util.find_spec(starter.module) is not None:
        raise ConfigError(f"a module {starter.module} is installed already; choose another name than {name!r}")


def _pieces(file: Path) -> dict[str, str]:
    _, *found = PIECE.split(file.read_text(encoding="utf-8"))
    return dict(zip(found[::2], found[1::2], strict=True))


def _filled(pieces: dict[str, str], words: dict[str, str]) -> dict[str, str]:
    """Fill words into names and texts of pieces. KeyError: a text has a word that is not known."""
    return {
        Template(key).substitute(words): Template(text).substitute(words).strip("\n") for key, text in pieces.items()
    }
