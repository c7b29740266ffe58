"""The order of samples: a pure function of seed and position, so that a run can resume anywhere.

An epoch is a permutation of its samples. In a mixture every part has its own permutations, and the parts take turns so
that each has had its share at any moment (largest deficit first).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from vlframe.contracts.sample import Subset
from vlframe.errors import DataError


class Draw(NamedTuple):
    """A draw of a run: the sample's index, and its position in the stream, from which randomness may be seeded."""

    index: int  # type: ignore[assignment]  # tuples have a method of this name
    place: int


class SampleOrder:
    """An endless stream of indices into a data set; ``take(start, stop)`` returns any slice of it."""

    def __init__(self, length: int, seed: int, subsets: Sequence[Subset] | None = None) -> None:
        self.parts = [part for part in (subsets or [Subset(0, length)]) if part.weight > 0]
        if not self.parts or any(part.stop <= part.start for part in self.parts):
            raise DataError(
                "a data set (or a part of a mixture that has weight) holds no samples; nothing can be drawn"
            )
        self.seed = seed
        total = sum(part.weight for part in self.parts)
        self.shares = np.array([part.weight / total for part in self.parts])
        self._permutations: dict[tuple[int, int], np.ndarray] = {}
        self._turns = np.zeros(0, dtype=np.int64)  # the part of each draw so far
        self._counts = np.zeros(len(self.parts), dtype=np.int64)
        self._seen = np.zeros(0, dtype=np.int64)  # that part's earlier draws

    def take(self, start: int, stop: int) -> list[int]:
        """Return the indices of draws ``start`` to ``stop`` (exclusive)."""
        self._extend(stop)
        return [self._index(int(self._turns[draw]), int(self._seen[draw])) for draw in range(start, stop)]

    def _index(self, part_number: int, nth: int) -> int:
        part = self.parts[part_number]
        epoch, offset = divmod(nth, part.stop - part.start)
        key = (part_number, epoch)
        if key not in self._permutations:
            self._permutations = {kept: order for kept, order in self._permutations.items() if kept[1] >= epoch - 1}
            generator = np.random.Generator(np.random.Philox(key=[self.seed, part_number * 2**32 + epoch]))
            self._permutations[key] = generator.permutation(part.stop - part.start)
        return part.start + int(self._permutations[key][offset])

    def _extend(self, stop: int) -> None:
        have = len(self._turns)
        if stop <= have:
            return
        more = max(stop - have, 1024)
        turns = np.empty(more, dtype=np.int64)
        seen = np.empty(more, dtype=np.int64)
        for draw in range(more):
            deficit = self.shares * (have + draw + 1) - self._counts
            part = int(np.argmax(deficit))
            turns[draw], seen[draw] = part, self._counts[part]
            self._counts[part] += 1
        self._turns = np.concatenate([self._turns, turns])
        self._seen = np.concatenate([self._seen, seen])


class BatchOrder:
    """A batch sampler: micro-batches ``start`` to ``total`` of a stream, this rank's share of each.

    ``draws`` is the length of the stream, if it ends: the last batch then holds what is left, and may be empty on some
    ranks.
    """

    def __init__(
        self,
        order: SampleOrder,
        *,
        batch_size: int,
        total: int,
        draws: int | None = None,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.order = order
        self.batch_size = batch_size
        self.total = total
        self.draws = total * batch_size * world if draws is None else draws
        self.start = start
        self.rank = rank
        self.world = world

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[list[Draw]]:
        for batch in range(self.start, self.total):
            first = (batch * self.world + self.rank) * self.batch_size
            stop = min(first + self.batch_size, self.draws)
            drawn = self.order.take(first, stop) if first < stop else []
            yield [Draw(index, first + offset) for offset, index in enumerate(drawn)]
