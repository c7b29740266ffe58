"""``trainer.strategy=ddp`` (and ``auto`` with several devices): every rank has the whole model.

torch's DDP wrapper is not used: it averages gradients during the backward pass and waits for ranks that have none (all
samples of the batch quarantined, or only text with a frozen language model). Here each rank runs what its batch needs,
and gradients are averaged once, at the end of the optimizer step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.distributed.tensor import DTensor

BUCKET = 2**24  # gradient elements reduced together; costs one copy of them


class ReplicatedStrategy(DDPStrategy):
    """Processes and data as with Lightning's DDP; the training module averages the gradients (``average_whole``)."""

    def model_to_device(self) -> None:
        super().model_to_device()
        module: Any = self.lightning_module
        same_everywhere(module.model, self.root_device)

    def configure_ddp(self) -> None:
        """Leave the module unwrapped; ``average_whole`` averages the gradients."""


def same_everywhere(model: nn.Module, device: torch.device) -> None:
    """Broadcast the first rank's tensors to every rank, as DDP does: each rank initialises new adapters on its own."""
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.numel():
            sent = tensor.detach().to(device).contiguous()
            torch.distributed.broadcast(sent.flatten().view(torch.uint8), 0)  # gloo does not support every dtype
            tensor.data.copy_(sent)


def average_whole(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of unsharded parameters over ranks. A rank that did not use a tensor has no gradient for
    it, which counts as zero; a tensor used by no rank keeps none.
    """
    whole = [parameter for parameter in parameters if not isinstance(parameter, DTensor)]
    if not whole:
        return
    used = torch.tensor([parameter.grad is not None for parameter in whole], dtype=torch.int32, device=whole[0].device)
    torch.distributed.all_reduce(used, torch.distributed.ReduceOp.MAX)
    for bucket in _buckets([parameter for parameter, flag in zip(whole, used.tolist(), strict=True) if flag]):
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket])
        torch.distributed.all_reduce(flat)
        flat /= torch.distributed.get_world_size()
        for parameter, mean in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            parameter.grad = mean.view_as(parameter)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        if bucket and sum(p.numel() for p in bucket) + parameter.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket
