"""The libraries that draw: an optional extra, asked for before anything is written."""

from __future__ import annotations

from importlib.util import find_spec

from vlframe.errors import ConfigError

LIBRARIES = ("jinja2", "matplotlib", "plotly")


def need_libraries() -> None:
    """Raise ConfigError if one of the libraries that draw is not installed."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"vlframe study report draws with {', '.join(LIBRARIES)}, and {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed: pip install 'vlframe[report]'"
        )
