"""The meta device for constructed modules, but not for Python modules imported during construction."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import BuiltinFunctionType, FrameType, MethodDescriptorType, WrapperDescriptorType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

COMPILED = BuiltinFunctionType | MethodDescriptorType | WrapperDescriptorType  # they call no constructors of Python's


class MetaDevice(TorchFunctionMode):
    """``torch.device("meta")``, with real memory for constants of modules first imported meanwhile.

    They outlive the plan: torchaudio has a filter bank at module level, which would fail on the first sound.

    Where no gradients are recorded, a tower's most frequent functions give an empty tensor of their result's shape:
    PyTorch finds that shape by a reference implementation in Python, which takes milliseconds a call. Arguments
    that do not fit, or are unusual, go to PyTorch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.imports = _imports_under_way()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if args and isinstance(args[0], Tensor) and args[0].is_meta:
            if func in _RESULTS and not torch.is_grad_enabled():
                result = _RESULTS[func](*args, **kwargs)
                if result is not None:
                    return result
            if isinstance(func, COMPILED):  # its result is where its first argument is
                return func(*args, **kwargs)
        with nullcontext() if _imports_under_way() > self.imports else torch.device("meta"):
            return func(*args, **kwargs)


def _imports_under_way() -> int:
    count = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        count += frame.f_code.co_filename == "<frozen importlib._bootstrap>"
        frame = frame.f_back
    return count


def _layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor | None:
    shape = tuple(normalized_shape)
    ours = [item for item in (weight, bias) if item is not None]
    if tuple(input.shape[-len(shape) :]) == shape and all(_like(item, input) and item.shape == shape for item in ours):
        return input.new_empty(input.shape)
    return None


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    if weight.dim() != 2 or input.dim() < 2 or input.shape[-1] != weight.shape[1] or not _like(weight, input):
        return None
    if bias is not None and not (_like(bias, input) and bias.shape == weight.shape[:1]):
        return None
    return input.new_empty((*input.shape[:-1], weight.shape[0]))


def _gelu(input: Tensor, approximate: str = "none") -> Tensor | None:
    return torch.empty_like(input) if input.is_floating_point() and approximate in ("none", "tanh") else None


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    """Return a tensor that lies in memory as the queries do, as the CPU's result does."""
    if enable_gqa or (is_causal and attn_mask is not None) or not (_like(key, query) and _like(value, query)):
        return None
    if key.shape != value.shape or key.dim() != query.dim() or query.dim() < 3:
        return None
    if (*key.shape[:-2], key.shape[-1]) != (*query.shape[:-2], query.shape[-1]):
        return None
    if attn_mask is not None and not _spreads(attn_mask, (*query.shape[:-1], key.shape[-2]), query.dtype):
        return None
    return torch.empty_like(query)


def _elementwise(input: Tensor, other: Tensor | float) -> Tensor | None:
    if isinstance(other, Tensor):
        alike = _like(other, input) and (other.shape, other.stride()) == (input.shape, input.stride())
    else:
        alike = isinstance(other, int | float)
    return torch.empty_like(input) if alike and input.is_floating_point() else None


def _like(tensor: Any, other: Tensor) -> bool:
    return isinstance(tensor, Tensor) and tensor.is_meta and tensor.dtype == other.dtype


def _spreads(mask: Tensor, scores: tuple[int, ...], dtype: torch.dtype) -> bool:
    """Return whether a mask can be broadcast to the scores of an attention."""
    there = mask.shape[::-1]
    return (
        mask.is_meta
        and mask.dtype in (torch.bool, dtype)
        and len(there) <= len(scores)
        and all(size in (1, wanted) for size, wanted in zip(there, scores[::-1], strict=False))
    )


_RESULTS: dict[Any, Callable[..., Tensor | None]] = {
    F.layer_norm: _layer_norm,
    F.linear: _linear,
    F.gelu: _gelu,
    F.scaled_dot_product_attention: _attention,
    Tensor.add: _elementwise,
    Tensor.mul: _elementwise,
    Tensor.__add__: _elementwise,
    Tensor.__mul__: _elementwise,
    Tensor.__rmul__: _elementwise,
}
