"""The study files of the notebook: every cell composes and fits, and Table 1 of VideoLLaMA 2 has its tokens."""

import json
from pathlib import Path
from typing import Any

import pytest

from vlframe.cli import main
from vlframe.distributed.devices import device_named
from vlframe.model.assemble import compose_on_meta, typical_tokens
from vlframe.registry.registry import Registry
from vlframe.studies.plan import plan_study
from vlframe.studies.resolved import resolved
from vlframe.studies.study import read_study

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
FILES = sorted(path for path in EXPERIMENTS.glob("*/*.yaml") if "axes:" in path.read_text(encoding="utf-8"))
TABLE_1 = EXPERIMENTS / "table1" / "study.yaml"


def test_there_are_studies() -> None:
    assert {"connectors", "frames", "audio", "table1", "systems"} <= {path.parent.name for path in FILES}


def planned() -> list[Any]:
    """Every study but that of Table 1 at full size; those with many cells, or many seeds, take longest."""
    return [
        pytest.param(
            file,
            id="/".join(file.parts[-2:]),
            marks=[pytest.mark.slow] * (file.parent.name in ("systems", "connectors", "table1")),
        )
        for file in FILES
        if file != TABLE_1
    ]


@pytest.mark.parametrize("file", planned())
def test_every_cell_fits(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    registry = Registry.installed()
    study = read_study(file)
    plan = plan_study(study, resolved(study, registry), registry, device_named("h100"))
    assert {cell.label: cell.why for cell in plan.cells if cell.state != "fits"} == {}


def test_table_1_composes_and_has_the_tokens_of_2d_and_3d(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    registry = Registry.installed()
    study = read_study(TABLE_1)
    planned = {item.cell.label: item for item in resolved(study, registry) if item.seed == 0}
    assert len(planned) == 8 and {label: item.why for label, item in planned.items() if item.why} == {}
    for label, tokens in (("none 2D pool", 8 * 12 * 12), ("RegStage 3D conv", 4 * 12 * 12)):
        config = planned[label].config
        assert config is not None
        budget = compose_on_meta(config, registry).budget
        assert typical_tokens(budget, "video", config.media.frames) == tokens, label


@pytest.mark.slow
def test_a_cell_of_the_tiny_twin_of_table_1_runs_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All eight take minutes: `vlframe study run experiments/table1/tiny.yaml`."""
    cell = "none 2D pool"
    monkeypatch.chdir(tmp_path)
    main(["study", "run", str(EXPERIMENTS / "table1" / "tiny.yaml"), f"cell={cell}"])
    results = json.loads((tmp_path / "runs" / "studies" / "table1_tiny" / "results.json").read_text(encoding="utf-8"))
    (run,) = next(found["runs"] for found in results["cells"] if found["label"] == cell)
    assert run["standing"] == "done"
