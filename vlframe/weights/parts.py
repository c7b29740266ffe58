"""A model's parts on disk: one safetensors file per part, with what its own source does not contain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vlframe.errors import WeightsError
from vlframe.model.adapters import is_adapter
from vlframe.model.selection import changed_tensors, is_whole
from vlframe.weights.strict import load_strict

if TYPE_CHECKING:
    from vlframe.config.parts import PartConfig
    from vlframe.model.video_llm import VideoLLM


def owned_tensors(
    part_name: str, part: nn.Module, config: Mapping[str, Any], history: Sequence[PartConfig]
) -> dict[str, Tensor]:
    """Return the tensors of a part that a checkpoint must contain, by name; tied tensors once.

    ``history`` has each stage's settings of the part so far. A part without a ``source``, or trained in full, is stored
    completely. Of others only changes are stored: trained weights, statistics of their modules, adapters.
    """
    tensors = distinct_tensors(part)
    if not config.get("source") or any(is_whole(settings) for settings in history):
        return tensors
    changed = {name for settings in history for name in changed_tensors(part_name, part, settings)}
    return {name: value for name, value in tensors.items() if name in changed or is_adapter(name)}


def distinct_tensors(part: nn.Module) -> dict[str, Tensor]:
    """Return a part's state without second names for the same tensor (safetensors refuses those)."""
    seen: set[tuple[Any, ...]] = set()
    tensors = {}
    for key, value in part.state_dict(keep_vars=True).items():
        # Sharded tensors have no comparable storage; a tied one is the same object under both names.
        sharded = hasattr(value, "full_tensor")
        place = (id(value),) if sharded else (value.data_ptr(), value.shape, value.stride())
        if value.numel() and place in seen:
            continue
        seen.add(place)
        tensors[key] = value.detach()
    return tensors


def owned_parts(
    model: VideoLLM, configs: Mapping[str, Any], history: Mapping[str, Sequence[PartConfig]]
) -> dict[str, dict[str, Tensor]]:
    """Return ``owned_tensors`` of every part."""
    return {name: owned_tensors(name, part, configs[name], history[name]) for name, part in model.parts.items()}


def save_parts(
    folder: Path, parts: Mapping[str, Mapping[str, Tensor]], originals: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Write ``<part>.safetensors`` for every part with tensors to store; ``originals`` replace rounded weights."""
    for name, owned in parts.items():
        better = originals.get(name, {})
        tensors = {key: better.get(key, value) for key, value in owned.items()}
        if tensors:
            save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, _file(folder, name))


def load_parts(
    folder: Path,
    parts: Mapping[str, nn.Module],
    configs: Mapping[str, Any],
    history: Mapping[str, Sequence[PartConfig]],
) -> dict[str, int]:
    """Read the files of ``save_parts``, strictly; return the number of tensors read for each part."""
    counts = {}
    for name, part in parts.items():
        expected = owned_tensors(name, part, configs[name], history[name])
        file = _file(folder, name)
        if not expected:
            continue
        if not file.is_file():
            raise WeightsError(f"{folder} has no {file.name}, and the {name} needs {len(expected)} tensors from it")
        elsewhere = [key for key in part.state_dict() if key not in expected]
        load_strict(part, _tensors(file), str(file), ignore=elsewhere)
        counts[name] = len(expected)
    return counts


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except SafetensorError as error:
        raise WeightsError(f"{file} is no safetensors file, or a damaged one ({error})") from error


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"
