"""Converts Lightning's checkpoints to our folders (see ``vlframe.runs.checkpoint`` for their content) and back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from safetensors import SafetensorError
from torch import Tensor

from vlframe.config.schema import RunConfig, parts_of
from vlframe.config.typed import to_yaml
from vlframe.distributed.sharding import whole_tensor
from vlframe.errors import TrainingError, WeightsError
from vlframe.runs.checkpoint import is_whole, part_history
from vlframe.runs.folder import write_json
from vlframe.weights.parts import owned_parts, save_parts

if TYPE_CHECKING:
    from vlframe.model.video_llm import VideoLLM
    from vlframe.training.trainable import RunPrecision


class PartsCheckpointIO(CheckpointIO):
    """Writes a checkpoint to a temporary folder, flushes and renames it; reads the training state without
    pickled code.
    """

    def __init__(self, config: RunConfig, stage_number: int, precision: RunPrecision) -> None:
        self.config = config
        self.stage_number = stage_number
        self.precision = precision

    def tensors(self, model: VideoLLM) -> dict[str, dict[str, Tensor | None]]:
        """Return the content of the parts' files; with shards, only on the first rank. All ranks call this."""
        parts = owned_parts(model, parts_of(self.config), part_history(self.config, self.stage_number))
        return {name: {key: whole_tensor(value) for key, value in owned.items()} for name, owned in parts.items()}

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        final = Path(path)
        if is_whole(final):  # a resumed run reaches the same step again, with the same weights
            return
        aside = final.with_name(f".{final.name}.{os.getpid()}")
        try:
            self._write(checkpoint, aside, final)
        except (
            OSError,
            RuntimeError,
            SafetensorError,
        ) as error:  # torch raises RuntimeError for a file it cannot write
            shutil.rmtree(aside, ignore_errors=True)
            raise TrainingError(
                f"checkpoint {final.name} could not be written ({error}); the one before it is kept. Make room in "
                f"{final.parent} and continue with resume={final.parent.parent}"
            ) from error

    def _write(self, checkpoint: dict[str, Any], aside: Path, final: Path) -> None:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        save_parts(aside, checkpoint.pop("parts"), self.precision.kept)
        (aside / "config.yaml").write_text(to_yaml(self.config), encoding="utf-8")
        state = checkpoint.pop("vlframe")
        torch.save(checkpoint, aside / "training.pt")
        for file in aside.iterdir():
            _flush(file)
        sizes = {file.name: file.stat().st_size for file in sorted(aside.iterdir())}
        write_json(aside / "state.json", {**state, "files": sizes})
        shutil.rmtree(final, ignore_errors=True)  # an incomplete one of the same name
        os.replace(aside, final)
        _flush(final.parent)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read the training state. The weights have been read by ``read_weights``."""
        file = Path(path) / "training.pt"
        try:
            return torch.load(file, map_location=map_location or "cpu", weights_only=True)
        except (UnpicklingError, RuntimeError, EOFError) as error:  # RuntimeError: not a zip file, or a truncated one
            raise WeightsError(
                f"{file} is no training state: it is damaged, or it holds code, which is not run. Remove "
                f"{file.parent} and resume from the checkpoint before it"
            ) from error

    def remove_checkpoint(self, path: Any) -> None:
        shutil.rmtree(path)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
