"""What a part refuses for one file of a data set names the sample and the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlframe import ConfigError, DataError, Media, Sample, SquarePixels, Turn, VideoInfo
from vlframe.config.schema import MediaConfig, TextConfig
from vlframe.contracts.token_budget import TokenBudget
from vlframe.data.prepare import PreparedSamples
from vlframe.errors import NothingToLearn, PluginError
from vlframe.media.loader import MediaLoader
from vlframe.registry.registry import Registry

PIXELS = SquarePixels(size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
CLIP = Path(__file__)  # any file: the reader below does not open it


class Greys:
    def info(self, path):
        return VideoInfo(frames=9, fps=10.0, height=6, width=8, has_audio=False)

    def frames(self, path, indices):
        return np.zeros((len(indices), 6, 8, 3), np.uint8)


class Wide:
    """A front end that takes no picture of this shape."""

    def layout(self, height, width, frames=1):
        raise ConfigError(f"{width}x{height} is too wide")


class Refuses:
    """A branch whose parts take no clip; ``error`` is what they raise."""

    front_end = PIXELS
    instruction = None
    reads_seconds = False

    def __init__(self, error: Exception) -> None:
        self.error = error

    def tokens(self, kind, shape, tiles=1):
        raise self.error


class TooMany:
    def indices(self, info, start, end, *, training, generator):
        return [0] * 99

    def note(self, info, start, end):
        return ""


def samples(error: Exception, sampler: Any = None, pixels: Any = PIXELS) -> PreparedSamples:
    media = MediaConfig(frames=4, timeout=None, on_error="skip")
    sampler = sampler or Registry.installed().build("sampler", {"name": "uniform"}, frames=4)
    sample = Sample("s7", (Turn("user", "<video>\nwhat?"), Turn("assistant", "grey")), (Media("video", CLIP),))
    loader = MediaLoader(Greys(), media, {"video": pixels}, sampler)
    budget = TokenBudget(100, 4, {"video": Refuses(error)})
    tokenizer = Registry.installed().build("llm", {"name": "causal_lm", **TINY}).tokenizer
    return PreparedSamples([sample], budget=budget, loader=loader, tokenizer=tokenizer, media=media, text=TextConfig())


TINY: dict[str, Any] = dict(Registry.installed().row("llm", "causal_lm").component.example)
NAMED = rf"^sample 's7': {CLIP}: "


@pytest.mark.parametrize("error", [ConfigError("takes 2, 4, 6"), ValueError("takes 2, 4, 6")])
def test_a_refusal_of_grid_or_tokens(error: Exception) -> None:
    with pytest.raises(ConfigError, match=NAMED + "takes 2, 4, 6$"):
        samples(error)[0]


def test_a_refusal_of_the_front_end() -> None:
    with pytest.raises(ConfigError, match=NAMED + "8x6 is too wide$"):
        samples(ValueError(), pixels=Wide())[0]


def test_a_fault_of_a_plugin_keeps_its_kind() -> None:
    with pytest.raises(PluginError, match=NAMED + "promises nothing$"):
        samples(PluginError("promises nothing"))[0]
    with pytest.raises(PluginError, match=NAMED + "the sampler TooMany gives 99 frames"):
        samples(ValueError(), sampler=TooMany())[0]


def test_an_error_that_names_the_file_names_it_once() -> None:
    with pytest.raises(DataError, match=rf"^sample 's7': no grid for {CLIP}$"):
        samples(DataError(f"no grid for {CLIP}"))[0]


class Wrong:
    """A processor that takes no sample."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def write(self, sample, timelines, tokenizer, budget, *, training):
        raise self.error


@pytest.mark.parametrize("kind", [DataError, NothingToLearn])
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("too few turns", "sample 's7': too few turns"),
        ("the turns of sample 's7' are too few", "the turns of sample 's7' are too few"),
        (
            "the option 's7' is twice there",
            "sample 's7': the option 's7' is twice there",
        ),  # the same word, another thing
    ],
)
def test_what_a_processor_finds_wrong_names_the_sample_once(kind: type[Exception], said: str, told: str) -> None:
    prepared = samples(ValueError())
    prepared.processor = Wrong(kind(said))
    with pytest.raises(kind) as refused:
        prepared[0]
    assert str(refused.value) == told
