"""Clips given as a folder or a list of pictures."""

from __future__ import annotations

import re
from pathlib import Path

from vlframe.contracts.reader import ClipPath, FrameList
from vlframe.errors import MediaError
from vlframe.media.formats import PICTURE_SUFFIXES
from vlframe.media.missing import no_such_file


def frame_files(path: ClipPath) -> tuple[Path, ...] | None:
    """Return the pictures that make a clip, in order; None for a path that is not a folder.

    In a folder these are the files with picture suffixes, sorted by name with numbers in numeric order (2.png is before
    10.png). Raises ``MediaError`` for a list or a folder without any.
    """
    if isinstance(path, FrameList):
        if not path:
            raise MediaError("a clip is given as an empty list of pictures; a list names at least one")
        return tuple(path)
    try:
        if not path.is_dir():
            return None
    except OSError as error:  # a name that no file can have
        raise MediaError(f"{path}: {error.strerror}") from error
    try:
        found = [item for item in path.iterdir() if item.suffix.lower() in PICTURE_SUFFIXES and item.name[0] != "."]
    except OSError as error:
        raise MediaError(f"{path}: the folder cannot be read: {error.strerror}") from error
    if not found:
        raise MediaError(
            f"{path}: this is not a file, and as a folder it holds no pictures ({', '.join(PICTURE_SUFFIXES)}); a "
            "folder of pictures is read as a clip"
        )
    return tuple(sorted(found, key=_natural))


def file_states(path: ClipPath) -> tuple[tuple[str, int, int], ...]:
    """Return name, modification time and size of the file at a path, or of each picture of a folder or list.

    Raises ``MediaError`` if it does not exist.
    """
    found = []
    alone = () if isinstance(path, FrameList) else (path,)
    for file in frame_files(path) or alone:
        try:
            stat = file.stat()
        except FileNotFoundError as error:
            raise MediaError(f"{file}: {no_such_file(file)}") from error
        except OSError as error:
            raise MediaError(f"{file}: {error.strerror}") from error
        found.append((str(file), stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]
