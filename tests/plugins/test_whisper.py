"""Whisper's encoder and front end against transformers' own."""

import builtins
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
from vlframe_whisper.encoder import Whisper
from vlframe_whisper.log_mel import LogMel

from vlframe import ConfigError, WeightsError
from vlframe.contracts.meta import meta_build
from vlframe.registry.presets import read_preset
from vlframe.registry.registry import Registry

ROOT = Path(__file__).parents[2]
SMALL = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "num_mel_bins": 20,
    "max_source_positions": 100,
}
DECODER = {
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
    "vocab_size": 60,
    "max_target_positions": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}


def build(**changes: Any) -> Whisper:
    return Whisper(**({"source": None, "architecture": SMALL, "seconds": None} | changes)).eval()


def save_full(folder: Path) -> WhisperForConditionalGeneration:
    torch.manual_seed(0)
    full = WhisperForConditionalGeneration(WhisperConfig(**SMALL, **DECODER)).eval()
    full.save_pretrained(folder)
    return full


@pytest.mark.parametrize("samples", [16000, 32000, 50000])
@pytest.mark.parametrize("mels", [20, 80, 128])
def test_log_mels_equal_the_feature_extractor(samples: int, mels: int) -> None:
    wave = np.random.default_rng(0).uniform(-1, 1, samples).astype(np.float32)
    wave *= np.linspace(0, 1, samples, dtype=np.float32) ** 4
    extractor = WhisperFeatureExtractor(feature_size=mels, chunk_length=2)
    expected_MF = extractor(wave, sampling_rate=16000, return_tensors="pt")["input_features"][0]
    spec = LogMel(seconds=2.0, mels=mels)
    assert pickle.loads(pickle.dumps(spec)) == spec
    torch.testing.assert_close(spec.features(torch.from_numpy(wave)), expected_MF.T, atol=1e-4, rtol=1e-4)


def test_the_published_window_is_3000_frames_of_80() -> None:
    assert LogMel(seconds=30.0, mels=80).features(torch.zeros(10)).shape == (3000, 80)


@pytest.mark.parametrize("part", ["whole", "model", "encoder"])
def test_a_loaded_encoder_is_that_of_the_full_model(part: str, tmp_path: Path) -> None:
    full = save_full(tmp_path)
    if part != "whole":
        (full.model if part == "model" else full.model.encoder).save_pretrained(tmp_path)
    encoder = build(source=str(tmp_path))
    features_BFM = torch.randn(2, 200, 20)
    with torch.no_grad():
        expected_BAD = full.model.encoder(features_BFM.transpose(1, 2)).last_hidden_state
        torch.testing.assert_close(encoder(features_BFM), expected_BAD)
    assert not any("decoder" in key for key in encoder.state_dict())


def test_a_shorter_window_uses_the_first_positions() -> None:
    torch.manual_seed(0)
    whole = build()
    short = build(seconds=1.0)
    assert (short.audio.seconds, len(short.audio.features(torch.zeros(5))), short.steps(100)) == (1.0, 100, 50)
    weights = whole.state_dict()
    weights["encoder.embed_positions.weight"] = weights["encoder.embed_positions.weight"][:50]
    short.load_state_dict(weights)
    positions = short.encoder.embed_positions.weight
    torch.testing.assert_close(positions, build().encoder.embed_positions.weight[:50])
    features_BFM = torch.randn(1, 100, 20)
    with torch.no_grad():
        frames = torch.nn.functional.gelu(whole.encoder.conv1(features_BFM.transpose(1, 2)))
        hidden = torch.nn.functional.gelu(whole.encoder.conv2(frames)).transpose(1, 2) + positions
        for layer in whole.encoder.layers:
            hidden = layer(hidden, None)
        torch.testing.assert_close(short(features_BFM), whole.encoder.layer_norm(hidden))


@settings(max_examples=6, deadline=None)
@given(positions=st.integers(10, 60), samples=st.integers(1, 30000))
def test_steps_are_the_length_of_the_features(positions: int, samples: int) -> None:
    encoder = build(architecture=SMALL | {"max_source_positions": positions}).to(torch.bfloat16)
    features_FM = encoder.audio.features(torch.randn(samples))
    with torch.no_grad():
        features_BAD = encoder(features_FM[None])
    assert features_BAD.shape == (1, encoder.steps(len(features_FM)), encoder.dim) == (1, positions, 16)
    assert features_BAD.dtype == torch.bfloat16


def test_a_missing_weight_is_an_error(tmp_path: Path) -> None:
    save_full(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.encoder.layers.1.fc1.bias"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks 1 weights of WhisperEncoder: layers\.1\.fc1\.bias"):
        build(source=str(tmp_path))


def test_a_source_that_disagrees_is_named_field_by_field(tmp_path: Path) -> None:
    save_full(tmp_path)
    with pytest.raises(ConfigError, match="d_model is 32, there 16; encoder_layers is 3, there 2"):
        build(source=str(tmp_path), architecture=SMALL | {"d_model": 32, "encoder_layers": 3})
    assert build(source=str(tmp_path), architecture={}).dim == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": {}}, "architecture is empty"),
        ({"architecture": {"depth": 3}}, "depth, which WhisperConfig does not know"),
        ({"seconds": 3.0}, "seconds is 3.0; this Whisper takes 0.02 to 2"),
        ({"seconds": 0.0}, "seconds is 0.0"),
    ],
)
def test_impossible_parameters_are_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**changes)


@pytest.mark.parametrize(("name", "dim", "seconds"), [("whisper_tiny", 384, 30.0), ("whisper_micro", 32, 4.0)])
def test_presets_are_planned_without_a_file(
    name: str, dim: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry.installed()
    config = read_preset("audio_encoder", name, registry)
    with meta_build():
        registry.build("audio_encoder", config)  # the first time imports what it needs

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise AssertionError(f"planning opened {args[0]}")

        monkeypatch.setattr(builtins, "open", refuse)
        monkeypatch.setattr("socket.socket.connect", refuse)
        encoder = registry.build("audio_encoder", config)
    assert (encoder.dim, encoder.audio.seconds) == (dim, seconds)
    assert all(parameter.is_meta for parameter in encoder.parameters())
