"""Checkpoints: a folder with one safetensors file per part, the config, and the training state.

    checkpoints/<number>-<stage>-<step>/
        connector.safetensors, llm.safetensors, …   parts, without what their own source holds
        config.yaml                                 the resolved config
        state.json                                  stage, step, whether the stage is finished; written last
        training.pt                                 optimizer, schedule, loops, RNG (tensors and plain values only)

A folder is written aside and renamed, so one that has its final name is whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from vlframe.config import PARTS
from vlframe.errors import WeightsError
from vlframe.model.adapters import add_adapter, has_adapter
from vlframe.runs.folder import RunFolder
from vlframe.weights.parts import load_parts

if TYPE_CHECKING:
    from vlframe.model.video_llm import VideoLLM


@dataclass(frozen=True)
class Checkpoint:
    """One that is whole: where it is, and how far the run was."""

    path: Path
    stage: str
    stage_number: int
    step: int  # optimizer steps of the stage
    finished: bool  # the stage is over
    seconds: float  # that the stage has been trained for, over all its resumptions


def checkpoints(folder: RunFolder) -> list[Checkpoint]:
    """The whole checkpoints of a run, oldest first."""
    return sorted(_whole(folder.checkpoints), key=lambda item: (item.stage_number, item.step, item.finished))


def latest(folder: RunFolder) -> Checkpoint:
    """The newest whole checkpoint; WeightsError when there is none."""
    found = checkpoints(folder)
    if not found:
        raise WeightsError(f"{folder.path} has no checkpoint yet; train it first, or resume it from its start")
    return found[-1]


def _whole(path: Path) -> Iterator[Checkpoint]:
    for state in path.glob("*/state.json"):
        if not state.parent.name.startswith("."):
            yield Checkpoint(state.parent, **json.loads(state.read_text()))


def part_modes(config: DictConfig, stage_number: int) -> dict[str, set[str]]:
    """What the stages up to and including ``stage_number`` did to each part.

    A part that began with the weights of another run is no longer that of its source: it counts as trained in full.
    """
    stages = list(config.stages.values())[: stage_number + 1]
    taken = config.init.parts or [] if "init" in config else []
    return {part: {stage[part].train for stage in stages} | ({"full"} if part in taken else set()) for part in PARTS}


def read_weights(checkpoint: Checkpoint, model: VideoLLM, config: DictConfig) -> None:
    """Give a freshly built model the weights of a checkpoint, adapters included."""
    modes = part_modes(config, checkpoint.stage_number)
    stages = list(config.stages.values())[: checkpoint.stage_number + 1]
    for name, part in model.parts.items():
        if "lora" in modes[name] and not has_adapter(part):
            add_adapter(name, part, next(stage[name].lora for stage in stages if stage[name].train == "lora"))
    load_parts(checkpoint.path, model, config, modes)


def checkpoint_name(state: Mapping[str, Any]) -> str:
    return f"{state['stage_number']:02d}-{state['stage']}-{state['step']:07d}{'-end' if state['finished'] else ''}"
