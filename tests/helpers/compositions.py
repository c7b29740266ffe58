"""Small compositions and batches for tests of the core."""

import torch

from vlframe.app import compose
from vlframe.data.batch import UNLABELLED, Batch, MediaInput
from vlframe.data.placeholders import PLACEHOLDERS
from vlframe.runs.session import Session, open_session

TINY = [
    "encoder=vit_tiny", "encoder.dim=32", "encoder.heads=2", "connector=stc_tiny", "llm=tiny",
    "llm.architecture.hidden_size=48", "llm.architecture.intermediate_size=64",
    "llm.architecture.num_attention_heads=4", "media.frames=4",
]  # fmt: skip
SOUND = ["audio_encoder=beats_tiny"]


def tiny_session(registry, *overrides: str) -> Session:
    """A composition of a few thousand parameters, in eval mode."""
    session = open_session(compose("train", [*TINY, *overrides], registry), registry)
    session.model.eval()
    return session


def clip(session: Session, seed: int, frames: int | None = None) -> MediaInput:
    frames = frames or session.plan.frames
    size = session.plan.pixels.size
    tensor = torch.randint(0, 256, (frames, 3, size, size), generator=torch.manual_seed(seed), dtype=torch.uint8)
    return MediaInput("video", tensor, ("clip", seed, frames), session.plan.tokens("video", frames))


def image(session: Session, seed: int) -> MediaInput:
    size = session.plan.pixels.size
    tensor = torch.randint(0, 256, (1, 3, size, size), generator=torch.manual_seed(seed), dtype=torch.uint8)
    return MediaInput("image", tensor, ("image", seed), session.plan.tokens("image", 1))


def sound(session: Session, seed: int, seconds: float = 1.0) -> MediaInput:
    spec = session.plan.audio
    waveform_L = 0.1 * torch.randn(int(seconds * spec.sampling_rate), generator=torch.manual_seed(seed))
    features_FM = spec.features(waveform_L)
    return MediaInput("audio", features_FM, ("sound", seed, seconds), session.plan.tokens("audio", len(features_FM)))


def row(media: list[MediaInput], text: int, answer: int, seed: int) -> tuple[list[int], list[int], list[MediaInput]]:
    """Random text ids after the media's placeholders; the last ``answer`` of them supervised."""
    words = torch.randint(5, 300, (text,), generator=torch.manual_seed(seed)).tolist()
    ids = [PLACEHOLDERS[item.kind] for item in media for _ in range(item.tokens)] + words
    labels = [UNLABELLED] * (len(ids) - answer) + words[text - answer :]
    return ids, labels, media


def batch(*rows: tuple[list[int], list[int], list[MediaInput]], left: bool = False) -> Batch:
    length = max(len(ids) for ids, _, _ in rows)
    ids_BS = torch.zeros(len(rows), length, dtype=torch.long)
    labels_BS = torch.full_like(ids_BS, UNLABELLED)
    mask_BS = torch.zeros(len(rows), length, dtype=torch.bool)
    for number, (ids, labels, _) in enumerate(rows):
        place = slice(length - len(ids), length) if left else slice(0, len(ids))
        ids_BS[number, place] = torch.tensor(ids)
        labels_BS[number, place] = torch.tensor(labels)
        mask_BS[number, place] = True
    media = tuple(item for _, _, items in rows for item in items)
    return Batch(ids_BS, labels_BS, mask_BS, media, tuple(str(number) for number in range(len(rows))))
