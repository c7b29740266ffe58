"""Small good files of every supported type, for the study to damage."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from helpers.clips import ClipSpec, picture, write_clip, write_sound

GOP = {"g": "12"}
B_FRAMES = {"g": "12", "bf": "2", "b": "800k"}
UNEVEN = tuple(np.cumsum(np.random.default_rng(0).integers(10, 120, 24)) / 1000)
CLIPS = [
    ClipSpec("h264 sound.mp4", sound="aac"),
    ClipSpec("h264.mkv"),
    ClipSpec("h264.mov"),
    ClipSpec("h264.avi"),
    ClipSpec("h264.ts"),
    ClipSpec("h264.flv", options={"g": "12", "bf": "0"}),
    ClipSpec("raw.h264"),
    ClipSpec("open_gop.mp4", options={"g": "10", "x264-params": "open-gop=1:bframes=3"}),
    ClipSpec("hevc.mp4", "libx265", options={"g": "12", "x265-params": "log-level=none"}),
    ClipSpec("hevc hash.mp4", "libx265", options={"g": "12", "x265-params": "log-level=none:hash=1"}),
    ClipSpec("mpeg4.avi", "mpeg4"),
    ClipSpec("mpeg4.mp4", "mpeg4", options=B_FRAMES),
    ClipSpec("mpeg2.mpg", "mpeg2video", options=B_FRAMES),
    ClipSpec("mjpeg.avi", "mjpeg", pixel_format="yuvj420p"),
    ClipSpec("wmv2.wmv", "wmv2"),
    ClipSpec("vp9 sound.webm", "libvpx-vp9", sound="libopus"),
    ClipSpec("vp8.webm", "libvpx"),
    ClipSpec("vp9.ivf", "libvpx-vp9"),
    ClipSpec("av1.mp4", "libsvtav1", height=64, options={"preset": "10"}),
    ClipSpec("av1.webm", "libsvtav1", height=64, options={"preset": "10"}),
    ClipSpec("ten_bit.mkv", pixel_format="yuv420p10le"),
    ClipSpec("odd_420.mkv", "mpeg4", height=47, width=61),
    ClipSpec("odd_444.mkv", height=47, width=61, pixel_format="yuv444p"),
    ClipSpec("uneven.mp4", frame_times=UNEVEN),
    ClipSpec("uneven.mkv", frame_times=UNEVEN),
    ClipSpec("quarter_turn.mp4", rotation=90, height=56),
    ClipSpec("one_frame.mp4"),
    ClipSpec("anim.gif", "gif", fps=10, pixel_format="rgb8", options={}),
]
SOUNDS = [
    ("a.wav", "pcm_s16le"),
    ("a.flac", "flac"),
    ("a.mp3", "libmp3lame"),
    ("opus.ogg", "libopus"),
    ("a.m4a", "aac"),
    ("a.aac", "aac"),
    ("a.aiff", "pcm_s16be"),
]
IMAGES = ["i.png", "i.jpg", "i.webp", "i.bmp", "i.tiff", "i.gif"]
RATE = 48000


@dataclass(frozen=True)
class Base:
    """A good file; ``reads`` (``frames``, ``sound``, ``image``) is what is read from it and its damaged copies."""

    path: Path
    codec: str
    reads: tuple[str, ...]


def write_bases(folder: Path) -> list[Base]:
    bases = []
    for spec in CLIPS:
        count = 1 if spec.name.startswith("one_") else 24
        path = write_clip(folder, ClipSpec(**{**vars(spec), "frames": count}))
        bases.append(Base(path, spec.codec, ("frames", "sound") if spec.sound else ("frames",)))
    for name, codec in SOUNDS:
        bases.append(Base(write_sound(folder / name, codec, sampling_rate=RATE), codec, ("sound",)))
    for name in IMAGES:
        Image.fromarray(picture(3, 48, 64)).save(folder / name)
        bases.append(Base(folder / name, name.partition(".")[2], ("image",)))
    return bases


def write_oddities(folder: Path) -> dict[str, Path]:
    """Write files that must be refused; return their paths by description."""
    made: dict[str, Callable[[Path], None]] = {
        "an empty file": lambda path: path.write_bytes(b"") and None,
        "a folder": lambda path: path.mkdir(),
        "a link to nothing": lambda path: path.symlink_to(folder / "nowhere.mp4"),
        "text": lambda path: path.write_text("this is not a film\n" * 50) and None,
        "zero frames, mp4": _no_frames,
        "zero frames, mkv": _no_frames,
        "zero frames, avi": _no_frames,
        "noise": lambda path: path.write_bytes(np.random.default_rng(1).bytes(20_000)) and None,
    }
    paths = {}
    for number, (name, make) in enumerate(made.items()):
        suffix = name.rpartition(" ")[2] if name.startswith("zero") else "mp4"
        paths[name] = folder / f"oddity {number}.{suffix}"
        make(paths[name])
    return paths


def _no_frames(path: Path) -> None:
    """Write a container with an empty video stream."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.start_encoding()
