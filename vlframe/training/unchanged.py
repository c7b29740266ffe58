"""Tells which parts a stage has left bit for bit as they were, although it trained them.

A rate far below what float32 can resolve gives every weight a gradient, and moves none. Weights are compared by a
fingerprint, so that no copy is kept: one when the stage begins, which checkpoints carry, and one at its end.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from vlframe.distributed.ranks import of_all_ranks, place
from vlframe.distributed.sharding import local
from vlframe.runs.log import log

CHUNK = 2**22  # elements at once: a fingerprint takes 8 bytes of memory for each
BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes of an element
NEXT = 6364136223846793005  # an odd number: products with it, modulo 2**64, lose nothing


class UnchangedParts:
    """The parts of a stage whose trained weights are those that it began with; ``names`` once it has ended."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.begun: Mapping[str, int] | None = None  # of this rank; empty: not known
        self.names: list[str] = []

    def begin(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Take the fingerprints of a stage that begins; a resumed one has them from its checkpoint."""
        if self.begun is None:
            self.begun = fingerprints(groups)

    def end(
        self, groups: Sequence[Mapping[str, Any]], steps: int, reached: Collection[str], max_grad_norm: float
    ) -> None:
        """Compare on all ranks, and warn of every part of which nothing has changed on any of them. ``reached`` are
        those that had gradients; ``Idle`` tells of the others. Gradients were clipped to ``max_grad_norm`` (0: not).
        """
        now, begun = fingerprints(groups), self.begun or {}
        same = of_all_ranks(sorted(name for name in now if begun.get(name) == now[name]))
        self.names = [name for name in now if all(name in names for names in same)]
        for name in [name for name in self.names if name in reached and place()[0] == 0]:
            own = [group for group in groups if part_of(group) == name]
            rate = f"Its learning rate is {max(group['initial_lr'] for group in own):g}; try a larger one"
            least = max(group["eps"] for group in own)  # gradients far below it move nothing, whatever the rate
            clipped = f"Its gradients were clipped to max_grad_norm={max_grad_norm:g}; try a larger one, or 0 for none"
            log.warning(
                "stage %s: after %d steps every weight of %s is what it was before, bit for bit: nothing was learned "
                "there. %s",
                self.stage, steps, name, clipped if 0 < max_grad_norm < least else rate,
            )  # fmt: skip

    def state(self) -> list[dict[str, int]]:
        """Return the fingerprints of all ranks, whose shards differ. All of them call this."""
        return of_all_ranks(dict(self.begun or {}))

    def restore(self, state: Sequence[Mapping[str, int]]) -> None:
        """Take over what a stage began with; not known with another number of ranks, or from an older checkpoint."""
        rank, world = place()
        self.begun = state[rank] if len(state) == world else {}


def part_of(group: Mapping[str, Any]) -> str:
    return str(group["name"]).partition("/")[0]


def fingerprints(groups: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return a number of 64 bits for the weights of each part, of this rank's share. Waits for the device."""
    found: dict[str, Tensor] = {}
    for group in groups:
        for parameter in group["params"]:
            own = _fingerprint(local(parameter.detach()))
            name = part_of(group)
            found[name] = own if name not in found else found[name] * NEXT + own
    return {name: int(value) for name, value in found.items()}


def _fingerprint(tensor: Tensor) -> Tensor:
    """Return a sum of the elements' bits, each with its own odd factor: one that changes, changes it."""
    bits = tensor.contiguous().view(BITS[tensor.element_size()]).flatten()
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for piece in bits.split(CHUNK):
        total = total * NEXT + (piece.long() * _factors(str(tensor.device))[: len(piece)]).sum()
    return total


@cache
def _factors(device: str) -> Tensor:
    drawn = torch.randint(2**62, (CHUNK,), generator=torch.Generator().manual_seed(0))
    return (drawn * 2 + 1).to(device)
