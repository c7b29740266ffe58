"""A package as `pip install -e` leaves it, without pip."""

import importlib
import sys
import tomllib
from pathlib import Path

import pytest


def install_editable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process, and those it starts, find the package of a folder as an installed one."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version, source = project["name"], project["version"], folder / "src"
    information = source / f"{name.replace('-', '_')}-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = [f"{key} = {value}" for key, value in project["entry-points"]["vlframe"].items()]
    (information / "entry_points.txt").write_text("\n".join(["[vlframe]", *points]) + "\n")
    monkeypatch.syspath_prepend(source)
    monkeypatch.setenv("PYTHONPATH", str(source))


def forget_modules(folder: Path) -> None:
    """Forget the modules that were imported from a folder, so that a changed file is read again."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(f"{folder}/"):
            del sys.modules[name]
    importlib.invalidate_caches()
