"""Brings the rows of all ranks together, with their gradients. R rows of a rank, A rows of all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vlframe.distributed.ranks import are_imagined, place


def gathered(values_R: Tensor, rows: Sequence[int]) -> Tensor:
    """Return ``values_A``: the rows of all ranks, by rank; ``rows`` are their numbers on each. All ranks call this, and
    run the backward pass of the result, in which each row's gradient is the sum of those that the ranks have for it.
    """
    world = place()[1]
    if world == 1:
        return values_R
    if are_imagined():
        return torch.cat([values_R] * world)
    return _Gathered.apply(values_R, tuple(rows))


def rows_before(rows: Sequence[int]) -> int:
    """Return where this rank's rows begin among those of all ranks; ``rows`` are their numbers on each."""
    return sum(rows[: place()[0]])


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values_R: Tensor, rows: tuple[int, ...]) -> Tensor:
        context.rows = rows
        rank, world = place()
        padded = values_R.new_zeros((max(rows), *values_R.shape[1:]))
        padded[: rows[rank]] = values_R
        together = [torch.empty_like(padded) for _ in range(world)]
        torch.distributed.all_gather(together, padded)
        return torch.cat([part[:count] for part, count in zip(together, rows, strict=True)])

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient_A = gradients[0].contiguous()
        torch.distributed.all_reduce(gradient_A)
        first = rows_before(context.rows)
        return gradient_A[first : first + context.rows[place()[0]]], None
