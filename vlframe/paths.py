"""The locations of vlframe's files: on the user's disk, and in an installed or checked-out vlframe."""

import os
import re
import sys
from functools import cache
from pathlib import Path

_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://|data:")


def conf_folder() -> Path:
    """Return vlframe's own configs: ``vlframe/conf`` in an installed wheel, ``conf`` beside the package in a
    checkout.
    """
    package = Path(__file__).resolve().parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def at_home(path: str) -> str:
    """Replace a leading ``~`` by the home folder."""
    return os.path.expanduser(path) if path == "~" or path.startswith("~/") else path


def address_hint(path: str) -> str:
    """Return the end of a message about a path that is an address, such as ``https://…``; "" for a path."""
    if not _ADDRESS.match(path):
        return ""
    from urllib.parse import unquote  # not needed by the commands that only list

    file = path.removeprefix("file://").removeprefix("localhost")
    hint = f"write {unquote(file)!r}" if file.startswith("/") else "store the file, and name it by its path"
    return f"{path[:80]!r} is an address, and nothing is fetched; {hint}"


def word_at_home(word: str) -> str:
    """Expand ``~`` in an argument that is a path, and in that of a flag (``--config-dir=~/conf``).

    ``~key`` is an override that deletes. The values of keys are expanded where they are parsed.
    """
    flag, equals, value = word.partition("=")
    return f"{flag}={at_home(value)}" if word.startswith("-") and equals else at_home(word)


def cache_folder(*parts: str) -> Path:
    """Return a folder for files that can be made again (in ``VLFRAME_CACHE``, or the user's cache folder); it is
    created. If it cannot be written, a temporary one, with a message.
    """
    folder = _writable(os.environ.get("VLFRAME_CACHE") or _user_cache()).joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@cache
def _writable(root: str) -> Path:
    import tempfile  # not needed by the commands that only list

    try:
        if root.startswith("~"):
            raise FileNotFoundError("there is no home folder")
        Path(root).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            return Path(root)
    except OSError as error:
        aside = tempfile.mkdtemp(prefix="vlframe-cache-")
        os.environ["VLFRAME_CACHE"] = aside  # inherited by child processes
        print(
            f"the cache {root} cannot be written ({error.strerror or error}); {aside} is used instead. "
            "set VLFRAME_CACHE=<folder> to choose another",
            file=sys.stderr,
        )
        return Path(aside)


def _user_cache() -> str:
    """Return ``~/.cache/vlframe``, with ``~`` unexpanded if there is no home."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vlframe")
