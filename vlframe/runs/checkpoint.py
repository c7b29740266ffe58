"""Checkpoints: a folder with one safetensors file per part, the config, and the training state.

    checkpoints/<number>-<stage>-<step>/
        connector.safetensors, llm.safetensors, …   parts, without what their own source holds
        config.yaml                                 the resolved config
        state.json                                  stage, step, whether the stage is finished; written last
        training.pt                                 optimizer, schedule, loops, RNG (tensors and plain values only)

A folder is written aside, flushed and renamed, and ``state.json`` has the sizes of its files: one that a failing disk
has torn is known by them, and the one before it is used.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from vlframe.config import PARTS
from vlframe.errors import WeightsError
from vlframe.model.adapters import add_adapter, has_adapter
from vlframe.runs.folder import RunFolder
from vlframe.runs.log import log
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
    for folder in sorted(path.glob("*")):
        if folder.name.startswith("."):
            continue
        problem = torn(folder)
        if problem:
            log.warning("checkpoint %s is torn (%s) and is left aside", folder, problem)
            continue
        state = json.loads((folder / "state.json").read_text())
        state.pop("files", None)
        yield Checkpoint(folder, **state)


def torn(folder: Path) -> str | None:
    """What a checkpoint lacks of what it says it holds; None if it is whole."""
    try:
        state = json.loads((folder / "state.json").read_text())
        sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
    except (OSError, ValueError) as error:
        return f"state.json: {error}"
    for name, size in state.get("files", {}).items():
        if sizes.get(name) != size:
            return f"{name} has {sizes.get(name, 0)} of {size} bytes"
    return None


def is_whole(folder: Path) -> bool:
    return folder.is_dir() and torn(folder) is None


def clear_leftovers(folder: RunFolder) -> None:
    """What a killed process was writing when it ended."""
    for path in folder.checkpoints.glob(".*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.path.glob(".*.[0-9]*"):  # of ``write_text``
        path.unlink(missing_ok=True)


def part_modes(config: DictConfig, stage_number: int) -> dict[str, set[str]]:
    """What the stages up to and including ``stage_number`` did to each part.

    A part that began with the weights of another run is no longer that of its source: it counts as trained in full.
    """
    stages = list(config.stages.values())[: stage_number + 1]
    taken = config.init.parts or [] if "init" in config else []
    return {part: {stage[part].train for stage in stages} | ({"full"} if part in taken else set()) for part in PARTS}


def read_weights(
    checkpoint: Checkpoint, model: VideoLLM, config: DictConfig, only: Sequence[str] | None = None
) -> None:
    """Give the parts of a freshly built model, or only some, the weights of a checkpoint, adapters included."""
    parts = {name: part for name, part in model.parts.items() if only is None or name in only}
    modes = part_modes(config, checkpoint.stage_number)
    stages = list(config.stages.values())[: checkpoint.stage_number + 1]
    for name, part in parts.items():
        if "lora" in modes[name] and not has_adapter(part):
            add_adapter(name, part, next(stage[name].lora for stage in stages if stage[name].train == "lora"))
    load_parts(checkpoint.path, parts, config, modes)


def checkpoint_name(state: Mapping[str, Any]) -> str:
    return f"{state['stage_number']:02d}-{state['stage']}-{state['step']:07d}{'-end' if state['finished'] else ''}"
