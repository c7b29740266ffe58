"""What the tests of the processor `videollama2` share: recordings, tokenizers, and the processor without the loader."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from vlframe_videollama2.processor import OfficialProcessor

from vlframe import (
    PLACEHOLDERS,
    Media,
    Sample,
    SquarePixels,
    Timeline,
    VideoInfo,
)
from vlframe.config.schema import MediaConfig
from vlframe.contracts.batch import Batch
from vlframe.contracts.processor import MediaSource

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "tests" / "recordings" / "processor"
QWENLIKE = ROOT / "tests" / "recordings" / "text" / "qwenlike"
MISTRAL = ROOT.parent / "shared" / "goldens" / "videollama2" / "tokenizers" / "mistral"


@cache
def tokenizer(name: str, template: str | None = None) -> PreTrainedTokenizerFast:
    folder = {"qwenlike": QWENLIKE, "mistral": MISTRAL}[name]
    if not folder.is_dir():
        pytest.skip(f"the Mistral tokenizer (1.8 MB) is not shipped, and there is none in {MISTRAL}")
    loaded = AutoTokenizer.from_pretrained(folder)
    if template:
        loaded.chat_template = template
    return loaded


class Official(OfficialProcessor):
    """What it writes of a sample and sees of a file, without the loader between."""

    def wrote(self, sample: Sample, tokenizer: Any, *, training: bool) -> Any:
        return self.write(sample, [Timeline(item) for item in sample.media], tokenizer, None, training=training)

    def seen(self, media: Media, source: MediaSource) -> Any:
        return self.read(self.timeline(media, source) or Timeline(media), source)


def processor(**settings: Any) -> Official:
    return Official(**settings)


def shown(batch: Batch) -> tuple[list[list[int]], list[list[int]]]:
    """The ids with placeholders where media stand, and the labels, as the official collator lays them out."""
    ids_P = batch.ids_BS.flatten().clone()
    kinds = [batch.files[use.file].kind for use in batch.uses for _ in range(use.tokens)]
    ids_P[batch.slots_N] = torch.tensor([PLACEHOLDERS[kind] for kind in kinds], dtype=torch.long)
    labels_P = torch.full_like(ids_P, -100)
    labels_P[batch.taught_L + 1] = batch.targets_L
    return ids_P.view_as(batch.ids_BS).tolist(), labels_P.view_as(batch.ids_BS).tolist()


def source(training_: bool = False, spec: SquarePixels | None = None, **more: Any) -> MediaSource:
    reader, audio = more.pop("reader", None), more.pop("audio", None)
    spec = spec or SquarePixels(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    sampler = {"name": more.pop("sampling", "uniform"), "fps": more.pop("fps", 1.0)}
    return MediaSource(reader, audio or spec, None, MediaConfig(sampler=sampler, **more), training_)


def clip(frames: int, fps: float, begin: float = 0.0) -> VideoInfo:
    return VideoInfo(frames, fps, height=8, width=8, has_audio=False, begin=begin)


class Greys:
    """A clip of 40 s at 2 frames a second, each frame of one grey."""

    def info(self, path: Path) -> VideoInfo:
        return VideoInfo(frames=80, fps=2.0, height=6, width=8, has_audio=True)

    def frames(self, path: Path, indices: list[int]) -> np.ndarray:
        return np.stack([np.full((6, 8, 3), index, np.uint8) for index in indices])

    def audio(self, path: Path, sampling_rate: int, start: float | None, end: float | None) -> np.ndarray:
        first, stop = round((start or 0) * sampling_rate), round((40 if end is None else end) * sampling_rate)
        return np.arange(first, stop, dtype=np.float32)
