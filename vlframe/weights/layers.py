"""Checkpoints in several files: later files win, and each tensor records its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vlframe.contracts.checkpoint_format import StoredTensor
from vlframe.errors import WeightsError
from vlframe.weights.files import read_files, whole_file
from vlframe.weights.names import NameTable

if TYPE_CHECKING:
    from torch import Tensor


class TensorLayers:
    """Collects the tensors of successive files, under canonical names."""

    def __init__(self, names: NameTable) -> None:
        self.names = names
        self.tensors: dict[str, StoredTensor] = {}

    def add(self, file: str, tensors: Mapping[str, Tensor], *, under: str = "", replace: bool = True) -> list[str]:
        """Add the tensors of a file, replacing those of earlier ones; return their canonical names.

        ``under`` is put before the names, for a file that holds one module only. Names that the table does not know are
        kept, for the account to report. With ``replace=False``, a tensor that an earlier file also has must be equal.
        WeightsError: it is not, or the file has one tensor under two spellings.
        """
        import torch

        added: dict[str, str] = {}
        for written, tensor in tensors.items():
            name = self.names.canonical(under + written) or under + written
            if name in added:
                raise WeightsError(f"{file} has {added[name]} and {written}, which are two spellings of {name}")
            added[name] = written
            before = self.tensors.get(name)
            if before is not None and not replace and not torch.equal(before.tensor, tensor):
                raise WeightsError(
                    f"{file} and {before.file} both have {name}, and they differ; remove the one that is not meant"
                )
            earlier = () if before is None else (*before.replaced, before.file)
            self.tensors[name] = StoredTensor(tensor, file, earlier)
        return list(added)

    def add_folder(self, source: str, folder: Path, *, under: str = "") -> list[str]:
        """Add a whole model in the layout of transformers, file by file; return the canonical names.

        ``source`` is the folder's name among the checkpoint's sources. Norms may have their names of early files, which
        transformers reads as well (``OLD``). WeightsError: it has no config.json, or no weights.
        """
        whole = whole_file(folder) if folder.is_dir() else None
        if whole is None or not (folder / "config.json").is_file():
            raise WeightsError(
                f"{source} is {folder}, which is no folder with config.json and model.safetensors or pytorch_model.bin"
            )
        added: list[str] = []
        for file, held in read_files(whole):
            added += self.add(f"{source}:{file.name}", {_today(name): held[name] for name in held}, under=under)
        return added


OLD = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def _today(name: str) -> str:
    """Return the name that transformers gives a tensor which it reads under this one."""
    for old, new in OLD.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
