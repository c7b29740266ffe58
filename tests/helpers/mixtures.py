"""Manifests whose rows have different media, so that batches do, too."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from helpers.clips import ClipSpec, write_clip, write_sound
from PIL import Image

WORDS = ["red", "a much longer answer of many words", "up", "left then right", "blue"]


def mixture(folder: Path, kinds: Sequence[str]) -> Path:
    """A manifest with one row for each of ``kinds``: text, image, video, audio, both (a video with its sound), many
    (two images and a video), or broken (an image that is none). Rows of one kind have different files."""
    rows = [_row(folder, number, kind) for number, kind in enumerate(kinds)]
    file = folder / "mixture.json"
    file.write_text(json.dumps(rows))
    return file


def _row(folder: Path, number: int, kind: str) -> dict[str, object]:
    tags, files = _media(folder, number, kind)
    question = {"from": "human", "value": f"{tags}say word {number}"}
    answer = {"from": "gpt", "value": WORDS[number % len(WORDS)]}
    return {"id": f"row{number}", **files, "conversations": [question, answer]}


def _media(folder: Path, number: int, kind: str) -> tuple[str, dict[str, object]]:
    if kind == "text":
        return "", {}
    if kind == "image":
        return "<image>\n", {"image": _image(folder, number)}
    if kind == "broken":
        (folder / f"{number}.png").write_bytes(b"no picture")
        return "<image>\n", {"image": f"{number}.png"}
    if kind == "video":
        return "<video>\n", {"video": _clip(folder, number)}
    if kind == "audio":
        write_sound(folder / f"{number}.wav", "pcm_s16le", seconds=0.5 + 0.1 * number)
        return "<audio>\n", {"audio": f"{number}.wav"}
    if kind == "both":
        return "<video><audio>\n", {"video": _clip(folder, number, sound="aac")}
    assert kind == "many", kind
    images = [_image(folder, 100 + number), _image(folder, 200 + number)]
    return "<image><video><image>\n", {"image": images, "video": _clip(folder, number)}


def _image(folder: Path, number: int) -> str:
    pixels_YXC = np.random.default_rng(number).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels_YXC).save(folder / f"{number}.png")
    return f"{number}.png"


def _clip(folder: Path, number: int, sound: str | None = None) -> str:
    return write_clip(folder, ClipSpec(f"{number}.mp4", frames=12 + number, sound=sound)).name
