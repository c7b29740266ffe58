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
    runs only the connector.
    """

    def __init__(self, items: int) -> None:
        self.items = items
        self.tokens: OrderedDict[Hashable, Tensor] = OrderedDict()
        self.features: OrderedDict[Hashable, Features] = OrderedDict()

    def keep(self, tokens: Mapping[Any, Tensor]) -> None:
        """Keep the most recently used tokens."""
        for key, value in tokens.items():
            _put(self.tokens, key, value, self.items)

    def keep_features(self, key: Hashable, features: Features) -> None:
        _put(self.features, key, features, self.items)


def _put(store: OrderedDict[Hashable, Any], key: Hashable, value: Any, limit: int) -> None:
    store[key] = value
    store.move_to_end(key)
    while len(store) > limit:
        store.popitem(last=False)
