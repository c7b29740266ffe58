"""Situations that people report, rebuilt with small inputs (``inputs/``): each is run as they would, with what is to
come of it. ``MODEL`` and ``TINY`` are the words of a small model, and of a short run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

INPUTS = Path(__file__).parent / "inputs"


@pytest.fixture
def case(tmp_path: Path) -> Callable[[str], Path]:
    """A folder of its own with the inputs of a case, or an empty one."""

    def copied(name: str) -> Path:
        folder = tmp_path / name
        if (INPUTS / name).is_dir():
            shutil.copytree(INPUTS / name, folder)
        else:
            folder.mkdir()
        return folder

    return copied
