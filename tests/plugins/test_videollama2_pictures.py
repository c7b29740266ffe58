"""The processor `videollama2`: frames and pictures against the official code."""

import hashlib
import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.videollama2_processor import RECORDINGS, ROOT, Greys, clip, processor, source
from PIL import Image
from safetensors.torch import load_file
from vlframe_videollama2 import video
from vlframe_videollama2.settings import OfficialProcessorParams

from vlframe import (
    Media,
    MediaError,
    SquarePixels,
    VideoInfo,
    midpoints,
)

FRAMES = json.loads((RECORDINGS / "frames.json").read_text())
SAMPLING = json.loads((ROOT / "tests/recordings/preproc/frame_sample.json").read_text())
PIXELS = json.loads((ROOT / "tests/recordings/preproc/pixels.json").read_text())


@pytest.mark.parametrize("count", SAMPLING["uniform"])
def test_uniform_frames(count: str) -> None:
    for length, indices in SAMPLING["uniform"][count].items():
        assert midpoints(int(length), int(count)) == indices


@pytest.mark.parametrize("fps", SAMPLING["fps"])
def test_frames_by_the_second(fps: str) -> None:
    for length, indices in SAMPLING["fps"][fps].items():
        assert video.by_rate(int(length), float(fps), 1.0) == indices


@pytest.mark.parametrize("fps", [24000 / 1001, 30000 / 1001, 60000 / 1001, 12.5])
def test_a_broken_rate_drifts(fps: float) -> None:
    step = int(fps)
    assert video.by_rate(1000, fps, 1.0) == list(range(step // 2, 1000, step))


@pytest.mark.parametrize("index", range(len(FRAMES["bounds"])))
def test_bounds(index: int) -> None:
    frames, fps, start, end, count, indices = FRAMES["bounds"][index]
    media = Media("video", Path("a.mp4"), start, end)
    how = {"frames": count} if count else {"sampling": "fps", "fps": 1.0}
    if isinstance(indices, str):
        with pytest.raises(MediaError, match=r"a\.mp4: no frame lies between"):
            video.sampled(media, clip(frames, fps), source(**how), OfficialProcessorParams())
        return
    assert video.sampled(media, clip(frames, fps), source(**how), OfficialProcessorParams()) == indices


def test_slower_than_the_rate_is_an_error_and_not_a_division_by_zero() -> None:
    media = Media("video", Path("a.mp4"))
    with pytest.raises(MediaError, match=r"it has 0\.5 frames a second, fewer than media\.sampler\.fps=1"):
        video.sampled(media, clip(100, 0.5), source(sampling="fps"), OfficialProcessorParams())


def test_bounds_as_shown_on_request() -> None:
    shown = OfficialProcessorParams(bounds="shown")
    config = source(sampling="fps", fps=30.0)
    for start, end, frames in [(2.0, 5.0, range(60, 150)), (0.1, 0.2, range(3, 6)), (9.5, None, range(285, 300))]:
        media = Media("video", Path("a.mp4"), start, end)
        assert video.sampled(media, clip(300, 30.0), config, shown) == list(frames)
    with pytest.raises(MediaError):
        video.sampled(Media("video", Path("a.mp4"), 11.0, None), clip(300, 30.0), config, shown)


TIMES = (*[k / 2 for k in range(8)], *[4 + k / 20 for k in range(80)])  # 2 frames a second, from second 4 on 20
UNEVEN = VideoInfo(88, 11.0, height=8, width=8, has_audio=False, times=TIMES, end=8.0)


@pytest.mark.parametrize("bounds", ["official", "shown"])
def test_frames_of_a_varying_rate_are_chosen_by_their_times(bounds: str) -> None:
    """At the mean rate, seconds 0 to 4 would be 43 frames, of which 35 are shown later."""
    settings = OfficialProcessorParams(bounds=bounds)

    def seconds(start: float | None, end: float | None, **how: Any) -> list[float]:
        media = Media("video", Path("a.mp4"), start, end)
        return [TIMES[index] for index in video.sampled(media, UNEVEN, source(**how), settings)]

    assert seconds(0, 4, frames=4) == [0.5, 1.5, 2.5, 3.5]
    assert seconds(4, 8, frames=2) == [5.0, 7.0] and seconds(None, None, frames=4) == [1.0, 3.0, 5.0, 7.0]
    assert seconds(None, None, sampling="fps", fps=1.0) == [k + 0.5 for k in range(8)]
    assert seconds(3.9, 4, frames=1) == [3.5]  # shown until second 4
    with pytest.raises(MediaError, match=r"a\.mp4: start=9"):
        seconds(9, 10, frames=1)


def test_a_varying_rate_is_said_of_the_clip() -> None:
    info = SimpleNamespace(info=lambda path: UNEVEN)
    told = processor().timeline(Media("video", Path("a.mp4")), source(reader=info, frames=2))
    assert told is not None and told.note == video.UNEVEN and told.seconds == (2.0, 6.0)


def test_bounds_of_pictures_that_begin_late_are_seconds_of_the_file() -> None:
    """Pictures from second 2 on: second 4 is 2 s after the first of them (the official clock has no sound)."""
    found = video.sampled(
        Media("video", Path("a.mp4"), 4.0, 6.0), clip(100, 10.0, 2.0), source(frames=2), OfficialProcessorParams()
    )
    early = Media("video", Path("a.mp4"), 2.0, 4.0)
    assert found == video.sampled(early, clip(100, 10.0), source(frames=2), OfficialProcessorParams()) == [24, 34]


CLIP_LIKE = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711), "resize": "crop"}
SIGLIP_LIKE = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "resize": "squash"}


def spec_of(processor: str) -> SquarePixels:
    family, size = processor.rstrip("0123456789"), int(processor.lstrip("abcdefghijklmnopqrstuvwxyz"))
    return SquarePixels(size, **(CLIP_LIKE if family == "clip" else SIGLIP_LIKE))


def fit(pad: bool) -> dict[str, str]:
    return {"training_resize": "pad" if pad else "encoder", "inference_resize": "pad" if pad else "encoder"}


def check(frames_TCYX: torch.Tensor, entry: dict[str, Any]) -> None:
    spec = spec_of(entry["processor"])
    assert hashlib.sha256(frames_TCYX.numpy().tobytes()).hexdigest() == entry["sha256_uint8"]
    pixels = spec.normalise(frames_TCYX)
    assert hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest() == entry["sha256_float32"]


@cache
def arrays() -> dict[str, torch.Tensor]:
    upright = load_file(ROOT / "tests/recordings/preproc/pixels.safetensors")["frames"]
    return load_file(RECORDINGS / "frames.safetensors") | {"5x96x60": upright}


@pytest.mark.parametrize("entry", [e for e in FRAMES["pixels"] if not e["folder"]], ids=lambda entry: entry["key"])
def test_short_clips_end_in_black_frames(entry: dict[str, Any]) -> None:
    frames = list(arrays()[entry["frames"]].numpy())
    spec = video.fitted(source(spec=spec_of(entry["processor"])), OfficialProcessorParams(**fit(entry["pad"])))
    frames_TCYX = video.resized(video.with_black(frames, entry["num_frames"]), spec)
    if entry["key"] in arrays():
        torch.testing.assert_close(frames_TCYX[5:], arrays()[entry["key"]], rtol=0, atol=0)
    check(frames_TCYX, entry)


@pytest.mark.parametrize("entry", [e for e in FRAMES["pixels"] if e["folder"]], ids=lambda entry: entry["key"])
def test_folders_of_pictures(entry: dict[str, Any], tmp_path: Path) -> None:
    for number, frame_YXC in enumerate(arrays()[entry["frames"]].numpy()):
        Image.fromarray(frame_YXC).save(tmp_path / f"{number:04d}.png")
    media = Media("video", tmp_path, entry["start"], entry["end"])
    spec = spec_of(entry["processor"])
    frames_TCYX = processor(**fit(entry["pad"])).seen(media, source(spec=spec, frames=entry["num_frames"]))
    check(frames_TCYX, entry)


def test_black_frames_turn_each_time() -> None:
    shapes = [frame.shape for frame in video.with_black([np.ones((6, 9, 3), np.uint8)], 4)]
    assert shapes == [(6, 9, 3), (9, 6, 3), (6, 9, 3), (9, 6, 3)]


def test_names_of_pictures_are_sorted_as_words_and_grey_ones_do_not_fail(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        Image.new("L", (8, 8), number * 20).save(tmp_path / f"frame{number}.png")
    frames_TCYX = processor().seen(Media("video", tmp_path), source(frames=3))
    assert frames_TCYX[:, 0, 0, 0].tolist() == [20, 200, 40]


@pytest.mark.parametrize(
    "entry",
    [entry for entry in PIXELS["entries"] if "image" in entry],
    ids=lambda entry: f"{entry['image']}-{entry['processor']}-{entry['pad']}",
)
def test_images(entry: dict[str, Any]) -> None:
    media = Media("image", ROOT / "tests/recordings/preproc/images" / entry["image"])
    frames_TCYX = processor(**fit(entry["pad"])).seen(media, source(spec=spec_of(entry["processor"])))
    check(frames_TCYX, entry)


def test_images_stay_as_the_camera_lay(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4), (200, 0, 0)).save(tmp_path / "turned.png", exif=exif)
    Image.new("RGB", (4, 2)).save(tmp_path / "broken.png")
    wide, tall = (
        processor(upright=upright, inference_resize="pad").seen(Media("image", tmp_path / "turned.png"), source())
        for upright in (False, True)
    )
    assert not torch.equal(wide, tall) and torch.equal(wide[0].transpose(1, 2), tall[0])
    (tmp_path / "broken.png").write_bytes(b"\0not a picture")
    with pytest.raises(MediaError, match=r"broken\.png: its first bytes are of no picture format"):
        processor().seen(Media("image", tmp_path / "broken.png"), source())


def test_a_real_clip(media_folder: Path, registry: Any) -> None:
    clip = media_folder / "yoga.mp4"
    if not clip.is_file() or hashlib.sha256(clip.read_bytes()).hexdigest() != PIXELS["yoga_sha256"]:
        pytest.skip(f"{clip} is not the clip of the recording")
    bounds = [(None, None), (2.0, 5.0), (5.0, 2.0), (3.0, 3.0), (-1.0, 4.0), (8.5, 100.0)]
    reader = registry.build("reader", {"name": "auto"})
    seen = 0
    for entry in [entry for entry in PIXELS["entries"] if "video" in entry]:
        count = len(entry["indices"])
        how = {"sampling": "fps"} if count == 10 else {"frames": count}
        for start, end in bounds:
            where = source(spec=spec_of(entry["processor"]), reader=reader, **how)
            media = Media("video", clip, start, end)
            if video.sampled(media, reader.info(clip), where, OfficialProcessorParams()) == entry["indices"]:
                check(processor(**fit(entry["pad"])).seen(media, where), entry)
                seen += 1
    assert seen >= len([entry for entry in PIXELS["entries"] if "video" in entry])


def test_only_the_first_frames_of_many_are_seen() -> None:
    clip = Media("video", Path("a.mp4"))
    seen = {
        key: processor(**settings).seen(clip, source(reader=Greys(), **how))[:, 0, 3, 3].tolist()
        for key, settings, how in [
            ("fps", {}, {"sampling": "fps"}),
            ("all", {"max_frames": None}, {"sampling": "fps"}),
            ("uniform", {}, {"frames": 64}),
        ]
    }
    assert seen["all"] == list(range(1, 80, 2)) and seen["fps"] == seen["all"][:32]
    assert seen["uniform"] == midpoints(80, 64)[:32]


def test_frames_are_padded_in_training_and_not_in_inference() -> None:
    clip = Media("video", Path("a.mp4"))
    where = [source(flag, SquarePixels(8, **SIGLIP_LIKE), reader=Greys(), frames=1) for flag in (True, False)]
    padded, squashed = (processor().seen(clip, item) for item in where)
    assert padded[0, :, 0, 0].tolist() == [127] * 3 and squashed[0, :, 0, 0].tolist() == [40] * 3
    assert torch.equal(processor(training_resize="encoder").seen(clip, where[0]), squashed)


def gif(path: Path, pictures: int) -> Path:
    images = [Image.new("RGB", (8, 4), (number * 20, 0, 0)) for number in range(pictures)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=40)
    return path


def test_a_short_gif_ends_in_black(tmp_path: Path, registry: Any) -> None:
    reader = registry.build("reader", {"name": "auto"})
    media = Media("video", gif(tmp_path / "short.gif", 3))
    reds = {
        how: processor(gif=how).seen(media, source(reader=reader, frames=8))[:, 0, 8, 8].tolist()
        for how in ("black", "clip")
    }
    assert reds["black"] == [0, 20, 40, 0, 0, 0, 0, 0]  # each sampled frame once
    assert len(reds["clip"]) == 8 and reds["clip"] == sorted(reds["clip"]) and reds["clip"][-1] > 0
    assert len(processor().seen(media, source(reader=reader, sampling="fps", fps=25.0))) == 3
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    with pytest.raises(MediaError, match=r"broken\.gif"):
        processor().seen(Media("video", tmp_path / "broken.gif"), source(reader=reader))
