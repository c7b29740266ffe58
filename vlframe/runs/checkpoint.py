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

from vlframe.config.parts import PartConfig
from vlframe.config.schema import RunConfig, part_settings, parts_of
from vlframe.errors import WeightsError
from vlframe.model.adapters import add_adapter, has_adapter
from vlframe.model.selection import adapter_places
from vlframe.runs.folder import RunFolder
from vlframe.runs.log import log
from vlframe.weights.parts import load_parts

if TYPE_CHECKING:
    from vlframe.model.video_llm import VideoLLM


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: its folder, and how far the run was."""

    path: Path
    stage: str
    stage_number: int
    step: int  # optimizer steps of the stage
    finished: bool  # the stage is over
    seconds: float  # of training of the stage, over all resumptions
    unchanged: Sequence[str] = ()  # parts that a finished stage left as they were; not in older checkpoints


def checkpoints(folder: RunFolder) -> list[Checkpoint]:
    """Return the complete checkpoints of a run, oldest first."""
    return sorted(_whole(folder.checkpoints), key=lambda item: (item.stage_number, item.step, item.finished))


def saved_steps(folder: RunFolder) -> int:
    """Return the optimizer steps, over all stages, that a run would go on from."""
    found = checkpoints(folder)
    newest = {item.stage_number: item.step for item in found}  # they are in order
    return sum(newest.values())


def latest(folder: RunFolder) -> Checkpoint:
    """Return the newest complete checkpoint; WeightsError if there is none."""
    found = checkpoints(folder)
    if not found:
        if folder.path.parent.name == "evaluations":
            run = folder.path.parent.parent
            raise WeightsError(f"{folder.path} is an evaluation of the run {run} and has no weights; name the run")
        raise WeightsError(f"{folder.path} has no checkpoint yet; train it first, or resume it from its start")
    return found[-1]


def chosen(folder: RunFolder, which: str) -> Checkpoint:
    """Return ``newest``, ``best`` (of the last stage that has one, by ``best.json``), or the one with this folder name.
    WeightsError if there is none.
    """
    if which == "newest":
        return latest(folder)
    there = {item.path.name: item for item in checkpoints(folder)}
    names = list(there) or ["none at all"]
    if which != "best":
        if which in there:
            return there[which]
        raise WeightsError(
            f"{folder.path} has no checkpoint {which!r}; it has {', '.join(names)}; say newest, best, or one of these"
        )
    kept = [row["checkpoint"] for row in best_of_stages(folder).values() if row["checkpoint"] in there]
    if not kept:
        raise WeightsError(
            f"{folder.path} has no best checkpoint: nothing was evaluated while it trained (evaluation.every, "
            f"validation.dataset), or trainer.keep_best was false; it has {', '.join(names)}"
        )
    return there[kept[-1]]


def best_of_stages(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Read ``best.json``: by stage, in order, its best checkpoint, the step, and the score that makes it the best."""
    return json.loads(folder.best.read_text(encoding="utf-8")) if folder.best.is_file() else {}


def _whole(path: Path) -> Iterator[Checkpoint]:
    for folder in sorted(path.glob("*")):
        if folder.name.startswith("."):
            continue
        problem = torn(folder)
        if problem:
            log.warning("checkpoint %s is torn (%s) and is ignored", folder, problem)
            continue
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        state.pop("files", None)
        yield Checkpoint(folder, **state)


def torn(folder: Path) -> str | None:
    """Return how a checkpoint is incomplete compared with its ``state.json``; None if it is complete."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
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
    """Remove files that a killed process was writing."""
    for path in folder.checkpoints.glob(".*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.path.glob(".*.[0-9]*"):  # temporary files of ``write_text``
        path.unlink(missing_ok=True)


def part_history(config: RunConfig, stage_number: int) -> dict[str, list[PartConfig]]:
    """Return how each stage up to and including ``stage_number`` trained each part.

    A part that began with the weights of another run differs from its source: it counts as trained in full.
    """
    stages = list(config.stages.values())[: stage_number + 1]
    taken = config.init.parts or ()
    settings = [part_settings(stage) for stage in stages]
    return {
        part: [*([PartConfig(train="full")] if part in taken else []), *(stage[part] for stage in settings)]
        for part in parts_of(config)
    }


def read_weights(checkpoint: Checkpoint, model: VideoLLM, config: RunConfig, only: Sequence[str] | None = None) -> None:
    """Load the weights of a checkpoint into all parts of a freshly built model, or only some, adapters included."""
    parts = {name: part for name, part in model.parts.items() if only is None or name in only}
    history = part_history(config, checkpoint.stage_number)
    for name, part in parts.items():
        adapted = next((settings for settings in history[name] if settings.train == "lora"), None)
        if adapted is not None and not has_adapter(part):
            add_adapter(name, part, adapted.lora, adapter_places(name, part, adapted))
    load_parts(checkpoint.path, parts, parts_of(config), history)


def checkpoint_name(state: Mapping[str, Any]) -> str:
    return f"{state['stage_number']:02d}-{state['stage']}-{state['step']:07d}{'-end' if state['finished'] else ''}"
