"""The kit for plugin authors: broken encoders, data sets, benchmarks and readers are caught and told why."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from helpers.refusals import questions, refusal
from torch import Tensor, nn

import vlframe
from vlframe import testing
from vlframe.registry.registry import Registry
from vlframe.testing import check_benchmark, check_dataset, check_encoder


class Patches(nn.Module):
    dim = 8
    per_frame = True
    pixels = vlframe.SquarePixels(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def __init__(self, *, side: int = 2, missing: str = "") -> None:
        super().__init__()
        self.side = side
        self.patches = nn.Conv2d(3, 8, 8, 8)
        if missing:
            setattr(self, missing, None)

    def grid(self, frames: int, height: int, width: int) -> vlframe.VideoGrid:
        return vlframe.VideoGrid(frames, self.side, self.side)

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        return self.patches(pixels_BTCYX.flatten(0, 1)).movedim(1, -1).unflatten(0, pixels_BTCYX.shape[:2])


class ReadsSource(Patches):
    def __init__(self, *, source: str | None) -> None:
        super().__init__()
        if source is not None:
            Path(source).read_bytes()


class Pairs(Patches):
    """Takes pairs of frames, whatever it says."""

    def __init__(self, *, joins: int) -> None:
        super().__init__()
        self.frames_per_step = joins

    def grid(self, frames: int, height: int, width: int) -> vlframe.VideoGrid:
        if frames % 2:
            raise vlframe.ConfigError("takes pairs")
        return vlframe.VideoGrid(frames // 2, 2, 2)


def test_encoders() -> None:
    message = refusal(check_encoder, ReadsSource, {"source": None})
    assert "source that is not here fails with FileNotFoundError" in message and "vlframe.is_meta()" in message
    check_encoder(Patches)
    assert "grid() says 1x3x3 of 8, gives shape (2, 1, 2, 2, 8)" in refusal(check_encoder, Patches, {"side": 3})
    assert "pixels is None; it must be a vlframe.PixelFrontEnd" in refusal(
        check_encoder, Patches, {"missing": "pixels"}
    )
    assert "dim is None" in refusal(check_encoder, Patches, {"missing": "dim"})
    assert "frames_per_step is 0; it must be" in refusal(check_encoder, Pairs, {"joins": 0})
    assert "frames_per_step = 3, and grid(3, …) refuses 3 frames" in refusal(check_encoder, Pairs, {"joins": 3})


class Questions:
    """A data set of given samples."""

    def __init__(self, *, samples: Sequence[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]


def test_data_sets() -> None:
    good = questions()
    video = vlframe.Media("video", Path("gone.mp4"))
    check_dataset(Questions, {"samples": good})
    for samples, words in (
        ([], "is empty"),
        ([*good, good[0]], "samples 0 and 4 have the same id 'q0'"),
        ([{"id": "a"}], "sample 0 is a dict; it must be a vlframe.Sample"),
        ([replace(good[0], media=(video,))], "has the tags [] in its text and the media ['video']"),
        ([replace(good[0], media=(video,), turns=(vlframe.Turn("user", "<video>?"),))], "gone.mp4, which is not there"),
        ([replace(good[0], answer=None)], "neither an assistant's turn nor an answer"),
        ([replace(good[0], turns=(vlframe.Turn("bot", "Hello"),))], "user, assistant"),
    ):
        assert words in refusal(check_dataset, Questions, {"samples": samples})


class Miscounted(Questions):
    @classmethod
    def entries(cls, *, samples: Sequence[Any]) -> Iterator[vlframe.Entry]:
        return (vlframe.Entry(f"row {at}", sample) for at, sample in enumerate(reversed(samples[:4])))


def test_entries_are_the_samples() -> None:
    good = questions(5)
    assert "entries() gives 4 rows, and the data set has 5 samples" in refusal(
        check_dataset, Miscounted, {"samples": good}
    )
    assert "row 0 of entries() is Entry(where='row 0'" in refusal(check_dataset, Miscounted, {"samples": good[:4]})


class Lenient:
    """Multiple choice that takes any text with the answer's first letter in it as right."""

    max_new_tokens = 8

    def __init__(self, *, dataset: Sequence[vlframe.Sample]) -> None:
        self.samples = list(dataset)

    def parse(self, text: str, sample: vlframe.Sample) -> str | None:
        return text

    def correct(self, answer: str, sample: vlframe.Sample) -> bool:
        return sample.answer[0] in answer


class Blank(Lenient):
    def correct(self, answer, sample):
        return answer.strip() in sample.answer


class Deaf(Lenient):
    def parse(self, text, sample):
        return None


def test_benchmarks() -> None:
    assert "of the options ['red', 'green', 'blue']" in refusal(check_benchmark, Lenient, dataset=questions())
    assert "as a right answer" in refusal(check_benchmark, Blank, dataset=questions())
    assert "does not take the right answer" in refusal(check_benchmark, Deaf, dataset=questions())
    assert "has no questions" in refusal(check_benchmark, Lenient, dataset=[])


def test_readers(registry: Registry) -> None:
    installed = type(registry.build("reader", {"name": "pyav"}))

    class reader(installed):
        def __init__(self) -> None:
            super().__init__(picture_fps=1.0)

    class Backwards(reader):
        def frames(self, path, indices):
            return super().frames(path, indices)[::-1]

    class BlueIsRed(reader):
        def frames(self, path, indices):
            return super().frames(path, indices)[..., ::-1]

    class Sorts(reader):
        def frames(self, path, indices):
            return super().frames(path, sorted(indices))

    class Loud(reader):
        def audio(self, *arguments):
            return super().audio(*arguments) * 2**15

    class Forgiving(reader):
        def audio(self, path, rate, start, end):
            try:
                return super().audio(path, rate, start, end)
            except vlframe.NoAudioTrack:
                return np.zeros(rate, np.float32)

    for broken, words in (
        (Backwards, "is not the picture that was written"),
        (BlueIsRed, "RGB"),
        (Sorts, "frames([17, 3, 3, 22]) are not the same frames"),
        (Loud, "mono float32 in [-1, 1]"),
        (Forgiving, "the sound of a silent film is read without an error; it must raise a vlframe.NoAudioTrack"),
    ):
        broken.__module__, broken.__qualname__ = __name__, broken.__name__
        globals()[broken.__name__] = broken  # so that it can be pickled
        assert words in refusal(testing.check_reader, broken)
