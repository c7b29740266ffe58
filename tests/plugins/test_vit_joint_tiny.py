"""The small vision transformer whose patches attend to those of all frames."""

from typing import Any

import pytest
import torch
from helpers.encoders import check_blocks
from hypothesis import given, settings
from hypothesis import strategies as st
from vlframe_vit_tiny.encoder import VitTiny
from vlframe_vit_tiny.joint import VitJointTiny, sinusoids

from vlframe import ConfigError
from vlframe.contracts.meta import meta_build
from vlframe.registry.registry import Registry
from vlframe.testing import check_encoder

SMALL = {"size": 24, "patch": 8, "dim": 16, "depth": 2, "heads": 2, "mlp_ratio": 2.0}


def build(**changes: Any) -> VitJointTiny:
    torch.manual_seed(0)
    return VitJointTiny(**(SMALL | changes)).eval()


@settings(max_examples=8, deadline=None)
@given(side=st.integers(1, 4), heads=st.integers(1, 4), depth=st.integers(0, 2), frames=st.integers(1, 9))
def test_any_number_of_frames_gives_the_grid(side: int, heads: int, depth: int, frames: int) -> None:
    encoder = build(size=side * 4, patch=4, heads=heads, dim=5 * heads, depth=depth).to(torch.bfloat16)
    features = encoder(torch.randn(2, frames, 3, side * 4, side * 4))
    grid = encoder.grid(frames, side * 4, side * 4)
    assert features.shape == (2, grid.frames, grid.height, grid.width, encoder.dim)
    assert (grid.frames, features.dtype) == (frames, torch.bfloat16)


def test_it_is_a_vision_transformer_over_the_patches_of_all_frames() -> None:
    """The frames side by side as one long picture, with positions in space and time told by hand."""
    encoder = build()
    clip_BTCYX = torch.randn(2, 3, 3, 24, 24)
    wide = VitTiny(**SMALL).eval()
    wide.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        tokens = []
        for frame in range(3):
            patches = wide.patches(clip_BTCYX[:, frame]).flatten(2).transpose(1, 2)
            tokens.append(patches + wide.positions_PD + sinusoids(3, 16, patches.device)[frame])
        expected = wide.norm(wide.blocks(torch.cat(tokens, 1)))
        torch.testing.assert_close(encoder(clip_BTCYX).flatten(1, 3), expected)


def test_frames_see_each_other_and_their_order_matters() -> None:
    encoder = build()
    clip_BTCYX = torch.randn(1, 3, 3, 24, 24)
    with torch.no_grad():
        features = encoder(clip_BTCYX)
        alone = encoder(clip_BTCYX[:, :1])
        turned = encoder(clip_BTCYX.flip(1)).flip(1)
        equal = encoder(clip_BTCYX[:, :1].expand(-1, 3, -1, -1, -1))
    assert encoder.per_frame is False
    assert not torch.allclose(features[:, :1], alone, atol=1e-3)
    assert not torch.allclose(features, turned, atol=1e-3)
    assert not torch.allclose(equal[:, :1], alone, atol=1e-3), "an image is no clip of copies"


def test_times_differ_for_many_frames() -> None:
    table = sinusoids(64, 16, torch.device("cpu"))
    assert torch.equal(table[0], torch.tensor([0.0] * 8 + [1.0] * 8))
    assert (torch.cdist(table, table) + torch.eye(64) * 9).min() > 0.3
    torch.testing.assert_close(table[5, 3], torch.tensor(5 / 10000 ** (3 / 8)).sin())


def test_it_keeps_the_promises_of_an_encoder() -> None:
    check_encoder("vit_joint_tiny", SMALL)
    check_blocks(build())


def test_impossible_sizes_are_explained() -> None:
    with pytest.raises(ConfigError, match="size=50 is not a multiple of patch=8; take 48"):
        build(size=50)


def test_the_row_is_planned() -> None:
    with meta_build():
        encoder = Registry.installed().build("encoder", {"name": "vit_joint_tiny"})
    assert str(encoder.grid(8, 48, 48)) == "8x6x6"
    assert all(parameter.is_meta for parameter in encoder.parameters())
