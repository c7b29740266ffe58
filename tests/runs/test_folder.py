"""A run's folder, where other programs do not answer."""

import subprocess
from pathlib import Path

import pytest

from vlframe.runs.folder import git_commit


@pytest.mark.parametrize("says", ["echo 0123456789abcdef", "exit 128"])
def test_the_commit_is_what_git_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    git(tmp_path, monkeypatch, says)
    assert git_commit(tmp_path) == ("0123456789abcdef" if "echo" in says else None)


def test_a_git_that_takes_too_long_costs_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a large working tree on a slow disk."""
    git(tmp_path, monkeypatch, "sleep 60")
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *words, **how: run(*words, **{**how, "timeout": 0.2}))
    assert git_commit(tmp_path) is None


def test_a_machine_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(tmp_path) is None


def git(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "git"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
