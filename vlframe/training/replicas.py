"""``trainer.strategy=ddp`` (and ``auto`` with several devices): every rank has the whole model.

Not torch's DDP wrapper: it averages gradients while the backward pass makes them, and waits for a rank that has nothing
to make them of: a batch whose samples were all left out, or text alone below a frozen language model. Here each rank
does what its batch asks for, and gradients are averaged once, at the end of the optimizer step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.distributed.tensor import DTensor

BUCKET = 2**24  # gradients that travel together; their copy is what this costs


class ReplicatedStrategy(DDPStrategy):
    """Processes and data as with Lightning's DDP; the training module averages the gradients (``average_whole``)."""

    def model_to_device(self) -> None:
        super().model_to_device()
        module: Any = self.lightning_module
        same_everywhere(module.model, self.root_device)

    def configure_ddp(self) -> None:
        """Nothing is wrapped."""


def same_everywhere(model: nn.Module, device: torch.device) -> None:
    """The first rank's numbers on every rank, as DDP does: new adapters are drawn by each rank for itself."""
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.numel():
            sent = tensor.detach().to(device).contiguous()
            torch.distributed.broadcast(sent.flatten().view(torch.uint8), 0)  # gloo does not know every dtype
            tensor.data.copy_(sent)


def average_whole(parameters: Iterable[nn.Parameter]) -> None:
    """The mean over ranks of the gradients of what is not sharded. A rank that did not use a tensor has no gradient for
    it, which counts as zero; what no rank used stays without one."""
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
