"""BEATs, element by element against the official code."""

import builtins
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from vlframe_beats.attention import bucket
from vlframe_beats.encoder import Beats
from vlframe_beats.fbank import Fbank
from vlframe_beats.transformer import ScaleGradient

from vlframe import ConfigError, WeightsError
from vlframe.contracts.meta import meta_build
from vlframe.registry.presets import read_preset
from vlframe.registry.registry import Registry

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT / "tests" / "recordings" / "audio"
SMALL = {
    "embed_dim": 48,
    "encoder_layers": 2,
    "encoder_embed_dim": 64,
    "encoder_ffn_embed_dim": 128,
    "encoder_attention_heads": 4,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "num_buckets": 32,
    "max_distance": 64,
}


@pytest.fixture(scope="module")
def recorded() -> dict[str, torch.Tensor]:
    return load_file(RECORDINGS / "beats.safetensors")


@pytest.fixture(scope="module")
def notes() -> dict[str, Any]:
    with safe_open(RECORDINGS / "beats.safetensors", "pt") as file:
        return {key: json.loads(value) for key, value in file.metadata().items() if key != "note"}


@pytest.fixture
def published(recorded: dict[str, torch.Tensor], notes: dict[str, Any], tmp_path: Path) -> Path:
    """A checkpoint laid out as the published ones, classifier and repeated position bias included."""
    weights = {key[2:]: value.float() for key, value in recorded.items() if key.startswith("w/")}
    torch.save({"cfg": notes["cfg"], "model": weights}, tmp_path / "beats.pt")
    return tmp_path / "beats.pt"


def test_features_equal_the_official_model(recorded: dict[str, torch.Tensor], published: Path) -> None:
    encoder = Beats(**SMALL, source=str(published)).eval()
    with torch.no_grad():
        features_BAD = encoder(recorded["fbank"].float())
        torch.testing.assert_close(encoder.encoder.pos_conv[0].weight(), recorded["pos_conv_weight"])
        bias_KAA = encoder.encoder.layers[0].self_attn.relative_attention_bias(32)
    torch.testing.assert_close(bias_KAA, recorded["position_bias"], rtol=0, atol=0)
    torch.testing.assert_close(features_BAD, recorded["features"], atol=5e-6, rtol=1e-5)


def test_training_skips_the_blocks_whose_draw_is_low(
    recorded: dict[str, torch.Tensor], notes: dict[str, Any], published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Beats(**SMALL, source=str(published), encoder_layerdrop=notes["layerdrop"]).train()
    draws = iter(notes["draws"])
    monkeypatch.setattr(torch, "rand", lambda *size: torch.tensor(next(draws)))
    torch.testing.assert_close(encoder(recorded["fbank"].float()), recorded["features_layerdrop"], atol=5e-6, rtol=1e-5)


def test_buckets_and_filter_banks_equal_the_official_ones() -> None:
    front = load_file(RECORDINGS / "beats_front.safetensors")
    assert torch.equal(bucket(torch.arange(-1495, 1496), 320, 800), front["bucket_320_800"].long())
    features_FM = Fbank(seconds=30.0, pad=False, shortest=16).features(front["wave"])
    assert features_FM.shape == (99, 128)
    torch.testing.assert_close(features_FM[::2], front["fbank_every2"], atol=1e-4, rtol=1e-5)


def test_a_sound_is_cut_and_padded_to_the_window() -> None:
    spec = Beats(**SMALL, seconds=2.0).audio
    wave = torch.randn(48000).clamp(-1, 1)
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert spec.features(wave).shape == (198, 128)
    torch.testing.assert_close(spec.features(wave), spec.features(wave[:32000]))
    short = spec.features(wave[:8000])
    assert short.shape == (198, 128)
    torch.testing.assert_close(short[:48], Fbank(2.0, False, 16).features(wave[:8000]))
    assert short[-1].unique().numel() == 1  # silence is the floor of every bin
    assert len(Fbank(2.0, False, 16).features(wave[:10])) == 16
    assert len(Fbank(30.0, True, 16).features(wave)) == 2998


@settings(max_examples=8, deadline=None)
@given(
    frames=st.integers(16, 90),
    patch=st.sampled_from([8, 16, 24]),
    relative=st.booleans(),
    gated=st.booleans(),
    same_width=st.booleans(),
    deep=st.booleans(),
    width=st.sampled_from([15, 16]),
)
def test_steps_are_the_length_of_the_features(
    frames: int, patch: int, relative: bool, gated: bool, same_width: bool, deep: bool, width: int
) -> None:
    frames = max(frames, patch)
    options = {"relative_position_embedding": relative, "gru_rel_pos": gated, "deep_norm": deep, "conv_pos": width}
    encoder = Beats(**(SMALL | options | {"embed_dim": 64 if same_width else 48}), input_patch_size=patch)
    features_BAD = encoder.eval().to(torch.bfloat16)(torch.randn(2, frames, 128))
    assert features_BAD.shape == (2, encoder.steps(frames), encoder.dim)
    assert features_BAD.dtype == torch.bfloat16
    assert any("post_extract_proj" in key for key in encoder.state_dict()) != same_width
    assert any("grep_a" in key for key in encoder.state_dict()) == (gated and relative)


def test_thirty_seconds_are_1496_steps_and_time_comes_first() -> None:
    encoder = Beats(**SMALL).eval()
    assert encoder.steps(2998) == 1496
    fbank = torch.full((1, 48, 128), 15.0)
    changed = fbank.clone()
    changed[:, 16:32, 16:32] += 5  # second moment, second patch of frequency
    seen = []
    encoder.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    encoder(fbank), encoder(changed)
    assert (seen[1] - seen[0]).abs().sum(-1).nonzero().tolist() == [[0, 8 + 1]]


def test_the_gradient_shrinks_at_each_block_and_the_values_do_not() -> None:
    values = torch.randn(3, requires_grad=True)
    scaled = ScaleGradient.apply(ScaleGradient.apply(values, 0.6), 0.6)
    scaled.sum().backward()
    assert torch.equal(scaled, values)
    torch.testing.assert_close(values.grad, torch.full((3,), 0.36))
    gradients = {}
    for ratio in (1.0, 0.5):
        torch.manual_seed(0)
        encoder = Beats(**SMALL, layer_wise_gradient_decay_ratio=ratio).eval()
        encoder(torch.ones(1, 32, 128)).square().sum().backward()
        gradients[ratio] = encoder.layer_norm.weight.grad, encoder.encoder.layers[1].fc1.weight.grad
    torch.testing.assert_close(gradients[0.5][0], gradients[1.0][0] / 4)
    torch.testing.assert_close(gradients[0.5][1], gradients[1.0][1])


def test_a_safetensors_of_our_own_comes_back(tmp_path: Path) -> None:
    encoder = Beats(**SMALL)
    save_file(encoder.state_dict(), tmp_path / "own.safetensors")
    again = Beats(**SMALL, source=str(tmp_path / "own.safetensors"))
    for key, value in encoder.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=0, atol=0)


def test_a_checkpoint_that_does_not_fit_is_explained(published: Path) -> None:
    with pytest.raises(ConfigError, match="encoder_layers is 3, there 2; deep_norm is False, there True; set"):
        Beats(**(SMALL | {"encoder_layers": 3}), deep_norm=False, source=str(published))
    content = torch.load(published, weights_only=True)
    content["model"]["encoder.layers.1.self_attn.relative_attention_bias.weight"] += 1
    torch.save(content, published)
    with pytest.raises(WeightsError, match=r"layers\.1\.self_attn\.relative_attention_bias\.weight is not"):
        Beats(**SMALL, source=str(published))
    del content["model"]["encoder.layers.1.self_attn.relative_attention_bias.weight"]
    del content["model"]["encoder.layers.1.fc1.bias"]
    torch.save(content, published)
    with pytest.raises(WeightsError, match=r"1 missing: encoder\.layers\.1\.fc1\.bias"):
        Beats(**SMALL, source=str(published))
    content["cfg"]["layer_norm_first"] = True
    torch.save(content, published)
    with pytest.raises(ConfigError, match="layer_norm_first is False, there True; only"):
        Beats(**SMALL, source=str(published))
    torch.save(content | {"code": Path}, published)
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        Beats(**SMALL, source=str(published))
    with pytest.raises(WeightsError, match="no such file"):
        Beats(**SMALL, source="absent.pt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_attention_heads": 5}, "encoder_embed_dim=64"),
        ({"conv_pos_groups": 5}, "conv_pos_groups=5"),
        ({"input_patch_size": 129}, "1 to 128"),
        ({"max_distance": 8}, "max_distance=8"),
        ({"encoder_layers": 0}, "at least one"),
        ({"layer_norm_first": True}, "layer_norm_first=True cannot be built"),
        ({"activation_fn": "relu"}, "activation_fn='relu' cannot be built"),
    ],
)
def test_impossible_sizes_are_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Beats(**(SMALL | changes))


@pytest.mark.parametrize(("name", "dim", "millions"), [("beats_iter3", 768, 90.31), ("beats_tiny", 64, 0.1)])
def test_presets_are_planned_without_a_file(
    name: str, dim: int, millions: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry.installed()
    config = read_preset("audio_encoder", name, registry)
    with meta_build():
        registry.build("audio_encoder", config)  # the first time imports what it needs

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise AssertionError(f"planning opened {args[0]}")

        monkeypatch.setattr(builtins, "open", refuse)
        encoder = registry.build("audio_encoder", {**config, "source": "absent.pt"})
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert (encoder.dim, round(count / 1e6, 2)) == (dim, millions)
    assert all(parameter.is_meta for parameter in encoder.parameters())
