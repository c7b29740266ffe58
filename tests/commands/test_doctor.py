"""Each line of ``vlframe doctor`` is true of what it looks at, and its advice follows from that."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from vlframe.cli import main
from vlframe.commands import doctor
from vlframe.commands.doctor import GIB, Finding
from vlframe.errors import ConfigError
from vlframe.machine.cpus import Cpus


def torch_with(gpus: int = 0, cuda: str | None = None, bf16: bool = True, mps: bool = False) -> SimpleNamespace:
    """What doctor asks of torch, on another machine."""
    card = SimpleNamespace(name="H100", total_memory=80 * GIB)
    return SimpleNamespace(
        cuda=SimpleNamespace(
            is_available=lambda: gpus > 0, device_count=lambda: gpus, is_bf16_supported=lambda: bf16,
            get_device_properties=lambda number: card,
        ),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
        version=SimpleNamespace(cuda=cuda),
    )  # fmt: skip


def test_devices(tmp_path: Path) -> None:
    two = doctor.devices(torch_with(2, "12.8"))
    assert two.found == "2 GPU(s): H100, 80 GiB; H100, 80 GiB" and "trainer.devices=2" in two.advice
    assert "say trainer.precision=16" in doctor.devices(torch_with(1, "12.8", bf16=False)).found
    assert doctor.devices(torch_with(1, "12.8")).advice == ""
    assert "CUDA_VISIBLE_DEVICES" in doctor.devices(torch_with(0, "12.8")).advice
    assert "mps" in doctor.devices(torch_with(mps=True)).found
    assert "built for CUDA" in doctor.devices(torch_with(), nvidia=tmp_path).advice
    assert doctor.devices(torch_with(), nvidia=tmp_path / "none").advice == ""


@pytest.mark.parametrize(
    ("found", "count", "environment", "load", "told", "advice"),
    [
        (Cpus(64, 64, 2.0), 2, {}, 0.0, "a quota of 2 on 64 cores); torch uses 2 thread(s)", ""),
        (Cpus(16, 16, None), 16, {}, 1.0, "16 CPUs; torch uses 16", "loader.workers=8"),
        (Cpus(4, 4, None), 4, {}, 11.0, "4 CPUs", "11 processes want to run on 4 cores"),
        (Cpus(64, 64, 2.0), 32, {"OMP_NUM_THREADS": "32"}, 0.0, "OMP_NUM_THREADS=32", "trainer.threads=2"),
        (Cpus(2, 2, None), 2, {}, None, "2 CPUs", ""),
    ],
)
def test_threads(found: Cpus, count: int, environment: dict, load: float | None, told: str, advice: str) -> None:
    line = doctor.threads(found, count, environment, load)
    assert told in line.found and advice in line.advice and bool(advice) == bool(line.advice)


def test_a_package_that_was_compiled_for_another_torch_stops_a_run() -> None:
    def load(name: str) -> None:
        if name == "torchaudio":
            raise OSError("Could not load this library: libtorchaudio.so")

    (found,) = doctor.of_torch(load)
    assert found.what == "torchaudio" and found.stops and "OSError: Could not load" in found.found
    assert found.advice.startswith("pip install 'torch") and "'torchaudio==" in found.advice
    assert list(doctor.of_torch(lambda name: None)) == []


class Readers:
    """A registry with readers, some of which cannot be built."""

    def __init__(self, **broken: str) -> None:
        self.broken_ones = broken
        self.broken = [SimpleNamespace(name="mine", reason="ImportError: no module named x")]

    def names(self, kind: str) -> list[str]:
        return ["fast", "slow"]

    def build(self, kind: str, settings: dict) -> None:
        if settings["name"] in self.broken_ones:
            raise ConfigError(self.broken_ones[settings["name"]])


def test_readers_and_plugins() -> None:
    assert list(doctor.readers(Readers())) == [Finding("readers", "fast, slow")]
    one, rest = doctor.readers(Readers(fast="no library"))
    assert "fast does not work: no library" in one.found and one.advice == "say reader=slow" and not rest.stops
    *_, none = doctor.readers(Readers(fast="a", slow="b"))
    assert none.stops and "no media file can be opened" in none.advice
    (plugin,) = doctor.plugins(Readers())
    assert plugin.found == "mine does not load: ImportError: no module named x"


def test_caches(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    good = {"VLFRAME_CACHE": str(tmp_path / "new" / "cache"), "HF_HOME": str(tmp_path), "HF_TOKEN": "secret"}
    bad = {"VLFRAME_CACHE": str(tmp_path / "file" / "cache"), "HF_HOME": str(tmp_path / "file")}
    assert doctor.cache(good) == Finding("cache", good["VLFRAME_CACHE"])
    assert "cannot be written" in doctor.cache(bad).found and not doctor.cache(bad).stops
    (tmp_path / "hub" / "models--openai--clip").mkdir(parents=True)
    assert doctor.hub(good).found.endswith("hub, 1 model(s), a login") and doctor.hub(good).advice == ""
    assert "secret" not in repr(doctor.hub(good))
    assert "nothing can be fetched" in doctor.hub(bad).advice
    offline = doctor.hub({**good, "HF_HUB_OFFLINE": "1"})
    assert ", offline" in offline.found and "HF_HUB_OFFLINE=0" in offline.advice
    assert "auth login" in doctor.hub({"HF_HOME": str(tmp_path)}).advice


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for free, advice, stops in ((100, "", False), (1, "keep_checkpoints", False), (0.1, "no room", True)):
        bytes_free = free * GIB
        monkeypatch.setattr("shutil.disk_usage", lambda place, n=bytes_free: SimpleNamespace(free=n, total=n))
        line = doctor.disk(tmp_path / "runs")
        assert f"{free:.1f} GiB free" in line.found and advice in line.advice and line.stops is stops
    assert doctor.disk(tmp_path / "file" / "runs").stops
    assert "--shm-size" in next(doctor.shared_memory(tmp_path)).advice
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=GIB, total=4 * GIB))
    assert not list(doctor.shared_memory(tmp_path))


def test_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    assert "WANDB_MODE=offline" in doctor.wandb_login().found
    monkeypatch.setattr("vlframe.commands.doctor.find_spec", lambda name: None)
    assert "pip install 'vlframe[wandb]'" in doctor.wandb_login().found


def test_no_login_is_advice_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr("wandb.login", lambda **_: False)
    line = doctor.wandb_login()
    assert "no login" in line.found and "WANDB_API_KEY" in line.advice and not line.stops


def test_how_the_process_was_started() -> None:
    assert "on its own" in doctor.start({}).found
    assert "job of Slurm" in doctor.start({"SLURM_JOB_ID": "7"}).found
    slurm = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
             "SLURM_STEP_NODELIST": "a[1-2]", "SLURM_STEP_NUM_NODES": "2"}  # fmt: skip
    assert doctor.start(slurm).found == "srun started 4 processes; this is number 3"


def test_the_report_ends_with_what_would_stop_a_run() -> None:
    lines = [
        Finding("cache", "/x"),
        Finding("disk", "0 GiB", "make room", stops=True),
        Finding("login", "no", "log in"),
    ]
    report = doctor.report(lines).splitlines()
    assert report[1].startswith("disk") and "STOPS A RUN: make room" in report[2] and "-> log in" in report[4]
    assert report[-1] == "a run would be stopped by: disk"
    assert doctor.report(lines[:1]).endswith("nothing here would stop a run")


def test_the_command(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On this machine, in this process; without network (see ``conftest``)."""
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for word in ("versions", "devices", "threads", "readers", "cache", "hub", "disk", "login", "start", "torch 2."):
        assert word in out
    assert out.endswith("nothing here would stop a run\n")
    monkeypatch.setattr(doctor, "examine", lambda: iter([Finding("disk", "full", "make room", stops=True)]))
    assert main(["doctor"]) == 2
    assert main(["doctor", "now"]) == 2 and "takes no arguments" in capsys.readouterr().err
