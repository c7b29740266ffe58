"""Presets, looked up by what they are a preset of."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vlframe.folders import conf_folder


def preset_of_source(kind: str, source: str) -> dict[str, Any] | None:
    """The config of the preset of this kind whose ``source`` is that hub id (or ends with it); None if there is none.

    Checkpoints name their neighbours by hub ids; this is how their sizes are known without fetching anything.
    """
    for file in sorted((conf_folder() / kind).glob("*.yaml")):
        values = OmegaConf.to_container(OmegaConf.load(file))
        assert isinstance(values, dict)
        named = values.get("source")
        if named and (named == source or Path(source).name == str(named).rpartition("/")[2]):
            row = next(item for item in values.pop("defaults") if isinstance(item, str) and item != "_self_")
            return {"name": row, **values}
    return None
