"""Quotas and affinities, by the files in which Linux says them."""

import os
from pathlib import Path

import pytest
import torch

from vlframe.machine.cpus import Cpus, cpus, in_words, quota, set_threads, thread_count, threads_told


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "150000 100000\n"}, 1.5),
        # the least of the groups around it
        (
            {
                "proc/self/cgroup": "0::/slurm/job_7/step_0\n",
                f"{V2}/slurm/job_7/step_0/cpu.max": "max 100000",
                f"{V2}/slurm/job_7/cpu.max": "200000 50000",
                f"{V2}/slurm/cpu.max": "800000 100000",
            },
            4.0,
        ),
        # a container that sees its own group as the mount
        ({"proc/self/cgroup": "0::/docker/abc\n", f"{V2}/cpu.max": "200000 100000"}, 2.0),
        ({"proc/self/cgroup": "4:cpu,cpuacct:/docker/abc\n3:cpuset:/x\n0::/\n",
          f"{V1}/cpu.cfs_quota_us": "50000\n", f"{V1}/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"proc/self/cgroup": "4:cpu,cpuacct:/job\n",
          f"{V1}/job/cpu.cfs_quota_us": "-1", f"{V1}/job/cpu.cfs_period_us": "100000"}, None),
        # cpuset is another controller
        ({"proc/self/cgroup": "4:cpuset:/job\n",
          f"{V1}/job/cpu.cfs_quota_us": "100000", f"{V1}/job/cpu.cfs_period_us": "100000"}, None),
    ],
)  # fmt: skip
def test_the_quota_is_read_from_either_version(tmp_path: Path, files: dict[str, str], expected: float | None) -> None:
    assert quota(tree(tmp_path, files)) == expected


def test_this_machine(tmp_path: Path) -> None:
    found = cpus(tree(tmp_path, {"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "100000 100000"}))
    assert found.cores == os.cpu_count() and 1 <= found.allowed <= found.cores and found.usable == 1
    assert cpus(tmp_path / "nothing").usable == found.allowed


@pytest.mark.parametrize(
    ("found", "usable"),
    [
        (Cpus(64, 64, None), 64),
        (Cpus(64, 8, None), 8),
        (Cpus(64, 8, 2.5), 2),
        (Cpus(64, 8, 0.5), 1),
        (Cpus(4, 4, 99), 4),
    ],
)
def test_threads_are_no_more_than_can_run(found: Cpus, usable: int) -> None:
    assert found.usable == usable
    assert thread_count(None, 1, found, 32, {}) == min(32, usable)
    assert thread_count(None, 4, found, 32, {}) == max(1, usable // 4)
    assert thread_count(None, 1, found, 1, {}) == 1  # torch's own choice is less
    assert thread_count(7, 4, found, 32, {}) == 7
    assert thread_count(None, 4, found, 5, {"OMP_NUM_THREADS": "5"}) == 5


def test_the_words_name_the_limits() -> None:
    assert in_words(Cpus(64, 64, None)) == "64 CPUs"
    assert in_words(Cpus(64, 64, 2.0)) == "2 CPUs (a quota of 2 on 64 cores)"
    assert in_words(Cpus(64, 8, 1.5)) == "1 CPU (a quota of 1.5 and 8 allowed on 64 cores)"


def test_a_quota_sets_the_threads_of_a_model_and_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("vlframe.machine.cpus.default_threads", lambda: 16)
    monkeypatch.setattr("vlframe.machine.cpus.cpus", lambda: Cpus(16, 16, 2.0))
    before = torch.get_num_threads()
    try:
        set_threads(None)
        assert torch.get_num_threads() == 2
        told = "threads: 2 in place of torch's 16; this process can use 2 CPUs (a quota of 2 on 16 cores)"
        assert threads_told(None) == told
        assert threads_told(None, 2).endswith(", shared by 2 processes")
        set_threads(3)
        assert torch.get_num_threads() == 3 and threads_told(3) == ""
    finally:
        torch.set_num_threads(before)
