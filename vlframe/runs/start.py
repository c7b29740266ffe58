"""``init.run``: parts of an earlier run, or of what ``vlframe convert`` wrote, as the beginning of a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from vlframe.config import PARTS
from vlframe.errors import ConfigError
from vlframe.model.adapters import merge_adapters
from vlframe.runs.checkpoint import Checkpoint, latest, part_modes, read_weights
from vlframe.runs.folder import RunFolder
from vlframe.runs.log import log

if TYPE_CHECKING:
    from vlframe.model.video_llm import VideoLLM


def settle(config: DictConfig) -> None:
    """Spell out ``init.parts``, so that the saved config alone says which parts began elsewhere."""
    init = config.init
    if init.run is None:
        if init.parts:
            raise ConfigError(f"init.parts is {list(init.parts)} and init.run says no run to take them from")
        return
    folder = RunFolder.open(init.run)
    held = _held(latest(folder))
    here = [part for part in PARTS if config[part] is not None]
    if init.parts is None:
        init.parts = [part for part in held if part in here]
    absent = [part for part in init.parts if part not in held or part not in here]
    if absent or not init.parts:
        raise ConfigError(
            f"init.parts is {list(init.parts)}; {init.run} holds {', '.join(held) or 'no part'}, and this run has "
            f"{', '.join(here)}"
        )
    saved = folder.read_config()
    for part in init.parts:
        if saved[part].name != config[part].name:
            others = [other for other in init.parts if other != part]
            raise ConfigError(
                f"the {part} is {config[part].name!r} here and {saved[part].name!r} in {init.run}, so its weights are "
                f"of no use; leave it out with init.parts=[{','.join(others)}], or choose {part}={saved[part].name}"
            )


def begin(model: VideoLLM, config: DictConfig) -> None:
    """Read the parts that ``settle`` named, strictly. Adapters are folded into the weights they adapt."""
    if config.init.run is None:
        return
    folder = RunFolder.open(config.init.run)
    checkpoint, saved = latest(folder), folder.read_config()
    taken = list(config.init.parts)
    modes = part_modes(saved, checkpoint.stage_number)
    for name in taken:
        _check_source(name, modes[name], saved, config)
    read_weights(checkpoint, model, saved, only=taken)
    for name in taken:
        if "lora" in modes[name]:
            merge_adapters(getattr(model, name))
    log.info("weights of %s from %s", ", ".join(taken), checkpoint.path)


def _check_source(name: str, modes: set[str], saved: DictConfig, config: DictConfig) -> None:
    """Adapters without the weights they adapt mean something beside those weights alone."""
    there, here = saved[name].get("source"), config[name].get("source")
    if "lora" in modes and "full" not in modes and there and there != here:
        raise ConfigError(
            f"{config.init.run} holds adapters for the {name} of {there!r}, and this run has that of {here!r}; set "
            f"{name}.source alike"
        )


def _held(checkpoint: Checkpoint) -> list[str]:
    return [part for part in PARTS if (checkpoint.path / f"{part}.safetensors").is_file()]
