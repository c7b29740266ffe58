"""``init.run``: starts a new run with parts of an earlier run, or of a converted checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from vlframe.config.schema import RunConfig, parts_of
from vlframe.errors import ConfigError
from vlframe.model.adapters import merge_adapters
from vlframe.model.selection import is_whole
from vlframe.runs.checkpoint import Checkpoint, chosen, part_history, read_weights
from vlframe.runs.folder import RunFolder
from vlframe.runs.log import log

if TYPE_CHECKING:
    from vlframe.config.parts import PartConfig
    from vlframe.model.video_llm import VideoLLM


def with_init_parts(config: RunConfig) -> RunConfig:
    """Fill in ``init.parts``, so that the saved config says which parts began elsewhere."""
    init = config.init
    if init.run is None:
        if init.parts:
            raise ConfigError(f"init.parts is {list(init.parts)} and init.run says no run to take them from")
        return config
    folder = RunFolder.open(init.run)
    parts, theirs = parts_of(config), parts_of(folder.read_config())
    held = _held(chosen(folder, init.checkpoint), parts)
    here = [part for part in parts if parts[part] is not None]
    if init.parts is None:
        init = replace(init, parts=tuple(part for part in held if part in here))
    assert init.parts is not None
    absent = [part for part in init.parts if part not in held or part not in here]
    if absent or not init.parts:
        raise ConfigError(
            f"init.parts is {list(init.parts)}; {init.run} holds {', '.join(held) or 'no part'}, and this run has "
            f"{', '.join(here)}"
        )
    for part in init.parts:
        ours, other = parts[part]["name"], theirs[part]["name"]
        if ours != other:
            others = [name for name in init.parts if name != part]
            raise ConfigError(
                f"the {part} is {ours!r} here and {other!r} in {init.run}, so its weights do not fit; leave it out "
                f"with init.parts=[{','.join(others)}], or choose {part}={other}"
            )
    return replace(config, init=init)


def begin(model: VideoLLM, config: RunConfig) -> None:
    """Load the parts named by ``with_init_parts``, strictly. Adapters are merged into the weights they adapt."""
    if config.init.run is None:
        return
    folder = RunFolder.open(config.init.run)
    checkpoint, saved = chosen(folder, config.init.checkpoint), folder.read_config()
    taken = [name for name in config.init.parts or () if name in model.parts]
    history = part_history(saved, checkpoint.stage_number)
    for name in taken:
        _check_source(name, history[name], saved, config)
    read_weights(checkpoint, model, saved, only=taken)
    for name in taken:
        if any(settings.train == "lora" for settings in history[name]):
            merge_adapters(model.parts[name])
    log.info("weights of %s from %s", ", ".join(taken), checkpoint.path)


def _check_source(name: str, history: Sequence[PartConfig], saved: RunConfig, config: RunConfig) -> None:
    """Check the source: adapters, or some of the weights, are valid only with the weights of their own source."""
    there, here = parts_of(saved)[name].get("source"), parts_of(config)[name].get("source")
    trained = [settings for settings in history if settings.train != "frozen"]
    if trained and not any(is_whole(settings) for settings in trained) and there and there != here:
        held = "adapters" if all(settings.train == "lora" for settings in trained) else "some of the weights"
        raise ConfigError(
            f"{config.init.run} holds {held} for the {name} of {there!r}, and this run has that of {here!r}; set "
            f"{name}.source alike"
        )


def _held(checkpoint: Checkpoint, parts: Iterable[str]) -> list[str]:
    return [part for part in parts if (checkpoint.path / f"{part}.safetensors").is_file()]
