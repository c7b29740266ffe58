"""The meta device for what is built, and not for the modules that building it happens to import."""

import sys
from contextlib import nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class MetaDevice(TorchFunctionMode):
    """``torch.device("meta")``, but real memory for the constants of modules that are first imported meanwhile.

    They outlive the plan: a filter bank of torchaudio has one at its top, and would fail on the first sound.
    """

    def __init__(self) -> None:
        super().__init__()
        self.imports = _imports_under_way()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with nullcontext() if _imports_under_way() > self.imports else torch.device("meta"):
            return func(*args, **(kwargs or {}))


def _imports_under_way() -> int:
    count, frame = 0, sys._getframe(1)
    while frame is not None:
        count += frame.f_code.co_filename == "<frozen importlib._bootstrap>"
        frame = frame.f_back
    return count
