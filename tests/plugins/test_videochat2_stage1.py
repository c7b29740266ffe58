"""VideoChat2's first stage: its numbers, its embedding of frames, its twin, and the file that stage 2 begins with."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.recipes import check_recipe, tensors
from helpers.twins import small
from vlframe_umt.encoder import Umt
from vlframe_videochat2.replay import write_language_model

import vlframe
from vlframe import ConfigError, VideoGrid
from vlframe.composer.compose import compose
from vlframe.model.assemble import compose_on_meta
from vlframe.runs.checkpoint import checkpoints

SMALL = [
    "encoder=umt_tiny", "encoder.frame_embeddings=4", "connector=qformer_instruct_tiny", "connector.text=false",
    "connector.alignment=16", "connector.matching=queries_and_text", "trainer.precision=32",
    "trainer.gradient_checkpointing=false", "stages.stage1.warmup_ratio=0.1",
]  # fmt: skip


def test_the_official_numbers_are_carried(registry: Any) -> None:
    """scripts/videochat_vicuna/config_7b_stage1.py"""
    config = compose("train", ["experiment=videochat2/stage1"], registry)
    stage, connector = config.stages["stage1"], config.connector
    assert (stage.lr, stage.batch_size, stage.epochs, stage.weight_decay) == (1e-4, 128, 10, 0.02)
    assert (stage.schedule, stage.final_lr_ratio, stage.max_grad_norm) == ("cosine_floor", 0.01, 0)
    assert stage.warmup_ratio * stage.epochs == pytest.approx(0.2)
    assert (config.media.frames, config.encoder["frame_embeddings"], config.seed) == (4, 4, 42)
    assert (connector["alignment"], connector["matching"], connector["drop_path"]) == (768, "queries_and_text", 0.2)
    assert (connector["caption_tokens"], connector["temperature"], connector["queries"]) == (32, 0.07, 32)
    said = {name: value for name, value in stage.objective.items() if name != "name"}
    assert said == {
        "contrastive": 1.0, "matching": 1.0, "captioning": 1.0, "similarity": "mean", "contrastive_smoothing": 0.0,
        "captioning_smoothing": 0.1, "negatives": "own_rank", "temperature_bounds": [0.001, 0.5],
    }  # fmt: skip
    assert "llm" not in compose_on_meta(config, registry).parameters


def encoder(frames: int) -> Umt:
    torch.manual_seed(0)
    return Umt(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14,
        colours="clip", resize="crop", frame_embeddings=frames,
    ).eval()  # fmt: skip


def test_frames_have_embeddings_before_the_last_norm() -> None:
    """An image has those of all frames, in turn: officially by broadcasting."""
    ours, plain = encoder(3), encoder(0)
    plain.load_state_dict({name: value for name, value in ours.state_dict().items() if name != "frame_embedding"})
    assert ours.frame_embedding is not None
    for frames in (3, 1):
        pixels_BTCYX = torch.randn(2, frames, 3, 28, 28)
        before_BTLD = plain.intermediates(pixels_BTCYX)["umt_bTLC"]
        expected_BTHWD = plain.vision_layernorm(before_BTLD + ours.frame_embedding).unflatten(2, (2, 2))
        assert ours.grid(frames, 28, 28) == VideoGrid(3, 2, 2)
        torch.testing.assert_close(ours(pixels_BTCYX), expected_BTHWD)
    with pytest.raises(ConfigError, match=r"embeddings for clips of 3 frames .*a clip has 2; take media\.frames=3"):
        ours.grid(2, 28, 28)


def test_the_twin_and_what_stage_2_begins_with(tmp_path: Path, registry: Any) -> None:
    words = small("videochat2/stage1", "videochat2_tiny", {"stage1": "motionqa_few"}, *SMALL)
    learns = [
        "encoder.vision_layernorm.*", "encoder.frame_embedding", "connector.query_tokens", "connector.qformer.*",
        "connector.heads.*",
    ]  # fmt: skip
    run = check_recipe(words, {"stage1": learns}, tmp_path, registry)
    vlframe.export(run.path, tmp_path / "official", format="videochat2", registry=registry)
    source = tmp_path / "official" / "umt_l16_qformer.pth"
    held, trained = torch.load(source), tensors(checkpoints(run)[-1])
    assert torch.equal(held["temp"], trained["connector.heads.temperature"])
    assert torch.equal(held["vision_temp_embed"], trained["encoder.frame_embedding"])
    words_VJ = held["qformer.cls.predictions.decoder.weight"]
    assert torch.equal(words_VJ, held["qformer.bert.embeddings.word_embeddings.weight"])
    assert not [name for name in held if name.startswith(("llama_", "extra_query"))]
    write_language_model(tmp_path / "base", "llama", 32)
    sources = {"base": tmp_path / "base", "sizes": tmp_path / "official" / "sizes.json"}
    vlframe.convert(source, tmp_path / "ours", sources=sources)
    parts = vlframe.load(tmp_path / "ours", device="cpu").model.parts
    for part in ("encoder", "connector"):
        for name, value in parts[part].state_dict().items():
            if f"{part}.{name}" in trained and not name.startswith(("projection", "extra_query")):
                assert torch.equal(value, trained[f"{part}.{name}"]), name
