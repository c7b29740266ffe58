"""What a study will be, before any of it is run: each cell with its tokens, parameters and predicted cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vlframe.data.first import first_samples
from vlframe.distributed.ranks import world_size
from vlframe.errors import ConfigError, UserError, one_line
from vlframe.machine.memory import gigabytes
from vlframe.studies.resolved import Planned
from vlframe.studies.study import Study
from vlframe.training.cost_report import as_configured
from vlframe.training.data import steps_of
from vlframe.training.prediction import NotPredicted, StagePrediction, predictions

if TYPE_CHECKING:
    from vlframe.config.schema import RunConfig
    from vlframe.distributed.devices import Device
    from vlframe.registry.registry import Registry


@dataclass(frozen=True)
class CellPlan:
    """One cell of a plan. Unknown values are None; ``why`` says why a cell does not fit, or is left out."""

    label: str
    axes: dict[str, str]
    state: str  # fits, does not fit, excluded
    why: str = ""
    digests: tuple[str, ...] = ()  # one for each seed
    tokens: int | None = None  # of a clip
    parameters: int | None = None
    trained: int | None = None  # the most that a stage trains
    steps: int | None = None  # optimizer steps of all stages
    bytes: int | None = None  # the most that a device holds at once
    seconds: float | None = None  # of training, one seed
    runs: dict[str, int] | None = None  # how many seeds are new, begun, done, …


@dataclass(frozen=True)
class StudyPlan:
    """The cells, then those that are left out, and the total."""

    cells: tuple[CellPlan, ...]
    runs: int
    seconds: float | None  # of the runs that are still to be made; None: not known of all
    notes: tuple[str, ...]

    def as_data(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def plan_study(study: Study, planned: Sequence[Planned], registry: Registry, device: Device) -> StudyPlan:
    """Plan every cell for a device. A cell that does not fit is a row that says why."""
    cells = []
    for cell in study.cells:
        mine = [item for item in planned if item.cell is cell]
        cells.append(_cell_plan(mine, [item.entry(study).standing for item in mine], registry, device))
    left_out = [CellPlan(item.label, dict(item.axes), "excluded", item.reason) for item in study.excluded]
    fitting = [cell for cell in cells if cell.state == "fits"]
    still = [(cell.seconds, sum((cell.runs or {}).values()) - (cell.runs or {}).get("done", 0)) for cell in fitting]
    known = [seconds * count for seconds, count in still if seconds is not None]
    total = sum(known) if len(known) == len(still) else None
    runs = len(fitting) * len(study.config.seeds)
    return StudyPlan((*cells, *left_out), runs, total, tuple(_notes(study, cells, total, device)))


def _cell_plan(items: Sequence[Planned], standings: Sequence[str], registry: Registry, device: Device) -> CellPlan:
    from vlframe.model.assemble import compose_on_meta, typical_tokens

    first = items[0]
    label, axes = first.cell.label, dict(first.cell.axes)
    if first.config is None:
        return CellPlan(label, axes, "does not fit", first.why)
    config = first.config
    try:
        if not config.stages:
            raise ConfigError("it has no stages; say base: [experiment=<name>]")
        composition = compose_on_meta(config, registry)
        stages = predictions(composition, config, world_size(config.trainer))
    except UserError as error:
        return CellPlan(label, axes, "does not fit", one_line(error))
    steps = {name: _steps(config, name, registry) for name in config.stages}
    predicted = {name: found for name, found in stages.items() if isinstance(found, StagePrediction)}
    seconds, most = 0.0 if len(predicted) == len(stages) else float("nan"), 0
    for name, found in predicted.items():
        asked = as_configured(config, found)
        step = device.seconds(found.flops[asked.recompute], config.trainer.precision)
        seconds += float("nan") if step is None or steps[name] is None else step * (steps[name] or 0)
        most = max(most, asked.peak)
    need = f"needs {gigabytes(most)}, {device.words} has {gigabytes(device.memory)}"
    held = need if most > device.memory else ""
    unknown = [f"stage {name}: {found.why}" for name, found in stages.items() if isinstance(found, NotPredicted)]
    why = held or "; ".join(["its cost is not predicted", *unknown] if unknown else [])
    return CellPlan(
        label, axes, "does not fit" if held else "fits", why, tuple(item.digest for item in items),
        tokens=typical_tokens(composition.budget, "video", composition.budget.frames),
        parameters=sum(composition.parameters.values()),
        trained=max((found.trained for found in predicted.values()), default=0),
        steps=None if None in steps.values() else sum(count or 0 for count in steps.values()),
        bytes=most, seconds=None if seconds != seconds else seconds, runs=dict(Counter(standings)),
    )  # fmt: skip


def _steps(config: RunConfig, name: str, registry: Registry) -> int | None:
    """Return the steps of a stage; None where they depend on data that cannot be opened here."""
    stage = config.stages[name]
    if stage.steps is not None:
        return stage.steps
    try:
        data = registry.build("dataset", stage.data if stage.data is not None else config.dataset)
    except (UserError, OSError):
        return None
    return steps_of(stage, len(first_samples(data, config.debug.samples)), world_size(config.trainer))


def _notes(study: Study, cells: Sequence[CellPlan], seconds: float | None, device: Device) -> list[str]:
    notes = [f"{item.label}: {item.state}: {item.why}" for item in cells if item.why]
    notes += [f"{item.label} is left out: {item.reason}" for item in study.excluded]
    if study.baseline.label in [item.label for item in cells if item.state != "fits"]:
        notes.append(f"the baseline, {study.baseline.label}, does not fit: without it no cell can be compared")
    if seconds is None:
        notes.append("seconds of a stage that counts epochs are known where its data can be opened")
    else:
        hours, most = seconds / 3600, study.config.budget.hours
        notes.append(
            f"training of what is still to be run: about {hours:.2g} hours on {device.words}; loading, decoding and "
            f"evaluation come on top"
        )
        if most is not None and hours > most:
            notes.append(f"that is more than budget.hours, {most:g}: what is left then is not begun")
    return notes


def shown_plan(plan: StudyPlan) -> list[dict[str, Any]]:
    """Cells for people."""
    return [
        {
            "cell": item.label,
            "state": item.state,
            "tokens": item.tokens,
            "parameters": item.parameters and f"{item.parameters:,}",
            "trained": None if item.trained is None else f"{item.trained:,}",
            "steps": item.steps,
            "GB": None if item.bytes is None else round(item.bytes / 1e9, 2),
            "seconds a run": None if item.seconds is None else float(f"{item.seconds:.2g}"),
            "runs": item.runs and ", ".join(f"{count} {word}" for word, count in item.runs.items()),
        }
        for item in plan.cells
    ]
