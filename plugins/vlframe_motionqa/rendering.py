"""Render a clip's pictures and sound, and write them to an mp4 file.

Shapes: T frames, Y X pixels, C colours, L waveform samples.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random

import av
import numpy as np

from vlframe_motionqa.scenes import CELLS, RADIUS, SLOTS, Beep, Scene, Spot

RGB = {"red": (225, 45, 45), "green": (40, 190, 70), "blue": (60, 90, 245), "yellow": (240, 220, 50)}
SAMPLING_RATE = 16_000
PITCHES = (440, 660, 880)  # Hz


@dataclass(frozen=True)
class Clip:
    """A scene and details irrelevant to its answers. Clips without a question about sound also beep, at any time."""

    scene: Scene
    shift: tuple[float, float]  # of the whole picture right and down, less than one cell
    beep: int  # slot
    pitch: int  # Hz
    grey: int  # of the background
    grain: int  # noise level of the background
    noise: int  # seed of the background and of the hiss

    @classmethod
    def draw(cls, scene: Scene, random: Random) -> "Clip":
        beep = random.randrange(SLOTS)
        return cls(
            scene=scene,
            shift=(random.random() / CELLS, random.random() / CELLS),
            beep=scene.beep if isinstance(scene, Beep) else beep,
            pitch=random.choice(PITCHES),
            grey=random.randrange(10, 60, 10),
            grain=random.choice((0, 0, 4, 8)),
            noise=random.randrange(2**32),
        )


def frames_of(clip: Clip, size: int, frames: int) -> np.ndarray:
    """Return uint8 ``frames_TYXC``; ``frames`` is a multiple of the eight slots, within which nothing moves."""
    grain_YX = np.random.default_rng(clip.noise).integers(-clip.grain, clip.grain + 1, (size, size))
    background_YXC = np.repeat((clip.grey + grain_YX).astype(np.float32)[..., None], 3, axis=2)
    slots_TYXC = np.empty((SLOTS, size, size, 3), np.uint8)
    for slot in range(SLOTS):
        picture_YXC = background_YXC
        for spot in clip.scene.spots(slot):
            cover_YX1 = _cover(spot, clip.shift, size)[..., None]
            picture_YXC = picture_YXC * (1 - cover_YX1) + np.array(RGB[spot.colour], np.float32) * cover_YX1
        slots_TYXC[slot] = np.clip(picture_YXC.round(), 0, 255)
    return np.repeat(slots_TYXC, frames // SLOTS, axis=0)


def waveform_of(clip: Clip, seconds: float) -> np.ndarray:
    """Return mono float32 ``waveform_L``: a quiet hiss, and a beep in the middle four fifths of its slot."""
    hiss_L = np.random.default_rng([clip.noise, 1]).standard_normal(round(seconds * SAMPLING_RATE))
    slot = len(hiss_L) // SLOTS
    start, length = clip.beep * slot + slot // 10, slot * 8 // 10
    fade = np.clip(np.minimum(np.arange(length), np.arange(length)[::-1]) / (0.01 * SAMPLING_RATE), 0, 1)
    waveform_L = (0.002 * hiss_L).astype(np.float32)
    waveform_L[start : start + length] += (
        0.4 * fade * np.sin(2 * np.pi * clip.pitch * np.arange(length) / SAMPLING_RATE)
    )
    return waveform_L


def write_mp4(path: Path, frames_TYXC: np.ndarray, fps: int, waveform_L: np.ndarray) -> None:
    """Write H.264 (yuv420p) and AAC."""
    with av.open(str(path), "w", format="mp4") as container:
        # Without look-ahead, whose decisions are not always reproducible on pictures this small.
        steady = {"x264-params": "rc-lookahead=0:b-adapt=0:scenecut=0"}
        video = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "18", **steady})
        video.height, video.width = frames_TYXC.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        sound = container.add_stream("aac", rate=SAMPLING_RATE, layout="mono", options={"aac_coder": "fast"})
        sound.bit_rate = 48_000
        for picture_YXC in frames_TYXC:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture_YXC, format="rgb24")))
        container.mux(video.encode(None))
        samples = av.AudioFrame.from_ndarray(waveform_L[None], format="fltp", layout="mono")
        samples.sample_rate, samples.time_base, samples.pts = SAMPLING_RATE, Fraction(1, SAMPLING_RATE), 0
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))


def _cover(spot: Spot, shift: tuple[float, float], size: int) -> np.ndarray:
    """Return the share of each pixel that the shape covers, 0 to 1: ``cover_YX``."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    x = at[None, :] - spot.x - shift[0]
    y = at[:, None] - spot.y - shift[1]
    return np.clip(0.5 - _distance(spot.shape, x, y) * size, 0, 1)


def _distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the signed distance to the border, negative inside. Shapes touch all sides of a square of 2 * RADIUS."""
    if shape == "circle":
        return np.hypot(x, y) - RADIUS
    if shape == "square":
        return np.maximum(abs(x), abs(y)) - RADIUS
    if shape == "triangle":
        slope = (2 * abs(x) - y - RADIUS) / 5**0.5
        return np.maximum(y - RADIUS, slope)
    assert shape == "cross"
    bar = 0.25 * RADIUS
    upright = np.maximum(abs(x) - bar, abs(y) - RADIUS)
    return np.minimum(upright, np.maximum(abs(x) - RADIUS, abs(y) - bar))
