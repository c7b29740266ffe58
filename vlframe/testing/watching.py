"""Checks of callbacks and loggers."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from vlframe.testing.subject import Subject

SAVED = (str, int, float, bool, type(None))


def check_callback(
    component: str | type, params: Mapping[str, Any] | None = None, *, plugins: Sequence[str] = ()
) -> None:
    """Check a callback: what it is, and that its state survives a checkpoint."""
    from lightning.pytorch import Callback

    subject = Subject("callback", component, params or {}, plugins)
    callback, other = subject.build(), subject.build()
    if not isinstance(callback, Callback):
        subject.fail(f"is a {type(callback).__name__}; it must be a lightning.pytorch.Callback")
    with subject.doing("state_dict()"):
        state = callback.state_dict()
    if strange := _not_plain(state):
        subject.fail(
            f"state_dict() holds {strange}; it may hold tensors and plain values, since no checkpoint has code"
        )
    with subject.doing("load_state_dict() of what state_dict() gives"):
        other.load_state_dict(state)
    if repr(other.state_dict()) != repr(state):
        subject.fail("has another state after load_state_dict(): a resumed run would not go on as it was")
    subject.passed("it is a callback, and its state is plain and restored")


def check_logger(
    component: str | type, params: Mapping[str, Any] | None = None, *, plugins: Sequence[str] = ()
) -> None:
    """Check a logger: what it is, and that it takes a config and numbers."""
    from lightning.pytorch.loggers import Logger

    subject = Subject("logger", component, params or {}, plugins)
    with tempfile.TemporaryDirectory() as folder:
        logger = subject.build(**_of_run(subject, folder))
        if not isinstance(logger, Logger):
            subject.fail(f"is a {type(logger).__name__}; it must be a lightning.pytorch.loggers.Logger")
        with subject.doing("name and version"):
            named = (logger.name, logger.version)
        if not all(isinstance(word, str | int | None) for word in named):
            subject.fail(f"name and version are {named}; they must be texts")
        with subject.doing("log_hyperparams() of a config"):
            logger.log_hyperparams({"connector": {"name": "linear"}, "seed": 0})
        for step, metrics in ((0, {"train/loss": 1.5}), (10, {"train/loss": 1.0, "lr": 1e-3})):
            with subject.doing(f"log_metrics({metrics}, step={step})"):
                logger.log_metrics(dict(metrics), step=step)
        with subject.doing("save() and finalize()"):
            logger.save()
            logger.finalize("success")
    subject.passed("it takes a config, numbers, and the end of a run")


def _of_run(subject: Subject, folder: str) -> dict[str, str]:
    """Return what vlframe gives to loggers whose class takes it."""
    cls = subject.component
    if isinstance(cls, str):
        cls = subject.registry.row("logger", cls).load_class()
    taken = inspect.signature(cls).parameters
    given = {"save_dir": folder, "version": "trial"}
    return {key: value for key, value in given.items() if key in taken}


def _not_plain(value: Any) -> str:
    """Return what in a state is neither a tensor nor a plain value, in words; "" = nothing."""
    from torch import Tensor

    if isinstance(value, Mapping):
        return next(filter(None, (_not_plain(item) for pair in value.items() for item in pair)), "")
    if isinstance(value, list | tuple):
        return next(filter(None, map(_not_plain, value)), "")
    return "" if isinstance(value, (*SAVED, Tensor)) else f"{value!r}, a {type(value).__name__}"
