"""A connector that reads when the frames are shown."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.clips import ClipSpec, write_clip
from helpers.compositions import TINY, tiny_pipeline
from PIL import Image
from torch import Tensor, nn

import vlframe
from vlframe import Media, Sample, Turn, VideoGrid
from vlframe.data.collate import Collate
from vlframe.errors import ConfigError, PluginError
from vlframe.inference.pipeline import Pipeline
from vlframe.model.branch import VideoBranch, of_steps
from vlframe.model.cache import MediaCache
from vlframe.testing import check_connector


class Timed(nn.Module):
    """One token for each time step: its features, and when it is shown. Keeps the seconds of its last call."""

    expands_images = False
    reads_seconds = True

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.out = nn.Linear(in_dim, out_dim)
        self.when = nn.Linear(1, out_dim)

    def tokens(self, grid: VideoGrid) -> int:
        return grid.frames

    def forward(self, features_BTHWD: Tensor, seconds_BT: Tensor) -> Tensor:
        self.seconds_BT = seconds_BT
        return self.out(features_BTHWD.flatten(2, 3).mean(2)) + self.when(seconds_BT[..., None])


class TimedClip(Timed):
    """The same, for which an image is a clip."""

    expands_images = True


class Told(Timed):
    """Reads the question, too."""

    class Front:
        def encode(self, instruction: str) -> list[int]:
            return list(instruction.encode()) or [0]

    instruction = Front()

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__(in_dim, out_dim)
        self.words = nn.Embedding(256, out_dim)

    def forward(self, features_BTHWD: Tensor, instruction_BI: Tensor, seconds_BT: Tensor) -> Tensor:
        return super().forward(features_BTHWD, seconds_BT) + self.words(instruction_BI).mean(1)[:, None]


@pytest.mark.parametrize("connector", [Timed, TimedClip, Told])
def test_the_kit_takes_them(connector: type) -> None:
    check_connector(connector)


def test_the_kit_finds_seconds_that_are_not_used_in_the_row() -> None:
    class Mixed(Timed):
        def forward(self, features_BTHWD: Tensor, seconds_BT: Tensor) -> Tensor:
            return super().forward(features_BTHWD, seconds_BT.mean(0, keepdim=True).expand_as(seconds_BT))

    with pytest.raises(vlframe.testing.ContractError, match="depends on the other rows"):
        check_connector(Mixed)


def with_connector(pipeline: Pipeline, kind: type) -> Pipeline:
    branch = pipeline.model.branches["video"]
    new = VideoBranch(branch.encoder, kind(branch.encoder.dim, pipeline.model.llm.dim), frames=branch.frames)
    pipeline.model.branches["video"] = new.eval()
    return replace(pipeline, budget=replace(pipeline.budget, branches={"video": new}), _loaders={})


def asked(path: Path, kind: str = "video", **bounds: float) -> Sample:
    return Sample("0", (Turn("user", f"<{kind}>\nwhat?"), Turn("assistant", "red")), (Media(kind, path, **bounds),))


def test_they_are_the_timelines_in_batches_caches_and_answers(registry, tmp_path: Path) -> None:
    pipeline = with_connector(tiny_pipeline(registry, *TINY), Timed)
    clip = write_clip(tmp_path, ClipSpec("a.mp4", frames=32))
    samples = [asked(clip), asked(clip, start=0.5)]
    rows = pipeline.prepared(samples, answers=True)
    batch = Collate()([rows[0], rows[1]])
    told = [rows.timelines(sample)[0].seconds for sample in samples]
    torch.testing.assert_close(torch.stack([file.seconds_T for file in batch.files]), torch.tensor(told))
    assert min(told[1]) >= 0.5
    model, connector = pipeline.model, pipeline.model.branches["video"].connector
    model.connect(model.encode(batch.files), batch.uses)
    torch.testing.assert_close(connector.seconds_BT, torch.tensor(told))
    with torch.no_grad():
        whole, cache = model.connect(model.encode(batch.files), batch.uses), MediaCache(8)
        for _ in range(2):  # the second time from the cache
            torch.testing.assert_close(model.media(batch, cache), whole)
    model(batch).total.backward()
    assert connector.when.weight.grad.abs().sum() > 0


def test_an_image_is_at_second_zero(registry, tmp_path: Path) -> None:
    Image.new("RGB", (48, 48)).save(tmp_path / "a.png")
    for kind, frames in ((Timed, 1), (TimedClip, 4)):
        pipeline = with_connector(tiny_pipeline(registry, *TINY), kind)
        batch = Collate()([pipeline.prepared([asked(tmp_path / "a.png", "image")], answers=True)[0]])
        pipeline.model(batch)
        assert torch.equal(pipeline.model.branches["video"].connector.seconds_BT, torch.zeros(1, frames))


def test_an_encoder_that_joins_frames_gives_their_mean() -> None:
    seconds_XT = torch.tensor([[0.0, 1.0, 4.0, 6.0]])
    assert of_steps(seconds_XT, 2).tolist() == [[0.5, 5.0]]
    with pytest.raises(ConfigError, match="makes 3 of 4 frames"):
        of_steps(seconds_XT, 3)


def test_who_reads_no_seconds_carries_none(registry, tmp_path: Path) -> None:
    pipeline = tiny_pipeline(registry, *TINY)
    rows = pipeline.prepared([asked(write_clip(tmp_path, ClipSpec("a.mp4", frames=8)))], answers=True)
    assert rows[0].media[0].file.seconds_T is None


def test_a_timeline_without_seconds_is_one_sentence(registry, tmp_path: Path, monkeypatch) -> None:
    pipeline = with_connector(tiny_pipeline(registry, *TINY), Timed)
    rows = pipeline.prepared([asked(write_clip(tmp_path, ClipSpec("a.mp4", frames=8)))], answers=True)
    timeline = rows.loader.timeline
    monkeypatch.setattr(rows.loader, "timeline", lambda *args: replace(timeline(*args), seconds=()))
    with pytest.raises(PluginError, match="of 4 frames of the kind 'video' 0 have a time"):
        rows[0]
