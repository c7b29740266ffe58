"""The code of docs/plugins.md, run as a reader would."""

import json
import os
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.clips import ClipSpec, write_clip
from helpers.runs import manifest, training

from vlframe import Sample, Turn, testing
from vlframe.cli import main
from vlframe.composer.compose import compose, open_registry
from vlframe.contracts.kinds import kinds
from vlframe.model.assemble import compose_on_meta
from vlframe.testing import check_benchmark
from vlframe.training.run import train

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


def test_a_benchmark(tmp_path: Path) -> None:
    write(tmp_path, "my_benchmark.py")
    questions = [Sample("q", (Turn("user", "What rolls?"),), answer="red ball")]
    check_benchmark("keywords", dataset=questions, plugins=[str(tmp_path / "my_benchmark.py")])


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
    assert [name for name in testing.__all__ if name.startswith("check") and f"`{name}`" not in DOC] == []


def test_the_dependency_is_met_where_vlframe_is(tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", "vlframe_motion/__init__.py")
    command = f"{sys.executable} -m pip install --quiet --dry-run --no-index --no-build-isolation --report - ."
    (planned,) = json.loads(call(tmp_path, command))["install"]
    assert (planned["metadata"]["name"], planned["metadata"]["version"]) == ("vlframe-motion", "1.0")


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The single files of the page in the folder where their reader is."""
    single = [name for name in FILES if "vlframe_components" in FILES[name] and "/" not in name]
    write(tmp_path, *single, "test_counting.py")
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_the_connector_that_reads_seconds(page: Path) -> None:
    testing.check_connector("timed", plugins=["timed_connector.py"])


def test_the_data_set_and_its_benchmark(page: Path) -> None:
    clip = write_clip(page, ClipSpec("a.mp4", frames=4))
    (page / "counts.csv").write_text(f"clip,what,number\n{clip.name},balls,3\n{clip.name},boxes,12\n")
    for test in (value for name, value in runpy.run_path("test_counting.py").items() if name.startswith("test_")):
        test()


def test_the_encoder_is_planned_by_the_config_of_its_source(page: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model

    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    Dinov2Model(Dinov2Config(**sizes)).save_pretrained("dino")
    plugins = ["plugins.paths=[dino_encoder.py]", "connector=pool_tiny"]
    registry = open_registry(["dino_encoder.py"])
    planned = compose_on_meta(compose("train", [*plugins, "encoder=dino", "encoder.source=dino"], registry), registry)
    encoder = planned.model.parts["encoder"]
    assert (encoder.dim, encoder.side) == (24, 2) and all(item.is_meta for item in encoder.parameters())
    built = registry.build("encoder", {"name": "dino", "source": "dino"})
    own = Dinov2Model.from_pretrained("dino").state_dict()
    del own["embeddings.mask_token"]
    assert all(torch.equal(built.model.state_dict()[key], value) for key, value in own.items())
    testing.check_encoder("dino", {"architecture": sizes}, plugins=["dino_encoder.py"])


def test_the_cost_of_a_connector_that_reads_seconds_is_planned(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["experiment=quickstart", "connector=timed", "plugins.paths=[timed_connector.py]"]
    assert main(["plan", *words]) == 0
    out, err = capsys.readouterr()
    assert "8 tokens" in out and "bytes on each device" in out and "Traceback" not in err


def test_the_reader_around_another(page: Path) -> None:
    testing.check_reader("patient", {"reader": {"name": "pyav"}}, plugins=["patient_reader.py"])


def test_the_callback(page: Path, capsys: pytest.CaptureFixture) -> None:
    registry = open_registry(["watching.py"])
    words = ["plugins.paths=[watching.py]", "callbacks=[counting]", "callbacks.counting.every=1", "runs=runs"]
    train(compose("train", [*training(manifest(page), "stages.main.steps=2"), *words], registry), registry)
    assert "step 2: 2 samples, 0 files" in capsys.readouterr().out


def test_every_kind_is_in_the_page() -> None:
    assert [name for name in kinds() if f"`{name}`" not in DOC] == []
