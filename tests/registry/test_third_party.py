"""A package written outside the repository, and vlframe itself, both as wheels in a fresh environment, as processes.

torch and the other libraries are lent by the environment of the tests, behind the fresh environment's own packages.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.guides import BLOCK, commands

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = Path(__file__).parent / "packages" / "vlframe-decay"


def call(command: Sequence[str | Path], cwd: Path) -> subprocess.CompletedProcess:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment = kept | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1"}
    return subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True)


def call_well(command: Sequence[str | Path], cwd: Path) -> str:
    done = call(command, cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Environment:
    """A virtual environment with nothing but what is installed here."""

    folder: Path
    cwd: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def pip(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        call_well([*command, "--python", self.python, *arguments], self.cwd)

    def vlframe(self, *arguments: str) -> subprocess.CompletedProcess:
        return call([self.folder / "bin" / "vlframe", *arguments], self.cwd)

    def listed(self) -> dict[tuple[str, str], dict[str, str]]:
        done = self.vlframe("list", "--json")
        assert done.returncode == 0, done.stderr
        return {(row["kind"], row["name"]): row for row in json.loads(done.stdout)}


def build_wheel(source: Path, into: Path) -> Path:
    """Through the sdist, as an upload to the package index would be."""
    hatchling = [sys.executable, "-m", "hatchling", "build"]
    call_well([*hatchling, "-t", "sdist", "-d", into], source)
    [sdist] = into.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(into, filter="data")
    call_well([*hatchling, "-t", "wheel", "-d", into], into / sdist.name.removesuffix(".tar.gz"))
    [wheel] = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    third = tmp_path_factory.mktemp("source") / "vlframe-decay"
    shutil.copytree(PACKAGE, third, ignore=shutil.ignore_patterns("__pycache__"))
    return {
        "vlframe": build_wheel(REPOSITORY, tmp_path_factory.mktemp("vlframe")),
        "vlframe-decay": build_wheel(third, tmp_path_factory.mktemp("third")),
    }


@pytest.fixture(scope="module")
def environment(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment(tmp_path_factory.mktemp("fresh") / "venv", tmp_path_factory.mktemp("cwd"))
    venv.create(made.folder, with_pip=False, symlinks=True)
    made.pip("install", "--no-deps", *wheels.values())
    [site] = made.folder.glob("lib/python*/site-packages")
    (site / "zz_lent.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files are not read
    return made


def test_what_the_wheel_holds(wheels: dict[str, Path]) -> None:
    names = zipfile.ZipFile(wheels["vlframe"]).namelist()
    plugins = {path.name for path in (REPOSITORY / "plugins").iterdir() if (path / "__init__.py").is_file()}
    assert {name.partition("/")[0] for name in names} == {"vlframe", "vlframe-0.1.0.dist-info", *plugins}
    assert {
        "vlframe/conf/train.yaml",
        "vlframe/conf/experiment/quickstart.yaml",
        "vlframe/registry/registry.py",
    } <= set(names)
    presets = {
        f"vlframe/conf/{file.relative_to(REPOSITORY / 'conf')}" for file in (REPOSITORY / "conf").rglob("*.yaml")
    }
    theirs = {
        str(file.relative_to(REPOSITORY / "plugins"))
        for ending in ("yaml", "jinja")
        for file in (REPOSITORY / "plugins").rglob(f"*.{ending}")
    }
    assert {name for name in names if name.endswith((".yaml", ".jinja"))} == presets | theirs
    assert "vlframe_videollama2/conf/experiment/videollama2/pretrain.yaml" in theirs
    assert not [name for name in names if "__pycache__" in name or "tests" in name or "recordings" in name]


def test_everything_comes_from_the_wheels(environment: Environment) -> None:
    code = """
import json, vlframe, vlframe.registry.registry, vlframe.paths
from importlib.util import find_spec
rows = vlframe.registry.registry.Registry.installed(strict=True).rows()
modules = [find_spec(row.component.path.partition(":")[0]).origin for row in rows]
print(json.dumps([vlframe.__file__, str(vlframe.paths.conf_folder()), *modules]))
"""
    found = json.loads(call_well([environment.python, "-c", code], environment.cwd))
    assert len(found) > 25
    assert [path for path in found if not Path(path).is_relative_to(environment.folder)] == []


def test_the_third_partys_component_is_listed(environment: Environment) -> None:
    listed = environment.listed()
    row = listed["connector", "decay"]
    assert (row["distribution"], row["version"], row["state"]) == ("vlframe-decay", "2.5", "ok")
    assert listed["connector", "stc"]["distribution"] == "vlframe"
    assert {row["state"] for row in listed.values()} == {"ok"}


def test_one_override_swaps_it_in_and_a_sweep_knows_it(environment: Environment) -> None:
    done = environment.vlframe("plan", "-m", "connector=decay,decay_slow,mlp", "media.frames=4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("4 frames -> 4x6x6 features -> 36 tokens") == 3


def test_train_with_it_by_one_override(environment: Environment) -> None:
    done = environment.vlframe("train", "experiment=decay_quickstart", "connector=decay", "connector.half_life=7")
    assert done.returncode == 0, done.stderr
    [run] = (environment.cwd / "runs" / "decay_quickstart").iterdir()
    assert "half_life: 7" in (run / "config.yaml").read_text()
    assert list(run.rglob("connector.safetensors"))
    assert json.loads((run / "metrics.json").read_text())["n"] > 0


def test_its_experiment_and_preset_are_found_and_help_lists_them(environment: Environment) -> None:
    text = environment.vlframe("train", "--help").stdout
    for word in ("decay", "decay_slow", "decay_quickstart", "stc_v35", "clip_l_336", "videollama2_7b"):
        assert word in text
    composed = environment.vlframe("train", "experiment=decay_quickstart", "--cfg", "job").stdout
    assert "half_life: 100" in composed and "name: decay\n" in composed


def test_a_package_that_was_begun_installs_passes_its_tests_and_trains(
    environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As its author would: begin, build, install, check, test, train."""
    done = environment.vlframe("plugin", "new", "connector", "gated_pool")
    assert done.returncode == 0 and "vlframe plugin check vlframe-gated-pool" in done.stdout, done.stderr
    begun = environment.cwd / "vlframe-gated-pool"
    environment.pip("install", "--no-deps", build_wheel(begun, tmp_path_factory.mktemp("begun")))
    checked = environment.vlframe("plugin", "check", "vlframe-gated-pool")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    call_well([environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", begun / "tests"], environment.cwd)
    done = environment.vlframe("train", "experiment=quickstart", "connector=gated_pool", "debug=fast")  # two steps
    assert done.returncode == 0, done.stderr
    assert list((environment.cwd / "runs" / "quickstart").rglob("connector.safetensors"))


def test_uninstalled_it_is_unknown(environment: Environment) -> None:
    environment.pip("uninstall", "--yes", "vlframe-decay")
    assert ("connector", "decay") not in environment.listed()
    done = environment.vlframe("plan", "connector=decay")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "no connector named 'decay'; there are" in done.stderr and "stc_v35" in done.stderr


@pytest.mark.slow
def test_the_guide_to_a_plugin_in_a_fresh_environment(environment: Environment) -> None:
    """Every command of the page, as processes, with pip; for the time it takes see experiments/README.md."""
    page = (REPOSITORY / "docs" / "guides" / "write_a_plugin.md").read_text(encoding="utf-8")
    for command in (line for language, block in BLOCK.findall(page) if language == "sh" for line in commands(block)):
        words = command.split()
        if words[:3] == ["pip", "install", "-e"]:  # not -e, which needs a library of the build
            environment.pip("install", "--no-deps", "--no-build-isolation", environment.cwd / words[3])
        elif words[0] == "vlframe":
            done = environment.vlframe(*words[1:])
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        else:
            call_well(["bash", "-c", command], environment.cwd)
            environment.pip("install", "--no-deps", "--no-build-isolation", environment.cwd / "vlframe-first-last")
