"""Translate a batch's layout into attention arguments of a transformers decoder. B batch, S sequence."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from vlframe import SequenceLayout


def attention_arguments(layout: SequenceLayout, dtype: torch.dtype, decoder: nn.Module) -> dict[str, Any]:
    """Return the keyword arguments that tell transformers what a token may attend to, and its position.

    They are empty if tokens come first in every row: later padding is never seen, and transformers would ask the device
    about the mask in every step. Packed rows get an additive ``mask_B1SS``, in which a token sees the earlier ones of
    its segment. A decoder that derives positions from its mask (ALiBi) receives no positions.
    """
    if layout.segments_BS is not None:
        mask_B1SS = packed_mask(layout.segments_BS, layout.mask_BS, dtype)
        return {"attention_mask": mask_B1SS, "position_ids": layout.positions_BS}
    if layout.masked:
        masked = {"attention_mask": layout.mask_BS, "position_ids": layout.positions_BS}
        return {name: value for name, value in masked.items() if name in _taken(type(decoder))}  # type: ignore[arg-type]
    return {} if _keeps_states(decoder) else {"past_key_values": NothingKept()}


def _keeps_states(decoder: nn.Module) -> bool:
    """Return whether layers keep states other than keys and values, as of state-space models and convolutions.

    These write into a cache that they are given, and compute the same without one.
    """
    return bool(getattr(decoder, "_is_stateful", False))


@cache
def _taken(decoder: type[nn.Module]) -> frozenset[str]:
    """Return the argument names of a class's forward pass."""
    return frozenset(inspect.signature(decoder.forward).parameters)


def packed_mask(segments_BS: Tensor, mask_BS: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 0 where a token may attend and the dtype's minimum elsewhere. Padding attends to itself."""
    length = segments_BS.shape[1]
    causal_SS = torch.ones(length, length, dtype=torch.bool, device=segments_BS.device).tril()
    same_BSS = segments_BS[:, :, None] == segments_BS[:, None, :]
    itself_SS = torch.eye(length, dtype=torch.bool, device=segments_BS.device)
    seen_BSS = (causal_SS & same_BSS & mask_BS[:, None, :]) | itself_SS
    return torch.zeros(seen_BSS.shape, dtype=dtype, device=segments_BS.device).masked_fill(
        ~seen_BSS, torch.finfo(dtype).min
    )[:, None]


class NothingKept(DynamicCache):
    """A cache that stores nothing.

    Without a mask and without a cache, transformers checks in every step whether positions restart within a row, and
    waits for the device to know. With a cache it does not.
    """

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *more: Any, **options: Any
    ) -> tuple[Tensor, Tensor]:
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: Any, layer_idx: int = 0) -> tuple[int, int]:
        return (query_length if isinstance(query_length, int) else query_length.shape[0]), 0
