"""What may be said otherwise about a run that goes on: each changed key, and what it would do.

free    nothing that is computed changes: where it runs, what it writes, stages that have not begun
told    what is computed from here on changes; taken when told to (``resume_changes=allow``)
never   no run could go on like that: another architecture, a stage that is over
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vlframe.config import PARTS
from vlframe.runs.checkpoint import Checkpoint

Verdict = Literal["free", "told", "never"]
ABSENT = "(absent)"

# With everything below them. What is in none of these lists changes what is computed.
FREE = (
    "name", "runs", "plugins", "logger", "benchmark", "evaluation", "loader", "media.cache_mb", "media.on_error",
    "media.timeout", "media.max_bad_share", "trainer.accelerator", "trainer.strategy",
    "trainer.gradient_checkpointing", "trainer.threads",
    "trainer.log_every", "trainer.checkpoint_every", "trainer.keep_checkpoints", "trainer.max_time", "trainer.progress",
)  # fmt: skip
# Lightning's callbacks that only look on; others end a training, average weights, accumulate.
LOOK_ON = ("LearningRateMonitor", "DeviceStatsMonitor", "ThroughputMonitor", "TQDMProgressBar", "RichProgressBar")
# Of a stage that is under way: what its optimizer and its place in the data hang on.
FIXED_IN_STAGE = ("accumulate",)


@dataclass(frozen=True)
class Change:
    """One key that is not what it was."""

    key: str
    old: Any
    new: Any
    verdict: Verdict = "free"
    why: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {_short(self.old)} -> {_short(self.new)}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[Change]:
    """The keys of two plain configs that differ, each with both values; what only one has is one change."""
    found = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key, ABSENT), new.get(key, ABSENT)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(Change(f"{prefix}{key}", before, after))
    return found


def judged(old: Mapping[str, Any], new: Mapping[str, Any], reached: Checkpoint | None) -> list[Change]:
    """The differences with what each would do to a run that is at ``reached``.

    A run without a checkpoint begins anew, and may be anything.
    """
    changes = differences(old, new)
    if reached is None:
        return changes
    begun = list(old["stages"])[: reached.stage_number + 1]
    if list(new["stages"])[: len(begun)] != begun:
        why = f"{', '.join(begun)} came first in this run; new stages go behind them"
        changes.append(Change("stages", list(old["stages"]), list(new["stages"]), "never", why))
    return [item if item.verdict != "free" else _judge(item, old, begun, reached) for item in changes]


def _judge(change: Change, old: Mapping[str, Any], begun: Sequence[str], reached: Checkpoint) -> Change:
    verdict, why = _verdict(change, old, begun, reached)
    return Change(change.key, change.old, change.new, verdict, why)


def _verdict(change: Change, old: Mapping[str, Any], begun: Sequence[str], reached: Checkpoint) -> tuple[Verdict, str]:
    group, _, rest = change.key.partition(".")
    if any(change.key == key or change.key.startswith(f"{key}.") for key in FREE):
        return "free", ""
    if group == "stages":
        return _of_stage(change, begun, reached)
    if group == "callbacks":
        return _of_callback(change, old)
    if group == "init":
        return "never", "the run began long ago"
    if group in PARTS and rest in ("", "name"):
        return "never", f"the checkpoint holds another {group}; begin a new run, with init.run for the parts that stay"
    if group == "dataset" and all(old["stages"][name]["data"] is not None for name in begun):
        return "free", ""
    return "told", ""


def _of_stage(change: Change, begun: Sequence[str], reached: Checkpoint) -> tuple[Verdict, str]:
    _, name, *rest = change.key.split(".")
    if name not in begun:
        return "free", ""
    if name != reached.stage or reached.finished:
        return "never", f"stage {name} is over; add a stage behind it (+stage@stages.more=tune stages.more.steps=…)"
    if not rest or rest[0] in FIXED_IN_STAGE or (rest[0] in PARTS and rest[1] in ("train", "lora")):
        return "never", f"stage {name} is under way, and its optimizer was made for it; change it in a stage of its own"
    if rest == ["steps"] and change.new is not None and change.new <= reached.step:
        return "never", f"stage {name} is at step {reached.step} already"
    return "told", ""


def _of_callback(change: Change, old: Mapping[str, Any]) -> tuple[Verdict, str]:
    name = change.key.split(".")[1]
    items = [change.old, change.new, old["callbacks"].get(name)]
    classes = {str(item["_target_"]).rpartition(".")[2] for item in items if isinstance(item, Mapping)}
    return ("free", "") if classes <= set(LOOK_ON) and not change.key.endswith("._target_") else ("told", "")


def _short(value: Any) -> str:
    text = value if value == ABSENT else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
