"""Checkpoints, configs, manifests and media from strangers: nothing in them runs, and each is refused in a sentence."""

import json
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.runs import manifest, training

from vlframe.cli import main
from vlframe.composer.compose import compose, open_registry
from vlframe.errors import ConfigError, UserError, WeightsError
from vlframe.runs.checkpoint import latest
from vlframe.runs.folder import RunFolder
from vlframe.training.instantiate import instantiate
from vlframe.training.run import train
from vlframe.training.stopping import Stop

CALLBACKS = "lightning.pytorch.callbacks"


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run at step 2 of 4."""
    place = tmp_path_factory.mktemp("made")
    registry = open_registry()
    words = training(manifest(place), "stages.main.steps=4", f"runs={place / 'runs'}")
    return train(compose("train", words, registry), registry, Stop(step=2))


@pytest.fixture
def strange(made: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of it, as a stranger would send it."""
    return RunFolder.open(shutil.copytree(made.path, tmp_path / "run"))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that is there if something ran."""
    return tmp_path / "ran"


def put(folder: RunFolder, name: str, write: Callable[[Path], Any]) -> None:
    """A file of the newest checkpoint, replaced, with the sizes in state.json made to fit."""
    path = latest(folder).path
    write(path / name)
    state = json.loads((path / "state.json").read_text())
    state["files"][name] = (path / name).stat().st_size
    (path / "state.json").write_text(json.dumps(state))


def put_config(folder: RunFolder, old: str, new: str) -> None:
    """Into the config of the run and into those of its checkpoints."""
    for file in (folder.config, *folder.checkpoints.glob("*/config.yaml")):
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))
        path = file.parent / "state.json"
        if path.is_file():
            state = json.loads(path.read_text())
            state["files"]["config.yaml"] = file.stat().st_size
            path.write_text(json.dumps(state))


def resume(folder: RunFolder, *words: str) -> None:
    registry = open_registry()
    train(compose("train", [f"resume={folder.path}", *words], registry), registry)


# --- pickles ---


@pytest.mark.parametrize("how", ["torch.save", "pickle"])
def test_training_state_that_would_run_something(strange: RunFolder, mark: Path, how: str) -> None:
    def write(path: Path) -> None:
        with open(path, "wb") as file:
            torch.save({"rng": Evil(mark)}, file) if how == "torch.save" else pickle.dump(
                {"rng": Evil(mark)}, file, protocol=2
            )

    put(strange, "training.pt", write)
    with pytest.raises(WeightsError, match=r"training\.pt.*code.*not run"):
        resume(strange)
    assert not mark.exists()


@pytest.mark.parametrize("how", ["torch.save", "pickle"])
def test_a_pickle_in_the_place_of_safetensors(
    strange: RunFolder, mark: Path, how: str, capsys: pytest.CaptureFixture
) -> None:
    def write(path: Path) -> None:
        with open(path, "wb") as file:
            torch.save({"x": Evil(mark)}, file) if how == "torch.save" else pickle.dump({"x": Evil(mark)}, file)

    put(strange, "connector.safetensors", write)
    with pytest.raises(WeightsError, match=r"connector\.safetensors.*safetensors"):
        resume(strange)
    assert main(["predict", f"run={strange.path}", "prompt=hi"]) == 2
    assert "connector.safetensors" in capsys.readouterr().err and not mark.exists()


# --- configs ---


@pytest.mark.parametrize("key", ["connector", "llm", "dataset"])
def test_a_component_cannot_name_a_class(strange: RunFolder, mark: Path, key: str, tmp_path: Path) -> None:
    words = [f"+{key}._target_=pathlib.Path.touch", f"+{key}.self={mark}"]
    with pytest.raises(UserError, match="_target_"):
        registry = open_registry()
        train(compose("train", [*training(manifest(tmp_path)), *words], registry), registry)
    put_config(strange, f"\n{key}:\n", f"\n{key}:\n  _target_: pathlib.Path.touch\n")
    with pytest.raises(UserError, match="_target_"):
        resume(strange)
    assert not mark.exists()


@pytest.mark.parametrize(
    "item",
    [
        {"_target_": "os.system", "command": "touch {mark}"},
        {"_target_": f"{CALLBACKS}.model_checkpoint.os.system", "command": "touch {mark}"},
        {"_target_": "lightning.pytorch.loggers.wandb.os.system", "command": "touch {mark}"},
        {"_target_": f"{CALLBACKS}.LambdaCallback", "setup": {"_target_": "os.system", "command": "touch {mark}"}},
        {"_target_": f"{CALLBACKS}.LambdaCallback", "setup": {"x": [{"_target_": "pathlib.Path.touch"}]}},
        {"_target_": f"{CALLBACKS}.LambdaCallback", "_args_": ["{mark}"]},
        {"_target_": f"{CALLBACKS}.LambdaCallback", "_partial_": True},
        {"_target_": f"{CALLBACKS}.__builtins__", "x": 1},
        {"_target_": f"{CALLBACKS}.nothing"},
        {},
    ],
)
def test_callbacks_and_loggers_are_lightnings_with_plain_values(mark: Path, item: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^x(:.*)? has "):
        instantiate({"x": json.loads(json.dumps(item).replace("{mark}", str(mark)))})
    assert not mark.exists()


@pytest.mark.parametrize("group", ["callbacks", "logger"])
def test_a_run_folder_cannot_bring_a_callback_that_does_harm(strange: RunFolder, mark: Path, group: str) -> None:
    item = {"_target_": f"{CALLBACKS}.LambdaCallback", "setup": {"_target_": "pathlib.Path.touch", "self": str(mark)}}
    put_config(strange, f"{group}: {{}}", f"{group}: {json.dumps({'x': item})}")  # JSON is YAML
    with pytest.raises(ConfigError, match="x has _target_ inside it"):
        resume(strange)
    assert not mark.exists()


def test_a_callback_of_lightnings_is_made(tmp_path: Path) -> None:
    (built,) = instantiate({"rate": {"_target_": f"{CALLBACKS}.LearningRateMonitor", "logging_interval": "step"}})
    assert built.logging_interval == "step"
    (logger,) = instantiate({"csv": {"_target_": "lightning.pytorch.loggers.CSVLogger"}}, {"save_dir": str(tmp_path)})
    assert Path(logger.save_dir) == tmp_path
    with pytest.raises(ConfigError, match="CSVLogger cannot be made"):
        instantiate({"csv": {"_target_": "lightning.pytorch.loggers.CSVLogger", "nonsense": 1}})


TAGS = ["!!python/object/apply:pathlib.Path.touch [{mark}]", "!!python/object/apply:os.system ['touch {mark}']"]


@pytest.mark.parametrize("tag", TAGS)
def test_a_yaml_tag_makes_nothing(strange: RunFolder, mark: Path, tag: str, capsys: pytest.CaptureFixture) -> None:
    put_config(strange, "seed: 0", f"seed: {tag.format(mark=mark)}")
    for command in ("train", "evaluate", "export"):
        key = "resume" if command == "train" else "run"
        more = [f"out={mark.parent / 'out'}"] if command == "export" else []
        assert main([command, f"{key}={strange.path}", *more]) == 2
        said = capsys.readouterr().err
        assert "config.yaml cannot be read as a config" in said and "python/object" in said and len(said) < 500
    preset = mark.parent / "theirs" / "connector" / "nice.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text(f"defaults: [mlp]\nhidden: {tag.format(mark=mark)}\n")
    assert main(["plan", "--config-dir", str(preset.parents[1]), "connector=nice"]) == 2
    assert "python/object" in capsys.readouterr().err and not mark.exists()


def test_a_folder_of_presets_that_keeps_to_itself_is_used(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "connector" / "nice.yaml"
    file.parent.mkdir()
    file.write_text("defaults: [mlp]\ndepth: 3\n")
    assert main(["plan", "--config-dir", str(tmp_path), "connector=nice"]) == 0
    assert "mlp" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model/nice.yaml", "# @package _global_\nhydra:\n  callbacks:\n    x: {touch}\n"),
        ("model/nice.yaml", "# @package hydra.callbacks\nx: {touch}\n"),
        ("model/nice.yaml", "# @package _global_\nhydra: {{launcher: {{_target_: pathlib.Path.touch}}}}\n"),
        ("model/nice.yaml", "# @package _global_\nhydra: {{job: {{env_set: {{PYTHONSTARTUP: x}}}}}}\n"),
        ("train.yaml", "defaults: [run_schema, _self_]\nhydra: {{callbacks: {{x: {touch}}}}}\n"),
    ],
)
def test_a_folder_of_presets_has_no_say_in_hydra(
    mark: Path, name: str, text: str, capsys: pytest.CaptureFixture
) -> None:
    """Which makes objects of the classes named there, before any of our code is asked."""
    touch = f"{{_target_: pathlib.Path.touch, _args_: [{{_target_: pathlib.Path, _args_: [{mark}]}}]}}"
    file = mark.parent / "theirs" / name
    file.parent.mkdir(parents=True)
    file.write_text(text.format(touch=touch))
    words = ["model=nice"] if name.startswith("model") else []
    assert main(["plan", "--config-dir", str(mark.parent / "theirs"), *words]) == 2
    assert "could run code" in capsys.readouterr().err and not mark.exists()


def test_nor_has_it_by_another_way_to_the_folder(mark: Path, capsys: pytest.CaptureFixture) -> None:
    file = mark.parent / "theirs" / "model" / "nice.yaml"
    file.parent.mkdir(parents=True)
    call = f"_target_: pathlib.Path.touch, _args_: [{{_target_: pathlib.Path, _args_: [{mark}]}}]"
    file.write_text(f"# @package _global_\nhydra: {{callbacks: {{x: {{{call}}}}}}}\n")
    sweep = ["-m", "model=videollama2_7b,nice"]
    for flag, *words in (["-cd", *sweep], ["--config-di", "model=nice"], ["-cp", "model=nice"]):
        assert main(["plan", flag, str(mark.parent / "theirs"), *words]) == 2
        said = capsys.readouterr().err
        why = {"-cp": "--config-path would hide", "-cd": "could run code"}.get(flag, "no option '--config-di'")
        assert why in said and not mark.exists()


def test_plugin_files_are_named_on_the_command_line_alone(
    strange: RunFolder, mark: Path, capsys: pytest.CaptureFixture
) -> None:
    """Not by a run folder (whose ranks would import them), nor by a preset."""
    code = mark.parent / "evil.py"
    code.write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    put_config(strange, "  paths: []", f"  paths: [{code}]")
    resume(strange)
    assert list(strange.read_config().plugins.paths) == []
    assert "changed: plugins.paths" in capsys.readouterr().err
    preset = mark.parent / "theirs" / "model" / "nice.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text(f"# @package _global_\nplugins:\n  paths: [{code}]\n")
    assert main(["plan", "--config-dir", str(preset.parents[1]), "model=nice"]) == 2
    assert "on the command line only" in capsys.readouterr().err and not mark.exists()


# --- manifests and media ---


def asked_about(folder: Path, path: str) -> Path:
    turns = [{"from": "human", "value": "<image>\nwhat?"}, {"from": "gpt", "value": "red"}]
    file = folder / "rows.json"
    file.write_text(json.dumps([{"id": "one", "image": path, "conversations": turns}]))
    return file


@pytest.mark.parametrize("path", ["../outside.png", "{above}/outside.png", "a/../../outside.png"])
def test_a_path_does_not_leave_the_media_folder(tmp_path: Path, path: str, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "data").mkdir()
    file = asked_about(tmp_path / "data", path.format(above=tmp_path))
    code = main(["train", *training(file), f"runs={tmp_path / 'runs'}"])
    said = capsys.readouterr().err
    assert code == 2 and "is not a file inside the media folder" in said and "Traceback" not in said


def test_a_link_gives_pictures_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Where a link leads is its owner's affair (media live on other disks); what is no picture is not shown."""
    (tmp_path / "data").mkdir()
    (tmp_path / "private").write_text("the private words of somebody")
    (tmp_path / "data" / "link.png").symlink_to(tmp_path / "private")
    file = asked_about(tmp_path / "data", "link.png")
    assert main(["train", *training(file), f"runs={tmp_path / 'runs'}"]) == 2
    said = capsys.readouterr()
    assert "link.png" in said.err and "this is plain text" in said.err
    texts = [path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert texts and not [text for text in (*texts, said.err.encode(), said.out.encode()) if b"private words" in text]


def test_a_decompression_bomb_stops_the_run_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    file = asked_about(tmp_path, "bomb.png")
    assert main(["train", *training(file), f"runs={tmp_path / 'runs'}"]) == 2
    said = capsys.readouterr().err
    assert "bomb.png: the image is too large" in said and "Traceback" not in said
