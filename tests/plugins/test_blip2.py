"""BLIP-2 beside the official code: recorded numbers, its file, its first stage."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.bert import WIDTH, WORDS, write_bert
from helpers.recipes import check_recipe
from helpers.twins import small
from safetensors.torch import load_file
from vlframe_blip2.replay import write_official

import vlframe
from vlframe import WeightsError, read_json
from vlframe.composer.compose import compose
from vlframe.conversion.verify import verify

RECORDING = Path(__file__).parents[1] / "recordings" / "prior" / "blip2_qformer.safetensors"


def official(folder: Path) -> tuple[Path, dict[str, Path]]:
    return write_official(folder, read_json(RECORDING.with_suffix(".json"))["config"], load_file(RECORDING))


def test_recorded_outputs_are_met(registry: Any) -> None:
    (found,) = verify([str(RECORDING)], registry=registry)
    outputs = [name for name in load_file(RECORDING) if name.startswith("out/")]
    assert found.compared == len(outputs) == 9 and found.passed, found.rows


def test_the_file_comes_back(tmp_path: Path) -> None:
    source, sources = official(tmp_path)
    vlframe.convert(source, tmp_path / "ours", sources=sources)
    vlframe.export(tmp_path / "ours", tmp_path / "back")
    theirs, ours = (torch.load(path)["model"] for path in (source, tmp_path / "back" / source.name))
    assert theirs.keys() == ours.keys() and all(torch.equal(value, ours[name]) for name, value in theirs.items())
    assert read_json(tmp_path / "back" / "sizes.json") == {"encoder": 1, "connector": 4}


def test_a_file_of_the_second_stage_lies_over_that_of_the_first(tmp_path: Path) -> None:
    source, sources = official(tmp_path)
    whole = torch.load(source)["model"]
    second = {name: 2 * value for name, value in whole.items() if name.startswith(("opt_proj", "query_tokens"))}
    later = tmp_path / "blip2_pretrained_opt_second.pth"
    torch.save({"model": second}, later)
    with pytest.raises(WeightsError, match=r"does not hold .*word_embeddings\.weight.*give sources\.stage1="):
        vlframe.convert(later, tmp_path / "wrong", sources=sources)
    vlframe.convert(later, tmp_path / "ours", sources={**sources, "stage1": source})
    connector = vlframe.load(tmp_path / "ours", device="cpu").model.parts["connector"]
    assert torch.equal(connector.query_tokens, 2 * whole["query_tokens"])
    assert torch.equal(connector.heads.itm_head.weight, whole["itm_head.weight"])


def test_the_official_numbers_are_carried(registry: Any) -> None:
    config = compose("train", ["experiment=blip2/stage1"], registry)
    stage = config.stages["stage1"]
    assert (stage.lr, stage.batch_size, stage.epochs, stage.warmup_steps, stage.weight_decay) == (
        1e-4,
        100,
        10,
        5000,
        0.05,
    )
    assert stage.objective["name"] == "blip2_alignment" and config.connector["alignment"] == 256
    assert (stage.objective["similarity"], stage.objective["contrastive_smoothing"]) == ("max", 0.1)


def test_the_twin_of_the_first_stage(tmp_path: Path, registry: Any) -> None:
    fast = ["trainer.precision=32", "stages.stage1.warmup_steps=1"]
    short = [f"stages.stage1.{said}" for said in ("steps=9", "epochs=null", "batch_size=4", "lr=3e-3")]
    words = small("blip2/stage1", "blip2_tiny", {}, "dataset=motionqa_few", *short, *fast)
    learns = ["encoder.ln_vision.*", "connector.q*", "connector.heads.*"]
    run = check_recipe(words, {"stage1": learns}, tmp_path, registry)
    vlframe.export(run.path, tmp_path / "official", format="blip2", registry=registry)
    held = torch.load(tmp_path / "official" / "blip2_pretrained.pth")["model"]
    assert {"ln_vision.weight", "itm_head.bias", "temp", "Qformer.cls.predictions.bias"} <= held.keys()
    assert not [name for name in held if name.startswith(("opt_", "visual_encoder."))]


def begun(folder: Path) -> Any:
    """The beginning of the first stage, by a ViT of our own names and a small BERT."""
    _, sources = official(folder)
    sources["sizes"].write_text('{"encoder": 1}')
    vlframe.convert(folder / "bert", folder / "begun", sources=sources, format="blip2")
    return vlframe.load(folder / "begun", device="cpu").model.parts


def test_the_first_stage_begins_with_bert(tmp_path: Path) -> None:
    """And its file goes back and forth."""
    state = write_bert(tmp_path / "bert")
    parts = begun(tmp_path)
    connector, layer = parts["connector"], "bert.encoder.layer.1."
    ours = connector.qformer.encoder.layer[1]
    assert torch.equal(ours.intermediate_query.dense.weight, state[f"{layer}intermediate.dense.weight"])
    assert torch.equal(ours.output.LayerNorm.bias, state[f"{layer}output.LayerNorm.bias"])
    assert torch.equal(connector.heads.word_bias[:WORDS], state["cls.predictions.bias"])
    assert connector.heads.vision_proj.weight.shape == (256, WIDTH) and 0.01 < connector.query_tokens.std() < 0.03
    assert not hasattr(ours, "crossattention") and hasattr(connector.qformer.encoder.layer[2], "crossattention")
    accounts = {row["name"]: row["became"] for row in read_json(tmp_path / "begun/checkpoint_format.json")["tensors"]}
    assert accounts["Qformer.bert.pooler.dense.weight"] == "unused"
    assert accounts["Qformer.cls.predictions.decoder.weight"] == "repeated"
    vlframe.export(tmp_path / "begun", tmp_path / "back")
    (tmp_path / "again").mkdir()
    _, sources = official(tmp_path / "again")
    sources["sizes"] = tmp_path / "back" / "sizes.json"
    vlframe.convert(tmp_path / "back" / "blip2_pretrained.pth", tmp_path / "second", sources=sources)
    second = vlframe.load(tmp_path / "second", device="cpu").model.parts["connector"].state_dict()
    assert all(torch.equal(value, second[name]) for name, value in connector.state_dict().items())


def test_what_does_not_begin_the_first_stage(tmp_path: Path) -> None:
    write_bert(tmp_path / "bert")
    source, sources = official(tmp_path)
    with pytest.raises(WeightsError, match=r"sources\.stage1 is of a later one; leave it out"):
        vlframe.convert(tmp_path / "bert", tmp_path / "ours", sources={**sources, "stage1": source}, format="blip2")
    with pytest.raises(WeightsError, match=r"there is no Qformer\.bert\.embeddings\.LayerNorm\.weight; the source is"):
        vlframe.convert(sources["base"], tmp_path / "ours", sources=sources, format="blip2")
