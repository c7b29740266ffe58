"""Bit for bit what the image processors of the official run gave (tests/recordings/preproc)."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vlframe import ConfigError, SquarePixels
from vlframe.media.images import load_image

FOLDER = Path(__file__).parent.parent / "recordings/preproc"
RECORDING = json.loads((FOLDER / "pixels.json").read_text())
FRAMES = load_file(FOLDER / "pixels.safetensors")
CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
SIGLIP = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def spec_of(processor: str, pad: bool) -> SquarePixels:
    family, size = processor.rstrip("0123456789"), int(processor.lstrip("abcdefghijklmnopqrstuvwxyz"))
    colours, fit = (CLIP, "crop") if family == "clip" else (SIGLIP, "squash")
    return SquarePixels(size=size, **colours, resize="pad" if pad else fit)


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def check(frames_TYXC: np.ndarray, entry: dict) -> torch.Tensor:
    spec = spec_of(entry["processor"], entry["pad"])
    frames_TCYX = spec.prepare(frames_TYXC)
    assert frames_TCYX.shape == (len(frames_TYXC), 3, spec.size, spec.size)
    assert frames_TCYX.dtype == torch.uint8
    assert digest(frames_TCYX) == entry["sha256_uint8"]
    assert digest(spec.normalise(frames_TCYX)) == entry["sha256_float32"]
    return frames_TCYX


@pytest.mark.parametrize(
    "entry",
    [entry for entry in RECORDING["entries"] if "image" in entry],
    ids=lambda entry: f"{entry['image']}-{entry['processor']}-{'pad' if entry['pad'] else 'plain'}",
)
def test_images(entry):
    recorded = FRAMES.get(f"{entry['image']}/{entry['processor']}/{'pad' if entry['pad'] else 'plain'}")
    frames_TYXC = load_image(FOLDER / "images" / entry["image"])
    if recorded is not None:
        spec = spec_of(entry["processor"], entry["pad"])
        torch.testing.assert_close(spec.prepare(frames_TYXC), recorded, rtol=0, atol=0)
    check(frames_TYXC, entry)


@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("processor", ["clip56", "siglip48"])
def test_upright_frames(processor, pad):
    recorded = FRAMES[f"frames/{processor}/{'pad' if pad else 'plain'}"]
    resized = spec_of(processor, pad).prepare(FRAMES["frames"].numpy())
    torch.testing.assert_close(resized, recorded, rtol=0, atol=0)


def test_a_real_clip(media_folder, registry):
    clip = media_folder / "yoga.mp4"
    if not clip.is_file() or hashlib.sha256(clip.read_bytes()).hexdigest() != RECORDING["yoga_sha256"]:
        pytest.skip(f"{clip} is not the clip of the recording")
    reader = registry.build("reader", {"name": "auto"})
    entries = [entry for entry in RECORDING["entries"] if "video" in entry]
    wanted = sorted({index for entry in entries for index in entry["indices"]})
    frames_TYXC = reader.frames(clip, wanted)
    assert len(entries) > 10
    for entry in entries:
        check(frames_TYXC[[wanted.index(index) for index in entry["indices"]]], entry)


def test_bilinear_differs_and_stays_in_range():
    frames_TYXC = FRAMES["frames"].numpy()
    bicubic, bilinear = (SquarePixels(32, **CLIP, resampling=name, resize="crop") for name in ("bicubic", "bilinear"))
    assert not torch.equal(bicubic.prepare(frames_TYXC), bilinear.prepare(frames_TYXC))


def test_pad_keeps_all_of_the_picture_between_bars_of_the_mean_colour():
    wide_TYXC = np.full((1, 20, 40, 3), 255, np.uint8)
    padded = SquarePixels(40, **CLIP, resize="pad").prepare(wide_TYXC)[0]
    assert (padded[:, 15:25] == 255).all()
    assert padded[:, 0, 0].tolist() == [122, 116, 104]
    assert padded[:, -1, -1].tolist() == [122, 116, 104]


@pytest.mark.parametrize(("changes", "words"), [({"resize": "stretch"}, "crop, squash, pad"),
                                                 ({"resampling": "nearest"}, "bicubic, bilinear")])  # fmt: skip
def test_impossible_settings_are_explained(changes, words):
    with pytest.raises(ConfigError, match=words):
        SquarePixels(16, **CLIP, **changes)


def test_pixels_are_normalised_once():
    pixels = SquarePixels(1, **CLIP)
    with pytest.raises(AssertionError, match="bytes until they are normalised"):
        pixels.normalise(pixels.normalise(torch.zeros(1, 3, 1, 1, dtype=torch.uint8)))


def test_normalise_is_exact_to_float32_rounding():
    values_TCYX = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    pixels = SquarePixels(1, **CLIP).normalise(values_TCYX)
    mean, std = (torch.tensor(CLIP[name], dtype=torch.float64).view(3, 1, 1) for name in ("mean", "std"))
    exact = (values_TCYX.double() / 255 - mean) / std
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels.double(), exact, rtol=0, atol=5e-7)
