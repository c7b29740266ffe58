"""The kit for plugin authors: every kind of broken connector is caught and told why. Each differs from a sound one in
one thing."""

import random

import numpy as np
import pytest
import torch
from helpers.refusals import refusal
from torch import Tensor, nn

import vlframe
from vlframe.testing import check_connector


class Sound(nn.Module):
    """A mean over frames and a linear map: what every class below is but for one thing."""

    expands_images = True

    def __init__(self, *, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.map = nn.Linear(in_dim, out_dim)

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        return grid.height * grid.width

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        return self.map(features_BTHWD.mean(1).flatten(1, 2))

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


CAUGHT = {
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


def test_a_sound_connector_passes() -> None:
    check_connector(Sound)
    check_connector(Unused, unused=["spare"])


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
