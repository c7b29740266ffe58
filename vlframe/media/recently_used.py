"""Keeps in memory what was used last: decoded media, what clips are, media tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class RecentlyUsed(Generic[T]):
    """Keeps the most recently used items, up to ``limit`` of their ``size`` altogether; 0 keeps none. They must not be
    modified. ``size`` is a function that can be pickled, for data workers.
    """

    def __init__(self, limit: int, size: Callable[[T], int]) -> None:
        self.limit = limit
        self.size = size
        self.held = 0
        self._items: OrderedDict[Hashable, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Hashable) -> T | None:
        if key in self._items:
            self._items.move_to_end(key)
        return self._items.get(key)

    def put(self, key: Hashable, item: T) -> None:
        """Keep an item as the last one used, unless it is larger than the limit; the one kept under a key stays."""
        if key in self._items:
            self._items.move_to_end(key)
            return
        if self.size(item) > self.limit:
            return
        self._items[key] = item
        self.held += self.size(item)
        while self.held > self.limit:
            _, oldest = self._items.popitem(last=False)
            self.held -= self.size(oldest)
