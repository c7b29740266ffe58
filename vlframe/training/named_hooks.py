"""Names the callback in what one of its hooks raises: a run that ends by it says by which."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback

from vlframe.errors import TrainingError, UserError, named_line
from vlframe.training.instantiate import lightning_objects

if TYPE_CHECKING:
    from vlframe.registry.registry import Registry

HOOKS = [name for name, method in vars(Callback).items() if callable(method) and not name.startswith("_")]


def configured(callbacks: Mapping[str, Any], registry: Registry, folder: Path) -> list[Callback]:
    """Build a config's callbacks for the run in a folder."""
    built = lightning_objects("callback", callbacks, registry)
    return [with_named_hooks(*item, folder) for item in zip(callbacks, built, strict=True)]


def with_named_hooks(name: str, callback: Callback, folder: Path) -> Callback:
    """Return the callback, whose hooks raise TrainingError for whatever they raise. ``name`` is its key in the config,
    ``folder`` that of the run.

    Errors of vlframe and those about memory, which are explained elsewhere, stay as they are.
    """
    for hook in HOOKS:
        if getattr(type(callback), hook) is not getattr(Callback, hook):
            setattr(callback, hook, _named(getattr(callback, hook), name, callback, folder))
    return callback


def _named(method: Callable[..., Any], name: str, callback: Callback, folder: Path) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except (UserError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            raise TrainingError(
                f"callbacks.{name} ({type(callback).__name__}) failed in {method.__name__}: {named_line(error)} (at "
                f"{at.filename}:{at.lineno}). What was trained until the last checkpoint is kept; correct it and go on "
                f"with resume={folder}, or go on without it: resume={folder} '~callbacks.{name}' resume_changes=allow"
            ) from error

    return call
