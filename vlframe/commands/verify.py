"""``vlframe verify``: compare our outputs with recordings of the original code, tensor by tensor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vlframe.errors import ConfigError

if TYPE_CHECKING:
    from vlframe.conversion.verify import Verified

USAGE = (("verify <recording.safetensors> …", "compare with recorded outputs of the official code"),)
HELP = """\
vlframe verify <recording.safetensors> … [format=<name>] [plugins.paths=[file.py]]

  vlframe verify tests/recordings/models/*.safetensors     each recorded tensor with ours, and its tolerance
  vlframe verify mine.safetensors plugins.paths=[mine.py]  with the checkpoint format of a single file

Without format= it is the one that recognises the recording. Exit code: 0, 1 if a difference is beyond its tolerance, 2
if nothing could be compared.
"""


def main(words: list[str]) -> int:
    if "--help" in words or "-h" in words or not words:
        print(HELP, end="")
        return 0 if words else 2
    from vlframe.commands.of_plugins import opened
    from vlframe.conversion.verify import verify

    registry, rest = opened(words)
    files, options = _sorted(rest)
    found = verify(files, options.get("format"), registry)
    for item in found:
        print(describe(item))
    print(f"{sum(item.passed for item in found)} of {len(found)} recordings match")
    return 0 if all(item.passed for item in found) else 1


def _sorted(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the files and the options. A word that names a file is one, whatever its characters. ConfigError: a word
    is neither, or there is no file.
    """
    files: list[str] = []
    options: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        plain = not equals and not word.startswith("-")
        if plain or Path(word).exists() or word.endswith(".safetensors"):
            files.append(word)
        elif key == "format":
            options[key] = value
        else:
            raise ConfigError(f"vlframe verify does not know {key}; it takes recordings, format= and plugins.paths=")
    if not files:
        raise ConfigError("vlframe verify needs recordings, like tests/recordings/models/*.safetensors")
    return files, options


def describe(item: Verified) -> str:
    """Tabulate the largest difference of each recorded tensor and its tolerance."""
    from vlframe.table import render

    table = [
        {
            "recorded": row.name,
            "difference": "" if row.difference is None else f"{row.difference:.2e}",
            "tolerance": "" if row.difference is None else f"{row.tolerance:.0e}",
            "": row.note or ("ok" if row.passed else "TOO LARGE"),
        }
        for row in item.rows
    ]
    return f"{item.file}\n{render(table)}\n{item.compared} compared, {item.failed} beyond tolerance\n"
