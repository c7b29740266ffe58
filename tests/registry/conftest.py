"""Plugins made up for a test: modules on the path with the metadata that pip would have written."""

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Publish = Callable[..., Path]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publish]:
    """``publish(distribution, module=source, …)`` puts an installed distribution on the path, for processes too.

    Every module becomes an entry point of its own name, or of the one ``entry`` gives. Returns the folder.
    """
    before = set(sys.modules)

    def publish(distribution: str, entry: str = "", version: str = "1.2", **modules: str) -> Path:
        site = tmp_path / "site" / distribution
        information = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        information.mkdir(parents=True)
        lines = [f"{entry or module} = {module}" for module in modules]
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (information / "entry_points.txt").write_text("\n".join(["[vlframe]", *lines]) + "\n")
        for module, source in modules.items():
            (site / f"{module}.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.setenv("PYTHONPATH", str(site), prepend=":")
        return site

    yield publish
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
