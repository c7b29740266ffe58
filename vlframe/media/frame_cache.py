"""Keeps decoded media in memory, so that a clip with many questions is decoded once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class TensorCache:
    """Keeps the most recently used tensors, up to ``limit`` bytes; 0 keeps none. They must not be modified."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._tensors: OrderedDict[Hashable, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tensors)

    def get(self, key: Hashable) -> Tensor | None:
        if key in self._tensors:
            self._tensors.move_to_end(key)
        return self._tensors.get(key)

    def put(self, key: Hashable, tensor: Tensor) -> None:
        """Keep a tensor, unless it is larger than the limit."""
        if key in self._tensors or tensor.nbytes > self.limit:
            return
        self._tensors[key] = tensor
        self.bytes += tensor.nbytes
        while self.bytes > self.limit:
            _, oldest = self._tensors.popitem(last=False)
            self.bytes -= oldest.nbytes
