"""Caches media tokens between batches, for constant weights: evaluation asks many questions about a clip."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from vlframe.media.recently_used import RecentlyUsed

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
        self.tokens: RecentlyUsed[Tensor] = RecentlyUsed(items, _one)
        self.instructed: RecentlyUsed[Features] = RecentlyUsed(items, _one)
        self.reordered: RecentlyUsed[Features] = RecentlyUsed(shared, _one)

    def keep(self, tokens: Mapping[Any, Tensor]) -> None:
        """Keep the most recently used tokens."""
        for key, value in tokens.items():
            self.tokens.put(key, value)

    def features(self, key: Hashable, instructed: bool) -> Features | None:
        """Return a file's features, if they are kept; ``instructed``: its connector reads the instruction."""
        return (self.instructed if instructed else self.reordered).get(key)

    def keep_features(self, key: Hashable, features: Features, instructed: bool) -> None:
        """Keep a file's features; ``instructed``: its connector reads the instruction."""
        (self.instructed if instructed else self.reordered).put(key, features)


def _one(item: Any) -> int:
    """Return the size of an item where items are counted."""
    return 1
