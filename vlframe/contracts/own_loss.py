"""Loss terms that parts add to the language model's cross-entropy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from vlframe.errors import PluginError

if TYPE_CHECKING:
    from torch import Tensor

_TERMS: ContextVar[dict[str, Tensor] | None] = ContextVar("terms", default=None)
_PART: ContextVar[str] = ContextVar("part", default="llm")


def add_loss(name: str, total: Tensor, weight: float = 1.0) -> None:
    """Add ``weight * total`` to the loss of the current training batch. A part calls it in its forward pass.

    ``total`` is a scalar, a sum over the items of this call. Like the summed cross-entropy, it is divided by the
    supervised tokens of the whole optimizer step, so the result does not depend on how the step is split into
    micro-batches and ranks. Outside a training step (evaluation, generation, recomputed activations) nothing happens.
    Terms with the same name from one part are summed. PluginError: ``total`` is not a floating-point scalar.
    """
    terms = _TERMS.get()
    if terms is None:
        return
    if total.ndim or not total.is_floating_point():
        raise PluginError(
            f"the {_PART.get()} adds the loss {name!r} with a {total.dtype} tensor of shape {tuple(total.shape)}; it "
            "must be a floating-point scalar, a sum over the items of the call"
        )
    key = f"{_PART.get()}.{name}"
    term = weight * total.float()
    terms[key] = terms[key] + term if key in terms else term


@contextmanager
def added_losses() -> Iterator[dict[str, Tensor]]:
    """Collect the terms that parts add during a training step, as ``<part>.<name>``."""
    terms: dict[str, Tensor] = {}
    token = _TERMS.set(terms)
    try:
        yield terms
    finally:
        _TERMS.reset(token)


@contextmanager
def running(part: str) -> Iterator[None]:
    """Name the part whose forward pass is running; the default is the language model."""
    token = _PART.set(part)
    try:
        yield
    finally:
        _PART.reset(token)
