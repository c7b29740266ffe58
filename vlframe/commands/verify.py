"""``vlframe verify``: compare our outputs with recordings of the original code, tensor by tensor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlframe.conversion.verify import Verified

USAGE = (("verify <recording.safetensors> …", "compare with recorded outputs of the official code"),)


def main(words: list[str]) -> int:
    files, options, unknown = _sorted(words)
    if not files or unknown:
        wrong = f"; it does not know {', '.join(unknown)}" if unknown else ""
        print(f"vlframe verify <recording.safetensors> … [format=<name>]{wrong}", file=sys.stderr)
        return 2
    from vlframe.conversion.verify import verify

    found = verify(files, options.get("format"))
    for item in found:
        print(describe(item))
    print(f"{sum(item.passed for item in found)} of {len(found)} recordings match")
    return 0 if all(item.passed for item in found) else 1


def _sorted(words: list[str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Return the files, the options, and what is neither. A word that names a file is one, whatever its characters."""
    files, options, unknown = [], {}, []
    for word in words:
        key, equals, value = word.partition("=")
        plain = not equals and not word.startswith("-")
        if plain or Path(word).exists() or word.endswith(".safetensors"):
            files.append(word)
        elif key == "format":
            options[key] = value
        else:
            unknown.append(key)
    return files, options, unknown


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
