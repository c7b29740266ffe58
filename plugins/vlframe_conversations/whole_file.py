"""Check a manifest as a whole, before its rows are located."""

import json
import re
from pathlib import Path
from typing import Any

from vlframe import DataError, format_of

PACKED = {
    b"\x1f\x8b": ("packed with gzip", "gunzip"),
    b"BZh": ("packed with bzip2", "bunzip2"),
    b"\xfd7zXZ": ("packed with xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("packed with zstd", "unzstd"),
    b"PK\x03\x04": ("a zip archive", "unzip"),
}
TABLES = {
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\xff\xff\xff\xff": "an Arrow stream",
    b"SQLite format 3\0": "a SQLite file",
    b"\x80\x02": "a pickle", b"\x80\x03": "a pickle", b"\x80\x04": "a pickle", b"\x80\x05": "a pickle",
}  # fmt: skip
# JSON text of two or four bytes a character, with a mark or without one; the order counts.
WIDE = {
    "UTF-32": rb"\xff\xfe\0\0|\0\0\xfe\xff",
    "UTF-16": rb"\xff\xfe|\xfe\xff",
    "UTF-32BE": rb"\0\0\0[\s\[{]",
    "UTF-32LE": rb"[\s\[{]\0\0\0",
    "UTF-16BE": rb"\0[\s\[{]",
    "UTF-16LE": rb"[\s\[{]\0",
}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LOOKED_AT = 1 << 24  # bytes; an object over several lines is far shorter
HEAD = 1 << 16
SHOWN = 40  # characters of a comment
COLUMNS = re.compile(r"[^{\[,;\t\n]+([,;\t][^,;\t\n]*)+")  # of the first line of a table
COMMENTS = ("//", "#", "/*")  # at the beginning of a line, where JSON has nothing like them
YAML = re.compile(r"(---|%YAML|-\s|-$|[\w\"'-]+\s*:(\s|$))")
TOML = re.compile(r"\[+[A-Za-z_][\w.-]*\]+")
OBJECT = re.compile(r'\{\s*"')
PYTHON = re.compile(r"\[?\s*\{\s*'")
TURNS = ("conversations", "messages")
OTHERS = {"path", "role", "from"}  # fields of a file and of a turn, not of a row
WRAPPED = re.compile(r'\{\s*"([^"\\]+)"\s*:\s*\[\s*\{')
SHAPE = "a manifest is a JSON array of objects, or JSON Lines: one object on each line"


def check_file(path: Path) -> None:
    """Raise DataError if the file is missing, or is not UTF-8 text that could be JSON, and say what it is."""
    if not path.is_file():
        where = f" (looked for in {Path.cwd()})" if not path.is_absolute() else ""
        raise DataError(
            f"the manifest {path} {'is a folder, not a file' if path.is_dir() else f'does not exist{where}'}"
        )
    with path.open("rb") as file:
        start = file.read(HEAD)
    if what := _other_format(path, start) or _other_text(start):
        raise DataError(f"the manifest {path} is {what}")


def _other_format(path: Path, start: bytes) -> str:
    """Describe a file that is no text of rows, and what to do; "" for text that may be."""
    for sign, (what, tool) in PACKED.items():
        if start.startswith(sign):
            return f"{what}, and manifests are JSON text; unpack it first ({tool} {path.name})"
    for sign, what in TABLES.items():
        if start.startswith(sign):
            return f"{what}, and manifests are JSON text; write its rows as JSON Lines first"
    encoding = next((name for name, begin in WIDE.items() if re.match(begin, start)), None)
    if encoding:
        return (
            f"{encoding} text, and manifests are UTF-8; convert it, for example with "
            f"iconv -f {encoding} -t UTF-8 {path.name}"
        )
    if start and not any(start):
        return "no text: it begins with zeros, as a file does whose content was lost; fetch it again"
    if start.removeprefix(BYTE_ORDER_MARK).lstrip()[:1] in (b"", b"{", b"["):
        return ""
    known = format_of(path)
    if known is None and b"\0" in start:
        return "binary, and manifests are JSON text"
    if known is None or known.name in ("plain text", "JSON text"):
        return ""
    files = " that names such files" if known.library else ""
    return f"{known.name}, and manifests are JSON text{files}" + f"; {known.advice}" * bool(known.advice)


def _other_text(start: bytes) -> str:
    """Describe text that is not JSON as a whole: comments in it, a table, YAML, TOML, Python, words; "" for others."""
    text = start.removeprefix(BYTE_ORDER_MARK).decode("latin-1")
    numbered = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    lines = [line for _, line in numbered]
    if not lines:
        return ""
    comment = next(((number, line) for number, line in numbered if line.startswith(COMMENTS)), None)
    has_rows = any(line.startswith(("{", "[")) for line in lines)
    if comment and has_rows:
        return f"JSON with comments (line {comment[0]}: {comment[1][:SHOWN]!r}), and JSON has none; take them out"
    if PYTHON.match(lines[0]):
        return f"text as Python prints objects, with single quotes; write each row with json.dumps; {SHAPE}"
    if has_rows and any(map(OBJECT.search, lines)):
        return ""
    if TOML.fullmatch(lines[0]):
        return f"TOML by its first line ({lines[0][:60]!r}); {SHAPE}"
    if has_rows:
        return ""
    words = [line for line in lines if not line.startswith(COMMENTS)]
    if len(words) > 1 and all(map(COLUMNS.fullmatch, words[:2])):
        return (
            f"a table by its first line ({words[0][:60]!r}), as CSV files are; {SHAPE}. Write each row as an "
            "object with the names of the columns"
        )
    if len(words) > 1 and all(map(YAML.match, words[:2])):
        return f"YAML by its first lines ({words[0][:60]!r}); {SHAPE}, written for example with json.dumps"
    if any(map(OBJECT.search, lines)):  # damaged before its first brace: its lines are read, and named
        return ""
    return f"text without any JSON object ({lines[0][:60]!r}); {SHAPE}"


def comment_at(text: str, at: int) -> str:
    """Describe the comment that begins here; "" if none does."""
    if not text.startswith(COMMENTS, at):
        return ""
    line = text[at : at + SHOWN].split("\n")[0].rstrip()
    return f"a comment ({line!r}), and JSON has none; take them out"


def one_object_or_several_lines(path: Path) -> str:
    """Describe a file of one object that is not a row, or of objects that span several lines; "" for other files."""
    with path.open("rb") as file:
        text = file.read(LOOKED_AT).removeprefix(BYTE_ORDER_MARK).decode("latin-1").strip()
    try:
        found, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        whole = WRAPPED.match(text) if path.stat().st_size > LOOKED_AT else None
        return _inside([whole[1]], path) if whole and whole[1] not in TURNS else ""
    if not isinstance(found, dict):
        return ""
    if end == len(text) and not any(name in found for name in TURNS):
        lists = [key for key, value in found.items() if isinstance(value, list) and _are_rows(value)]
        if lists or _are_rows(list(found.values())):
            return _inside(lists, path)
    if "\n" not in text[:end]:
        return ""
    if end == len(text):
        return "the file is one row over several lines; write it on one line (jq -c .), or put [] around it"
    return (
        "the file has one object after the other, each over several lines; write each on one line (jq -c .), or put [] "
        "around them and commas between them"
    )


def _are_rows(values: list[Any]) -> bool:
    """Return whether these may be rows: objects with turns, or of several fields that are not a file's or a turn's."""
    objects = [value for value in values if isinstance(value, dict)]
    rows = [any(name in row for name in TURNS) or (len(row) > 1 and not OTHERS & row.keys()) for row in objects]
    return bool(values) and len(objects) == len(values) and all(rows)


def _inside(keys: list[str], path: Path) -> str:
    """Describe an object whose values are the rows, or lists of rows under some of its keys."""
    names = " or ".join(map(repr, keys))
    what = f"with its rows in the list {names}" if keys else "whose values are rows"
    query = f".[{json.dumps(keys[0])}][]" if keys else ".[]"
    return (
        f"the file is one object {what}, and {SHAPE}; write only the rows, for example with "
        f"jq -c '{query}' {path.name} > rows.jsonl"
    )
