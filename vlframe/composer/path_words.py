"""Overrides whose values are paths. A path is taken literally: ``=``, ``,``, spaces and brackets are parts of its name,
and ``~`` is the home folder, which shells do not expand after ``key=``.
"""

from __future__ import annotations

import re
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import OverrideParseException

from vlframe.config.path_keys import LISTS, names_a_path
from vlframe.paths import at_home

QUOTED = re.compile(r"(['\"]).*\1", re.DOTALL)
# The value of a key inside a list or mapping: up to the comma or bracket that ends it
INNER = re.compile(r"(?<![\w.])([\w.]+)(:\s*)(~[^'\"\[\]{},]*|[^'\"\[\]{},\s][^'\"\[\]{},]*)(?=[,}])")
FUNCTION = re.compile(r"(choice|range|glob|sort|shuffle|interval|tag|extend_list)\(.*\)", re.DOTALL)  # Hydra's
MOVED = "moved"
ODD = re.compile(r"[\\()\[\]{}:=, \t]")  # in a key of a mapping, Hydra takes these after a backslash only
NOT_A_PATH = ("", "null", "???")


def path_word(word: str, *, several: bool) -> str:
    """Return the override as Hydra reads it. With ``several`` (a command with ``-m``), commas separate values.

    Quotes are kept as typed. A value that could also be a list, or several values, is a single path if such a file
    exists.
    """
    signed, _, value = word.partition("=")
    key = signed.lstrip("+")
    if value[:1] in ("[", "{") and not _is_there(value):
        word = f"{signed}={(value := INNER.sub(_inner, value))}"
    if key == MOVED and value[:1] + value[-1:] == "{}":
        return f"{'++' if signed == key else signed.removesuffix(key)}{key}={{{_folders(value[1:-1])}}}"
    if word.startswith("~") or not names_a_path(key) or value in NOT_A_PATH or QUOTED.fullmatch(value):
        return word
    if _is_there(value):
        return f"{signed}={_literal(value)}"
    if key in LISTS and value.startswith("[") and value.endswith("]"):
        return f"{signed}=[{','.join(map(_literal, _split(value[1:-1])))}]"
    if FUNCTION.fullmatch(value) or _is_hydras_list(word, value):
        return word
    values = _split(value) if several else [value]
    return f"{signed}={','.join(map(_literal, values))}"


def _folders(text: str) -> str:
    """Return pairs of folders, ``old: new, …``, as Hydra reads a mapping, whose keys cannot be quoted."""
    pairs, name = [], ""
    for piece in _split(text):
        name = f"{name}, {piece}" if name else piece  # a folder's name may have a comma in it
        old, colon, new = name.partition(":")
        if colon:
            pairs.append(f"{ODD.sub(_escaped, at_home(old.strip()))}: {_literal(new.strip())}")
            name = ""
    return ", ".join([*pairs, *([name] if name else [])])


def _escaped(odd: re.Match[str]) -> str:
    return f"\\{odd[0]}"


def _inner(found: re.Match[str]) -> str:
    """Return ``key: value`` of a mapping inside a value, ``{path: ~/data/t.json, weight: 1}``; paths as they stand."""
    key, colon, value = found[1], found[2], found[3].rstrip()
    if not names_a_path(key) or value in NOT_A_PATH or value.startswith("${"):
        return found[0]
    return f"{key}{colon}{_literal(value)}"


def _literal(path: str) -> str:
    """Quote the path if Hydra would otherwise read another value. References (``${…}``) are kept."""
    whole = path if QUOTED.fullmatch(path) else at_home(path)
    if QUOTED.fullmatch(path) or _read_by_hydra(f"key=[{whole}]") == [whole]:  # in a list, where it may stand, too
        return whole
    return str(QuotedString(whole, Quote.single).with_quotes())


def _split(text: str) -> list[str]:
    """Split paths at commas. Where names contain commas, the longest one that exists is taken."""
    pieces = re.findall(r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^,])+", text)
    found: list[str] = []
    while pieces:
        lengths = range(len(pieces), 1, -1)
        length = next((size for size in lengths if _is_there(",".join(pieces[:size]).strip())), 1)
        found.append(",".join(pieces[:length]).strip())
        pieces = pieces[length:]
    return found


def _is_hydras_list(word: str, value: str) -> bool:
    return value[:1] + value[-1:] in ("[]", "{}") and not isinstance(_read_by_hydra(word), str | None)


def _read_by_hydra(word: str) -> object:
    """Return the value that Hydra would read; None for none, or several."""
    try:
        (parsed,) = OverridesParser.create().parse_overrides([word])
    except OverrideParseException:
        return None
    return None if parsed.is_sweep_override() else parsed.value()


def _is_there(path: str) -> bool:
    try:
        return Path(at_home(path)).exists()
    except (OSError, ValueError):  # too long, or not a valid file name
        return False
