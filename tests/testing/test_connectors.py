"""The kit for plugin authors: every kind of broken connector is caught and told why. Each differs from a sound one in
one thing."""

import os
import random

import numpy as np
import pytest
import torch
from helpers import connectors
from helpers.refusals import refusal
from torch import Tensor, nn

import vlframe
from vlframe.testing import check_connector


class Sound(connectors.Sound):
    """What every class below is but for one thing; it takes images by a way of its own."""

    expands_images = True

    def still(self, features_BHWD: Tensor, frames: int) -> Tensor:
        return self.map(features_BHWD.flatten(1, 2))


class CountsWrong(Sound):
    def tokens(self, grid):
        return grid.height * grid.width + 1


class CountsFloats(Sound):
    def tokens(self, grid):
        return grid.positions / grid.frames


class CrashesOnGrid(Sound):
    def tokens(self, grid):
        raise KeyError("grid")


class TakesNothing(Sound):
    def tokens(self, grid):
        raise vlframe.ConfigError("too small")


class Crashes(Sound):
    def forward(self, features_BTHWD):
        return self.map(features_BTHWD.view(1, 2, 3))


class SaysNothingOfImages(Sound):
    expands_images = None


class StillDiffers(Sound):
    def still(self, features_BHWD, frames):
        return super().still(features_BHWD, frames) * (1 + frames / 10)


class StillUnasked(Sound):
    expands_images = False


class ReadsWeightsWhilePlanning(Sound):
    def __init__(self, **widths):
        super().__init__(**widths)
        with torch.device("cpu"):
            self.weights = nn.Parameter(torch.zeros(3))


class PlansOtherwise(Sound):
    def __init__(self, **widths):
        super().__init__(**widths)
        if vlframe.is_meta():
            self.map = nn.Linear(3, 4)


class Unused(Sound):
    def __init__(self, **widths):
        super().__init__(**widths)
        self.spare = nn.Linear(2, 2)


class Detached(Sound):
    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD.detach())


class NoGradient(Sound):
    def forward(self, features_BTHWD):
        with torch.no_grad():
            return super().forward(features_BTHWD)


class Drops(Sound):
    def forward(self, features_BTHWD):
        return super().forward(nn.functional.dropout(features_BTHWD, 0.5, training=True))


class Draws(Sound):
    def forward(self, features_BTHWD):
        torch.rand(1), random.random(), np.random.rand()
        return super().forward(features_BTHWD)


class Mixes(Sound):
    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD - features_BTHWD.mean(0))


class WritesInput(Sound):
    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD.clamp_(-0.1, 0.1))


class Doubles(Sound):
    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD).double()


class OnlyFloat32(Sound):
    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD) * float(np.abs(self.map.weight.detach().numpy()).max())


class Infinite(Sound):
    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD) / 0


class Forgets(Sound):
    built = 0

    def __init__(self, **widths):
        super().__init__(**widths)
        Forgets.built += 1
        self.scale = Forgets.built  # what it was built with is in no state dict

    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD) * self.scale


class TrainsOtherwise(Sound):
    def forward(self, features_BTHWD):
        tokens_BNE = super().forward(features_BTHWD)
        return tokens_BNE[:, 1:] if self.training else tokens_BNE


class NoModule:
    expands_images = False

    def __init__(self, **widths):
        pass

    def tokens(self, grid):
        return 1


class SortsRows(Sound):
    """Does not put rows back in their order."""

    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD[features_BTHWD.mean((1, 2, 3, 4)).argsort()])


class TakesPairs(Sound):
    def forward(self, features_BTHWD):
        if len(features_BTHWD) > 2:
            features_BTHWD = features_BTHWD.flip(0)
        return super().forward(features_BTHWD)


class Normalises(Sound):
    """Divides by a spread, which is 0 where nothing differs."""

    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD / features_BTHWD.std((1, 2, 3, 4), keepdim=True))


class HiddenLayer(Sound):
    """A layer in a plain list, which no checkpoint holds."""

    def __init__(self, **widths):
        super().__init__(**widths)
        self.hidden = [nn.Linear(widths["in_dim"], widths["in_dim"])]

    def forward(self, features_BTHWD):
        return super().forward(self.hidden[0](features_BTHWD))


class RandomBuffer(Sound):
    def __init__(self, **widths):
        super().__init__(**widths)
        self.register_buffer("directions", torch.randn(widths["in_dim"]), persistent=False)

    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD * self.directions)


class AsleepAndMixing(Sound):
    """Its last map starts at zero, which hides that rows are mixed."""

    def __init__(self, **widths):
        super().__init__(**widths)
        nn.init.zeros_(self.map.weight)
        nn.init.zeros_(self.map.bias)

    def forward(self, features_BTHWD):
        return super().forward(features_BTHWD - features_BTHWD.mean(0))


class Counts(Sound):
    def __init__(self, **widths):
        super().__init__(**widths)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, features_BTHWD):
        self.seen += 1
        return super().forward(features_BTHWD)


class StaysInTrain(Sound):
    def forward(self, features_BTHWD):
        self.map.train()
        return super().forward(features_BTHWD)


class ChangesPrecision(Sound):
    def forward(self, features_BTHWD):
        torch.set_float32_matmul_precision("medium")
        return super().forward(features_BTHWD)


class ChangesEnvironment(Sound):
    def __init__(self, **widths):
        super().__init__(**widths)
        os.environ["MINE"] = str(widths)


class WritesInTraining(Sound):
    def forward(self, features_BTHWD):
        if self.training:
            features_BTHWD.mul_(2)
        return super().forward(features_BTHWD)


class NoCopy(Sound):
    def __deepcopy__(self, memo):
        raise TypeError("cannot be copied")


class NoBackward(Sound):
    class Cut(torch.autograd.Function):
        @staticmethod
        def forward(context, value):
            return value.clone()

        @staticmethod
        def backward(context, gradient):
            raise RuntimeError("no backward here")

    def forward(self, features_BTHWD):
        return self.Cut.apply(super().forward(features_BTHWD))


class GivesTuple(Sound):
    def forward(self, features_BTHWD):
        tokens_BNE = super().forward(features_BTHWD)
        return (tokens_BNE,) if self.training else tokens_BNE


class ForgetsThirdFrame(Sound):
    def tokens(self, grid):
        return super().tokens(grid) + (grid.frames == 3 and grid.height > 1)


class ForgetsLongClips(Sound):
    def tokens(self, grid):
        return super().tokens(grid) + (grid.frames > 5)


CAUGHT = {
    SortsRows: ["depends on the other rows of its batch, or on its place in it"],
    TakesPairs: ["depends on the other rows of its batch", "three rows"],
    Normalises: ["all of them 0, gives NaN", "black frames and silence"],
    HiddenLayer: ["not in state_dict()"],
    RandomBuffer: ["not in state_dict()"],
    AsleepAndMixing: ["row 0", "depends on the other rows"],
    Counts: ["changes seen in eval mode"],
    StaysInTrain: ["switches map to train mode"],
    ChangesPrecision: ["changes the precision of float32 products of the whole process"],
    ChangesEnvironment: ["building it changes environment variables (MINE) of the whole process"],
    WritesInTraining: ["writes into its input in train mode"],
    NoCopy: ["copying it with copy.deepcopy", "cannot be copied"],
    NoBackward: ["backward of a 4x4x4 grid", "no backward here"],
    GivesTuple: ["gives a tuple; it must give one tensor"],
    ForgetsThirdFrame: ["3x4x4 grid", "tokens() says 17"],
    ForgetsLongClips: ["8x2x2 grid", "tokens() says 5"],
    CountsWrong: ["4x4x4 grid", "tokens() says 17", "(2, 16, 32)", "promises (2, 17, 32)"],
    CountsFloats: ["tokens(4x4x4) gives 16.0", "whole number"],
    CrashesOnGrid: ["tokens(4x4x4) fails with KeyError", "vlframe.ConfigError"],
    TakesNothing: ["accepts none of the grids", "give grids="],
    Crashes: ["forward of a 4x4x4 grid", "fails with RuntimeError"],
    SaysNothingOfImages: ["expands_images is None", "True or False"],
    StillDiffers: ["still() of 4x4 features differs from forward of 1 equal frames"],
    StillUnasked: ["still()", "never asked"],
    ReadsWeightsWhilePlanning: ["real memory for weights on the meta device", "vlframe.is_meta()"],
    PlansOtherwise: ["other parameters while planning", "map.weight"],
    Unused: ["no gradient reaches spare.weight, spare.bias", "unused="],
    Detached: ["no gradient reaches the input"],
    NoGradient: ["cut off from its parameters"],
    Drops: ["draws from the global random numbers of torch in eval mode"],
    Draws: ["global random numbers of torch and random and numpy"],
    Mixes: ["row 0", "depends on the other rows"],
    WritesInput: ["writes into its input"],
    Doubles: ["torch.float64 with float32 weights"],
    OnlyFloat32: ["bf16 run", "fails with"],
    Infinite: ["NaN or infinity"],
    Forgets: ["not in state_dict()"],
    TrainsOtherwise: ["(2, 15, 32) in train mode"],
    NoModule: ["is a NoModule", "torch.nn.Module"],
}


class Plain(Sound):
    """Has no parameters at all."""

    def __init__(self, *, in_dim, out_dim):
        nn.Module.__init__(self)
        self.width = out_dim

    def map(self, features):
        repeats = -(-self.width // features.shape[-1])
        return features.repeat(*[1] * (features.ndim - 1), repeats)[..., : self.width]


class StartsAtZero(Sound):
    def __init__(self, **widths):
        super().__init__(**widths)
        nn.init.zeros_(self.map.weight)
        nn.init.zeros_(self.map.bias)


def test_a_sound_connector_passes() -> None:
    for sound in (Sound, Plain, StartsAtZero):
        check_connector(sound)
    check_connector(Unused, unused=["spare"])


@pytest.fixture(autouse=True)
def settings_put_back(monkeypatch: pytest.MonkeyPatch):
    """What the connectors that change the process have changed."""
    monkeypatch.setenv("MINE", "")
    precision = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize("broken", CAUGHT, ids=lambda cls: cls.__name__)
def test_a_broken_connector_is_caught(broken: type) -> None:
    message = refusal(check_connector, broken)
    for word in (f"connector {broken.__name__!r}", *CAUGHT[broken]):
        assert word in message, message


def test_parameters_declared_unused_in_vain() -> None:
    assert "unused=['map']" in refusal(check_connector, Sound, unused=["map"])


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(LookupError, match=r"no connector named 'sct'; there are .*'stc'"):
        check_connector("sct")
