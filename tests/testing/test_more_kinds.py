"""The kit for plugin authors: broken components of the kinds that have no file of their own here are caught and told
why. Each differs from a sound one, which is that of `vlframe plugin new`, in one thing."""

import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from helpers.refusals import refusal

import vlframe
from vlframe import testing
from vlframe.testing.starter import Starter


def begun(kind: str) -> Any:
    """Return the class that a new package of this kind begins with."""
    starter = Starter(kind, f"begun_{kind}")
    module = ModuleType(f"{starter.module}_{kind}")
    sys.modules[module.__name__] = module  # where pickle looks
    exec(compile(starter.files()[f"src/{starter.module}/{kind}.py"], f"{kind}.py", "exec"), module.__dict__)
    return getattr(module, starter.class_name)


def unpickled(cls: type) -> type:
    """Let pickle find a class that is defined inside a test."""
    cls.__module__, cls.__qualname__ = __name__, cls.__name__
    globals()[cls.__name__] = cls
    return cls


Sampler, Pixels, Processor, Format, Watcher, Logger, Hearing = map(
    begun, ("sampler", "pixels", "processor", "checkpoint_format", "callback", "logger", "audio_encoder")
)


class Backwards(Sampler):
    def indices(self, *arguments, **options):
        return super().indices(*arguments, **options)[::-1]


class TooMany(Sampler):
    def indices(self, *arguments, **options):
        return sorted([*super().indices(*arguments, **options), 0])


class OwnChance(Sampler):
    def indices(self, info, start, end, *, training, generator):
        first, stop = vlframe.frame_range(info, start, end)
        return sorted(np.random.default_rng().integers(first, stop, self.frames).tolist())


class WholeClip(Sampler):
    def indices(self, info, start, end, **options):
        vlframe.shown_span(info, start, end)
        return super().indices(info, None, None, **options)


class Seeds(Sampler):
    def indices(self, *arguments, **options):
        np.random.seed(0)
        return super().indices(*arguments, **options)


class EvenTimes(Sampler):
    def indices(self, info, *bounds, **options):
        return super().indices(replace(info, times=None, end=None), *bounds, **options)


class BothBounds(Sampler):
    def indices(self, info, start, end, **options):
        start, end = (None, None) if start is None or end is None else (start, end)
        return super().indices(info, start, end, **options)


def test_samplers_of_long_and_uneven_clips() -> None:
    for broken, words in (
        (Seeds, "draws from or seeds the global random numbers of numpy"),
        (EvenTimes, "which is not shown then"),
        (BothBounds, "which is not shown then"),
    ):
        assert words in refusal(testing.check_sampler, unpickled(broken), {"bend": 1.0})


class Lenient(Sampler):
    def indices(self, info, start, end, **options):
        late = start is not None and start > info.time(0) + info.seconds
        return super().indices(info, None if late else start, None if late else end, **options)


def test_samplers() -> None:
    for broken, words in (
        (Backwards, "they must ascend"),
        (TooMany, "gives 2 indices; it must give 1 to 1"),
        (OwnChance, "the generator is the only source of chance"),
        (WholeClip, "which is not shown then"),
        (Lenient, "they must raise a vlframe.MediaError"),
    ):
        assert words in refusal(testing.check_sampler, unpickled(broken), {"bend": 1.0})


class OtherSize(Pixels):
    def prepare(self, frames_TYXC):
        return super().prepare(frames_TYXC)[..., 1:]


class NotNormalised(Pixels):
    def normalise(self, frames_TCYX):
        return frames_TCYX


def test_front_ends() -> None:
    assert "layout() promises" in refusal(testing.check_pixels, unpickled(OtherSize), {"grey": 1.0})
    assert "normalise gives torch.uint8" in refusal(testing.check_pixels, unpickled(NotNormalised), {"grey": 1.0})


class WritesTheAnswer(Processor):
    def write(self, *arguments, training):
        return super().write(*arguments, training=True)


class TeachesAll(Processor):
    def write(self, *arguments, training):
        written = super().write(*arguments, training=training)
        return replace(written, supervised=[True] * len(written.ids))


class TeachesNothing(Processor):
    def write(self, *arguments, training):
        written = super().write(*arguments, training=training)
        return replace(written, supervised=[False] * len(written.ids))


class LosesMedia(Processor):
    def write(self, *arguments, training):
        written = super().write(*arguments, training=training)
        kept = [(one, taught) for one, taught in zip(written.ids, written.supervised, strict=True) if one >= 0]
        return replace(written, ids=[one for one, _ in kept], supervised=[taught for _, taught in kept])


class Unmarked(Processor):
    def write(self, *arguments, training):
        written = super().write(*arguments, training=training)
        return replace(written, supervised=written.supervised[1:])


class NoEnd(Processor):
    def write(self, *arguments, training):
        written = super().write(*arguments, training=training)
        last = max((place for place, taught in enumerate(written.supervised) if taught), default=-1)
        marks = [taught and place != last for place, taught in enumerate(written.supervised)]
        return replace(written, supervised=marks)


class TeachesTheQuestion(Processor):
    def write(self, *arguments, training):
        written = super().write(*arguments, training=training)
        return replace(written, supervised=[one >= 0 for one in written.ids]) if training else written


class LosesTheQuestion(Processor):
    def write(self, *arguments, training):
        written = super().write(*arguments, training=training)
        kept = 0 if any(one < 0 for one in written.ids[:-12]) else -12
        return replace(written, ids=written.ids[kept:], supervised=written.supervised[kept:])


class Draws(Processor):
    def write(self, *arguments, training):
        np.random.rand()
        return super().write(*arguments, training=training)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (NoEnd, "supervises the answer without an end"),
        (TeachesTheQuestion, "supervises the question, 'What is there?'; only answers are learned"),
        (LosesTheQuestion, "loses the question, 'Which day follows Monday?'"),
        (Draws, "global random numbers of numpy; chance belongs to the run"),
        (WritesTheAnswer, "without its answer writes the answer, which is asked for"),
        (TeachesAll, "supervises a placeholder"),
        (TeachesNothing, "supervises nothing; the answer is what is learned"),
        (LosesMedia, "gives the placeholders [] for the media"),
        (Unmarked, "marks of what is supervised"),
    ],
)
def test_processors(broken: type, words: str) -> None:
    assert words in refusal(testing.check_processor, unpickled(broken), {"line": "Answer:"})


PARTS = {"encoder": {"name": "vit_tiny"}}
TENSORS = {"vision.a.weight": torch.ones(2), "language.b": torch.zeros(3)}


class RecognisesAll(Format):
    def recognises(self, source):
        return True


class Loses(Format):
    def write(self, folder, request):
        super().write(folder, replace(request, tensors={"vision.a.weight": request.tensors["vision.a.weight"]}))


class Rounds(Format):
    def write(self, folder, request):
        rounded = {name: tensor + 1 for name, tensor in request.tensors.items()}
        super().write(folder, replace(request, tensors=rounded))


class Unnamed(Format):
    sources = {"source": ""}  # noqa: RUF012


def test_checkpoint_formats() -> None:
    def check(cls: type) -> None:
        testing.check_checkpoint_format(cls, {"file": "own.safetensors"}, config=PARTS, tensors=TENSORS)

    check(Format)
    for broken, words in (
        (RecognisesAll, "recognises() takes an empty folder, in which there is no checkpoint"),
        (Loses, "write() and read() change language.b"),
        (Rounds, "write() and read() change"),
        (Unnamed, "sources has no words for source"),
    ):
        assert words in refusal(check, broken)


class AnyTensors(Format):
    def recognises(self, source):
        return source.is_dir() and any(source.glob("*.safetensors"))


class Halves(Format):
    def write(self, folder, request):
        super().write(folder, replace(request, tensors={key: item.half() for key, item in request.tensors.items()}))


class KnowsNothing(Format):
    def recognises(self, source):
        if source.name == "checkpoint":
            raise KeyError("model_type")
        return False


def test_formats_and_other_projects() -> None:
    for broken, words in (
        (AnyTensors, "takes a folder with config.json and model.safetensors of another project for one of its own"),
        (Halves, "write() and read() change"),
        (KnowsNothing, "recognises() of what write() has written fails with KeyError"),
    ):
        message = refusal(
            testing.check_checkpoint_format, broken, {"file": "own.safetensors"}, config=PARTS, tensors=TENSORS
        )
        assert words in message


class SavesCode(Watcher):
    def state_dict(self):
        return {"samples": self.samples, "then": print}


class Forgets(Watcher):
    def __init__(self, *, every):
        super().__init__(every=every)
        Forgets.built = getattr(Forgets, "built", 0) + 1
        self.samples = Forgets.built

    def load_state_dict(self, state):
        pass


class NoMetrics(Logger):
    def log_metrics(self, metrics, step=None):
        raise KeyError("epoch")


def test_callbacks_and_loggers() -> None:
    assert "state_dict() holds <built-in function print>" in refusal(testing.check_callback, SavesCode, {"every": 1})
    assert "another state after load_state_dict()" in refusal(testing.check_callback, Forgets, {"every": 1})
    assert "must be a lightning.pytorch.Callback" in refusal(testing.check_callback, dict)
    assert "fails with KeyError" in refusal(testing.check_logger, NoMetrics, {"file": "log.jsonl"})


class DividesByLoudness(Hearing):
    def forward(self, features_BFM):
        return super().forward(features_BFM / features_BFM.std((1, 2), keepdim=True))


class EvenLengths(Hearing):
    def steps(self, frames):
        return max(1, frames // self.stride)


class Reversible(Hearing):
    def forward(self, features_BFM):
        features_BFM = features_BFM - features_BFM.mean((0, 1), keepdim=True)
        return super().forward(features_BFM)


def test_audio_encoders() -> None:
    sizes = {"seconds": 2.0, "stride": 4, "dim": 8}
    testing.check_audio_encoder(Hearing, sizes)
    for broken, words in (
        (DividesByLoudness, "gives NaN or infinity"),
        (EvenLengths, "gives shape"),
        (Reversible, "depends on the other rows"),
    ):
        assert words in refusal(testing.check_audio_encoder, broken, sizes)
