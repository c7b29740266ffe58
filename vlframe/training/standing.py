"""Tracks the evaluations of a stage: which was the best, and how many have followed it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

LOSS = "loss"


@dataclass
class Standing:
    """The best evaluation of a stage so far. Part of every checkpoint."""

    by: str = ""
    value: float | None = None  # None: none yet
    step: int = 0
    waited: int = 0  # evaluations since
    evaluated: int = 0  # the step of the last one
    ended: bool = False  # the stage was ended before its last step

    def offer(self, by: str, value: float, step: int, *, lower: bool) -> bool:
        """Take an evaluation in; return whether it is the best: the highest or, with ``lower``, the lowest. NaN
        never is.
        """
        self.by, self.evaluated = by, step
        best = not math.isnan(value) and (self.value is None or (value < self.value if lower else value > self.value))
        self.waited = 0 if best else self.waited + 1
        if best:
            self.value, self.step = value, step
        return best

    def state(self) -> dict[str, Any]:
        return asdict(self)
