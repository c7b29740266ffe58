"""``vlframe study run`` with a training that takes no time: what is run, what is kept, what is said."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.studies import CONNECTORS, pretended, study_file

import vlframe.studies.plan as study_plan
import vlframe.training.run as training_run
from vlframe.cli import main
from vlframe.errors import OutOfMemory, TrainingError
from vlframe.studies.ledger import Entry, entries
from vlframe.studies.study import read_study
from vlframe.training.prediction import NotPredicted

Happens = Callable[[Any, int], float | None]
THREE = {"connector": {**CONNECTORS, "mlp": "connector=mlp"}}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trains(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Put what happens in place of the training; the names of the connectors that are trained are gathered."""

    def put(happens: Happens | None = None) -> list[str]:
        names: list[str] = []

        def noted(config: Any, call: int) -> float | None:
            names.append(config.connector["name"])
            return happens(config, call) if happens else 0.5

        monkeypatch.setattr(training_run, "train", pretended(noted))
        return names

    return put


def found(file: Path) -> dict[tuple[str, int | None], Entry]:
    return {(item.label, item.seed): item for item in entries(read_study(file).folder)}


def test_the_same_command_again_goes_on_and_an_amended_file_adds_cells(
    here: Path, trains: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    names, file = trains(), study_file(here, seeds=[0, 1])
    assert main(["study", "run", str(file)]) == 0
    assert names == ["stc", "pool", "stc", "pool"], "all cells with the first seed first"
    assert "stc (baseline)  2 of 2" in capsys.readouterr().out
    assert main(["study", "run", str(file)]) == 0 and len(names) == 4
    study_file(here, THREE, seeds=[0, 1, 2])
    before = {name: item.run for name, item in found(file).items()}
    assert main(["study", "run", str(file)]) == 0
    assert names[4:] == ["mlp", "mlp", "stc", "pool", "mlp"]
    after = found(file)
    assert all(after[name].run == run for name, run in before.items()) and len(after) == 9
    results = json.loads((read_study(file).folder / "results.json").read_text())
    assert [cell["label"] for cell in results["cells"]] == ["stc", "pool", "mlp"]


def test_a_changed_cell_is_run_anew_and_its_old_result_stays(
    here: Path, trains: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    names, file = trains(), study_file(here)
    assert main(["study", "run", str(file)]) == 0
    study_file(here, {"connector": {**CONNECTORS, "pool": ["connector=pool_tiny", "stages.main.lr=0.5"]}})
    capsys.readouterr()
    assert main(["study", "run", str(file)]) == 0
    said = capsys.readouterr().out
    assert "pool, seed 0 has changed (stages.main.lr: 0.001 -> 0.5); the old result stays in " in said
    assert names == ["stc", "pool", "pool"] and len(entries(read_study(file).folder)) == 3
    assert main(["study", "run", str(file)]) == 0 and len(names) == 3
    assert "has changed" not in capsys.readouterr().out


def test_a_cell_that_fails_is_shown_and_run_again_when_asked(
    here: Path, trains: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    def odd(config: Any, call: int) -> float:
        if config.connector["name"] == "pool" and call < 3:
            raise ZeroDivisionError("first line\nthe last line")
        return 0.5

    names, file = trains(odd), study_file(here, THREE)
    assert main(["study", "run", str(file)]) == 2
    said = capsys.readouterr()
    assert "1 of 3 runs of " in said.err and "pool, seed 0: failed: ZeroDivisionError: the last line." in said.err
    assert re.search(r"^pool .* failed$", said.out, re.MULTILINE) and names == ["stc", "pool", "mlp"]
    assert "pool, seed 0: failed: ZeroDivisionError: the last line" in said.out
    failed = found(file)["pool", 0]
    assert "def odd" not in failed.why and "ZeroDivisionError" in (failed.folder / "traceback.txt").read_text()
    assert main(["study", "run", str(file)]) == 2 and len(names) == 3, "it would fail again"
    assert main(["study", "run", str(file), "--retry"]) == 0 and names[3:] == ["pool"]


def test_fail_fast_begins_nothing_more(
    here: Path, trains: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(config: Any, call: int) -> float:
        if call == 1:
            raise TrainingError("the loss is nan")
        return 0.5

    names, file = trains(lost), study_file(here, THREE)
    assert main(["study", "run", str(file), "--fail-fast"]) == 2 and names == ["stc"]
    said = capsys.readouterr()
    assert "stc, seed 0: failed: the loss is nan" in said.err
    assert "pool, seed 0: left: --fail-fast: stc, seed 0 has failed" in said.err
    assert "the baseline, stc, has no result yet" in said.out
    assert main(["study", "run", str(file)]) == 2 and names == ["stc", "pool", "mlp"]


def test_memory_that_runs_out_halves_the_micro_batch(
    here: Path, trains: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = []

    def tight(config: Any, call: int) -> float:
        stage = config.stages["main"]
        sizes.append((config.connector["name"], stage.batch_size, stage.accumulate_grad_batches))
        if config.connector["name"] == "stc" and stage.batch_size > 2:
            raise OutOfMemory("stage main, step 1: memory ran out", "main")
        return 0.5

    trains(tight)
    file = study_file(here, base=("stages.main.batch_size=6",))
    assert main(["study", "run", str(file)]) == 0
    assert sizes == [("stc", 6, 1), ("stc", 3, 2), ("stc", 1, 6), ("pool", 6, 1)], "their product stays"
    said = capsys.readouterr().out
    assert (
        "stc, seed 0: memory ran out in stage main with 6 samples at once; it is tried with 3, 2 times a step" in said
    )
    assert "stc, seed 0: memory ran out in stage main: micro-batch 1, 6 of them a step" in said, "beside the table, too"

    def tighter(config: Any, call: int) -> float:
        raise OutOfMemory("stage main, step 1: memory ran out", "main")

    trains(tighter)
    study_file(here, {"connector": {"mlp": "connector=mlp"}})
    assert main(["study", "run", str(file)]) == 2
    assert "mlp, seed 0: failed: stage main, step 1: memory ran out" in capsys.readouterr().err


def test_scores_that_are_no_number_are_a_failure(
    here: Path, trains: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    trains(lambda config, call: math.nan if call == 1 else 0.5)
    assert main(["study", "run", str(study_file(here))]) == 2
    assert "stc, seed 0: failed: its score is not a number" in capsys.readouterr().err


def test_a_run_that_stops_early_goes_on_in_its_folder(here: Path, trains: Callable[..., list[str]]) -> None:
    resumed = []

    def slow(config: Any, call: int) -> float | None:
        resumed.append(config.resume)
        return None if call == 1 else 0.5

    trains(slow)
    file = study_file(here, {"connector": {"stc": "connector=stc_tiny"}})
    assert main(["study", "run", str(file)]) == 2
    stopped = found(file)["stc", 0]
    assert stopped.standing == "stopped" and main(["study", "run", str(file)]) == 0
    assert resumed == [None, str(stopped.run)] and found(file)["stc", 0].run == stopped.run


def test_what_was_torn_or_deleted_is_said_and_loses_nothing_else(
    here: Path, trains: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    names, file = trains(), study_file(here, THREE)
    assert main(["study", "run", str(file)]) == 0
    stc, pool, mlp = (found(file)[name, 0] for name in ("stc", "pool", "mlp"))
    ledger = stc.folder / "ledger.jsonl"
    ledger.write_text(ledger.read_text()[:-20])  # its last line says that it is done
    assert pool.run is not None
    for inner in pool.run.iterdir():
        inner.unlink()
    pool.run.rmdir()
    capsys.readouterr()
    assert main(["study", "show", str(file)]) == 0
    said = capsys.readouterr().out
    assert f"line 2 of {ledger} cannot be read and is left out" in said
    assert f"pool, seed 0: gone: its run folder {pool.run} is gone; vlframe study run makes it again" in said
    assert main(["study", "run", str(file)]) == 0 and names == ["stc", "pool", "mlp", "pool"]
    after = found(file)
    assert after["stc", 0].noted_done and after["stc", 0].run == stc.run and after["mlp", 0].run == mlp.run
    assert after["pool", 0].standing == "done" and after["pool", 0].run != pool.run


def test_the_budget_of_hours_begins_nothing_beyond_it(
    here: Path, trains: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    names, file = trains(), study_file(here, budget={"hours": 1e-7})
    assert main(["study", "run", str(file)]) == 2 and names == ["stc"]
    assert "pool, seed 0: left: budget.hours is 1e-07, and 0.00 are spent" in capsys.readouterr().err


def test_one_cell_alone_by_its_name(
    here: Path, trains: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    names, file = trains(), study_file(here, THREE, seeds=[0, 1], exclude={"mlp": "too wide"})
    assert main(["study", "run", str(file), "cell=pool", "seed=1"]) == 0 and names == ["pool"]
    assert found(file)["pool", 1].standing == "done"
    assert main(["study", "run", str(file), "cell=poll"]) == 2
    assert "cell=poll is none of the study's; there are stc, pool. Did you mean 'pool'?" in capsys.readouterr().err
    assert main(["study", "run", str(file), "cell=mlp"]) == 2
    assert "cell=mlp is excluded (too wide)" in capsys.readouterr().err


def test_cells_that_do_not_compose_or_are_the_same_are_named(
    here: Path, trains: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    names, file = trains(), study_file(here, {"connector": {**CONNECTORS, "odd": "connector=nowhere"}})
    assert main(["study", "run", str(file)]) == 2 and names == ["stc", "pool"]
    assert "odd, seed 0: failed: no connector named 'nowhere'" in capsys.readouterr().err
    study_file(here, {"connector": {"a": "connector=stc_tiny", "b": ["connector=stc_tiny", "trainer.log_every=3"]}})
    assert main(["study", "run", str(file)]) == 2
    assert "cells 'a' and 'b' are the same run (digest " in capsys.readouterr().err
    study_file(here, metrics=["acuracy"])
    assert main(["study", "show", str(file)]) == 2
    assert (
        "metrics has 'acuracy', which the runs do not have; there are accuracy. Did you mean" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "piece"),
    [
        (["walk", "study.yaml"], "vlframe study does plan, run, show, report, wandb-sweep, and not 'walk'"),
        (["run"], "takes one file, like study.yaml, and there are 0"),
        (["run", "study.yaml", "--again"], "has no option --again; it has --fail-fast, --retry"),
        (["plan", "study.yaml", "--retry"], "has no option --retry; it has none"),
        (["run", "study.yaml", "media.frames=3"], "'media.frames=3' cannot be given to vlframe study run"),
        (["show", "study.yaml", "format=xml"], "format is 'xml'; it can be table"),
        (["run", "none.yaml"], "there is no study 'none.yaml'"),
        (["run", "study.yaml", "hydra/launcher=nowhere"], "no hydra/launcher named 'nowhere'; there are basic"),
    ],
)
def test_mistakes_of_the_command_are_one_sentence(
    here: Path, trains: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], words: list[str], piece: str
) -> None:
    names = trains()
    study_file(here)
    assert main(["study", *words]) == 2 and not names
    assert piece in capsys.readouterr().err


def test_a_plan_shows_what_does_not_fit_as_a_row(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    axes = {"connector": CONNECTORS, "width": {"32": "encoder.dim=32", "33": "encoder.dim=33"}}
    file = study_file(here, axes, seeds=[0, 1], exclude={"pool 33": "known not to fit"})
    assert main(["study", "plan", str(file), "device=h100", "format=json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    stc, odd, pool, left_out = plan["cells"]
    assert [item["label"] for item in plan["cells"]] == ["stc 32", "stc 33", "pool 32", "pool 33"]
    assert (odd["state"], left_out["state"], left_out["why"]) == ("does not fit", "excluded", "known not to fit")
    assert "dim=33" in odd["why"] and odd["tokens"] is None
    assert stc["tokens"] > pool["tokens"] > 0 and stc["trained"] > 0 and stc["steps"] == 6 and stc["seconds"] > 0
    assert stc["runs"] == {"new": 2} and plan["runs"] == 4 and not (here / "runs").exists()
    assert main(["study", "plan", str(file), "device=h100"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^stc 33 +does not fit", said, re.MULTILINE) and "stc 33: does not fit: dim=33" in said


def test_a_plan_shows_a_cell_whose_cost_cannot_be_predicted(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that looks at numbers: tokens and steps are known, seconds are not, nor those of the whole study."""
    monkeypatch.setattr(study_plan, "predictions", lambda *given: {"main": NotPredicted("a part looks at numbers")})
    file = study_file(here, {"connector": CONNECTORS}, seeds=[0])
    assert main(["study", "plan", str(file), "device=h100", "format=json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    for cell in plan["cells"]:
        assert cell["state"] == "fits" and cell["tokens"] > 0 and cell["steps"] == 6 and cell["seconds"] is None
        assert cell["why"] == "its cost is not predicted; stage main: a part looks at numbers"
    assert plan["seconds"] is None
