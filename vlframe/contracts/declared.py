"""Reads what parts declare before anything runs (widths, grids, counts), and refuses what is none of these."""

from __future__ import annotations

from typing import Any, SupportsIndex

from vlframe.contracts.grids import VideoGrid
from vlframe.errors import PluginError, UserError, one_line

DIVIDE = " (divide with //, which gives whole numbers)"


class WrongDeclaration(PluginError):
    """A part that declares something that cannot be. ``part`` is the part, for callers who know its name."""

    def __init__(self, message: str, part: object = None) -> None:
        super().__init__(message)
        self.part = part


def width_of(part: Any) -> int:
    """Return a part's ``dim``."""
    count = _whole(part.dim)
    if count is None:
        raise _wrong(part, "dim", f"is {part.dim!r}", "a whole number, at least 1", part.dim)
    return count


def grid_of(encoder: Any, frames: int, height: int, width: int) -> VideoGrid:
    """Return an encoder's grid. ValueError (ConfigError is one) if it does not take such frames."""
    asked = f"grid({frames}, {height}, {width})"
    grid = _called(encoder, "grid", asked, frames, height, width)
    if not isinstance(grid, VideoGrid):
        raise _wrong(encoder, asked, f"gives {grid!r}", "a vlframe.VideoGrid", grid)
    steps, rows, columns = (_whole(size) for size in (grid.frames, grid.height, grid.width))
    if steps is None or rows is None or columns is None:
        raise _wrong(encoder, asked, f"gives {grid!r}", "a vlframe.VideoGrid of whole numbers, at least 1", 0.5)
    return VideoGrid(steps, rows, columns, sequence=grid.sequence)


def steps_of(encoder: Any, frames: int) -> int:
    """Return an audio encoder's steps for a number of audio frames."""
    return _count(encoder, "steps", frames)


def tokens_of(connector: Any, declared: VideoGrid | int) -> int:
    """Return a connector's tokens for a grid, or for steps of sound. ValueError (ConfigError is one) for one that it
    does not take.
    """
    return _count(connector, "tokens", declared)


def _count(part: Any, method: str, declared: VideoGrid | int) -> int:
    given = _called(part, method, f"{method}({declared})", declared)
    count = _whole(given)
    if count is None:
        raise _wrong(part, f"{method}({declared})", f"gives {given!r}", "a whole number, at least 1", given)
    return count


def _called(part: Any, method: str, asked: str, *arguments: object) -> Any:
    if not callable(getattr(part, method)):
        raise _wrong(part, method, f"is {getattr(part, method)!r}", "a method")
    try:
        return getattr(part, method)(*arguments)
    except (UserError, ValueError):  # it does not take this
        raise
    except Exception as error:
        text = one_line(error)
        raise WrongDeclaration(
            f"{type(part).__name__}.{asked} fails with {type(error).__name__}: {text[:300]}; what it does not take is "
            "a vlframe.ConfigError that says why",
            part,
        ) from error


def _whole(value: SupportsIndex | object) -> int | None:
    """Return a whole number, at least 1, as an int (NumPy has its own types); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        return None
    try:
        count = value.__index__()
    except (TypeError, RuntimeError):  # a tensor that holds a fraction, or several numbers, or none
        return None
    return count if count >= 1 else None


def _wrong(part: object, asked: str, found: str, allowed: str, value: object = None) -> WrongDeclaration:
    hint = DIVIDE if isinstance(value, float) else ""
    return WrongDeclaration(f"{type(part).__name__}.{asked} {found}; it must be {allowed}{hint}", part)
