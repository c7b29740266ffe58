"""Jobs of ``-m``, here and in other processes: what each did is kept, what failed is said, with its exit code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.processes import vlframe
from helpers.runs import manifest, training

from vlframe.cli import main
from vlframe.composer.command_line import parse
from vlframe.composer.jobs import JobsFailed, run_jobs
from vlframe.config.typed import read_yaml
from vlframe.runs.folder import RunFolder
from vlframe.runs.sweep import read_jobs

FEW = """
import vlframe

class Few:
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return vlframe.Sample(str(index), (vlframe.Turn("user", "a"), vlframe.Turn("assistant", "b")))

@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("dataset", "few", "few:Few", None, "three")
"""
SHORT = ["stages.main.steps=1", "trainer.accelerator=cpu"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ledger(folder: Path) -> list[dict]:
    (sweep,) = (folder / "runs" / "sweeps").iterdir()
    return read_jobs(sweep)


def anew(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    """In an interpreter of its own: joblib's workers end with it, and not with a forked one."""
    command = [str(Path(sys.executable).with_name("vlframe")), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=280)


JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


@pytest.mark.parametrize(
    "launcher", [pytest.param([], id="here", marks=pytest.mark.slow), pytest.param(JOBLIB, id="joblib")]
)
def test_good_jobs_keep_their_results_beside_one_that_fails(launcher: list[str], here: Path) -> None:
    words = training(manifest(here), *SHORT, "-m", "stages.main.batch_size=2,0,3", *launcher)
    done = anew("train", *words, cwd=here)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "stages.main.batch_size=0: stages.main.batch_size is 0; it must be at least 1" in done.stderr
    assert "Traceback" not in done.stderr and "batch_size=2" not in done.stderr
    table = done.stdout.rpartition("label ")[2]
    assert re.search(r"^stages.main.batch_size=3 .* no scores$", table, re.MULTILINE), done.stdout
    assert re.search(r"^stages.main.batch_size=0 .* failed$", table, re.MULTILINE), done.stdout
    assert "again: vlframe compare " in table
    first, failed, last = ledger(here)
    assert Path(first["run"]).is_dir() and failed["run"] is None
    assert first["value"] > 0 and last["value"] > 0 and not first["error"] and not last["error"]
    assert (failed["exit_code"], failed["value"], failed["words"]) == (2, None, ["stages.main.batch_size=0"])
    configs = [RunFolder(path).read_config() for path in (here / "runs" / "default").iterdir()]
    assert sorted(config.stages["main"].batch_size for config in configs) == [2, 3]
    one = RunFolder(Path(first["run"])).read_config()
    assert one.sweep.words == ("stages.main.batch_size=2",) and one.sweep.job == 1
    assert "stages.main.steps=1" in one.words and not any(word.startswith("hydra.sweep") for word in one.words)


def test_a_plugin_in_one_file_is_there_in_another_process(here: Path) -> None:
    plugin = here / "few.py"
    plugin.write_text(FEW)
    words = [word for word in training(manifest(here), *SHORT) if not word.startswith("dataset")]
    more = ["dataset=few", f"plugins.paths=[{plugin}]", "-m", "seed=1,2", "hydra/launcher=joblib"]
    done = anew("train", *words, *more, cwd=here)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [item["words"] for item in ledger(here)] == [["seed=1"], ["seed=2"]]


def test_a_sweep_whose_first_job_fails_ends_with_its_table(here: Path, capsys: pytest.CaptureFixture) -> None:
    scored = ["benchmark=exact_match_file", f"benchmark.dataset.path={manifest(here)}"]
    words = training(manifest(here), *SHORT, *scored, "-m", "stages.main.batch_size=0,2,3")
    assert main(["train", *words]) == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == (
        "vlframe: stages.main.batch_size=0: stages.main.batch_size is 0; it must be at least 1"
    )
    table = said.out.rpartition("label ")[2]
    assert re.search(r"^stages.main.batch_size=0 .* failed$", table, re.MULTILINE), said.out
    assert len(re.findall(r"^stages.main.batch_size=[23] .*0\.\d{3}.* done$", table, re.MULTILINE)) == 2, table


@pytest.mark.parametrize("fault", [ZeroDivisionError("a fault"), SystemExit(3)], ids=["exception", "exit"])
def test_a_fault_in_a_job_is_that_jobs_failure(
    fault: BaseException, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import vlframe.commands.plan as command

    def plan(config, registry):
        if config.seed == 1:
            raise fault
        return "planned"

    monkeypatch.setattr(command, "show", plan)
    assert main(["plan", "-m", "seed=1,2"]) == 1
    one, two = ledger(here)
    assert one["error"] == f"{type(fault).__name__}: {fault}" and two["value"] == "planned"
    assert "def plan" not in one["error"] and "raise fault" in one["traceback"] and one["exit_code"] == 1
    said = capsys.readouterr().err
    assert "raise fault" in said and f"vlframe: seed=1: {type(fault).__name__}: {fault} (traceback above" in said
    with pytest.raises(type(fault)):
        main(["plan", "seed=1"])


KILLED = FEW.replace("return 3", "return self.count()").replace(
    "    def __getitem__",
    "    def count(self):\n        import os\n        os.kill(os.getpid(), 9)\n\n    def __getitem__",
)


def test_a_job_whose_process_is_killed_is_named(here: Path) -> None:
    (here / "killed.py").write_text(KILLED.replace('"few"', '"killed"').replace("few:Few", "killed:Few"))
    plugin = here / "killed.py"
    words = [word for word in training(manifest(here), *SHORT) if not word.startswith("dataset")]
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = anew("train", *words, "dataset=killed", f"plugins.paths=[{plugin}]", "-m", "seed=1,2", *launcher, cwd=here)
    assert done.returncode != 0
    said = done.stderr.splitlines()[-1]
    assert said.startswith("vlframe: seed=1: ") or "seed=1: its process ended" in said, done.stderr
    assert "seed=2" in said


def test_jobs_return_what_they_gave_and_say_which_they_are(here: Path, capsys: pytest.CaptureFixture) -> None:
    one = run_jobs("train", "vlframe.commands.plan:show", parse("plan", ["connector=pool"]))
    assert isinstance(one, str) and "pool" in one
    two = run_jobs("train", "vlframe.commands.plan:show", parse("plan", ["connector=pool,linear", "seed=3", "-m"]))
    assert two[0] == one and len(two) == 2
    printed = capsys.readouterr().out
    assert "job 1 of 2: connector=pool\n" in printed and "job 2 of 2: connector=linear\n" in printed
    assert [item["job"] for item in ledger(here)] == [1, 2], "the numbers that were printed"
    with pytest.raises(JobsFailed, match=r"encoder\.heads=5: dim=128.*; encoder\.heads=7: dim=128") as caught:
        run_jobs("train", "vlframe.commands.plan:show", parse("plan", ["-m", "encoder.heads=5,4,7"]))
    assert caught.value.exit_code == 2


def test_the_ledger_names_no_secret(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import vlframe.commands.plan as command
    from vlframe.errors import ConfigError

    monkeypatch.setenv("SOME_API_KEY", "abcdefghijkl")

    def plan(config, registry):
        raise ConfigError("refused abcdefghijkl")

    monkeypatch.setattr(command, "show", plan)
    assert main(["plan", "-m", "seed=1,2"]) == 2
    assert "abcdefghijkl" not in json.dumps(ledger(here))


def test_a_choice_of_a_sweep_is_in_the_config_of_its_run(here: Path) -> None:
    words = training(manifest(here), *SHORT, "-m", "connector=stc_small,pool_tiny")
    vlframe("train", *words, cwd=here)
    configs = [read_yaml(path / "config.yaml") for path in (here / "runs" / "default").iterdir()]
    assert sorted(config["choices"]["connector"] for config in configs) == ["pool_tiny", "stc_small"]
