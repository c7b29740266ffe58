"""The small vision transformer of the demo."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from vlframe_vit_tiny.encoder import VitTiny

from vlframe import ConfigError
from vlframe.contracts.meta import meta_build
from vlframe.registry.registry import Registry


def build(**changes: Any) -> VitTiny:
    return VitTiny(**({"size": 24, "patch": 8, "dim": 16, "depth": 2, "heads": 2, "mlp_ratio": 2.0} | changes)).eval()


@settings(max_examples=8, deadline=None)
@given(
    side=st.integers(1, 4),
    patch=st.integers(2, 8),
    heads=st.integers(1, 4),
    depth=st.integers(0, 2),
    frames=st.integers(1, 3),
)
def test_the_grid_is_the_shape_of_the_features(side: int, patch: int, heads: int, depth: int, frames: int) -> None:
    encoder = build(size=side * patch, patch=patch, heads=heads, dim=8 * heads, depth=depth).to(torch.bfloat16)
    features = encoder(torch.randn(2, frames, 3, side * patch, side * patch))
    grid = encoder.grid(frames, 48, 48)
    assert features.shape == (2, frames, grid.height, grid.width, encoder.dim)
    assert features.dtype == torch.bfloat16


def test_a_block_is_pre_norm_attention_and_mlp() -> None:
    """The fused projection holds query, key and value in this order, head by head."""
    torch.manual_seed(0)
    block = build().double().blocks[0]
    tokens_PD = torch.randn(9, 16, dtype=torch.float64)
    normed = block.attention_norm(tokens_PD)
    q, k, v = F.linear(normed, block.qkv.weight, block.qkv.bias).split(16, dim=-1)
    heads = []
    for head in range(2):
        at = slice(8 * head, 8 * head + 8)
        heads.append((q[:, at] @ k[:, at].T / 8**0.5).softmax(-1) @ v[:, at])
    attended = tokens_PD + block.out(torch.cat(heads, -1))
    torch.testing.assert_close(block(tokens_PD[None])[0], attended + block.mlp(attended))


def test_frames_do_not_see_each_other_and_patches_keep_their_places() -> None:
    torch.manual_seed(0)
    encoder = build()
    clip = torch.randn(1, 3, 3, 24, 24)
    torch.testing.assert_close(encoder(clip)[:, 1:2], encoder(clip[:, 1:2]))
    flat = build(depth=0)
    flat.positions_PD.data.zero_()
    changed = clip.clone()
    changed[:, :, :, 0:8, 16:24] += 1  # the patch of row 0, column 2
    moved = (flat(changed) - flat(clip)).abs().sum((0, 1, 4)) > 0
    assert moved.nonzero().tolist() == [[0, 2]]


def test_every_weight_learns() -> None:
    encoder = build().train()
    encoder(torch.randn(1, 2, 3, 24, 24)).square().sum().backward()
    assert [name for name, weight in encoder.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"size": 50}, "size=50 is not a multiple of patch=8; take 48"), ({"heads": 3}, "dim=16 .* heads=3")],
)
def test_impossible_sizes_are_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**changes)


def test_the_row_is_planned() -> None:
    with meta_build():
        encoder = Registry.installed().build("encoder", {"name": "vit_tiny"})
    assert (str(encoder.grid(8, 48, 48)), encoder.pixels.resize, encoder.pixels.resampling) == (
        "8x6x6",
        "squash",
        "bilinear",
    )
    assert all(parameter.is_meta for parameter in encoder.parameters())
