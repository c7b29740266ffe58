"""Sweepers that choose each job's values by what the jobs before it returned."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers.runs import manifest, training
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

from vlframe.cli import main
from vlframe.config.typed import read_yaml
from vlframe.errors import TrainingError
from vlframe.runs.sweep import read_jobs

VALUES = ("1e-3", "0.5", "1e30")  # the last loses its way
heard: list[Any] = []


class Asking(Sweeper):
    """Launches its jobs one by one, as a sweeper that learns does."""

    def __init__(self, key: str) -> None:
        self.key = key

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        fixed = [word for word in arguments if not word.startswith(self.key)]
        for number, value in enumerate(VALUES):
            (job,) = self.launcher.launch([[*fixed, f"{self.key}={value}"]], initial_job_idx=number)
            try:
                heard.append(job.return_value)
            except Exception as error:
                heard.append(error)


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> str:
    """The word that chooses this sweeper."""
    home = ModuleType("hydra_plugins.asking")  # Hydra takes plugins from nowhere else
    home.Asking = Asking  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, home.__name__, home)
    monkeypatch.setattr(Asking, "__module__", home.__name__)
    Plugins.instance().register(Asking)
    node = {"_target_": f"{home.__name__}.Asking", "key": "stages.main.lr"}
    ConfigStore.instance().store(group="hydra/sweeper", name="asking", node=node, provider="test")
    heard.clear()
    return "hydra/sweeper=asking"


def test_a_sweeper_hears_the_loss_and_the_failure(
    asking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    short = ["stages.main.steps=3", "stages.main.max_grad_norm=0", "trainer.accelerator=cpu"]
    words = training(
        manifest(tmp_path), *short, "-m", asking, "stages.main.lr=interval(1e-3,1)", "optimized_metric=loss"
    )
    assert main(["train", *words]) == 2  # that of the job that failed
    said = capsys.readouterr()
    assert "job 1: stages.main.lr=1e-3\n" in said.out and "stages.main.lr=1e30: " in said.err
    good = [value for value in heard if isinstance(value, float)]
    assert len(heard) == 3 and len(good) == 2 and isinstance(heard[2], TrainingError)
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    assert [item["value"] for item in read_jobs(sweep)] == [*good, None]


@pytest.mark.skipif(find_spec("optuna") is None, reason="`make sweep` installs Optuna")
def test_optuna_finds_the_best_of_its_trials(tmp_path: Path) -> None:
    fixed = training(manifest(tmp_path), "stages.main.steps=2", "trainer.accelerator=cpu")
    words = [
        *[word for word in fixed if "main.lr=" not in word], "-m", "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=1",
        "stages.main.lr=interval(1e-5,1e-2)",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "vlframe", "train", *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=280, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    jobs = read_jobs(sweep)
    assert len(jobs) == 4 and all(item["words"][0].startswith("stages.main.lr=") for item in jobs)
    found = read_yaml(sweep / "optimization_results.yaml")
    best = min(jobs, key=lambda item: item["value"])
    assert found["best_value"] == best["value"]
    assert best["words"] == [f"stages.main.lr={found['best_params']['stages.main.lr']}"]
