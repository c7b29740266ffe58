"""The first samples of a data set, for trial runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def first_samples(dataset: Any, count: int | None) -> Sequence[Any]:
    """Read at most ``count`` samples in the order of the data set; None returns the data set itself."""
    return dataset if count is None else [dataset[index] for index in range(min(count, len(dataset)))]
