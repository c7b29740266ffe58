"""Encoders and connectors. B batch, T frames, C colours, Y X pixels, H W patches, D features, N tokens, E embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from vlframe.contracts import PixelSpec, VideoGrid
from vlframe.testing.modules import TOLERANCE, Case, check_input_gradient, check_module, noise
from vlframe.testing.subject import Subject

FRAMES = (1, 2, 5)
GRIDS = (
    VideoGrid(4, 4, 4),
    VideoGrid(1, 4, 4),
    VideoGrid(2, 3, 5),
    VideoGrid(5, 7, 6),
    VideoGrid(3, 1, 7, sequence=True),
)
WIDTHS = ((24, 32), (40, 16))  # in_dim, out_dim


def check_encoder(
    component: str | type,
    params: Mapping[str, Any] | None = None,
    *,
    frames: Sequence[int] = FRAMES,
    unused: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> None:
    """``unused`` names parameters (or modules) that have no part in the output; ``plugins`` are single files."""
    subject = Subject("encoder", component, params or {}, plugins)
    planned, built = subject.plan(), subject.build()
    subject.check_source()
    for part in (planned, built):
        subject.attribute(part, "dim", int, "the width of its features")
        pixels = subject.attribute(part, "pixels", PixelSpec, "a vlframe.PixelSpec: how frames become its input")
        subject.pickles(pixels, "its pixels")
    cases = []
    for count in frames:
        grid = _grid(subject, built, count)
        if (planned.dim, _grid(subject, planned, count)) != (built.dim, grid):
            subject.fail(f"tells another dim or grid({count}) while planning than when built")
        pixels_BTCYX = noise(2, count, 3, built.pixels.size, built.pixels.size)
        shape = (2, grid.frames, grid.height, grid.width, built.dim)
        cases.append(Case(f"{count} frame(s), for which grid() says {grid} of {built.dim},", (pixels_BTCYX,), shape))
    check_module(subject, planned, subject.build, cases, unused)


def _grid(subject: Subject, encoder: Any, frames: int) -> VideoGrid:
    with subject.doing(f"grid({frames})"):
        grid = encoder.grid(frames)
    if not isinstance(grid, VideoGrid):
        subject.fail(f"grid({frames}) gives {grid!r}; it must give a vlframe.VideoGrid")
    return grid


def check_connector(
    component: str | type,
    params: Mapping[str, Any] | None = None,
    *,
    grids: Sequence[VideoGrid] = GRIDS,
    widths: Sequence[tuple[int, int]] = WIDTHS,
    unused: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> None:
    """Over several grids (those that ``tokens`` refuses with a ``ValueError`` aside) and ``(in_dim, out_dim)``."""
    subject = Subject("connector", component, params or {}, plugins)
    for in_dim, out_dim in widths:
        neighbours = {"in_dim": in_dim, "out_dim": out_dim}
        planned, built = subject.plan(**neighbours), subject.build(**neighbours)
        subject.attribute(built, "expands_images", bool, "True or False: whether an image is seen as a clip")
        fitting = {grid: count for grid in grids if (count := _tokens(subject, built, grid)) is not None}
        if not fitting:
            subject.fail(f"accepts none of the grids {', '.join(map(str, grids))}; give grids= that it is made for")
        if any(_tokens(subject, planned, grid) != count for grid, count in fitting.items()):
            subject.fail("counts other tokens while planning than when built")
        cases = [_case(grid, count, in_dim, out_dim) for grid, count in fitting.items()]
        check_module(subject, planned, lambda neighbours=neighbours: subject.build(**neighbours), cases, unused)
        check_input_gradient(subject, built, cases[0])
        _check_still(subject, built, list(fitting), in_dim)


def _case(grid: VideoGrid, count: int, in_dim: int, out_dim: int) -> Case:
    features_BTHWD = noise(2, grid.frames, grid.height, grid.width, in_dim)
    what = f"a {grid} grid of width {in_dim}, for which tokens() says {count},"
    return Case(what, (features_BTHWD,), (2, count, out_dim))


def _tokens(subject: Subject, connector: Any, grid: VideoGrid) -> int | None:
    """N, or None for a grid that the connector does not take."""
    try:
        count = connector.tokens(grid)
    except ValueError:  # ConfigError is one
        return None
    except Exception as error:
        subject.fail(
            f"tokens({grid}) fails with {type(error).__name__}: {error}; a grid that does not fit is a "
            "vlframe.ConfigError that says why"
        )
    if not isinstance(count, int) or count < 1:
        subject.fail(f"tokens({grid}) is {count!r}; it must be a number of tokens, 1 or more, or a vlframe.ConfigError")
    return count


def _check_still(subject: Subject, connector: nn.Module, grids: Sequence[VideoGrid], in_dim: int) -> None:
    if not hasattr(connector, "still"):
        return
    if not connector.expands_images:
        subject.fail("has still(), which is never asked, because expands_images is False")
    for plane in dict.fromkeys((grid.height, grid.width, grid.sequence) for grid in grids):
        features_BHWD = noise(2, *plane[:2], in_dim)
        for frames in (1, 2, 3, 4, 8):
            if _tokens(subject, connector, VideoGrid(frames, *plane)) is None:
                continue
            with torch.no_grad(), subject.doing(f"still() of {frames} frames"):
                short = connector.eval().still(features_BHWD, frames)
                full = connector(features_BHWD[:, None].expand(-1, frames, -1, -1, -1))
            if short.shape != full.shape or not torch.allclose(short, full, atol=TOLERANCE):
                subject.fail(f"still() of {plane[0]}x{plane[1]} features differs from forward of {frames} equal frames")
