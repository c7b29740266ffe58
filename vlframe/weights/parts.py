"""A model's parts on disk: one safetensors file each, holding what cannot be had from the part's own source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vlframe.errors import WeightsError
from vlframe.model.adapters import is_adapter
from vlframe.weights.strict import load_strict

if TYPE_CHECKING:
    from vlframe.model.video_llm import VideoLLM


def owned_tensors(part: nn.Module, config: Mapping[str, Any], modes: set[str]) -> dict[str, Tensor]:
    """The tensors of a part that a checkpoint must hold, by name; tied tensors once.

    ``modes`` are what the stages so far did to it. A part without a ``source`` is held whole. One with a source is
    held whole if it was trained in full, by its adapters if it was trained through them, and not at all if frozen.
    """
    tensors = distinct_tensors(part)
    if not config.get("source") or "full" in modes:
        return tensors
    return {key: value for key, value in tensors.items() if is_adapter(key)} if "lora" in modes else {}


def distinct_tensors(part: nn.Module) -> dict[str, Tensor]:
    """A part's state without second names for the same tensor (safetensors refuses those)."""
    seen: set[tuple[Any, ...]] = set()
    tensors = {}
    for key, value in part.state_dict(keep_vars=True).items():
        # The shares of a sharded tensor have no place of their own; a tied one is the same object under both names.
        sharded = hasattr(value, "full_tensor")
        place = (id(value),) if sharded else (value.data_ptr(), value.shape, value.stride())
        if value.numel() and place in seen:
            continue
        seen.add(place)
        tensors[key] = value.detach()
    return tensors


def owned_parts(
    model: VideoLLM, configs: Mapping[str, Any], modes: Mapping[str, set[str]]
) -> dict[str, dict[str, Tensor]]:
    """``owned_tensors`` of every part."""
    return {name: owned_tensors(part, configs[name], modes[name]) for name, part in model.parts.items()}


def save_parts(
    folder: Path, parts: Mapping[str, Mapping[str, Tensor]], originals: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """``<part>.safetensors`` for every part that has something to hold; ``originals`` replace rounded weights."""
    for name, owned in parts.items():
        better = originals.get(name, {})
        tensors = {key: better.get(key, value) for key, value in owned.items()}
        if tensors:
            save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, _file(folder, name))


def load_parts(
    folder: Path, parts: Mapping[str, nn.Module], configs: Mapping[str, Any], modes: Mapping[str, set[str]]
) -> dict[str, int]:
    """Read what ``save_parts`` wrote, strictly; the number of tensors read for each part."""
    counts = {}
    for name, part in parts.items():
        expected = owned_tensors(part, configs[name], modes[name])
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
