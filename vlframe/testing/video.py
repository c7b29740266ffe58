"""Checks of encoders and connectors. B batch, T frames, C colours, Y X pixels, H W patches, D features, N
tokens, E embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

from vlframe.contracts.declared import WrongDeclaration, grid_of, tokens_of
from vlframe.contracts.grids import VideoGrid
from vlframe.testing.alignment import check_alignment
from vlframe.testing.modules import TOLERANCE, Case, awaken, check_features, check_input_gradient, check_module, noise
from vlframe.testing.subject import Subject

FRAMES = (1, 2, 5)
PICTURE = (48, 64)  # height and width of the test pictures for front ends
GRIDS = (
    VideoGrid(4, 4, 4),
    VideoGrid(1, 4, 4),
    VideoGrid(2, 3, 5),
    VideoGrid(5, 7, 6),
    VideoGrid(3, 4, 4),
    VideoGrid(8, 2, 2),
    VideoGrid(16, 3, 3),
    VideoGrid(3, 1, 7, sequence=True),
    VideoGrid(129, 2, 2),
    VideoGrid(2, 27, 27),
)
WIDTHS = ((24, 32), (40, 16))  # in_dim, out_dim
SOUGHT = 64  # the most frames, and rows of patches, for a part that takes one size only
FOUND = 3  # sizes that are tried of such a part


def check_encoder(
    component: str | type,
    params: Mapping[str, Any] | None = None,
    *,
    frames: Sequence[int] = FRAMES,
    unused: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> None:
    """Check an encoder. ``unused`` names parameters (or modules) that do not affect the output; ``plugins`` are
    single files.
    """
    subject = Subject("encoder", component, params or {}, plugins)
    planned, built = subject.plan(), subject.build()
    subject.check_source()
    for part in (planned, built):
        subject.width(part)
        pixels = subject.attribute(part, "pixels", object, "a front end: how frames become its input")
        if pixels is None:
            subject.fail("pixels is None; it must be a vlframe.PixelFrontEnd: how frames become its input")
        check_front_end(subject, pixels)
        subject.attribute(part, "per_frame", bool, "True or False: whether each frame is encoded by itself")
        _check_steps(subject, part)
    cases = []
    for count in _frames_taken(subject, built, frames):
        layout = built.pixels.layout(*PICTURE, count)
        size = (layout.height, layout.width)
        grid = grid_of(built, count, *size)
        if (planned.dim, _grid(subject, planned, count, size)) != (built.dim, grid):
            subject.fail(f"has another dim or grid({count}) while planning than when built")
        pixels_BTCYX = noise(2, count, 3, *size)
        shape = (2, grid.frames, grid.height, grid.width, built.dim)
        cases.append(Case(f"{count} frame(s), for which grid() says {grid} of {built.dim},", (pixels_BTCYX,), shape))
    if not cases:
        subject.fail(f"takes none of {', '.join(map(str, frames))} frames; give frames= that it is made for")
    check_module(subject, planned, {}, cases, unused)
    awaken(built)
    _check_per_frame(subject, built)


def _frames_taken(subject: Subject, encoder: Any, frames: Sequence[int]) -> Sequence[int]:
    """Return the numbers of frames to try: ``frames``, or others for an encoder that takes none of these."""

    def taken(count: int) -> bool:
        with subject.doing(f"layout() of {count} frame(s)"):
            layout = encoder.pixels.layout(*PICTURE, count)
        return _grid(subject, encoder, count, (layout.height, layout.width)) is not None

    found = [count for count in frames if taken(count)]
    return found or [count for count in range(1, SOUGHT + 1) if frames is FRAMES and taken(count)][:FOUND]


def _check_steps(subject: Subject, encoder: Any) -> None:
    """Check that an encoder takes clips of whole steps, to which vlframe fills them."""
    if not hasattr(encoder, "frames_per_step"):
        return
    step = subject.attribute(encoder, "frames_per_step", int, "the frames joined in a time step, 1 or more")
    if step < 1:
        subject.fail(f"frames_per_step is {step}; it must be the frames joined in a time step, 1 or more")
    for count in (step, 2 * step):
        layout = encoder.pixels.layout(*PICTURE, count)
        if _grid(subject, encoder, count, (layout.height, layout.width)) is None:
            subject.fail(f"says frames_per_step = {step}, and grid({count}, …) refuses {count} frames")


def _check_per_frame(subject: Subject, encoder: Any) -> None:
    """Check ``per_frame``: an image among others is encoded the same as by itself."""
    layout = encoder.pixels.layout(*PICTURE, 2)
    if not encoder.per_frame or _grid(subject, encoder, 2, (layout.height, layout.width)) is None:
        return
    pixels_BTCYX = noise(1, 2, 3, layout.height, layout.width)
    with torch.no_grad(), subject.doing("forward of two frames, and of each alone"):
        together = encoder.eval()(pixels_BTCYX)
        alone = torch.cat([encoder(pixels_BTCYX[:, :1]), encoder(pixels_BTCYX[:, 1:])], dim=1)
    if together.shape != alone.shape or not torch.allclose(together, alone, atol=TOLERANCE, rtol=TOLERANCE):
        subject.fail("says per_frame = True, and the features of a frame depend on the other frames of its clip")


def check_front_end(subject: Subject, front_end: Any) -> None:
    """Check that ``prepare`` returns what ``layout`` declares, for pictures of several sizes, and that it can
    be pickled.
    """
    subject.pickles(front_end, "its pixels")
    for height, width in ((48, 64), (64, 48), (50, 50), (33, 91)):
        for count in (1, 2):
            with subject.doing(f"layout() and prepare() of {count} frame(s) of {width}x{height}"):
                layout = front_end.layout(height, width, count)
                frames_TYXC = np.random.default_rng(0).integers(0, 255, (count, height, width, 3), dtype=np.uint8)
                prepared = front_end.prepare(frames_TYXC)
                pixels = front_end.normalise(prepared)
            promised = (count * layout.tiles, 3, layout.height, layout.width)
            if tuple(prepared.shape) != promised or prepared.dtype not in (torch.uint8, torch.float32):
                subject.fail(
                    f"its front end gives {prepared.dtype} {tuple(prepared.shape)} for {count} frame(s) of "
                    f"{width}x{height}, and layout() promises uint8 (or float32) {promised}"
                )
            if not pixels.is_floating_point() or pixels.shape != prepared.shape:
                subject.fail(f"normalise gives {pixels.dtype} {tuple(pixels.shape)} for {tuple(prepared.shape)}")


def _grid(subject: Subject, encoder: Any, frames: int, size: tuple[int, int]) -> VideoGrid | None:
    """Return the grid; None for a number of frames that the encoder does not take."""
    try:
        return grid_of(encoder, frames, *size)
    except WrongDeclaration as error:
        subject.fail(str(error))
    except ValueError:  # ConfigError is one
        return None


def check_connector(
    component: str | type,
    params: Mapping[str, Any] | None = None,
    *,
    grids: Sequence[VideoGrid] = GRIDS,
    widths: Sequence[tuple[int, int]] = WIDTHS,
    unused: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> None:
    """Check a connector on several grids (except those that ``tokens`` refuses with a ``ValueError``) and widths,
    ``(in_dim, out_dim)``.
    """
    subject = Subject("connector", component, params or {}, plugins)
    for in_dim, out_dim in widths:
        neighbours = {"in_dim": in_dim, "out_dim": out_dim}
        planned, built = subject.plan(**neighbours), subject.build(**neighbours)
        subject.attribute(built, "expands_images", bool, "True or False: whether an image is seen as a clip")
        fitting = _fitting(subject, built, grids) or (_fitting(subject, built, _many()) if grids is GRIDS else {})
        if not fitting:
            subject.fail(f"accepts none of the grids {', '.join(map(str, grids))}; give grids= that it is made for")
        if any(_tokens(subject, planned, grid) != count for grid, count in fitting.items()):
            subject.fail("counts other tokens while planning than when built")
        cases = [_case(subject, built, grid, in_dim, (2, count, out_dim)) for grid, count in fitting.items()]
        compares = getattr(built, "captions", None) is not None
        compared = check_alignment(subject, built, in_dim, cases[0]) if compares else ()
        check_module(subject, planned, neighbours, cases, (*unused, *compared))
        awaken(built)
        check_input_gradient(subject, built, cases[0])
        check_features(subject, built, cases)
        _check_still(subject, built, list(fitting), in_dim)


def _fitting(subject: Subject, connector: Any, grids: Iterable[VideoGrid]) -> dict[VideoGrid, int]:
    """Return the tokens of each grid that a connector takes, at most as many as ``GRIDS`` has."""
    counted = ((grid, _tokens(subject, connector, grid)) for grid in grids)
    return dict(islice(((grid, count) for grid, count in counted if count is not None), len(GRIDS)))


def _many() -> Iterator[VideoGrid]:
    """Yield square grids of any size and number of frames, small ones first."""
    for size in range(2, 2 * SOUGHT + 1):
        for frames in range(max(1, size - SOUGHT), min(size, SOUGHT + 1)):
            yield VideoGrid(frames, size - frames, size - frames)


def _case(subject: Subject, connector: Any, grid: VideoGrid, in_dim: int, shape: tuple[int, int, int]) -> Case:
    """Return a case with features of a grid, and the question and seconds for a connector that reads them."""
    inputs = [noise(2, grid.frames, grid.height, grid.width, in_dim)]
    if getattr(connector, "instruction", None) is not None:
        ids_I = _instruction(subject, connector)
        inputs.append(torch.tensor([ids_I, ids_I[::-1][:1] * len(ids_I)]))  # two questions of one length
    keywords: tuple[str, ...] = ()
    if getattr(connector, "reads_seconds", False):
        inputs.append(torch.arange(grid.frames, dtype=torch.float32).expand(2, -1) + torch.tensor([[0.5], [7.0]]))
        keywords = ("seconds_BT",)
    what = f"a {grid} grid of width {in_dim}, for which tokens() says {shape[1]},"
    return Case(what, tuple(inputs), shape, keywords=keywords)


def _instruction(subject: Subject, connector: Any) -> list[int]:
    """Return the ids of a question. An empty one must have some, too."""
    subject.pickles(connector.instruction, "its instruction")
    for text in ("", "which way does it go?"):
        with subject.doing(f"instruction.encode({text!r})"):
            ids = list(connector.instruction.encode(text))
        if not ids or not all(isinstance(item, int) for item in ids):
            subject.fail(f"instruction.encode({text!r}) gives {ids!r}; it must give at least one id")
    return ids


def _tokens(subject: Subject, connector: Any, grid: VideoGrid) -> int | None:
    """Return N, or None for a grid that the connector does not take."""
    try:
        return tokens_of(connector, grid)
    except WrongDeclaration as error:
        subject.fail(str(error))
    except ValueError:  # ConfigError is one
        return None


def _check_still(subject: Subject, connector: Any, grids: Sequence[VideoGrid], in_dim: int) -> None:
    reads = getattr(connector, "reads_seconds", False) or getattr(connector, "instruction", None) is not None
    if not hasattr(connector, "still") or reads:  # then it is not called
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
