"""``init.run``: parts of an earlier run, or of what ``vlframe convert`` wrote, as the beginning of a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig
from safetensors.torch import load_file

from vlframe.config import PARTS
from vlframe.errors import ConfigError
from vlframe.model.adapters import add_adapter, is_adapter, merge_adapters
from vlframe.runs.checkpoint import Checkpoint, latest, part_modes
from vlframe.runs.folder import RunFolder
from vlframe.runs.log import log
from vlframe.weights.strict import load_strict

if TYPE_CHECKING:
    from torch import nn

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
    for name in config.init.parts:
        _read(name, getattr(model, name), checkpoint, saved, config)
    log.info("weights of %s from %s", ", ".join(config.init.parts), checkpoint.path)


def _read(name: str, part: nn.Module, checkpoint: Checkpoint, saved: DictConfig, config: DictConfig) -> None:
    file = checkpoint.path / f"{name}.safetensors"
    tensors = load_file(file)
    adapted = "lora" in part_modes(saved, checkpoint.stage_number)[name]
    if adapted:
        lora = next(stage[name].lora for stage in saved.stages.values() if stage[name].train == "lora")
        add_adapter(name, part, lora)
    names = list(part.state_dict())
    elsewhere = [key for key in names if key not in tensors and not is_adapter(key)] if adapted else []
    if elsewhere and saved[name].get("source") != config[name].get("source"):
        raise ConfigError(
            f"{file} holds adapters for the {name} of {saved[name].get('source')!r}, and this run has that of "
            f"{config[name].get('source')!r}; set {name}.source alike"
        )
    twins = [key for key in names if key not in tensors and key in _second_names(part)]
    load_strict(part, tensors, str(file), ignore=[*elsewhere, *twins])
    if adapted:
        merge_adapters(part)


def _second_names(part: nn.Module) -> set[str]:
    from vlframe.weights.parts import distinct_tensors

    return set(part.state_dict()) - set(distinct_tensors(part))


def _held(checkpoint: Checkpoint) -> list[str]:
    return [part for part in PARTS if (checkpoint.path / f"{part}.safetensors").is_file()]
