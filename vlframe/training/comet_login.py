"""Whether Comet can be reached: Lightning's logger contacts it when it is built, which is when a run has begun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlframe.errors import ConfigError


def check_comet(name: str, settings: Mapping[str, Any]) -> None:
    """Raise ConfigError if Comet's package is not installed, or nobody is logged in and it is to be reached."""
    try:
        from comet_ml.config import get_config
    except ImportError as error:
        raise ConfigError(f"{name}: CometLogger needs a package that is not installed: pip install comet-ml") from error
    online = settings.get("online")
    if online is None:
        online = get_config("comet.start.online")
    if online is not False and not get_config("comet.api_key"):
        raise ConfigError(
            f"{name}: nobody is logged in to Comet on this machine; set COMET_API_KEY, run `comet login`, or log only "
            f"to files with logger.{name}.online=false"
        )
