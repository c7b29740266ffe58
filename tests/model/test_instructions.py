"""A connector that reads the instruction: features are shared by file, tokens only where the question is equal, too."""

import torch
from helpers.compositions import TINY
from torch import Tensor, nn

from vlframe import Media, Sample, Turn, VideoGrid
from vlframe.data.collate import Collate
from vlframe.model.branch import VideoBranch
from vlframe.model.cache import MediaCache


class Bytes:
    """A text front end: the bytes of the instruction."""

    def encode(self, instruction: str) -> list[int]:
        return list(instruction.encode()) or [0]


class Asking(nn.Module):
    """One token a clip: the mean of the features, moved by the mean embedding of the instruction."""

    expands_images = False
    instruction = Bytes()

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.words = nn.Embedding(256, in_dim)
        self.out = nn.Linear(in_dim, out_dim)

    def tokens(self, grid: VideoGrid) -> int:
        return 1

    def forward(self, features_BTHWD: Tensor, instruction_BI: Tensor) -> Tensor:
        seen_BD = features_BTHWD.flatten(1, 3).mean(1)
        return self.out(seen_BD + self.words(instruction_BI).mean(1))[:, None]


def asking(pipeline):
    """The pipeline with a connector that reads the instruction."""
    from dataclasses import replace

    branch = pipeline.model.branches["video"]
    connector = Asking(branch.encoder.dim, pipeline.model.llm.dim)
    new = VideoBranch(branch.encoder, connector, frames=branch.frames)
    pipeline.model.branches["video"] = new
    return replace(pipeline, budget=replace(pipeline.budget, branches={"video": new}), _loaders={})


def question(clip, text: str, number: int) -> Sample:
    return Sample(f"{number}", (Turn("user", f"<video>\n{text}"), Turn("assistant", "red")), (Media("video", clip),))


def test_two_questions_about_one_clip_share_the_encoder_and_not_the_tokens(registry, tmp_path) -> None:
    from helpers.clips import ClipSpec, write_clip
    from helpers.compositions import tiny_pipeline

    pipeline = asking(tiny_pipeline(registry, *TINY))
    clip = write_clip(tmp_path, ClipSpec("a.mp4", frames=8))
    texts = ["which colour?", "which way does it go?", "which colour?"]
    rows = pipeline.prepared([question(clip, text, n) for n, text in enumerate(texts)], answers=True)
    batch = Collate()([rows[number] for number in range(3)])
    assert [bytes(use.instruction).decode() for use in batch.uses] == texts
    assert len(batch.files) == 1 and [use.file for use in batch.uses] == [0, 0, 0]
    ran, connected = [], []
    model = pipeline.model
    model.branches["video"].encoder.register_forward_hook(lambda _, inputs, __: ran.append(len(inputs[0])))
    model.branches["video"].connector.register_forward_hook(lambda _, inputs, __: connected.append(len(inputs[0])))
    first_E, second_E, third_E = model.connect(model.encode(batch.files), batch.uses)
    assert ran == [1] and sum(connected) == 2
    assert not torch.allclose(first_E, second_E)
    assert torch.equal(first_E, third_E)
    loss = model(batch)
    loss.total.backward()
    assert model.branches["video"].connector.words.weight.grad.abs().sum() > 0


def test_the_cache_tells_questions_apart_and_keeps_the_features(registry, tmp_path) -> None:
    from helpers.clips import ClipSpec, write_clip
    from helpers.compositions import tiny_pipeline

    pipeline = asking(tiny_pipeline(registry, *TINY))
    clip = write_clip(tmp_path, ClipSpec("a.mp4", frames=8))
    cache, ran = MediaCache(8), []
    model = pipeline.model.eval()
    model.branches["video"].encoder.register_forward_hook(lambda *_: ran.append(1))
    tokens = []
    for number, text in enumerate(["which colour?", "which way?", "which colour?"]):
        rows = pipeline.prepared([question(clip, text, number)], answers=False)
        with torch.no_grad():
            tokens.append(model.media(Collate(left=True)([rows[0]]), cache))
    assert len(ran) == 1
    assert torch.equal(tokens[0], tokens[2]) and not torch.allclose(tokens[0], tokens[1])
