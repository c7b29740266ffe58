"""The meta device for constructed modules, but not for Python modules imported during construction."""

import sys
from contextlib import nullcontext
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class MetaDevice(TorchFunctionMode):
    """``torch.device("meta")``, with real memory for constants of modules first imported meanwhile.

    They outlive the plan: torchaudio has a filter bank at module level, which would fail on the first sound.
    """

    def __init__(self) -> None:
        super().__init__()
        self.imports = _imports_under_way()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with nullcontext() if _imports_under_way() > self.imports else torch.device("meta"):
            return func(*args, **(kwargs or {}))


def _imports_under_way() -> int:
    count = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        count += frame.f_code.co_filename == "<frozen importlib._bootstrap>"
        frame = frame.f_back
    return count
