"""Runs whose processes somebody else starts: torchrun on two "nodes" of this machine, and srun by its variables."""

import csv
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.processes import Command
from helpers.runs import manifest, only_run, training, weights

from vlframe.composer.compose import compose, open_registry
from vlframe.config.schema import TrainerConfig
from vlframe.distributed.launch import Started, check_launch, started
from vlframe.errors import ConfigError
from vlframe.runs.checkpoint import latest
from vlframe.runs.folder import RunFolder
from vlframe.training.run import train

# Plain small steps, so that sums in another order stay small. Nothing is answered rightly, so the second evaluation is
# no better than the first, and the stage ends: for all ranks, each of which has asked a share of the questions.
WORDS = [
    "trainer.accelerator=cpu", "stages.main.steps=6", "stages.main.lr=1e-5", "stages.main.warmup_ratio=0",
    "evaluation.every=2", "evaluation.best_by=accuracy", "early_stopping.patience=1", "benchmark=exact_match_file",
    "benchmark.max_new_tokens=2", "validation.dataset=conversations",
]  # fmt: skip
FOUR = ["trainer.devices=2", "trainer.num_nodes=2", "stages.main.batch_size=1"]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def words(file: Path, *more: str) -> list[str]:
    paths = [f"validation.dataset.path={file}", f"benchmark.dataset.path={file}"]
    return training(file, *WORDS, *paths, *more)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return manifest(tmp_path_factory.mktemp("rows"), rows=12)


@pytest.fixture(scope="module")
def alone(file: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The same run by one process."""
    folder = tmp_path_factory.mktemp("alone")
    registry = open_registry()
    return train(compose("train", words(file, "stages.main.batch_size=4", f"runs={folder}"), registry), registry)


def assert_is_that_of_one(run: RunFolder, alone: RunFolder) -> None:
    assert latest(run).step == latest(alone).step == 4 and latest(run).finished
    assert "ended early, after 4 of 6 steps" in run.outcome.read_text()
    losses = [[row["validation/loss"] for row in csv.DictReader(item.metrics_csv.open())] for item in (run, alone)]
    assert [bool(loss) for loss in losses[0]] == [False, True, False, True]
    assert [float(loss or 0) for loss in losses[0]] == pytest.approx([float(loss or 0) for loss in losses[1]], rel=1e-5)
    ours, theirs = weights(run), weights(alone)
    assert ours.keys() == theirs.keys()
    for key in ours:
        torch.testing.assert_close(
            ours[key], theirs[key], rtol=0, atol=2e-6, msg=lambda text, key=key: f"{key}: {text}"
        )
    assert "4 processes" in run.log.read_text() and '"done"' in run.outcome.read_text()


@pytest.mark.slow  # four processes; the nodes of srun are tried every time
def test_two_nodes_of_two_processes_by_torchrun(file: Path, alone: RunFolder, tmp_path: Path) -> None:
    """Two agents of torchrun, as on two machines with one file system."""
    port = free_port()
    agents = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2", f"--node-rank={node}",
             "--master-addr=127.0.0.1", f"--master-port={port}", "-m", "vlframe", "train", *words(file, *FOUR)],
            cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for node in range(2)
    ]  # fmt: skip
    told = [agent.communicate(timeout=280)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], told
    assert_is_that_of_one(RunFolder.open(only_run(tmp_path)), alone)


def test_two_nodes_of_two_tasks_by_srun(file: Path, alone: RunFolder, tmp_path: Path, monkeypatch) -> None:
    """The variables of four tasks of a step of srun."""
    step = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NODELIST": "127.0.0.1",
            "SLURM_JOB_ID": "7", "MASTER_PORT": str(free_port())}  # fmt: skip
    tasks = []
    for rank in range(4):
        mine = {"SLURM_PROCID": rank, "SLURM_LOCALID": rank % 2, "SLURM_NODEID": rank // 2}
        tasks.append(
            Command("train", *words(file, *FOUR), cwd=tmp_path, **step, **{k: str(v) for k, v in mine.items()})
        )
    told = [task.communicate(timeout=280)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0, 0, 0], told
    assert_is_that_of_one(RunFolder.open(only_run(tmp_path)), alone)


def test_a_mistake_that_the_first_finds_ends_all(file: Path, tmp_path: Path) -> None:
    """The first says it; the others, which wait for a folder, end without a word."""
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "MASTER_PORT": str(free_port())}
    bad = words(file, "trainer.devices=2", "text.max_length=20")
    tasks = [
        Command("train", *bad, cwd=tmp_path, **step, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank), SLURM_NODEID="0")
        for rank in range(2)
    ]
    began = time.monotonic()
    told = [task.communicate(timeout=120)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [2, 0]
    assert "context of 20" in told[0] and not told[1].strip() and time.monotonic() - began < 100
    assert not (tmp_path / "runs").exists()


TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
    "GROUP_RANK": "1", "MASTER_ADDR": "first", "MASTER_PORT": "29500",
}  # fmt: skip
SRUN = {
    "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "5", "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1", "SLURM_STEP_NODELIST": "gpu[07-08],cpu1", "SLURM_JOB_ID": "1234567",
}  # fmt: skip


@pytest.mark.parametrize(("variables", "address"), [(TORCHRUN, ("first", 29500)), (SRUN, ("gpu07", 19567))])
def test_a_place_is_read_from_the_environment(variables: dict[str, str], address: tuple[str, int]) -> None:
    mine = started(variables)
    assert mine is not None and (mine.main_address, mine.main_port) == address
    places = (mine.global_rank(), mine.world_size(), mine.local_rank(), mine.local_world, mine.node_rank())
    assert places == (5, 8, 1, 4, 1)
    own = started({**variables, "MASTER_ADDR": "other", "MASTER_PORT": "1000"})
    assert own is not None and (own.main_address, own.main_port) == ("other", 1000)


def test_a_process_on_its_own_is_known_as_one() -> None:
    batch_script = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_NODEID": "0"}
    one_task = {**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NUM_NODES": "1", "SLURM_PROCID": "0"}
    for variables in ({}, batch_script, one_task, {**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0"}):
        assert started(variables) is None


def test_what_was_started_is_held_against_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    mine: Started | None = started(TORCHRUN)
    check_launch(TrainerConfig(devices=4, num_nodes=2), mine)
    check_launch(TrainerConfig(devices=4), None)
    for settings in (TrainerConfig(), TrainerConfig(devices=8), TrainerConfig(devices=2, num_nodes=4)):
        with pytest.raises(ConfigError, match=r"started 8 processes.*trainer.devices=4 trainer.num_nodes=2"):
            check_launch(settings, mine)
    with pytest.raises(ConfigError, match=r"torchrun --nnodes=2 --nproc-per-node=8 .*-m vlframe train"):
        check_launch(TrainerConfig(devices=8, num_nodes=2), None)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ConfigError, match="neither by torchrun nor by srun"):
        check_launch(TrainerConfig(devices=2), None)
