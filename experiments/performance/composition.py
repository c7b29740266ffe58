"""The measured composition, a tiny one of the same shape for tests, and the conversations for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlframe.inference.pipeline import Pipeline

SEED = 0


@dataclass(frozen=True)
class Size:
    """Fields of the transformers configs of tower and language model, and the size of the work."""

    tower: dict[str, int]
    llm: dict[str, int]
    frames: int
    clips: int
    questions: int
    new_tokens: int  # of an answer: a letter in brackets and an end; random weights never stop by themselves


SIZES = {
    "full": Size(
        tower={
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "image_size": 224,
            "patch_size": 14,
        },
        llm={
            "vocab_size": 32000,
            "hidden_size": 512,
            "intermediate_size": 1408,
            "num_hidden_layers": 8,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "max_position_embeddings": 2048,
        },
        frames=8,
        clips=12,
        questions=32,
        new_tokens=4,
    ),
    # For a GPU: VideoLLaMA 2's tower (CLIP ViT-L, 336 px), and a quarter of Mistral's depth at half its width.
    "gpu": Size(
        tower={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 336,
            "patch_size": 14,
        },
        llm={
            "vocab_size": 32000,
            "hidden_size": 2048,
            "intermediate_size": 7168,
            "num_hidden_layers": 8,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "max_position_embeddings": 4096,
        },
        frames=8,
        clips=12,
        questions=32,
        new_tokens=4,
    ),
    "small": Size(
        tower={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
        },
        llm={
            "vocab_size": 704,
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
        },
        frames=4,
        clips=2,
        questions=5,
        new_tokens=4,
    ),
}


def open_composition(size: Size, folder: Path) -> Pipeline:
    """Build CLIP -> STC -> Mistral with random weights, as every command does. ``folder`` holds the questions."""
    from vlframe.composer.compose import compose, open_registry
    from vlframe.inference.pipeline import build_pipeline

    registry = open_registry()
    overrides = [
        "encoder=clip",
        f"+encoder.architecture={_spelled(size.tower)}",
        "connector=stc",
        "llm=causal_lm",
        "llm.tokenizer=bundled:tiny",
        f"+llm.architecture={_spelled({'model_type': 'mistral', **size.llm})}",
        f"media.frames={size.frames}",
        "benchmark=multiple_choice_file",
        f"benchmark.dataset.path={folder / 'questions.json'}",
        f"benchmark.max_new_tokens={size.new_tokens}",
        f"seed={SEED}",
    ]
    return build_pipeline(compose("train", overrides, registry), registry)


def _spelled(fields: dict[str, Any]) -> str:
    return "{" + ",".join(f"{name}:{value}" for name, value in fields.items()) + "}"


def write_media(size: Size, folder: Path) -> None:
    """Write clips and a picture of a moving square, and questions distributed evenly over the clips."""
    from PIL import Image

    side = size.tower["image_size"]
    Image.fromarray(_picture(3, 0, side)).save(folder / "picture.png")
    for number in range(size.clips):
        _write_clip(folder / f"clip{number:02d}.mp4", number, side)
    rows = [_question(number, f"clip{number % size.clips:02d}.mp4") for number in range(size.questions)]
    (folder / "questions.json").write_text(json.dumps(rows), encoding="utf-8")


def _write_clip(path: Path, number: int, side: int) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        for index in range(20):
            frame = av.VideoFrame.from_ndarray(_picture(index, number, side), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _picture(index: int, number: int, side: int) -> Any:
    """Return RGB ``frame_YXC``: a square on a gradient, at a place that depends on the frame and the clip."""
    import numpy as np

    y, x = np.mgrid[:side, :side]
    frame_YXC = np.stack([x + 20 * number, y + 10 * number, (x + y) // 2], axis=-1) % 256
    at = (index * 2 + number * 3) % (side - side // 4)
    frame_YXC[at : at + side // 4, side // 3 : side // 3 + side // 4] = 255 - 15 * number
    return frame_YXC.astype(np.uint8)


def _question(number: int, clip: str) -> dict[str, Any]:
    subjects = ("Where does the square go", "What colour is the square", "How fast is the square", "What is seen")
    return {
        "id": f"q{number:02d}",
        "video": clip,
        "conversations": [{"from": "human", "value": f"<video>\n{subjects[number % 4]}, in view {number}?"}],
        "options": ["up", "down", "left", "right"],
        "answer": "ABCD"[number % 4],
    }


def conversations(folder: Path, media: tuple[str | None, ...]) -> list[Any]:
    """Return one sample per entry: about the clip, about the picture, or about nothing (``None``)."""
    from vlframe import Media, Sample, Turn

    question = "what does the square do first, and which way does it move then?"
    answer = (
        "the red square appears at the left, then it moves to the right and down, and it flashes three times "
        "before it stops."
    )
    files = {"video": folder / "clip00.mp4", "image": folder / "picture.png"}
    samples = []
    for number, kind in enumerate(media):
        text = f"<{kind}>\n{question}" if kind else f"{question} {number}"
        items = (Media(kind, files[kind]),) if kind else ()
        samples.append(Sample(f"s{number}", (Turn("user", text), Turn("assistant", answer)), items))
    return samples
