"""ImageBind's trunks beside the official code: recorded vectors and spectrograms, and its published file."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from vlframe_imagebind.audio import ImageBindAudio
from vlframe_imagebind.clips import Clips
from vlframe_imagebind.vision import ImageBindVision

from vlframe import ConfigError, WeightsError, default_parameters
from vlframe.contracts.meta import meta_build

PRIOR = Path(__file__).parents[1] / "recordings" / "prior"
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "embed_dim": 12}
BRIEF = {**SMALL, "mels": 32, "frames": 64, "clip_seconds": 0.6, "seconds": 4.0}


def audio(**changes: Any) -> ImageBindAudio:
    return ImageBindAudio(**{**default_parameters("audio_encoder", "imagebind_audio"), **BRIEF, **changes}).eval()


def vision(**changes: Any) -> ImageBindVision:
    sizes = {**SMALL, "image_size": 28}
    return ImageBindVision(**{**default_parameters("encoder", "imagebind_vision"), **sizes, **changes}).eval()


def test_clips_are_those_of_the_official_code() -> None:
    for said in json.loads((PRIOR / "imagebind_audio_frontend.json").read_text())["items"]:
        front = Clips(3600.0, said["clips_per_video"], 2.0, 128, 204)
        samples = round(said["duration"] * 16000)
        assert [list(span) for span in front.spans(samples)] == said["clip_sample_ranges"]


def test_a_spectrogram_is_that_of_the_official_code() -> None:
    """A short recording of two channels, resampled; `vlframe verify` compares the long one too."""
    from torchaudio.functional import resample

    recorded = load_file(PRIOR / "imagebind_audio_frontend.safetensors")
    about = json.loads((PRIOR / "imagebind_audio_frontend.json").read_text())
    wave_CL = resample(recorded["in/b_wave_int16"].float() / 32768, 22050, 16000)
    theirs = recorded["out/b_mel"]
    ours = Clips(3600.0, 3, 2.0, 128, 204).features(wave_CL[0]).unflatten(0, (-1, 204)).transpose(1, 2)[:, None]
    difference = (ours - theirs).abs()
    assert ours.shape == theirs.shape and difference.max() < about["tol"]["atol_max"]
    assert difference.median() < about["tol"]["median"]
    assert (difference > 1e-3).float().mean() < about["tol"]["max_fraction_above_1e-3"]


def test_vectors_have_their_lengths() -> None:
    part, other = audio(), vision()
    features_FM = part.audio.features(torch.randn(40000, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        heard, seen = part(features_FM[None]), other(torch.randn(2, 3, 3, 28, 28))
    assert heard.shape == (1, 3, 12) and part.steps(len(features_FM)) == 3 and seen.shape == (2, 3, 1, 1, 12)
    assert torch.allclose(heard.norm(dim=-1), torch.tensor(20.0)) and torch.allclose(seen.norm(dim=-1), torch.ones(1))


def test_a_moment_of_sound_is_heard_too() -> None:
    features_FM = audio().audio.features(torch.ones(7))
    assert features_FM.shape == (3 * 64, 32) and features_FM.isfinite().all()


@pytest.mark.parametrize("make", [audio, vision])
def test_the_published_file_fills_each_trunk(make: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    one, two = audio(), vision()
    state = {**one.state_dict(), **two.state_dict(), "modality_postprocessors.audio.1.log_logit_scale": torch.ones([])}
    state["modality_trunks.text.blocks.0.norm_1.weight"] = torch.ones(3)
    torch.save(state, tmp_path / "imagebind_huge.pth")
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "same.safetensors")
    for name in ("imagebind_huge.pth", "same.safetensors"):
        filled = make(source=str(tmp_path / name))
        assert all(torch.equal(value, state[key]) for key, value in filled.state_dict().items())
    with meta_build():
        assert next(make(source=str(tmp_path / "gone.pth")).parameters()).is_meta
    with pytest.raises(WeightsError, match="no such file"):
        make(source=str(tmp_path / "gone.pth"))
    del state["modality_heads.audio.0.bias"], state["modality_heads.vision.0.bias"]
    torch.save(state, tmp_path / "torn.pth")
    with pytest.raises(WeightsError, match="1 missing"):
        make(source=str(tmp_path / "torn.pth"))


def test_recomputing_changes_no_gradient() -> None:
    gradients = []
    for again in (False, True):
        torch.manual_seed(0)
        part = vision()
        if again:
            part.enable_gradient_checkpointing()
        part(torch.ones(1, 2, 3, 28, 28).cumsum(3)).sum().backward()
        gradients.append([parameter.grad for parameter in part.parameters()])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("make", "changes", "piece"),
    [
        (audio, {"num_attention_heads": 3}, "multiple"),
        (audio, {"patch_size": 65}, "patch_size is 65"),
        (audio, {"clips": 0}, "clips is 0"),
        (audio, {"clip_seconds": 9.0}, "clip_seconds"),
        (vision, {"image_size": 7}, "image_size is 7"),
        (vision, {"resize": "x"}, "squash"),
    ],
)
def test_a_trunk_that_cannot_be_is_refused(make: Any, changes: dict[str, Any], piece: str) -> None:
    with pytest.raises(ConfigError, match=piece):
        make(**changes)
