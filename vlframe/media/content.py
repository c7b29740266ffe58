"""What a file is, whatever it is called."""

import hashlib
from pathlib import Path


def content_sha256(path: Path) -> str | None:
    """Of a file's bytes; None for a folder, or a pipe, which would keep us waiting. Raises ``OSError``."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
