"""Saves views and reports on Weights & Biases, each once: saved again, it takes the place of what it was.

<study>/wandb/workspace.json, report.json    what is in them (``wandb_views``), also where nothing is saved
<study>/wandb/saved.json                     what was saved where: its id there, a digest of the spec
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.config.secrets import redacted, without_secrets
from vlframe.errors import ConfigError, named_line
from vlframe.reports.wandb_views import Spec
from vlframe.runs.folder import write_json

if TYPE_CHECKING:
    from vlframe.studies.wandb_push import Target

WIDTH, HEIGHT, ROW = 8, 6, 3  # of a panel in a report's grid of 24 columns; panels in a row


def need_workspaces() -> None:
    """Raise ConfigError if the library that knows W&B's views is missing."""
    try:
        import wandb_workspaces  # noqa: F401
    except ImportError as error:
        raise ConfigError("saved views and reports need wandb-workspaces: pip install 'vlframe[wandb]'") from error


def save_views(folder: Path, specs: Sequence[Spec], where: Target) -> tuple[list[str], list[str]]:
    """Write what is in views and reports to ``wandb/`` in a study's folder, and online save them. Returns what was
    done, and what could not be.
    """
    notes: list[str] = []
    problems: list[str] = []
    for spec in map(without_secrets, specs):
        file = folder / "wandb" / f"{spec['kind']}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, spec)
        if where.offline:
            notes.append(f"{file}: saved on W&B when it is online")
            continue
        try:
            notes.append(f"{file} -> {_saved(folder, spec, where)}")
        except Exception as error:  # the service, or its library: the other one is saved
            problems.append(f"{file} could not be saved on W&B: {redacted(named_line(error))}")
    return notes, problems


def _saved(folder: Path, spec: Spec, where: Target) -> str:
    """Save one where it has changed. Returns where it is."""
    import wandb

    file = folder / "wandb" / "saved.json"
    records = _records(file)
    key, now = f"{where}: {spec['kind']}", hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    before = records.get(key, {})
    if before.get("spec") == now:
        return f"{before['url']} (unchanged)"
    entity = where.entity or str(wandb.Api().default_entity)
    made = BUILD[spec["kind"]](spec, entity, where.project, before)
    made.save()
    names = {"id": made.id} if spec["kind"] == "report" else {"id": made._internal_id, "name": made._internal_name}
    write_json(file, {**records, key: {**names, "spec": now, "url": made.url}})
    return str(made.url)


def _records(file: Path) -> dict[str, dict[str, str]]:
    """Return what was saved; nothing if that cannot be read, which saves it as a new one."""
    try:
        return {key: dict(value) for key, value in json.loads(file.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def workspace(spec: Spec, entity: str, project: str, before: Mapping[str, str]) -> Any:
    """Return W&B's own workspace of a spec; with the names of ``before``, where it was saved already."""
    from wandb_workspaces import expr
    from wandb_workspaces import workspaces as views

    runs = spec["runs"]
    columns = [*map(_config_column, runs["config"]), *(f"summary:{key}" for key in runs["summary"])]
    made = views.Workspace(
        entity=entity, project=project, name=spec["name"],
        sections=[views.Section(name=section["name"], panels=[_panel(panel) for panel in section["panels"]],
                                is_open=True) for section in spec["sections"]],
        runset_settings=views.RunsetSettings(
            filters=[expr.Metric("Group") == runs["group"]], groupby=[expr.Metric(runs["by"])],
            pinned_columns=["run:displayName", *columns],
        ),
    )  # fmt: skip
    made._internal_id, made._internal_name = before.get("id", ""), before.get("name", "")
    return made


def _config_column(key: str) -> str:
    """Return a column's name, which the library leaves as it is: W&B keeps a config's keys with their values inside."""
    first, dot, rest = key.partition(".")
    return f"config:{first}.value{dot}{rest}"


def report(spec: Spec, entity: str, project: str, before: Mapping[str, str]) -> Any:
    """Return W&B's own report of a spec; with the id of ``before``, where it was saved already."""
    from wandb_workspaces import expr
    from wandb_workspaces.reports import v2 as reports

    blocks: list[Any] = []
    for block in spec["blocks"]:
        if "markdown" in block:
            blocks.append(reports.MarkdownBlock(text=block["markdown"]))
            continue
        runs = reports.Runset(
            entity=entity, project=project, name=spec["runs"]["group"], groupby=[spec["runs"]["by"]],
            filters=[expr.Metric("Group") == spec["runs"]["group"]],
        )  # fmt: skip
        blocks += [reports.H2(text=block["name"]), reports.PanelGrid(
            runsets=[runs], panels=[_panel(panel, number) for number, panel in enumerate(block["panels"])],
        )]  # fmt: skip
    made = reports.Report(
        entity=entity, project=project, title=spec["title"], description=spec["description"], blocks=blocks
    )
    made.id = before.get("id", "")
    return made


def _panel(panel: Spec, number: int = 0) -> Any:
    from wandb_workspaces.reports.v2 import Layout

    column, row = number % ROW, number // ROW
    made = PANELS[panel["panel"]](panel)
    made.layout = Layout(x=column * WIDTH, y=row * HEIGHT, w=WIDTH, h=HEIGHT)
    return made


def _bars(panel: Spec) -> Any:
    from wandb_workspaces.reports.v2 import BarPlot, Metric

    return BarPlot(title=panel["title"], metrics=[panel["metric"]], groupby=Metric("JobType"), groupby_aggfunc="mean",
                   groupby_rangefunc="minmax")  # fmt: skip


def _scatter(panel: Spec) -> Any:
    from wandb_workspaces.reports.v2 import Config, ScatterPlot, SummaryMetric

    return ScatterPlot(title=panel["title"], x=Config(panel["config"]), y=SummaryMetric(panel["metric"]))


def _parallel(panel: Spec) -> Any:
    from wandb_workspaces.reports.v2 import Config, ParallelCoordinatesPlot, SummaryMetric
    from wandb_workspaces.reports.v2 import ParallelCoordinatesPlotColumn as Column

    columns: list[Config | SummaryMetric] = [*map(Config, panel["config"]), *map(SummaryMetric, panel["metrics"])]
    return ParallelCoordinatesPlot(title=panel["title"], columns=[Column(metric=metric) for metric in columns])


def _lines(panel: Spec) -> Any:
    from wandb_workspaces.reports.v2 import LinePlot

    return LinePlot(title=panel["title"], x="Step", y=[panel["metric"]])


def _comparer(panel: Spec) -> Any:
    from wandb_workspaces.reports.v2 import RunComparer

    return RunComparer(diff_only="split")


def _table(panel: Spec) -> Any:
    from wandb_workspaces.reports.v2 import WeavePanelSummaryTable

    return WeavePanelSummaryTable(table_name=panel["table"])


BUILD: Mapping[str, Callable[..., Any]] = {"workspace": workspace, "report": report}
PANELS: Mapping[str, Callable[[Spec], Any]] = {
    "bars": _bars, "scatter": _scatter, "parallel": _parallel, "lines": _lines, "comparer": _comparer, "table": _table,
}  # fmt: skip
