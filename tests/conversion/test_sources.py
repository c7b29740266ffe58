"""Checkpoints of several named files: later ones win, each tensor is accounted for, and formats are told apart."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.compositions import TINY
from safetensors.torch import load_file
from torch import Tensor

import vlframe
from vlframe.cli import main
from vlframe.commands.export import export as export_command
from vlframe.composer.compose import compose, open_registry
from vlframe.config.schema import ExportConfig
from vlframe.config.typed import plain
from vlframe.conversion.formats import check_sources
from vlframe.errors import ConfigError, WeightsError
from vlframe.inference.pipeline import build_pipeline

PLUGIN = Path(__file__).parents[1] / "helpers" / "layered_format.py"


@pytest.fixture(scope="module")
def registry() -> Any:
    return open_registry([str(PLUGIN)])


@pytest.fixture(scope="module")
def parts(registry: Any) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """The config of a small composition, and the state of each of its parts."""
    config = compose("train", [*TINY, "connector=linear"], registry)
    model = build_pipeline(config, registry).model
    said = {part: plain(getattr(config, part)) for part in model.parts}
    said |= {"media": {"frames": int(config.media.frames)}}
    return said, {part: dict(module.state_dict()) for part, module in model.parts.items()}


@pytest.fixture
def files(parts: Any, tmp_path: Path) -> dict[str, Path]:
    """The three files: the base repeats one tensor of the tower, the system's own file two of the base."""
    said, states = parts
    tower = {name: tensor.clone() for name, tensor in states["encoder"].items()}
    tower |= {"norm.weight": torch.full_like(tower["norm.weight"], 1.0), "head.weight": torch.ones(2)}
    base = {"visual_encoder.norm.weight": torch.full_like(tower["norm.weight"], 2.0)}
    base |= {"proj.weight": torch.zeros_like(states["connector"]["weight"]), "itm_head.bias": torch.ones(3)}
    base |= {f"llama_model.{name.removeprefix('lm.')}": tensor for name, tensor in states["llm"].items()}
    own = {"visual_encoder.norm.weight": torch.full_like(tower["norm.weight"], 3.0)}
    own |= {f"module.mistral_proj.{name}": tensor for name, tensor in states["connector"].items()}
    own |= {"qformer.position_ids": torch.arange(4)}
    found = {"tower": tmp_path / "vit.pth", "base": tmp_path / "blip.pth", "source": tmp_path / "own.pth"}
    for key, tensors in (("tower", tower), ("base", base), ("source", own)):
        torch.save({"model": tensors, "epoch": 3}, found[key])
    (tmp_path / "parts.json").write_text(json.dumps(said))
    return found


def others(files: dict[str, Path]) -> dict[str, Path]:
    return {key: files[key] for key in ("base", "tower")}  # not in the order in which they are read


def written(folder: Path, part: str) -> dict[str, Tensor]:
    return load_file(next(folder.glob(f"checkpoints/*/{part}.safetensors")))


def test_later_files_win_in_the_order_of_the_format(files: Any, parts: Any, registry: Any, tmp_path: Path) -> None:
    report = vlframe.convert(files["source"], tmp_path / "ours", sources=others(files), registry=registry)
    assert torch.equal(
        written(tmp_path / "ours", "encoder")["norm.weight"], torch.full_like(parts[1]["encoder"]["norm.weight"], 3.0)
    )
    assert torch.equal(written(tmp_path / "ours", "connector")["weight"], parts[1]["connector"]["weight"])
    rows = {row.name: row for account in report for row in account.tensors}
    norm = rows["visual_encoder.norm.weight"]
    assert (norm.part, norm.became, norm.file) == ("encoder", "loaded", "source:own.pth")
    assert norm.replaced == ("tower:vit.pth", "base:blip.pth")
    assert (rows["proj.weight"].file, rows["proj.weight"].replaced) == ("source:own.pth", ("base:blip.pth",))
    assert (rows["visual_encoder.patches.weight"].file, rows["visual_encoder.patches.weight"].replaced) == (
        "tower:vit.pth",
        (),
    )
    assert (rows["itm_head.bias"].became, rows["itm_head.bias"].part) == ("unused", "")
    assert (rows["visual_encoder.head.weight"].became, rows["visual_encoder.head.weight"].part) == ("unused", "encoder")
    assert rows["qformer.position_ids"].became == "buffer"


def test_every_tensor_of_every_file_is_in_the_account_and_comes_back(files: Any, registry: Any, tmp_path: Path) -> None:
    vlframe.convert(files["source"], tmp_path / "ours", sources=others(files), registry=registry)
    about = json.loads((tmp_path / "ours" / "checkpoint_format.json").read_text())
    assert about["checkpoint_format"] == "layered"
    assert about["sources"] == {key: str(path) for key, path in files.items()}
    merged: dict[str, Tensor] = {}
    for key in ("tower", "base", "source"):
        for name, tensor in torch.load(files[key], weights_only=True)["model"].items():
            name = f"visual_encoder.{name}" if key == "tower" else name.removeprefix("module.")
            merged[name.replace("mistral_proj", "proj")] = tensor
    assert sorted(row["name"] for row in about["tensors"]) == sorted(merged)
    assert vlframe.export(tmp_path / "ours", tmp_path / "back", registry=registry) == "layered"
    back = torch.load(tmp_path / "back" / "all.pth", weights_only=True)["model"]
    assert back.keys() == merged.keys()
    assert all(torch.equal(back[name], merged[name]) and back[name].dtype == merged[name].dtype for name in merged)


def test_the_command_says_the_format_and_the_files(files: Any, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = [f"sources.{key}={path}" for key, path in others(files).items()]
    words += [f"source={files['source']}", f"out={tmp_path / 'ours'}", f"plugins.paths=[{PLUGIN}]"]
    assert main(["convert", *words]) == 0
    printed = capsys.readouterr().out
    assert "is a checkpoint of format 'layered'" in printed
    (encoder,) = [line for line in printed.splitlines() if line.startswith("encoder")]
    assert "tower:vit.pth" in encoder and "source:own.pth (1)" in encoder and "base:" not in encoder


def test_without_a_file_what_it_held_is_missing(files: Any, registry: Any, tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"encoder: \d+ missing: visual_encoder\.positions_PD, visual_encoder\.patches"
    ):
        vlframe.convert(files["source"], tmp_path / "ours", sources={"base": files["base"]}, registry=registry)
    assert not (tmp_path / "ours").exists()


def test_a_name_that_the_table_does_not_know_is_said(files: Any, registry: Any, tmp_path: Path) -> None:
    content = torch.load(files["base"], weights_only=True)
    content["model"]["lost.and.found"] = torch.ones(1)
    torch.save(content, files["base"])
    with pytest.raises(WeightsError, match=r"no part: 1 unexpected: lost\.and\.found"):
        vlframe.convert(files["source"], tmp_path / "ours", sources=others(files), registry=registry)


def test_one_tensor_under_two_spellings_in_one_file_is_refused(files: Any, registry: Any, tmp_path: Path) -> None:
    content = torch.load(files["source"], weights_only=True)
    content["model"]["proj.weight"] = torch.ones(1)
    torch.save(content, files["source"])
    with pytest.raises(
        WeightsError, match=r"has module\.mistral_proj\.weight and proj\.weight, which are two spellings"
    ):
        vlframe.convert(files["source"], tmp_path / "ours", sources=others(files), registry=registry)


def test_a_source_that_the_format_does_not_have_is_refused_with_the_list(
    files: Any, registry: Any, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match=r"takes no source 'towr'.*Did you mean 'tower'\?.*base: what it was built on"
    ):
        vlframe.convert(files["source"], tmp_path / "ours", sources={"towr": files["tower"]}, registry=registry)


def test_a_source_unlike_any_other_is_refused_in_whole_sentences() -> None:
    with pytest.raises(ConfigError, match=r"besides the main one \(source=…\)\. It takes base: what it is$"):
        check_sources("mine", {"source": "", "base": "what it is"}, {"zzz": ""})


def test_a_format_is_recognised_or_asked_for(files: Any, registry: Any, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"vit.pt: no installed format recognises it; name .*installed are blip2, layered, "
    ):
        vlframe.convert(files["tower"].rename(tmp_path / "vit.pt"), tmp_path / "ours", registry=registry)
    for row in registry.rows("checkpoint_format"):
        monkeypatch.setattr(row.load_class(), "recognises", lambda self, source: True)
    with pytest.raises(ConfigError, match=r"layered and .* all recognise it; name the format"):
        vlframe.convert(files["source"], tmp_path / "ours", registry=registry)


def test_a_run_that_came_from_no_checkpoint_says_that_a_format_is_needed(
    parts: Any, registry: Any, tmp_path: Path
) -> None:
    from helpers.runs import save_as_run

    run = save_as_run(
        build_pipeline(compose("train", [*TINY, "connector=linear"], registry), registry), tmp_path / "run"
    )
    with pytest.raises(ConfigError, match=r"in which format it is to be written; give format=<name>: blip2, layered, "):
        vlframe.export(run, tmp_path / "out", registry=registry)
    assert vlframe.export(run, tmp_path / "out", format="layered", registry=registry) == "layered"
    model = torch.load(tmp_path / "out" / "all.pth", weights_only=True)["model"]
    assert {"visual_encoder.norm.weight", "proj.bias"} <= model.keys()


def test_a_run_whose_checkpoint_has_moved_is_written_when_it_is_said_where(
    files: Any, registry: Any, tmp_path: Path
) -> None:
    from helpers.runs import save_as_run

    old, new = tmp_path / "disk", tmp_path / "other"
    vlframe.convert(files["source"], old / "ours", sources=others(files), registry=registry)
    config = compose("train", [*TINY, "connector=linear", f"init.run={old / 'ours'}"], registry)
    run = save_as_run(build_pipeline(config, registry), tmp_path / "run")
    old.rename(new)
    with pytest.raises(ConfigError, match="give format="):  # where it came from is not known
        vlframe.export(run, tmp_path / "none", registry=registry)
    asked = ExportConfig(run=str(run), out=str(tmp_path / "out"), moved={str(old): str(new)})
    assert export_command(asked, registry) == "layered"
    model = torch.load(tmp_path / "out" / "all.pth", weights_only=True)["model"]
    assert {"itm_head.bias", "qformer.position_ids"} <= model.keys()


def test_a_run_that_went_on_gives_back_what_it_never_ran_but_for_parts_swapped_since(
    files: Any, registry: Any, tmp_path: Path
) -> None:
    from helpers.runs import save_as_run

    vlframe.convert(files["source"], tmp_path / "ours", sources=others(files), registry=registry)
    for encoder, kept in (([], True), (["encoder=timm_tiny"], False)):
        words = [word for word in TINY if not (encoder and word.startswith("encoder"))]
        config = compose("train", [*words, *encoder, "connector=linear", f"init.run={tmp_path / 'ours'}"], registry)
        run = save_as_run(build_pipeline(config, registry), tmp_path / f"run{kept}")
        assert vlframe.export(run, tmp_path / f"out{kept}", registry=registry) == "layered"
        model = torch.load(tmp_path / f"out{kept}" / "all.pth", weights_only=True)["model"]
        assert {"itm_head.bias", "qformer.position_ids", "llama_model.model.norm.weight"} <= model.keys()
        assert ("visual_encoder.head.weight" in model) == kept
