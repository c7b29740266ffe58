"""Locate the rows of a manifest in its file.

Only offsets are kept (24 bytes a row), so that a manifest of a million rows costs little in every data worker. A row is
read and parsed when it is requested.
"""

import json
import re
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vlframe import DataError
from vlframe_conversations.whole_file import BYTE_ORDER_MARK, SHAPE, check_file, comment_at, one_object_or_several_lines

SPACE = re.compile(r"[ \t\r\n]*")
PIECE = re.compile(r'"(?:[^"\\\n]|\\.)*"?|[][{},]')  # of broken JSON: a string (that may not end), a bracket, a comma


class Manifest:
    """A JSON array or a JSON Lines file of objects, distinguished by its first character.

    The syntax of an array is checked at once. For a line only its braces are (so a truncated file is found at once);
    the rest when its row is read. Raises ``DataError`` with the file and the line, unless ``broken`` is given: it is
    called with the line and the reason, and reading continues with the next row.
    """

    def __init__(self, path: Path, broken: Callable[[int, str], None] | None = None) -> None:
        self.path = path
        check_file(path)
        self._starts, self._ends, self._lines = array("Q"), array("Q"), array("Q")
        told = broken or self._refuse
        for start, end, line in self._array_rows(told) if self._is_array() else self._line_rows(told):
            self._starts.append(start)
            self._ends.append(end)
            self._lines.append(line)
        if not self._starts and broken is None:
            raise DataError(f"{path} has no rows; {SHAPE}")

    def _refuse(self, line: int, reason: str) -> None:
        raise DataError(f"{self.path}, line {line}: {reason}")

    def __len__(self) -> int:
        return len(self._starts)

    def where(self, index: int) -> str:
        """Describe the place of row ``index``, for messages."""
        return f"{self.path}, line {self.line(index)}"

    def line(self, index: int) -> int:
        """Return the first line of row ``index``."""
        return self._lines[index]

    def unnamed(self, index: int) -> str:
        """Return the default id of row ``index``."""
        return f"{self.path.stem}/{index + 1}"

    def row(self, index: int) -> dict[str, Any]:
        with self.path.open("rb") as file:  # opened each time, so that data workers share no file position
            file.seek(self._starts[index])
            text = file.read(self._ends[index] - self._starts[index])
        try:
            row = json.loads(text.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"{self.where(index)}: not UTF-8 text ({error.reason})") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.where(index)}: not JSON ({_reason(error)})") from error
        if not isinstance(row, dict):
            raise DataError(f"{self.where(index)}: a row is a JSON object, not a {type(row).__name__}; {SHAPE}")
        return row

    def _is_array(self) -> bool:
        with self.path.open("rb") as file:
            while chunk := file.read(1 << 16):
                text = chunk.removeprefix(BYTE_ORDER_MARK).strip()
                if text:
                    return text.startswith(b"[")
        return False

    def _line_rows(self, broken: Callable[[int, str], None]) -> Iterator[tuple[int, int, int]]:
        """Yield start, end (bytes) and line number of every line that is not blank."""
        at = 0
        sentence = one_object_or_several_lines(self.path)
        if sentence:
            broken(1, sentence)
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
                start, at = at + len(line) - len(text), at + len(line)
                text = text.strip()
                if text.startswith(b"{") and text.endswith(b"}"):
                    yield start, at, number
                elif text:
                    broken(number, _why_no_row(text.decode("latin-1")))

    def _array_rows(self, broken: Callable[[int, str], None]) -> Iterator[tuple[int, int, int]]:
        """Yield start, end (bytes) and first line of every element.

        Read as Latin-1, one character is one byte, and everything outside strings is the same as in UTF-8.
        """
        content = self.path.read_bytes()
        first = len(BYTE_ORDER_MARK) if content.startswith(BYTE_ORDER_MARK) else 0
        text = content.decode("latin-1")
        del content
        parse = json.JSONDecoder().raw_decode
        at = _skip(text, text.index("[", first) + 1)
        line, counted, more = 1, 0, not text.startswith("]", at)
        while more:
            line, counted = line + text.count("\n", counted, at), at
            end: int | None
            try:
                row, end = parse(text, at)
            except (ValueError, RecursionError) as error:
                comment = comment_at(text, getattr(error, "pos", at))
                broken(getattr(error, "lineno", line), comment or f"not JSON ({_reason(error)})")
                end = _after(text, at)
            else:
                if isinstance(row, dict):
                    yield at, end, line
                else:
                    broken(line, f"a row is a JSON object, not a {type(row).__name__}; {SHAPE}")
            if end is None:
                broken(line, "from here to the end of the file rows cannot be separated, so none was read")
                return
            at, more = self._next(text, _skip(text, end), broken)
        self._check_end(text, at, broken)

    def _next(self, text: str, at: int, broken: Callable[[int, str], None]) -> tuple[int, bool]:
        """Return where the element after ``at`` begins, and whether there is one."""
        if text.startswith(",", at):
            return _skip(text, at + 1), True
        if text.startswith("{", at):
            broken(text.count("\n", 0, at) + 1, "not JSON (found '{' where ',' or ']' should be)")
            return at, True
        return at, False

    def _check_end(self, text: str, at: int, broken: Callable[[int, str], None]) -> None:
        """Check that the array closes at ``at`` and nothing follows."""
        closed = text.startswith("]", at)
        wrong = _skip(text, at + 1) if closed else at
        if not closed or wrong < len(text):
            found = repr(text[wrong]) if wrong < len(text) else "the end of the file"
            expected = "the end of the file" if closed else "',' or ']'"
            rest = "; what follows was not read" if wrong < len(text) else ""
            line = text.count("\n", 0, wrong) + 1
            if comment := comment_at(text, wrong):
                broken(line, f"{comment}{rest}")
                return
            broken(line, f"not JSON (found {found} where {expected} should be){rest}")


def _after(text: str, at: int) -> int | None:
    """Return the end of a broken element that begins at ``at``, by its brackets: the comma or bracket that follows it.

    None if the brackets do not show it.
    """
    open_ones: list[str] = []
    for piece in PIECE.finditer(text, at):
        found = piece.group()
        if found in ("{", "["):
            open_ones.append(found)
        elif found in ("}", "]") and open_ones:
            if open_ones.pop() + found not in ("{}", "[]"):
                return None
        elif not open_ones and found in (",", "]"):
            return piece.start()
    return None


def _reason(error: Exception) -> str:
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)


def _why_no_row(line: str) -> str:
    """Describe a line of JSON Lines that is no object: a comment, half an object, or something that follows it."""
    try:
        found, end = json.JSONDecoder().raw_decode(line)
    except (ValueError, RecursionError):
        return comment_at(line, 0) or f"not a whole JSON object; {SHAPE}"
    if not isinstance(found, dict):
        return f"not a whole JSON object; {SHAPE}"
    after = _skip(line, end)
    said = "a comma follows the object" if line[after:] == "," else f"the object ends at column {end}, and more follows"
    return comment_at(line, after) or f"{said}; {SHAPE}"


def _skip(text: str, at: int) -> int:
    """Return the first position from ``at`` on that is not white space."""
    match = SPACE.match(text, at)
    assert match is not None
    return match.end()
