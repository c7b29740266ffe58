"""Callbacks and loggers of plugins, by name: composed, checked before a run, built with their parameters, resumed."""

from pathlib import Path

import pytest
from helpers.runs import manifest, training

from vlframe.composer.compose import compose, open_registry
from vlframe.config.typed import plain, read_yaml
from vlframe.errors import ConfigError, PluginError, UnknownName
from vlframe.inference.pipeline import load_run
from vlframe.runs.folder import RunFolder
from vlframe.training.run import train

PLUGIN = str(Path(__file__).parent / "outside" / "watching_steps.py")
RATE = "+callbacks.rate._target_=lightning.pytorch.callbacks.LearningRateMonitor"


def words_of(folder: Path, *words: str) -> list[str]:
    usual = training(manifest(folder), "stages.main.steps=4", f"runs={folder / 'runs'}", f"plugins.paths=[{PLUGIN}]")
    return [*usual, *words]


def composed(folder: Path, *words: str):
    registry = open_registry([PLUGIN])
    return compose("train", words_of(folder, *words), registry), registry


def test_they_are_built_with_what_was_typed(tmp_path: Path) -> None:
    counts = tmp_path / "counts.txt"
    typed = [
        "callbacks=[counting]",
        "callbacks.counting.every=2",
        f"callbacks.counting.file={counts}",
        "logger=[lines]",
    ]  # fmt: skip
    run = train(*composed(tmp_path, *typed, RATE, "trainer.checkpoint_every=2"))
    assert counts.read_text() == "2 2\n4 4\n"
    lines = (run.path / "lines.txt").read_text().splitlines()
    assert lines[0] == "config default"
    assert [line.split()[0] for line in lines if "train/loss" in line] == ["1", "2", "3", "4"]
    assert read_yaml(run.config)["callbacks"]["counting"] == {"name": "counting", "every": 2, "file": str(counts)}
    _goes_on(tmp_path, run, counts)
    _is_used_without_the_plugin(run)


def _goes_on(folder: Path, run: RunFolder, counts: Path) -> None:
    """What it kept in the checkpoint comes back, and a change of it is one that a run has to be told."""
    import shutil

    shutil.rmtree(sorted(run.checkpoints.iterdir())[-1])  # back to step 2
    more = [f"resume={run.path}", f"plugins.paths=[{PLUGIN}]"]
    registry = open_registry([PLUGIN])
    with pytest.raises(ConfigError, match=r"callbacks\.counting\.every: 2 -> 1 would change"):
        train(compose("train", [*more, "callbacks.counting.every=1"], registry), registry)
    train(compose("train", more, registry), registry)
    assert counts.read_text() == "2 2\n4 4\n4 4\n"


def _is_used_without_the_plugin(run: RunFolder) -> None:
    pipeline, _ = load_run(str(run.path), open_registry())
    assert plain(pipeline.config)["callbacks"]["counting"]["every"] == 2


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["callbacks=[nope]"], UnknownName, "no callback named 'nope'; there are counting, stray"),
        (["logger=[lines,nope]"], UnknownName, "no logger named 'nope'; there are lines, tensorboard, wandb"),
        (
            ["callbacks=[counting]", "callbacks.counting.evry=1"],
            ConfigError,
            "counting has every, file, name",
        ),
        (["callbacks=[counting]", "callbacks.counting.every=often"], ConfigError, r"callbacks\.counting\.every"),
        (["callbacks=[counting]"], ConfigError, r"needs values for callbacks\.counting\.file"),
        (
            ["callbacks=[counting]", "callbacks.counting.every=0", "callbacks.counting.file=x"],
            ConfigError,
            "at least 1",
        ),
        (["callbacks=[stray]"], PluginError, "callback 'stray' of plugin .* is no lightning.pytorch Callback"),
        (
            ["+callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping"],
            ConfigError,
            "stop: EarlyStopping cannot be made",
        ),
    ],
)
def test_what_is_wrong_is_said_before_there_is_a_folder(tmp_path: Path, words, error, message) -> None:
    with pytest.raises(error, match=message):
        train(*composed(tmp_path, *words))
    assert not (tmp_path / "runs").exists()


def test_they_are_listed_and_helped_with(capsys: pytest.CaptureFixture) -> None:
    from vlframe.cli import main

    assert main(["list", "callback", f"plugins.paths=[{PLUGIN}]"]) == 0
    assert "counts steps" in capsys.readouterr().out
    assert main(["train", "--help", f"plugins.paths=[{PLUGIN}]"]) == 0
    shown = capsys.readouterr().out
    assert "callbacks=counting: every, file" in shown and "logger=lines" not in shown


def test_a_preset_sets_their_parameters(tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "callbacks"
    folder.mkdir(parents=True)
    (folder / "seldom.yaml").write_text("defaults: [counting]\ncounting: {every: 50, file: x}\n")
    registry = open_registry([PLUGIN])
    flags = ["--config-dir", str(tmp_path / "conf")]
    config = compose("train", [*flags, *words_of(tmp_path, "callbacks=[seldom]")], registry)
    assert plain(config)["callbacks"] == {"counting": {"name": "counting", "every": 50, "file": "x"}}
