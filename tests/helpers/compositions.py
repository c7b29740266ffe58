"""Small compositions and batches for tests of the core."""

from dataclasses import replace

import torch

from vlframe.composer.compose import compose
from vlframe.contracts.batch import Batch, MediaFile
from vlframe.contracts.modalities import PLACEHOLDERS
from vlframe.data.collate import Collate
from vlframe.data.prepare import PreparedMedia, PreparedSample
from vlframe.inference.pipeline import Pipeline, build_pipeline

TINY = [
    "encoder=vit_tiny", "encoder.dim=32", "encoder.heads=2", "connector=stc_tiny", "llm=tiny",
    "llm.architecture.hidden_size=48", "llm.architecture.intermediate_size=64",
    "llm.architecture.num_attention_heads=4", "media.frames=4",
]  # fmt: skip
SOUND = ["audio_encoder=beats_tiny"]


def tiny_pipeline(registry, *overrides: str) -> Pipeline:
    """A composition of a few thousand parameters, in eval mode."""
    pipeline = build_pipeline(compose("train", [*TINY, *overrides], registry), registry)
    pipeline.model.eval()
    return pipeline


def clip(pipeline: Pipeline, seed: int, frames: int | None = None) -> PreparedMedia:
    frames = frames or pipeline.budget.frames
    return pictures(pipeline, "video", ("clip", seed, frames), frames, seed)


def image(pipeline: Pipeline, seed: int) -> PreparedMedia:
    return pictures(pipeline, "image", ("image", seed), 1, seed)


def pictures(pipeline: Pipeline, kind: str, key: object, frames: int, seed: int) -> PreparedMedia:
    layout = pipeline.budget.front_end(kind).layout(48, 64, frames)
    shape = (frames * layout.tiles, 3, layout.height, layout.width)
    tensor = torch.randint(0, 256, shape, generator=torch.manual_seed(seed), dtype=torch.uint8)
    return PreparedMedia(MediaFile(kind, tensor, key, layout.tiles), pipeline.budget.tokens(kind, shape, layout.tiles))


def sound(pipeline: Pipeline, seed: int, seconds: float = 1.0) -> PreparedMedia:
    spec = pipeline.budget.front_end("audio")
    waveform_L = 0.1 * torch.randn(int(seconds * spec.sampling_rate), generator=torch.manual_seed(seed))
    features_FM = spec.features(waveform_L)
    tokens = pipeline.budget.tokens("audio", tuple(features_FM.shape))
    return PreparedMedia(MediaFile("audio", features_FM, ("sound", seed, seconds)), tokens)


def row(media: list[PreparedMedia], text: int, answer: int, seed: int, name: str = "row") -> PreparedSample:
    """Random text ids after the media's placeholders; the last ``answer`` of them supervised."""
    words = torch.randint(5, 300, (text,), generator=torch.manual_seed(seed)).tolist()
    ids = [PLACEHOLDERS[item.file.kind] for item in media for _ in range(item.tokens)] + words
    supervised = [False] * (len(ids) - answer) + [True] * answer
    return PreparedSample(name, ids, supervised, tuple(media))


def batch(*rows: PreparedSample, left: bool = False) -> Batch:
    return Collate(left=left)([replace(row, id=str(number)) for number, row in enumerate(rows)])
