"""Detects a stage in which nothing is learned, so that it does not end as done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vlframe.distributed.ranks import of_all_ranks, place
from vlframe.errors import DataError, TrainingError
from vlframe.runs.log import log
from vlframe.runs.quarantine import ALWAYS_ALLOWED

if TYPE_CHECKING:
    from vlframe.contracts.batch import Batch
    from vlframe.runs.quarantine import QuarantineLimit, QuarantineLog

PATIENCE = 100  # optimizer steps without any gradient, and between two looks at the parts of a mixture


class Idle:
    """Records which parts have had a gradient, the media of the samples, and how many samples of each part of a
    mixture (``mixture`` has its names) came and were quarantined.
    """

    def __init__(self, stage: str, steps: int, mixture: Sequence[str] = ()) -> None:
        self.stage = stage
        self.steps = steps
        self.mixture = mixture
        self.met: Counter[int] = Counter()  # by part of the mixture, of this rank
        self.bad: Counter[int] = Counter()
        self.moved: set[str] = set()
        self.kinds: set[str] = set()

    def meet(self, batch: Batch) -> None:
        bad = [item.part for item in batch.quarantined]
        self.met.update([*batch.parts, *bad])
        self.bad.update(bad)
        self.kinds |= {item.kind for item in batch.files} | ({"text"} if len(batch) else set())

    def check(
        self,
        step: int,
        groups: Sequence[dict[str, Any]],
        share: QuarantineLimit,
        quarantine: QuarantineLog,
        *,
        skipped: bool = False,
    ) -> None:
        """Raise at the end of a stage without any sample (DataError) or gradient (TrainingError, already after
        ``PATIENCE`` steps). Called on all ranks, once the gradients of a step are complete. ``skipped``: they will not
        be applied.
        """
        parts = {group["name"].partition("/")[0] for group in groups}
        for group in groups:
            if not skipped and any(parameter.grad is not None for parameter in group["params"]):
                self.moved.add(group["name"].partition("/")[0])
        if step >= self.steps and share.met and share.met == share.bad:
            raise DataError(
                f"stage {self.stage} had no usable sample: all {share.met} so far were quarantined "
                f"({', '.join(sorted(quarantine.counts))}). {quarantine.summary()}"
            )
        if len(self.mixture) > 1 and (step >= self.steps or step % PATIENCE == 0):
            self._check_mixture(step, share, quarantine)
        still = ", ".join(sorted(parts - self.moved))
        if not self.moved and step >= min(PATIENCE, self.steps) and share.met > share.bad:
            raise TrainingError(
                f"stage {self.stage} has learned nothing in {step} steps: it trains {still}, and no gradient has come "
                f"there from samples of {', '.join(sorted(self.kinds))}; take data that passes through what is trained "
                f"or train what the data passes through"
            )
        if still and step == self.steps and place()[0] == 0:
            log.warning("stage %s: no sample gave a gradient to %s, which stays unchanged", self.stage, still)

    def _check_mixture(self, step: int, share: QuarantineLimit, quarantine: QuarantineLog) -> None:
        """Raise DataError if a part of the mixture has been quarantined whole; before the end, only if it is many."""
        ranks = of_all_ranks((dict(self.met), dict(self.bad)))
        for part, name in enumerate(self.mixture):
            met, bad = (sum(counts[which].get(part, 0) for counts in ranks) for which in (0, 1))
            if not met or met > bad or (step < self.steps and bad <= ALWAYS_ALLOWED):
                continue
            text = (
                f"stage {self.stage} learns nothing of part {part + 1} of {len(self.mixture)} of its data ({name}): "
                f"all {met} of its samples so far were quarantined ({', '.join(sorted(quarantine.counts))})"
            )
            if share.limit is not None:
                raise DataError(
                    f"{text}. {quarantine.summary()}; or leave this part out. media.max_bad_share=null lets the run go "
                    "on without it"
                )
            if step >= self.steps and place()[0] == 0:
                log.warning("%s", text)

    def state(self) -> dict[str, Any]:
        """Return the state of all ranks together. All of them call this."""
        ranks = of_all_ranks((self.met, self.bad))
        met, bad = (sum((counts[which] for counts in ranks), Counter()) for which in (0, 1))
        return {
            "moved": sorted(self.moved),
            "kinds": sorted(self.kinds),
            "mixture": [[met[part], bad[part]] for part in range(len(self.mixture))],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.moved, self.kinds = set(state["moved"]), set(state["kinds"])
        if place()[0] == 0:  # the sums are those of all ranks; older checkpoints have none
            counts = state.get("mixture", [])
            self.met = Counter({part: met for part, (met, _) in enumerate(counts)})
            self.bad = Counter({part: bad for part, (_, bad) in enumerate(counts)})
