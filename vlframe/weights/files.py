"""Reads files of weights without running code: safetensors, torch files without pickled code, and their JSON files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

# The weight files of a folder in transformers' layout; an index lists the files of a sharded model.
WHOLE = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin")
SHARD = "5GB"


def read_json(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} should hold a JSON object, not a {type(content).__name__}")
    return content


def read_pickle(path: Path) -> Any:
    """Read a torch file (.bin, .pt, .pth); only tensors and plain values are allowed."""
    import torch

    if not path.is_file():
        raise WeightsError(f"{path} cannot be read as weights: there is no such file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes fail in a dozen ways inside torch's unpickler
        if _is_text(path):
            raise WeightsError(
                f"{path} cannot be read as weights: it is a text; name the file or the folder that holds them"
            ) from error
        raise WeightsError(
            f"{path} cannot be read as weights ({_reason(error)}); a file that holds more than tensors and "
            "plain values could run code, and is refused"
        ) from error


def _is_text(path: Path) -> bool:
    """Return whether a file begins with printable characters, as JSON or a web page in place of a download does."""
    with open(path, "rb") as file:
        start = file.read(16)
    return start != b"" and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start)


def _reason(error: Exception) -> str:
    """Return torch's reason without its advice, which is to load the file in a way that could run code."""
    said = str(error).partition("WeightsUnpickler error: ")[2].strip() or str(error)
    line = next(iter(said.splitlines()), type(error).__name__)
    return line.partition(" was not an allowed global")[0].partition(". ")[0]


def read_tensors(path: Path, inside: Sequence[str] = ()) -> dict[str, Tensor]:
    """Return tensors by name from a file, an index and its shards, or a folder that contains one of ``WHOLE``.

    ``inside`` are keys under which a torch file may keep its tensors (``model``, ``state_dict``); the first that exists
    is used.
    """
    tensors: dict[str, Tensor] = {}
    for _, found in read_files(path, inside):
        tensors |= found
    return tensors


def read_files(path: Path, inside: Sequence[str] = ()) -> Iterator[tuple[Path, dict[str, Tensor]]]:
    """Yield the tensors of ``read_tensors`` file by file, each with its path."""
    if path.is_dir():
        whole = whole_file(path)
        if whole is None:
            raise WeightsError(f"{path} has none of {', '.join(WHOLE)}")
        path = whole
    if path.suffix != ".json":
        yield path, _read_one(path, inside)
        return
    places = read_json(path).get("weight_map", {})
    found: set[str] = set()
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard:
            raise WeightsError(f"{path} names the shard {shard!r}, which is not in the same folder")
        tensors = _read_one(path.with_name(shard), inside)
        found |= tensors.keys()
        yield path.with_name(shard), tensors
    if absent := sorted(set(places) - found):
        raise WeightsError(f"{path} lists {len(absent)} tensors that its shards lack: {', '.join(absent[:8])}")


def whole_file(folder: Path) -> Path | None:
    """Return the file, or the index, of a whole model in a folder; None if there is none."""
    return next((folder / name for name in WHOLE if (folder / name).is_file()), None)


def write_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write ``model.safetensors``, or shards of 5 GB and their index, like transformers."""
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors.torch import save_file

    state = dict(tensors)
    plan = split_torch_state_dict_into_shards(state, max_shard_size=SHARD, filename_pattern="model{suffix}.safetensors")
    for file, held in plan.filename_to_tensors.items():
        shard = {name: state[name].clone().contiguous() for name in held}  # safetensors refuses shared memory
        save_file(shard, folder / file, metadata={"format": "pt"})
    lost = [name for name in state if not any(name in held for held in plan.filename_to_tensors.values())]
    if lost:
        raise WeightsError(f"{len(lost)} tensors found no place in a shard: {', '.join(lost[:8])}")
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _read_one(path: Path, inside: Sequence[str]) -> dict[str, Tensor]:
    from torch import Tensor

    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{path} cannot be read: {error}") from error
    content = read_pickle(path)
    if isinstance(content, dict):
        key = next((key for key in inside if isinstance(content.get(key), dict)), None)
        content = content if key is None else content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path} should map names to tensors and does not")
    return dict(content)
