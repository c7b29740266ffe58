"""``vlframe plugin check``: the kit on what is installed, in words, with an exit code."""

import json
from pathlib import Path

import pytest

from vlframe.cli import main
from vlframe.contracts.kinds import kinds
from vlframe.contracts.modalities import forget_plugins_modalities
from vlframe.testing.inspection import CHECKS

SOURCE = """
from dataclasses import dataclass

from torch import nn

import vlframe


@dataclass
class Params:
    extra: int = 0


@dataclass
class Needs:
    path: str


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("connector", "PREFIX_sound", __name__ + ":Pool", Params, "a mean", example={"extra": 0})
    yield vlframe.Component("connector", "PREFIX_broken", __name__ + ":Pool", Params, "a mean", example={"extra": 1})
    yield vlframe.Component("connector", "PREFIX_large", __name__ + ":Pool", Params, "a mean")
    yield vlframe.Component("dataset", "PREFIX_needy", __name__ + ":Rows", Needs, "a file")
    yield vlframe.Component("dataset", "PREFIX_sound", __name__ + ":Rows", None, "two rows")


class Pool(nn.Module):
    expands_images = False

    def __init__(self, *, in_dim, out_dim, extra):
        super().__init__()
        if extra > 5:
            raise vlframe.ConfigError("extra is too large")
        self.map, self.extra = nn.Linear(in_dim, out_dim), extra

    def tokens(self, grid):
        return grid.positions + self.extra

    def forward(self, features_BTHWD):
        return self.map(features_BTHWD.flatten(1, 3))


class Rows:
    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index >= 2:
            raise IndexError(index)
        turns = (vlframe.Turn("user", "What?"), vlframe.Turn("assistant", "That."))
        return vlframe.Sample(str(index), turns)
"""


@pytest.fixture
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A plugin in one file; its module has a name of its own, since a process loads it once."""
    path = tmp_path / f"checked_{abs(hash(request.node.name))}.py"
    path.write_text(SOURCE.replace("PREFIX", "trial"))
    return path


def test_every_kind_has_a_check() -> None:
    assert list(CHECKS) == list(kinds())


def test_a_file_is_checked_as_a_whole(file: Path, capsys: pytest.CaptureFixture) -> None:
    code = main(["plugin", "check", str(file), "--json"])
    found = {(item["kind"], item["name"]): item for item in json.loads(capsys.readouterr().out)}
    assert code == 1
    assert [*found] == [
        ("package", str(file)), ("connector", "trial_broken"), ("connector", "trial_large"),
        ("connector", "trial_sound"), ("dataset", "trial_needy"), ("dataset", "trial_sound"),
    ]  # fmt: skip
    assert "imports torch when it is listed" in found["package", str(file)]["broken"]
    broken = found["connector", "trial_broken"]
    assert "for which tokens() says 65, gives shape" in broken["broken"] and broken["parameters"] == {"extra": 1}
    assert "give some here, like connector.extra=…" in found["connector", "trial_large"]["untried"]
    for kind in ("connector", "dataset"):
        sound = found[kind, "trial_sound"]
        assert sound["passed"] and not sound["broken"] and not sound["untried"]


def test_one_component_with_other_parameters(file: Path, capsys: pytest.CaptureFixture) -> None:
    of_file = f"plugins.paths=[{file}]"
    assert main(["plugin", "check", "connector", "trial_broken", "connector.extra=0", of_file]) == 0
    said = capsys.readouterr().out
    assert said.startswith("connector trial_broken, with extra=0\n  passed    ")
    assert said.endswith("\n1 of 1 keep their promises\n")
    assert main(["plugin", "check", "connector", "trial_large", of_file]) == 3
    assert "0 of 1 keep their promises; 1 not tried" in capsys.readouterr().out
    assert main(["plugin", "check", "connector", "trial_sound", "connector.extra=9", of_file]) == 3
    assert "not tried extra is too large" in capsys.readouterr().out


def test_the_kind_of_a_plugins_modality_is_known(capsys: pytest.CaptureFixture) -> None:
    """Kinds are looked up when the plugins are open."""
    file = Path(__file__).parents[1] / "contracts" / "outside" / "depth_maps.py"
    try:
        assert main(["plugin", "check", "depth_encoder", "depth_tiny", f"plugins.paths=[{file}]"]) == 3
        assert "the kit has no checks of depth_encoders" in capsys.readouterr().out
    finally:
        forget_plugins_modalities()


def test_a_composition_may_hold_lists(capsys: pytest.CaptureFixture) -> None:
    run = "run=[connector=pool_tiny,media.withhold=[image,audio],+stages={}]"
    assert main(["plugin", "check", "objective", "language_modelling", run]) == 0, capsys.readouterr().out


def test_a_name_of_several_kinds(file: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["plugin", "check", "trial_sound", f"plugins.paths=[{file}]"]) == 0
    said = capsys.readouterr().out
    assert "connector trial_sound" in said and "dataset trial_sound" in said and "2 of 2 keep" in said


@pytest.mark.parametrize("name", ["multiple_choice", "exact_match", "free_text"])
def test_a_benchmark_without_a_data_set_is_asked_questions(name: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["plugin", "check", "benchmark", name]) == 0, capsys.readouterr().out


def test_what_needs_a_value_says_so(file: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["plugin", "check", "dataset", "trial_needy", f"plugins.paths=[{file}]"]) == 3
    said = capsys.readouterr().out
    assert "needs a value for path; give it in example= of its row, or here, like dataset.path=…" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "takes the name of a component"),
        (["trial_nothing"], "'trial_nothing' is neither an installed package (vlframe"),
        (["connector", "sct"], "no connector named 'sct'; there are"),
        (["conector", "stc"], "there is no kind 'conector'"),
        (["stc", "conector.x=1"], "conector.x: there is no kind 'conector'. Did you mean 'connector'"),
        (["stc", "connector.depth={"], "'connector.depth={' cannot be read"),
        (["stc", "connector.depth=1,2"], "connector.depth=1,2 has several values"),
        (["stc", "plugins.path=[mine.py]"], "no key 'plugins.path'; plugins are named by plugins.paths"),
        (["language_modelling", "run=[media.withhold=[image"], "'[' is not closed"),
        (["stc", "--fast"], "vlframe plugin check has no --fast; it has --json"),
        (["stc", "format=json"], "vlframe plugin check has no format; it has --json and run="),
    ],
)
def test_a_wrong_request_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["plugin", "check", *words]) == 2
    assert said in capsys.readouterr().err
