"""``init.run``: a run that begins with the weights of another, or of a converted checkpoint."""

from pathlib import Path

import pytest
import torch
from helpers.compositions import TINY
from helpers.runs import manifest, save_as_run, training
from helpers.twins import open_with_twins
from safetensors.torch import load_file

import vlframe
from vlframe.composer.compose import compose, open_registry
from vlframe.contracts.language_model import padded_layout
from vlframe.errors import ConfigError
from vlframe.inference.pipeline import build_pipeline, load_run
from vlframe.runs.checkpoint import latest
from vlframe.runs.folder import RunFolder
from vlframe.training.run import train

STILL = ["stages.main.lr=1e-60", "stages.main.steps=1"]  # below what float32 can hold: no weight moves


def run(folder: Path, *arguments: str) -> RunFolder:
    registry = open_registry()
    return train(compose("train", [*arguments, f"runs={folder / 'runs'}"], registry), registry)


def state(folder: RunFolder) -> dict[str, torch.Tensor]:
    pipeline, _ = load_run(str(folder.path), open_registry())
    return {
        f"{part}/{key}": value
        for part, module in pipeline.model.parts.items()
        for key, value in module.state_dict().items()
    }


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], *parts: str) -> bool:
    keys = [key for key in one if key.split("/")[0] in parts]
    return bool(keys) and all(torch.equal(one[key], two[key]) for key in keys)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return manifest(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, file: Path) -> RunFolder:
    return run(tmp_path_factory.mktemp("first"), *training(file, "seed=1"))


def test_every_part_begins_where_the_other_run_ended(first: RunFolder, file: Path, tmp_path: Path) -> None:
    second = run(tmp_path, *training(file, "seed=2", f"init.run={first.path}", *STILL))
    assert equal(state(first), state(second), "encoder", "connector", "llm")
    assert list(second.read_config().init.parts) == ["encoder", "connector", "llm"]


def test_some_parts(first: RunFolder, file: Path, tmp_path: Path) -> None:
    words = [f"init.run={first.path}", "init.parts=[llm]", "connector=pool", "connector.frames=2"]
    second = run(tmp_path, *training(file, "seed=2", *words, *STILL))
    assert equal(state(first), state(second), "llm")
    assert not equal(state(first), state(second), "encoder")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["connector=pool"], "connector is 'pool' here and 'stc' in"),
        (["init.parts=[audio_encoder]"], "holds encoder, connector, llm"),
        (["init.parts=[]"], "holds encoder, connector, llm"),
        (["encoder.dim=16"], "misshapen"),
    ],
)
def test_what_does_not_fit_is_said(
    first: RunFolder, file: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises((vlframe.ConfigError, vlframe.WeightsError), match=message):
        run(tmp_path, *training(file, f"init.run={first.path}", *words, *STILL))


def test_parts_of_no_run(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"init\.run says no run"):
        run(tmp_path, *training(file, "init.parts=[llm]", *STILL))


def test_adapters_are_folded_in(file: Path, tmp_path: Path) -> None:
    lora = ["stages.main.llm.train=lora", "stages.main.llm.lora.rank=2", "stages.main.lr=0.01"]
    first = run(tmp_path / "one", *training(file, *lora))
    second = run(tmp_path / "two", *training(file, f"init.run={first.path}", *STILL))
    ids = torch.arange(5, 15)[None]
    layout = padded_layout(torch.ones_like(ids).bool())
    hidden = []
    for folder in (first, second):
        llm = load_run(str(folder.path), open_registry())[0].model.llm
        with torch.no_grad():
            hidden.append(llm(llm.embed(ids), layout))
    torch.testing.assert_close(hidden[0], hidden[1], rtol=1e-5, atol=1e-5)
    assert not any("lora" in key for key in load_file(latest(second).path / "llm.safetensors"))


def test_a_converted_checkpoint_is_trained_by_the_presets_beside_it(file: Path, tmp_path: Path) -> None:
    """What `vlframe convert` prints: its folder of presets, its composition, its weights."""
    from helpers.processes import vlframe as command

    registry = open_with_twins()
    pipeline = build_pipeline(compose("train", ["model=videollama2_tiny", "connector=stc"], registry), registry)
    vlframe.export(save_as_run(pipeline, tmp_path / "run"), tmp_path / "official", format="videollama2")
    pipeline.model.llm.tokenizer.save_pretrained(tmp_path / "official")
    vision = str(tmp_path / "official" / "vision_tower")
    vlframe.convert(tmp_path / "official", tmp_path / "My-7B", sources={"vision": vision})
    words = [word for word in training(file) if word not in TINY]
    begin = ["--config-dir", str(tmp_path / "My-7B" / "conf"), "model=my_7b", f"init.run={tmp_path / 'My-7B'}"]
    command("train", *begin, *words, *STILL, cwd=tmp_path)
    (trained,) = (tmp_path / "runs" / "default").iterdir()
    theirs = state(RunFolder.open(trained))
    for part, module in pipeline.model.parts.items():
        for key, value in module.state_dict().items():
            assert torch.equal(theirs[f"{part}/{key}"], value), key
    vlframe.export(trained, tmp_path / "again", format="videollama2")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("official", "again"))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
