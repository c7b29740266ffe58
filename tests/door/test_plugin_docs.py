"""The code of docs/plugins.md, run as a reader would."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

DOC = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
FILES = dict(re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```", DOC, re.MULTILINE | re.DOTALL))
COMMANDS = re.search(r"^```sh\n(.*?)^```", DOC, re.MULTILINE | re.DOTALL)[1].splitlines()


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(FILES[name])


def call(folder: Path, command: str, *path: Path) -> str:
    """A line of the page, with this environment's commands."""
    binaries = Path(sys.executable).parent
    places = os.pathsep.join(map(str, path))
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    if path:
        environment["PYTHONPATH"] = places
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_one_file(tmp_path: Path) -> None:
    write(tmp_path, "my_connector.py", "my_motion.py")
    listing, planning, training = COMMANDS
    assert re.search(r"^connector +motion +my_connector.py +file +ok", call(tmp_path, listing), re.MULTILINE)
    assert "36 tokens" in call(tmp_path, planning)
    assert training.startswith("PYTHONPATH=. vlframe train experiment=quickstart connector=motion")
    composed = call(tmp_path, training + " --cfg job")
    assert "name: motion" in composed and "hidden: 64" in composed


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The package of the page, with the metadata that pip would have written."""
    (tmp_path / "site").mkdir()
    write(tmp_path / "site", *(name for name in FILES if name.startswith("vlframe_motion/")))
    (tmp_path / "site" / "vlframe_motion" / "connector.py").write_text(FILES["my_motion.py"])
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    information = tmp_path / "site" / "vlframe_motion-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    [(entry, module)] = project["entry-points"]["vlframe"].items()
    (information / "entry_points.txt").write_text(f"[vlframe]\n{entry} = {module}\n")
    return tmp_path / "site"


def test_the_package_passes_its_own_tests(installed: Path, tmp_path: Path) -> None:
    write(tmp_path, "test_motion.py")
    command = f"{sys.executable} -m pytest -q -p no:cacheprovider test_motion.py"
    assert "2 passed" in call(tmp_path, command, installed)


def test_its_preset_and_experiment(installed: Path, tmp_path: Path) -> None:
    composed = call(tmp_path, "vlframe train experiment=motion_quickstart --cfg job", installed)
    assert "hidden: 512" in composed and "name: motion\n" in composed and "seed: 1\n" in composed


def test_every_check_is_in_the_page() -> None:
    from vlframe import testing

    assert [name for name in testing.__all__ if name.startswith("check") and f"`{name}`" not in DOC] == []
