"""Judges the changed keys of a resumed run by their effect.

safe              no change of what is computed: where it runs, what it writes, stages that have not begun
needs_permission  changes what is computed from here on; needs permission (``resume_changes=allow``)
forbidden         cannot be resumed: another architecture, a stage that is over
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from vlframe.contracts.modalities import parts

if TYPE_CHECKING:
    from vlframe.runs.checkpoint import Checkpoint

Verdict = Literal["safe", "needs_permission", "forbidden"]
ABSENT = "(absent)"

# Including all keys below. Keys in none of these lists change what is computed.
SAFE = (
    "name", "runs", "moved", "plugins", "choices", "words", "sweep", "optimized_metric", "logger", "benchmark",
    "benchmarks", "evaluation", "validation", "loader", "media.cache_mb", "media.on_error", "media.timeout",
    "media.max_bad_share",
    "trainer.accelerator", "trainer.strategy", "trainer.gradient_checkpointing", "trainer.threads", "trainer.log_every",
    "trainer.checkpoint_every", "trainer.keep_checkpoints", "trainer.keep_best", "trainer.max_time", "trainer.progress",
)  # fmt: skip
# Keys that decide when a stage stops if `early_stopping.patience` is set; then they are not safe.
DECIDE_WHEN = ("evaluation.every", "evaluation.best_by", "validation", "benchmark", "benchmarks")
# Lightning's callbacks that only observe; others stop training, average weights, accumulate.
OBSERVE_ONLY = ("LearningRateMonitor", "DeviceStatsMonitor", "ThroughputMonitor", "TQDMProgressBar", "RichProgressBar")
# Keys of a started stage on which its optimizer and its position in the data depend.
FIXED_IN_STAGE = ("accumulate_grad_batches", "encoders", "connectors")
FIXED_IN_PART = ("train", "trainable", "frozen", "layers_from_top", "lora")


@dataclass(frozen=True)
class Change:
    """A key whose value has changed."""

    key: str
    old: Any
    new: Any
    verdict: Verdict = "safe"
    why: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {_short(self.old)} -> {_short(self.new)}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[Change]:
    """Return the keys of two plain configs that differ, each with both values; a subtree in only one is one change."""
    found = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key, ABSENT), new.get(key, ABSENT)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(Change(f"{prefix}{key}", before, after))
    return found


def judged(old: Mapping[str, Any], new: Mapping[str, Any], reached: Checkpoint | None) -> list[Change]:
    """Return the differences with their effect on a run that is at ``reached``.

    A run without a checkpoint starts from the beginning, and allows any change.
    """
    changes = differences(old, new)
    if reached is None:
        return changes
    begun = list(old["stages"])[: reached.stage_number + 1]
    if list(new["stages"])[: len(begun)] != begun:
        why = f"{', '.join(begun)} came first in this run; new stages go after them"
        changes.append(Change("stages", list(old["stages"]), list(new["stages"]), "forbidden", why))
    return [item if item.verdict != "safe" else _judge(item, old, begun, reached) for item in changes]


def _judge(change: Change, old: Mapping[str, Any], begun: Sequence[str], reached: Checkpoint) -> Change:
    verdict, why = _verdict(change, old, begun, reached)
    return Change(change.key, change.old, change.new, verdict, why)


def _verdict(change: Change, old: Mapping[str, Any], begun: Sequence[str], reached: Checkpoint) -> tuple[Verdict, str]:
    group, _, rest = change.key.partition(".")
    stops_early = (old.get("early_stopping") or {}).get("patience") is not None
    if stops_early and _below(change.key, DECIDE_WHEN):
        return "needs_permission", ""
    if is_safe(change.key):
        return "safe", ""
    if group == "stages":
        return _of_stage(change, begun, reached)
    if group == "callbacks":
        return _of_callback(change, old)
    if group == "init":
        return "forbidden", "the run has already begun"
    if group in parts() and rest in ("", "name"):
        why = f"the checkpoint holds another {group}; begin a new run, with init.run for the parts that stay"
        return "forbidden", why
    if group == "dataset" and all(old["stages"][name]["data"] is not None for name in begun):
        return "safe", ""
    return "needs_permission", ""


def is_safe(key: str) -> bool:
    """Return whether a key of a config changes nothing that is computed."""
    return _below(key, SAFE)


def _below(key: str, places: Sequence[str]) -> bool:
    return any(key == place or key.startswith(f"{place}.") for place in places)


def _of_stage(change: Change, begun: Sequence[str], reached: Checkpoint) -> tuple[Verdict, str]:
    _, name, *rest = change.key.split(".")
    if name not in begun:
        return "safe", ""
    if name != reached.stage or reached.finished:
        return "forbidden", f"stage {name} is over; add a stage after it (+stage@stages.more=tune stages.more.steps=…)"
    if not rest or rest[0] in FIXED_IN_STAGE or (rest[0] in parts() and rest[1] in FIXED_IN_PART):
        why = f"stage {name} is under way, and its optimizer was made for it; change it in a separate stage"
        return "forbidden", why
    if rest == ["steps"] and change.new is not None and change.new <= reached.step:
        return "forbidden", f"stage {name} is at step {reached.step} already"
    return "needs_permission", ""


def _of_callback(change: Change, old: Mapping[str, Any]) -> tuple[Verdict, str]:
    name = change.key.split(".")[1]
    items = [change.old, change.new, old["callbacks"].get(name)]
    classes = {str(item.get("_target_", "")).rpartition(".")[2] for item in items if isinstance(item, Mapping)}
    observes = classes <= set(OBSERVE_ONLY) and not change.key.endswith("._target_")
    return ("safe" if observes else "needs_permission"), ""


def _short(value: Any) -> str:
    text = value if value == ABSENT else repr(value)
    is_path = isinstance(value, str) and value.startswith("/")  # two of them may differ only at their ends
    return text if len(text) <= 80 or is_path else text[:77] + "..."
