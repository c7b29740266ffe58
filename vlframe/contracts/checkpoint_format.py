"""The contract of checkpoint formats, which read and write another project's checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe.contracts.tensor_names import TensorNames

MAIN_SOURCE = "source"  # the name of the source that every format has: the checkpoint itself


@dataclass(frozen=True)
class StoredTensor:
    """A tensor and the file it came from, like ``source:model.safetensors``.

    ``replaced`` are the files read earlier that had a tensor of this name too, in the order they were read.
    """

    tensor: Tensor
    file: str
    replaced: tuple[str, ...] = ()


@dataclass
class ImportedCheckpoint:
    """Holds another project's checkpoint: its composition in vlframe's terms, its tensors under their own names.

    ``config`` has keys of a run's config: the parts, ``media``, and ``pixels`` and ``processor`` where the checkpoint
    uses another data path than vlframe's own. ``tensors`` are all tensors, in the data type of the files, under names
    that the format's ``TensorNames`` know (``TensorLayers`` collects them). ``adapters`` has the settings (rank, alpha,
    dropout, targets) of parts of which the checkpoint holds low-rank adapters. ``tokenizer`` is a folder that may hold
    one. ``record`` are plain values that an export needs to reproduce the checkpoint.
    """

    config: dict[str, Any]
    tensors: dict[str, StoredTensor]
    adapters: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokenizer: Path | None = None
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportRequest:
    """Holds a run to be written in another project's format.

    ``tensors`` are under their names. ``config`` is the run's, with each part's ``train`` filled in. ``hf_config`` is
    the transformers config of the language model; None if it is not a transformers model. ``record`` is that of the
    ``ImportedCheckpoint``, empty for a run that was trained since.
    """

    config: Mapping[str, Any]
    tensors: dict[str, Tensor]
    tokenizer: Path | None
    record: dict[str, Any]
    hf_config: dict[str, Any] | None


class CheckpointFormat(Protocol):
    """Reads and writes the checkpoints of another project.

    ``sources`` names and describes the files or folders that a checkpoint may be assembled from, in reading order: a
    tensor of a later one replaces that of an earlier one. ``source``, the checkpoint itself, is among them. ``names``
    is called with the parts of a run's config.
    """

    sources: Mapping[str, str]

    def recognises(self, source: Path) -> bool: ...  # a checkpoint, or a recording for ``verify``; reads no weights
    def names(self, config: Mapping[str, Any]) -> TensorNames: ...
    def read(self, sources: Mapping[str, Path]) -> ImportedCheckpoint: ...  # a hub id is a Path too
    def write(self, folder: Path, request: ExportRequest) -> None: ...
    def verify(self, recording: Path) -> Iterator[Comparison]: ...  # recorded outputs of the original code


@dataclass(frozen=True)
class Comparison:
    """Compares one recorded tensor with ours. ``difference`` is None where ``note`` says why nothing was compared."""

    name: str
    difference: float | None
    tolerance: float
    note: str = ""

    @classmethod
    def of(cls, name: str, ours: Tensor | None, theirs: Tensor, tolerance: float) -> Comparison:
        """Return the largest difference of any value; infinite if ours is missing or has another shape."""
        if ours is None:
            return cls(name, float("inf"), tolerance, "an output that is not known here")
        if ours.shape != theirs.shape:
            return cls(name, float("inf"), tolerance, f"shape {tuple(ours.shape)}, not {tuple(theirs.shape)}")
        return cls(name, float((ours.float() - theirs.float()).abs().max()), tolerance)

    @property
    def passed(self) -> bool:
        return self.difference is None or self.difference <= self.tolerance
