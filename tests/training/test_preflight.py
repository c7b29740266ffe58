"""What is looked at in the data before a run."""

import gc
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers.compositions import tiny_pipeline

from vlframe.contracts.sample import Media, Sample, Turn
from vlframe.errors import ConfigError
from vlframe.training import preflight


@dataclass
class Made:
    """Samples that are made when they are asked for, and how many of them were alive at once."""

    count: int
    odd: dict[int, Sample] = field(default_factory=dict)
    alive: weakref.WeakSet[Sample] = field(default_factory=weakref.WeakSet)
    most: int = 0
    met: int = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Sample:
        turns = (Turn("user", f"<video> {number}?"), Turn("assistant", "x" * (number % 7 + 1)))
        plain = Sample(f"row{number}", turns, (Media("video", Path(f"{number}.mp4")),))
        sample = self.odd.get(number, plain)
        self.alive.add(sample)
        self.met, self.most = self.met + 1, max(self.most, len(self.alive))
        return sample

    def __iter__(self) -> Iterator[Sample]:
        return (self[number] for number in range(self.count))


def test_only_samples_that_differ_stay_in_memory(registry) -> None:
    made = Made(3000)
    gc.collect()
    preflight._check_samples(tiny_pipeline(registry), made)
    assert (made.met, made.most <= 4) == (3000, True)


def test_more_samples_than_the_limit_are_looked_at_spread_over_the_data(
    registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "LOOKED_AT", 100)
    made = Made(250)
    preflight._check_samples(tiny_pipeline(registry), made)
    assert made.met == 84


@pytest.mark.parametrize("place", [0, 77, 299])
def test_a_sample_that_differs_is_found_wherever_it_stands(registry, place: int) -> None:
    heard = Sample("heard", (Turn("user", "<audio>?"), Turn("assistant", "a")), (Media("audio", Path("a.wav")),))
    with pytest.raises(ConfigError, match="heard"):
        preflight._check_samples(tiny_pipeline(registry), Made(300, {place: heard}))
