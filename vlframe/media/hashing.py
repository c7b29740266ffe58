"""Identifies files by content, regardless of name."""

import hashlib

from vlframe.contracts.reader import ClipPath, FrameList


def content_sha256(path: ClipPath) -> str | None:
    """Hash a file's bytes, or all of a list of pictures; None for a folder, or a pipe, which could block.

    Raises ``OSError``.
    """
    if isinstance(path, FrameList):
        each = [content_sha256(file) for file in path]
        return None if None in each else hashlib.sha256("".join(map(str, each)).encode()).hexdigest()
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
