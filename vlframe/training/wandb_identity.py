"""What a run is called on Weights & Biases: its name, group, job type and tags, live or pushed later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.config.schema import parts_of
from vlframe.contracts.modalities import MODALITIES
from vlframe.training.wandb_tables import unicode_only

if TYPE_CHECKING:
    from vlframe.config.schema import RunConfig
    from vlframe.runs.outcome import Outcome

LONGEST_NAME, LONGEST_TAG = 128, 64  # characters that W&B takes
TOLD_BY_TAGS = ("experiment", "model", "benchmark", "debug")  # besides the parts


def with_identity(item: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    """Add the run's identity to a logger's settings: name, group, job type and tags. Values set by the user are
    kept. Runs that differ only in their seed share the job type, a study's or sweep's runs the group.
    """
    own = {"name": display_name(config), "group": _group(config), "job_type": _cell(config) or "train"}
    return {**own, **item, "tags": list(dict.fromkeys([*_tags(config), *(item.get("tags") or ())]))}


def display_name(config: RunConfig) -> str:
    """Return a name: of a study's run, its cell's label and its seed; of a job of a sweep, its distinguishing overrides
    (``<preset>-seed1``); of any other run, its experiment, the typed parts, and its seed.
    """
    if _in_study(config):
        words = [_cell(config), f"seed{config.seed}"]
    elif config.sweep.words:
        words = [_spoken(word, config) for word in config.sweep.words]
    else:
        typed = [word.lstrip("+").partition("=")[::2] for word in config.words]
        parts = ("model", *parts_of(config))
        words = [config.name, *(name for group, name in typed if group in parts), f"seed{config.seed}"]
    return "-".join(words)[:LONGEST_NAME]


def axes_of(config: RunConfig) -> dict[str, str]:
    """Return the label that a study's run has on each of its axes; nothing for other runs."""
    words = [word.partition("=") for word in config.sweep.words] if _in_study(config) else []
    return {axis: label for axis, _, label in words if axis != "seed"}


def _in_study(config: RunConfig) -> bool:
    """Return whether the run is a cell of a study, whose words are ``axis=label``. Jobs of sweeps are numbered."""
    return config.sweep.folder is not None and config.sweep.job is None


def _group(config: RunConfig) -> str:
    if config.sweep.folder is None:
        return config.name
    name = Path(config.sweep.folder).name
    return (name if _in_study(config) else f"sweep-{name}")[:LONGEST_NAME]


def _cell(config: RunConfig) -> str:
    """Return what the run shares with those of other seeds: the label of a study's cell, or the overrides of a sweep's
    job; "" if nothing.
    """
    words = [word for word in config.sweep.words if not word.startswith("seed=")]
    if _in_study(config):
        return " ".join(word.partition("=")[2] for word in words)[:LONGEST_TAG] or "base"
    return "-".join(_spoken(word, config) for word in words)[:LONGEST_TAG]


def _spoken(word: str, config: RunConfig) -> str:
    key, _, value = word.lstrip("+").partition("=")
    if key == "seed":
        return f"seed{value}"
    return value if key in config.choices else f"{key}={value}"


def _tags(config: RunConfig) -> list[str]:
    """Return the axes of a study, the presets, and the seed."""
    deaf = [item.connector for item in MODALITIES.values() if getattr(config, item.encoder) is None]
    told = [group for group in (*parts_of(config), *TOLD_BY_TAGS) if group not in deaf]
    chosen = [f"{group}={config.choices[group]}" for group in told if group in config.choices]
    axes = config.sweep.words if _in_study(config) else ()
    return list(dict.fromkeys(tag[:LONGEST_TAG] for tag in (*axes, *chosen, f"seed={config.seed}")))


def summary_of(outcome: Outcome) -> dict[str, Any]:
    """Return how a run ended, for its summary."""
    return {
        "run/outcome": outcome.state,
        "run/why": unicode_only(outcome.why),
        "run/steps_done": outcome.steps_done,
        "run/steps_asked": outcome.steps_asked,
    }
