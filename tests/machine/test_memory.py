"""How much of main memory is free, by what the system says about the machine and its control groups."""

from pathlib import Path

import pytest

from vlframe.errors import ConfigError
from vlframe.machine import memory
from vlframe.machine.memory import check_main_memory, free_main_memory, gigabytes

GIB = 2**30


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "meminfo").write_text(f"MemTotal: {99 * GIB // 1024} kB\nMemAvailable: {60 * GIB // 1024} kB\n")
    (folder / "self" / "cgroup").write_text("")
    return folder


def group(folder: Path, limit: str, used: int, cached: int, names: tuple[str, str], cache: str) -> None:
    folder.mkdir(parents=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{cache} {cached}\n")


V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
V2 = ("memory.max", "memory.current")


def test_the_machine_alone(proc: Path, tmp_path: Path) -> None:
    assert free_main_memory(proc, tmp_path / "none") == 60 * GIB


def test_a_container_of_version_2(proc: Path, tmp_path: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/job/step\n")
    group(tmp_path / "cg/job", str(8 * GIB), 3 * GIB, 1 * GIB, V2, "inactive_file")
    (tmp_path / "cg/job/step").mkdir()
    group(tmp_path / "cg/job/step/x", "max", 0, 0, V2, "inactive_file")  # not ours
    assert free_main_memory(proc, tmp_path / "cg") == 6 * GIB


def test_a_container_of_version_1(proc: Path, tmp_path: Path) -> None:
    (proc / "self" / "cgroup").write_text("5:cpu:/x\n4:memory:/job\n0::/\n")
    group(tmp_path / "cg/memory/job", str(4 * GIB), 1 * GIB, 0, V1, "total_inactive_file")
    assert free_main_memory(proc, tmp_path / "cg") == 3 * GIB


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_main_memory", lambda: 10**9)
    check_main_memory(10**9, "it needs", "nothing")
    with pytest.raises(ConfigError, match=r"it needs 2\.0 GB of main memory, and 1\.0 GB are free .*; buy some"):
        check_main_memory(2 * 10**9, "it needs", "buy some")


def test_sizes_in_words() -> None:
    assert [gigabytes(size) for size in (12, 4e3, 5.25e6, 31.5e9, 124e9)] == [
        "12 B",
        "4.0 kB",
        "5.2 MB",
        "31.5 GB",
        "124 GB",
    ]
