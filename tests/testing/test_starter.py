"""``vlframe plugin new``: the packages it writes keep the promises of their kind at once."""

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.editable import forget_modules, install_editable
from helpers.sources import ROOT

from vlframe.cli import main
from vlframe.contracts.kinds import kinds
from vlframe.testing.starter import STARTERS, starter_kinds


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write a package and let this process, and those it starts, find it as an installed one."""

    def write(kind: str) -> Path:
        folder = tmp_path / "package"
        assert main(["plugin", "new", kind, f"trial_{kind}", f"folder={folder}"]) == 0
        install_editable(folder, monkeypatch)
        return folder

    yield write
    forget_modules(tmp_path)


def test_a_package_can_be_begun_for_every_kind() -> None:
    assert starter_kinds() == list(kinds())


def test_the_page_says_what_each_package_holds() -> None:
    page = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
    for kind in starter_kinds():
        title = (STARTERS / f"{kind}.txt").read_text(encoding="utf-8").splitlines()[1]
        assert f"| `{kind}` | {title} |" in page


@pytest.mark.parametrize("kind", starter_kinds())
def test_it_passes_its_own_tests_and_the_check(kind: str, begun: Callable, capsys: pytest.CaptureFixture) -> None:
    folder = begun(kind)
    [file] = (folder / "tests").glob("test_*.py")
    tests = {name: test for name, test in runpy.run_path(str(file)).items() if name.startswith("test_")}
    assert len(tests) == 2
    tests.pop("test_the_package")  # the check below does the same
    for test in tests.values():
        test()
    distribution = f"vlframe-trial-{kind.replace('_', '-')}"
    assert main(["plugin", "check", distribution]) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert f"{kind} trial_{kind}" in said and "2 of 2 keep their promises" in said
    assert said.count("  passed    ") >= 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["connector"], "takes a kind and a name, like `vlframe plugin new connector gated_pool`"),
        (["conector", "gated"], "no package can be begun for the kind 'conector'; there are encoder, connector"),
        (["conector", "gated"], "Did you mean 'connector'"),
        (["connector", "Gated-Pool"], "'Gated-Pool' cannot be a name: it takes small letters, digits and single _"),
        (["connector", "../gated"], "cannot be a name"),
        (["connector", "gated__pool"], "cannot be a name"),
        (["connector", "2d"], "cannot be a name"),
        (["connector", "x" * 41], "has at most 40 characters"),
        (["connector", "lambda"], "is a word of Python"),
        (["connector", "none"], "is a word of Python"),
        (["connector", "stc"], "there is a connector 'stc' already, from vlframe"),
        (["connector", "whisper"], "a module vlframe_whisper is installed already"),
        (["connector", "gated", "--force"], "vlframe plugin new has no --force; it has folder="),
        (["connector", "gated", "path=x"], "vlframe plugin new has no path; it has folder="),
        (["connector", "gated", "folder="], "folder= is empty"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plugin", "new", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_nothing_is_overwritten(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    taken = tmp_path / "vlframe-gated"
    taken.mkdir() if kind == "folder" else taken.write_text("mine")
    assert main(["plugin", "new", "connector", "gated"]) == 2
    assert "vlframe-gated is there already, and nothing is overwritten" in capsys.readouterr().err
    assert list(tmp_path.rglob("*")) == [taken]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert main(["plugin", "new", "connector", "gated", f"folder={tmp_path}/file/inside"]) == 2
    assert "cannot be made: Not a directory; give another folder=" in capsys.readouterr().err


def test_what_is_written_is_what_a_formatter_would_write(tmp_path: Path) -> None:
    for kind in starter_kinds():
        assert main(["plugin", "new", kind, f"trial_{kind}", f"folder={tmp_path / kind}"]) == 0
    ruff = [sys.executable, "-m", "ruff", "--config", str(ROOT / "pyproject.toml")]
    for action in (["check", "--ignore", "I001"], ["format", "--check"]):  # vlframe is no part of such a package
        done = subprocess.run([*ruff[:3], *action, *ruff[3:], str(tmp_path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
