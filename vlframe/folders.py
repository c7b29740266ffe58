"""Where things live on a user's disk, and in an installed or a checked-out vlframe."""

import os
from pathlib import Path


def conf_folder() -> Path:
    """vlframe's own configs: ``vlframe/conf`` in an installed wheel, ``conf`` beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def cache_folder(*parts: str) -> Path:
    """A folder for things that can be made again (``VLFRAME_CACHE``, or the user's cache folder); created."""
    root = os.environ.get("VLFRAME_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vlframe"
    folder = Path(root).joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
