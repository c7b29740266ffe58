"""Says what is known about a media file that does not exist: a file of nearly the same name, if there is one."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

NONE = "there is no such file"


def no_such_file(path: Path) -> str:
    """Return a sentence about a file that is not there. No folder is listed, since it may hold millions of files."""
    for near, what in _near(path):
        try:
            if near != path and near.is_file():
                return f"{NONE}; there is {near.name!r}, {what}"
        except OSError:  # no file can have this name either
            continue
    return NONE


def _near(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield names that are often written for each other, and how they differ from ``path``."""
    for form in ("NFC", "NFD"):
        yield Path(unicodedata.normalize(form, str(path))), f"whose letters are written in another form ({form})"
    yield path.with_name(path.name.strip() or path.name), "without the blanks around it"
    yield Path(unquote(str(path))), "without the % codes of an address"
    for suffix in (path.suffix.lower(), path.suffix.upper()):
        yield path.with_suffix(suffix), "with another case of letters"
    yield path.with_name(path.name.lower()), "with another case of letters"
