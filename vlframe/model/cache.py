"""Caches media tokens between batches, for constant weights: evaluation asks many questions about a clip."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe.model.branch import Features


class MediaCache:
    """The media tokens of the most recent files (and instructions), at most ``items``; 0 keeps none.

    For a connector that reads the instruction, features are cached as well, so that a second question about a file
    runs only the connector; and of the last ``shared`` files, so that their frames in another order do.
    """

    def __init__(self, items: int, shared: int = 0) -> None:
        self.items = items
        self.shared = shared
        self.tokens: OrderedDict[Hashable, Tensor] = OrderedDict()
        self.features: OrderedDict[Hashable, Features] = OrderedDict()

    def keep(self, tokens: Mapping[Any, Tensor]) -> None:
        """Keep the most recently used tokens."""
        for key, value in tokens.items():
            _put(self.tokens, key, value, self.items)

    def keep_features(self, key: Hashable, features: Features, instructed: bool) -> None:
        """Keep a file's features; ``instructed``: its connector reads the instruction."""
        if instructed or self.shared:
            _put(self.features, key, features, self.items if instructed else self.shared)


def _put(store: OrderedDict[Hashable, Any], key: Hashable, value: Any, limit: int) -> None:
    store[key] = value
    store.move_to_end(key)
    while len(store) > limit:
        store.popitem(last=False)
