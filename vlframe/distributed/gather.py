"""Brings the rows of all ranks together, with their gradients. R rows of a rank, A rows of all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vlframe.distributed.ranks import place


def gathered(values_R: Tensor, rows: Sequence[int]) -> Tensor:
    """Return ``values_A``: the rows of all ranks, by rank; ``rows`` are their numbers on each. All ranks call this, and
    run the backward pass of the result, in which each row's gradient is the sum of those that the ranks have for it.
    """
    if place()[1] == 1:
        return values_R
    return _Gathered.apply(values_R, tuple(rows))


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
        rank, _ = place()
        first = sum(context.rows[:rank])
        return gradient_A[first : first + context.rows[rank]], None
