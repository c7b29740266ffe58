"""The kit for plugin authors: broken encoders, data sets, benchmarks and readers are caught and told why."""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.refusals import questions, refusal
from torch import Tensor, nn
from vlframe_readers.pyav import ConfiguredPyavReader

import vlframe
from vlframe import testing
from vlframe.testing import check_benchmark, check_dataset, check_encoder
from vlframe.testing.subject import listening


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


class Shuffled(Questions):
    """Has another order whenever it is built."""

    built = 0

    def __init__(self, *, samples: Sequence[Any]) -> None:
        Shuffled.built += 1
        super().__init__(samples=samples if Shuffled.built % 2 else samples[::-1])


class Growing(Questions):
    built = 0

    def __init__(self, *, samples: Sequence[Any]) -> None:
        Growing.built += 1
        super().__init__(samples=samples[Growing.built % 2 :])


class Streams(Questions):
    """Remembers where it was."""

    last = -1

    def __getitem__(self, index: int) -> Any:
        if index >= len(self.samples):
            raise IndexError(index)
        went_back, self.last = index < self.last, index
        return replace(self.samples[index], category="again" if went_back else "")


def test_a_data_set_is_the_same_whenever_and_however_it_is_read() -> None:
    assert "sample 0 differs when the data set is built again" in refusal(
        check_dataset, Shuffled, {"samples": questions()}
    )
    assert "samples, and 4 when it is built again" in refusal(check_dataset, Growing, {"samples": questions()})
    assert "depends on which were asked for before it" in refusal(check_dataset, Streams, {"samples": questions()})


def test_rows_in_the_middle_are_looked_at() -> None:
    rows = [replace(questions()[0], id=str(number)) for number in range(300)]
    rows[140:170] = [replace(row, answer=None) for row in rows[140:170]]
    assert "nothing to learn or score" in refusal(check_dataset, Questions, {"samples": rows})


class LostOnTheWay(Questions):
    """Leaves its rows behind when it is sent to a data worker."""

    def __getstate__(self) -> dict[str, Any]:
        return {"samples": self.samples[1:]}


class Reseeds(Questions):
    def __getitem__(self, index: int) -> Any:
        random.seed(index)
        return super().__getitem__(index)


def test_single_rows_and_data_workers() -> None:
    rows = [replace(questions()[0], id=str(number)) for number in range(300)]
    for cls, bad, words in (
        (LostOnTheWay, {}, "sample 0 differs in a data worker"),
        (Reseeds, {}, "sample 0 draws from or seeds the global random numbers of random"),
        (Questions, {"id": "141"}, "samples 137 and 141 have the same id '141'"),
        (Questions, {"turns": (vlframe.Turn("assistant", " "),)}, "sample 137 has an assistant's turn without text"),
    ):
        given = [*rows[:137], replace(rows[137], **bad), *rows[138:]]
        assert words in refusal(check_dataset, cls, {"samples": given})


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


class RefusesItself(Questions):
    @staticmethod
    def check_parameters(parameters: dict[str, Any]) -> None:
        raise vlframe.ConfigError(f"dataset.samples has {len(parameters['samples'])} rows")


def test_a_data_set_takes_the_parameters_that_it_is_built_with() -> None:
    assert "check_parameters() of the parameters" in refusal(check_dataset, RefusesItself, {"samples": questions(5)})


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


class Exact(Lenient):
    def correct(self, answer, sample):
        return answer == sample.answer


class Within(Lenient):
    def correct(self, answer, sample):
        found = [option for option in sample.options if option in answer]
        return found == [sample.answer]


class AnyMention(Lenient):
    def correct(self, answer, sample):
        return sample.answer in answer.replace(",", " ").split()


class Reordered(Lenient):
    built = 0

    def __init__(self, *, dataset):
        super().__init__(dataset=dataset)
        Reordered.built += 1
        self.samples = [
            replace(row, options=row.options if Reordered.built % 2 else row.options[::-1]) for row in self.samples
        ]


class Careful(Lenient):
    """Sound: reads a word, however it is written."""

    def parse(self, text, sample):
        return text.strip().rstrip(".").lower() or None

    def correct(self, answer, sample):
        return answer == sample.answer

    def rotated(self, sample):
        return replace(sample, options=sample.options[1:] + sample.options[:1])


class SmallLetters(Careful):
    def parse(self, text, sample):
        return text.strip().rstrip(".") or None


class Beginnings(Careful):
    def correct(self, answer, sample):
        return sample.answer.startswith(answer)


class Mentions(Careful):
    """Finds a word wherever it stands alone, and once among the options."""

    def parse(self, text, sample):
        said = [option for option in sample.options if re.search(rf"\b{option}\b", text.lower())]
        return said[0] if len(said) == 1 else None


class Guesses(Careful):
    def parse(self, text, sample):
        return text if text in sample.options else random.choice(sample.options)


class Once(Careful):
    def correct(self, answer, sample):
        first = sample.id not in self.__dict__.setdefault("seen", set())
        self.seen.add(sample.id)
        return first and super().correct(answer, sample)


class Impossible(Careful):
    max_new_tokens = 1

    def __init__(self, *, dataset):
        self.samples = [replace(row, answer="a red ball", options=()) for row in dataset]


class OneId(Careful):
    def __init__(self, *, dataset):
        self.samples = [replace(row, id="q") for row in dataset]


class StaysInPlace(Careful):
    def rotated(self, sample):
        return sample


class ForgetsTheAnswer(Careful):
    def rotated(self, sample):
        options = sample.options[1:] + sample.options[:1]
        return replace(sample, options=options, answer=options[sample.options.index(sample.answer)])


class WrongCandidates(Careful):
    def candidates(self, sample):
        return ["purple", "yellow"]


def test_benchmarks_and_what_models_write() -> None:
    check_benchmark(Careful, dataset=questions())
    for broken, words in (
        (SmallLetters, "written as a sentence, 'Red.'"),
        (Beginnings, "takes 'r' as right in question 0"),
        (Mentions, "takes 'not red' as right in question 0, where 'red' is"),
        (Guesses, "global random numbers of random"),
        (Once, "otherwise when it is asked again"),
        (Impossible, "max_new_tokens is 1, and the right answer of question 0, 'a red ball', has 3 words"),
        (OneId, "questions 0 and 1 have the same id 'q'"),
        (StaysInPlace, "in other places"),
        (ForgetsTheAnswer, "makes another option right"),
        (WrongCandidates, "has no right answer among its candidates"),
    ):
        assert words in refusal(check_benchmark, broken, dataset=questions())


def test_benchmarks_that_read_answers_wrongly() -> None:
    for broken, words in (
        (Exact, "does not take the right answer of question 0 with blanks around it"),
        (Within, "takes 'qzredqz' as right in question 0, where 'red' is; it must look at whole words"),
        (AnyMention, "takes the list of all options of question 0, 'red, green, blue', as right"),
        (Reordered, "asks other questions, or in another order, when it is built again"),
    ):
        assert words in refusal(check_benchmark, broken, dataset=questions())


def test_benchmarks() -> None:
    assert "of the options ['red', 'green', 'blue']" in refusal(check_benchmark, Lenient, dataset=questions())
    assert "as a right answer" in refusal(check_benchmark, Blank, dataset=questions())
    assert "does not take the right answer" in refusal(check_benchmark, Deaf, dataset=questions())
    assert "has no questions" in refusal(check_benchmark, Lenient, dataset=[])


class Pyav(ConfiguredPyavReader):
    """The reader that is broken below, one promise at a time."""

    def __init__(self) -> None:
        super().__init__(picture_fps=1.0)


class Backwards(Pyav):
    def frames(self, path, indices):
        return super().frames(path, indices)[::-1]


class BlueIsRed(Pyav):
    def frames(self, path, indices):
        return super().frames(path, indices)[..., ::-1]


class Sorts(Pyav):
    def frames(self, path, indices):
        return super().frames(path, sorted(indices))


class Loud(Pyav):
    def audio(self, *arguments):
        return super().audio(*arguments) * 2**15


class Forgiving(Pyav):
    def audio(self, path, rate, start, end):
        try:
            return super().audio(path, rate, start, end)
        except vlframe.NoAudioTrack:
            return np.zeros(rate, np.float32)


class Lying(Pyav):
    def info(self, path):
        found = super().info(path)
        return replace(found, height=48, width=64) if found.height == 64 else found

    def frames(self, path, indices):
        frames_TYXC = super().frames(path, indices)
        return np.rot90(frames_TYXC, -1, (1, 2)) if frames_TYXC.shape[1] == 64 else frames_TYXC


class OneEar(Pyav):
    def audio(self, path, rate, start, end):
        waveform_L = super().audio(path, rate, start, end)
        spectrum = np.fft.rfft(waveform_L)
        spectrum[int(700 * len(waveform_L) / rate) :] = 0  # as if only the left channel had been read
        return np.fft.irfft(spectrum, len(waveform_L)).astype(np.float32)


class OneRate(Pyav):
    def info(self, path):
        return replace(super().info(path), fps=8.0)


class Conceals(Pyav):
    def frames(self, path, indices):
        try:
            return super().frames(path, indices)
        except vlframe.MediaError:
            if path.name != "damaged.mp4":
                raise
            return np.zeros((len(indices), 48, 64, 3), np.uint8)


class SplitsPaths(Pyav):
    def info(self, path):
        if len(str(path).split()) > 1:
            raise vlframe.MediaError(path, "no such file")
        return super().info(path)


class EvenTimes(Pyav):
    def info(self, path):
        return replace(super().info(path), times=None, end=None)


class Strict(Pyav):
    def audio(self, path, rate, start, end):
        if end is not None and end > self.info(path).seconds:
            raise ValueError("beyond the end")
        return super().audio(path, rate, start, end)


class ClosedFile(Pyav):
    def __init__(self):
        super().__init__()
        self.handle = object()

    def __getstate__(self):
        return {key: value for key, value in self.__dict__.items() if key != "handle"}

    def frames(self, path, indices):
        assert self.handle
        return super().frames(path, indices)


class Remembers(Pyav):
    def __init__(self):
        super().__init__()
        self.read = {}

    def frames(self, path, indices):
        return self.read.setdefault((str(path), tuple(indices)), super().frames(path, indices)).copy()


class TellsTimes(Pyav):
    """Sound: says the same in other words."""

    def info(self, path):
        found = super().info(path)
        times = tuple(found.time(index) for index in range(found.frames))
        return replace(found, times=times, end=times[0] + found.seconds, fps=found.fps * (1 + 1e-9))


def test_a_reader_may_tell_times_in_either_way() -> None:
    testing.check_reader(TellsTimes)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (Remembers, "gives what a file held before it was written again"),
        (SplitsPaths, "info() is refused"),
        (EvenTimes, "of a clip in which they are shown at [0.0, 0.125, 0.25, 0.875, 1.0, 2.0, 2.125] s"),
        (Strict, "audio() at 16000 Hz from 2.5 to 9.0 fails with ValueError: beyond the end"),
        (ClosedFile, "frames() in a data worker, which gets the reader pickled, fails with AttributeError"),
        (Lying, "shown rotated by a quarter; pictures are upright"),
        (OneEar, "has the tone of one of them only"),
        (OneRate, "fps=8.0"),
        (Conceals, "a film that is damaged inside is read without an error"),
        (Backwards, "is not the picture that was written"),
        (BlueIsRed, "RGB"),
        (Sorts, "frames([17, 3, 3, 22]) are not the same frames"),
        (Loud, "mono float32 in [-1, 1]"),
        (Forgiving, "the sound of a silent film is read without an error; it must raise a vlframe.NoAudioTrack"),
    ],
)
def test_readers(broken: type, words: str) -> None:
    assert words in refusal(testing.check_reader, broken)


class OwnFormat:
    def info(self, path):
        raise vlframe.MediaError(f"{path.name}: not a .raw file")


class OwnFormatOfNothing:
    """A reader of another format that does not say so in its error."""

    def info(self, path):
        raise KeyError(path.name)


def test_a_reader_of_another_format_is_told_what_to_test_itself() -> None:
    with pytest.raises(vlframe.ConfigError) as refused, listening() as steps:
        testing.check_reader(OwnFormat)
    assert "clips are mp4" in str(refused.value)
    assert "silent.mp4: not a .raw file" in str(refused.value)
    assert "test it on a file of that format" in str(refused.value)
    assert steps.passed == ["it pickles, and refuses a file that is not there"]


def test_a_reader_of_another_format_keeps_the_class_of_errors() -> None:
    words = "a file that is not there raises KeyError: 'lost.mp4'; it must be a vlframe.MediaError"
    assert words in refusal(testing.check_reader, OwnFormatOfNothing)
