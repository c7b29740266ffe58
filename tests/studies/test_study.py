"""A study's file: which cells it makes, and one sentence for each thing that can be wrong with it."""

from pathlib import Path
from typing import Any

import pytest

from vlframe.cli import main
from vlframe.config.typed import to_yaml
from vlframe.errors import ConfigError
from vlframe.studies.study import Study, read_study
from vlframe.studies.wandb_sweep import wandb_sweep

AXES = {
    "connector": {"a": "connector=stc_tiny", "b": ["connector=pool", "connector.frames=2"]},
    "frames": {"4f": "media.frames=4", 8: "media.frames=8"},
}


def study(place: Path, **values: Any) -> Study:
    file = place / "mine.yaml"
    file.write_text(to_yaml({"base": ["experiment=quickstart"], "axes": AXES, **values}))
    return read_study(file)


def labels(found: Study) -> list[str]:
    return [cell.label for cell in found.cells]


def test_cells_are_the_product_of_axes_or_go_together_or_stand_alone(tmp_path: Path) -> None:
    found = study(tmp_path)
    assert labels(found) == ["a 4f", "a 8", "b 4f", "b 8"] and found.baseline.label == "a 4f" and found.runs == 4
    last = found.cells[-1]
    assert last.words[2:] == ("experiment=quickstart", "connector=pool", "connector.frames=2", "media.frames=8")
    assert last.axes == {"connector": "b", "frames": "8"}
    assert labels(study(tmp_path, combine="zip")) == ["a 4f", "b 8"]
    assert labels(study(tmp_path, combine="list", baseline="8")) == ["a", "b", "4f", "8"]
    assert labels(study(tmp_path, axes={})) == ["base"]


def test_what_is_excluded_says_why(tmp_path: Path) -> None:
    found = study(tmp_path, exclude={"* 8": "too long", "b 4f": "known"}, seeds=[3, 4])
    assert labels(found) == ["a 4f"] and found.runs == 2
    assert {item.label: item.reason for item in found.excluded} == {
        "a 8": "too long",
        "b 8": "too long",
        "b 4f": "known",
    }


def test_names_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert study(tmp_path).name == "mine" and study(tmp_path).folder == tmp_path / "runs/studies/mine"
    (tmp_path / "frames").mkdir()
    (tmp_path / "mine.yaml").rename(tmp_path / "frames/study.yaml")
    assert read_study(Path("frames/study.yaml")).name == "frames"
    assert study(tmp_path, folder="elsewhere", name="x").folder == tmp_path / "elsewhere"


def test_references_are_for_the_runs_config(tmp_path: Path) -> None:
    found = study(tmp_path, axes={"queries": {"frames": "connector.queries=${media.frames}"}})
    assert found.cells[0].words[-1] == "connector.queries=${media.frames}"


def test_benchmarks_are_words(tmp_path: Path) -> None:
    assert study(tmp_path, benchmarks=["a"]).cells[0].words[3] == "benchmark=a"
    assert study(tmp_path, benchmarks=["a", "b"]).cells[0].words[3] == "benchmark=[a,b]"


@pytest.mark.parametrize(
    ("values", "piece"),
    [
        ({"axis": AXES}, "there is no key 'axis'; the config has .*Did you mean 'axes'"),
        ({"axes": {"connector": ["a", "b"]}}, r"axes.connector is \['a', 'b'\]; it is labels with their overrides"),
        ({"axes": {"connector": {"a": {"deep": 1}}}}, "axes.connector.a is .*; it is an override, like media.frames=8"),
        ({"axes": {"connector": {}}}, "axes.connector has no label"),
        ({"axes": {"a": {"x": "seed=1"}}}, "'seed=1' cannot be an override of a study.*say seeds"),
        ({"axes": {"a": {"x": "media.frames=[8"}}}, r"axes\.a\.x: 'media.frames=\[8' cannot be read: .*of it in YAML"),
        ({"axes": {"a": {"x": ["media.frames=8", "llm=a b="]}}}, r"axes\.a\.x: 'llm=a b=' cannot be read: .*in YAML"),
        ({"axes": {"a": {"x": "media.frames"}}}, r"axes\.a\.x: 'media.frames' is not key=value"),
        ({"axes": {"a": {"x": "media.frames=4,8"}}}, r"axes\.a\.x: 'media.frames=4,8' has several values"),
        ({"axes": {"a": {"x": "encoder=glob(*)"}}}, r"axes\.a\.x: encoder=glob\(\*\): glob\(\) is not taken"),
        ({"base": ["llm={a"]}, r"base: 'llm=\{a' cannot be read"),
        ({"benchmarks": ["a=(b"]}, r"benchmarks: 'benchmark=a=\(b' cannot be read"),
        ({"base": ["hydra.sweep.dir=x"]}, "cannot be an override of a study"),
        ({"axes": {"a": {"x*": []}}}, r"a label is a word without \* \?"),
        ({"axes": {"a": {"x": []}, "b": {"x": []}}, "combine": "list"}, "two cells are called 'x'"),
        ({"axes": {**AXES, "c": {"x": []}}, "combine": "zip"}, "zip.*connector 2, frames 2, c 1"),
        ({"combine": "grid"}, "combine is 'grid'; it can be product, zip, list"),
        ({"exclude": {"a 9": "why"}}, "exclude names 'a 9', and no cell is called so; there are a 4f.*Did you mean"),
        ({"exclude": {"a *": " "}}, "gives no reason"),
        ({"exclude": {"*": "all"}}, "every cell is excluded"),
        ({"baseline": "a 4"}, "the baseline 'a 4' is no cell; there are a 4f, .*Did you mean 'a 4f'"),
        ({"baseline": "a 4f", "exclude": {"a 4f": "odd"}}, r"the baseline 'a 4f' is excluded \(odd\)"),
        ({"seeds": [1, 1]}, "seeds is .*1 stands in it twice"),
        ({"seeds": []}, "it needs at least one"),
        ({"seeds": "many"}, "seeds"),
        ({"margin": 0}, "margin is 0; it must be above 0"),
        ({"budget": {"runs": 3}}, "4 cells with 1 seed.* are 4 runs, and budget.runs is 3"),
        ({"budget": {"days": 3}}, "there is no key 'budget.days'; budget has hours, runs"),
    ],
)
def test_each_mistake_is_one_sentence_that_names_the_file(tmp_path: Path, values: dict[str, Any], piece: str) -> None:
    with pytest.raises(ConfigError, match=piece) as caught:
        study(tmp_path, **values)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.yaml'}: ") and "shell" not in str(caught.value)


def test_a_word_that_cannot_be_read_is_a_mistake_wherever_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """In the file or typed: no row of the table, but exit code 2."""
    file = tmp_path / "mine.yaml"
    file.write_text(to_yaml({"axes": {"frames": {"8f": "media.frames=[8"}}}))
    assert main(["study", "plan", str(file)]) == 2
    assert "axes.frames.8f: 'media.frames=[8' cannot be read" in capsys.readouterr().err
    file.write_text(to_yaml({"axes": {"frames": {"8f": "media.frames=8"}}}))
    assert main(["study", "plan", str(file), "trainer.accelerator=[cpu"]) == 2
    assert "'trainer.accelerator=[cpu' cannot be read" in capsys.readouterr().err


def test_labels_that_yaml_reads_as_truth_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("axes:\n  sound:\n    on: audio_encoder=beats_tiny\n    'off': audio_encoder=null\n")
    with pytest.raises(ConfigError, match=r"axes\.sound has the label true: YAML reads on, off"):
        read_study(file)
    with pytest.raises(ConfigError, match="there is no study"):
        read_study(tmp_path / "none.yaml")
    file.write_text("axes: [")
    with pytest.raises(ConfigError, match="cannot be read as a config"):
        read_study(file)


def test_a_sweep_of_wandb_runs_cells_through_the_ledger(tmp_path: Path) -> None:
    import yaml

    found = study(tmp_path, exclude={"a 8": "why"}, seeds=[1, 2], metrics=["accuracy"])
    sweep = yaml.safe_load(wandb_sweep(found))
    assert sweep["parameters"] == {"cell": {"values": ["a 4f", "b 4f", "b 8"]}, "seed": {"values": [1, 2]}}
    assert sweep["command"] == [
        "${env}", "vlframe", "study", "run", str(found.file), "logger=wandb", "${args_no_hyphens}",
    ]  # fmt: skip
    assert sweep["method"] == "grid" and sweep["metric"] == {"name": "eval/accuracy", "goal": "maximize"}
    assert "metric" not in yaml.safe_load(wandb_sweep(study(tmp_path)))


def test_what_scores_use_is_measured_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    def words(**more: object) -> tuple[str, ...]:
        return tuple(word for word in study(tmp_path, **more).cells[0].words if word.startswith("evaluation."))

    orders = "evaluation.controls=[one_frame,shuffled,reversed,no_sound,rotated_options]"
    assert words() == ("evaluation.blind=true", orders)
    assert words(controls=["shuffled"]) == ("evaluation.controls=[shuffled]",) and words(controls=[]) == ()
    assert words(base=["evaluation.blind=false"]) == (orders, "evaluation.blind=false"), "what the base says holds"
    with pytest.raises(ConfigError, match=r"controls.* is 'upside_down'; it can be blind, one_frame"):
        words(controls=["upside_down"])
