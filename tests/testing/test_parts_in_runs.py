"""The kit for plugin authors: connectors that are right by themselves and wrong in a run are caught and told why. Each
differs from a sound one in one thing. Sound ones that are unusual pass."""

import gc
import logging
import random
import socket
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from helpers.connectors import Sound
from helpers.refusals import refusal
from PIL import ImageFile
from torch import nn

import vlframe
from vlframe.testing import check_connector


class Views(Sound):
    def mean(self, features_BTHWD):
        rows, frames, height, width, dim = features_BTHWD.shape
        return features_BTHWD.view(rows, frames, height * width, dim).mean(1)


class NotAlone(Sound):
    def forward(self, features_BTHWD):
        if self.training and len(features_BTHWD) == 1:
            raise ValueError("expected more than 1 value per channel")
        return super().forward(features_BTHWD)


class MixesInTraining(Sound):
    def forward(self, features_BTHWD):
        means_BPD = self.mean(features_BTHWD)
        if self.training:
            means_BPD = means_BPD - means_BPD.mean(0)
        return nn.functional.dropout(self.map(means_BPD), 0.1, self.training)


class FourRows(Sound):
    def forward(self, features_BTHWD):
        tokens_BNE = super().forward(features_BTHWD)
        return torch.cat([tokens_BNE[:4], tokens_BNE[: max(0, len(tokens_BNE) - 4)]])


class Places(Sound):
    """Has a table of places, which ends somewhere."""

    frames, patches = 24, 1000

    def __init__(self, *, in_dim, out_dim):
        super().__init__(in_dim=in_dim, out_dim=out_dim)
        self.times, self.places = nn.Embedding(self.frames, in_dim), nn.Embedding(self.patches, in_dim)

    def mean(self, features_BTHWD):
        times_TD = self.times(torch.arange(features_BTHWD.shape[1]))
        means_BPD = super().mean(features_BTHWD + times_TD[:, None, None])
        return means_BPD + self.places(torch.arange(means_BPD.shape[1]))


class FewPlaces(Places):
    frames, patches = 1000, 256


class TimesZero(Sound):
    def __init__(self, *, in_dim, out_dim):
        super().__init__(in_dim=in_dim, out_dim=out_dim)
        self.spare = nn.Linear(in_dim, out_dim)

    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD) + 0 * self.spare(self.mean(features_BTHWD))


class Signs(Sound):
    def __init__(self, *, in_dim, out_dim):
        super().__init__(in_dim=in_dim, out_dim=out_dim)
        self.codes = nn.Linear(in_dim, in_dim)

    def forward(self, features_BTHWD):
        means_BPD = self.mean(features_BTHWD)
        return self.map(means_BPD + self.codes(means_BPD).sign())


class KeepsWeights(Sound):
    """Keeps what it has computed from its weights once."""

    def forward(self, features_BTHWD):
        weight = self.map.weight
        if not self.training and not torch.is_grad_enabled():
            weight = self.__dict__.setdefault("kept", [weight.clone()])[0]
        return nn.functional.linear(self.mean(features_BTHWD), weight, self.map.bias)


class Words:
    def encode(self, text):
        return [1, 2, 3, *(ord(letter) % 7 for letter in text)]


class Asks(Sound):
    """Sound: reads the question."""

    def __init__(self, *, in_dim, out_dim):
        super().__init__(in_dim=in_dim, out_dim=out_dim)
        self.words, self.instruction = nn.Embedding(7, out_dim), Words()

    def forward(self, features_BTHWD, instruction_BI):
        return super().forward(features_BTHWD) + self.words(instruction_BI).mean(1)[:, None]


class OneQuestion(Asks):
    def forward(self, features_BTHWD, instruction_BI):
        return super().forward(features_BTHWD, instruction_BI[:1])


class NoQuestion(Asks):
    def forward(self, features_BTHWD, instruction_BI):
        return super().forward(features_BTHWD, torch.zeros_like(instruction_BI))


class NoSeconds(Sound):
    reads_seconds = True

    def forward(self, features_BTHWD, seconds_BT):
        return super().forward(features_BTHWD)


class RefusesLate(Sound):
    def forward(self, features_BTHWD):
        if features_BTHWD.shape[1] > 4:
            raise vlframe.ConfigError("takes at most 4 frames")
        return super().forward(features_BTHWD)


class NotReady(Sound):
    @property
    def expands_images(self):
        raise RuntimeError("not ready")


class Prints(Sound):
    def forward(self, features_BTHWD):
        print("shape", features_BTHWD.shape)
        return super().forward(features_BTHWD)


CAUGHT = {
    Views: "transposed in memory (.view()?), fails with RuntimeError: view size is not compatible",
    NotAlone: "one row in train mode fails with ValueError",
    MixesInTraining: "depends on the other rows of its batch in train mode",
    FourRows: "seven rows",
    Places: "forward of a 129x2x2 grid",
    FewPlaces: "forward of a 2x27x27 grid",
    TimesZero: "the gradient of spare is 0 everywhere",
    Signs: "the gradient of codes is 0 everywhere",
    KeepsWeights: "computed from the weights before and kept",
    OneQuestion: "depends on the other rows of its batch",
    NoQuestion: "gives the same whatever the instruction is",
    NoSeconds: "gives the same whatever seconds_BT is",
    RefusesLate: "is refused: takes at most 4 frames",
    NotReady: "reading expands_images fails with RuntimeError: not ready",
    Prints: "prints 'shape torch.Size",
}


@pytest.mark.parametrize("broken", CAUGHT, ids=lambda cls: cls.__name__)
def test_what_is_wrong_in_a_run_is_caught(broken: type) -> None:
    message = refusal(check_connector, broken)
    assert f"connector {broken.__name__!r}" in message and CAUGHT[broken] in message, message


class Gated(Sound):
    """Begins without its second half."""

    def __init__(self, *, in_dim, out_dim):
        super().__init__(in_dim=in_dim, out_dim=out_dim)
        self.gate, self.more = nn.Parameter(torch.zeros(1)), nn.Linear(in_dim, out_dim)

    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD) + self.gate.tanh() * self.more(self.mean(features_BTHWD))


class BatchNormed(Sound):
    def __init__(self, *, in_dim, out_dim):
        super().__init__(in_dim=in_dim, out_dim=out_dim)
        self.norm = nn.BatchNorm1d(in_dim)

    def mean(self, features_BTHWD):
        return self.norm(super().mean(features_BTHWD).mT).mT


class TwelveFrames(Sound):
    def tokens(self, grid):
        if grid.frames != 12:
            raise vlframe.ConfigError("takes 12 frames")
        return super().tokens(grid)


class Likeliest(Sound):
    """Chooses by what it sees."""

    def tokens(self, grid):
        return 3

    def mean(self, features_BTHWD):
        features_BPD = features_BTHWD.flatten(1, 3)
        chosen_BN = features_BPD.norm(dim=-1).topk(3).indices
        return features_BPD.gather(1, chosen_BN[..., None].expand(-1, -1, features_BPD.shape[-1]))


@pytest.mark.parametrize("sound", [Asks, Gated, BatchNormed, TwelveFrames, Likeliest], ids=lambda cls: cls.__name__)
def test_what_is_unusual_and_right_passes(sound: type) -> None:
    check_connector(sound)


def _of_numpy_and_python() -> None:
    random.seed(0)
    np.random.seed(0)


CHANGES = {
    "the global random numbers of torch": lambda: torch.manual_seed(0),
    "the global random numbers of random and numpy": _of_numpy_and_python,
    "the default device of torch": lambda: torch.set_default_device("cpu:0"),
    "how PIL treats damaged and huge pictures": lambda: setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True),
    "which warnings are shown": lambda: warnings.filterwarnings("ignore"),
    "what is logged": lambda: logging.disable(logging.WARNING),
    "the choice of cuDNN's kernels": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "where modules are looked for": lambda: sys.path.insert(0, "elsewhere"),
    "the timeout of the network": lambda: socket.setdefaulttimeout(5),
    "the collection of garbage": gc.disable,
}


@pytest.fixture
def put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back what the connectors below change."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    benchmark, level = torch.backends.cudnn.benchmark, logging.root.manager.disable
    with warnings.catch_warnings():
        yield
    torch.set_default_device(None)
    torch.backends.cudnn.benchmark = benchmark
    logging.disable(level)
    socket.setdefaulttimeout(None)
    gc.enable()


@pytest.mark.parametrize("words", CHANGES)
def test_what_belongs_to_the_process_is_left_alone(words: str, put_back: None) -> None:
    class Changes(Sound):
        def __init__(self, **widths):
            CHANGES[words]()
            super().__init__(**widths)

    message = refusal(check_connector, Changes)
    assert words in message and "building it" in message, message
