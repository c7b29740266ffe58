"""What belongs to the whole process, which a component may read and must leave as it is."""

from __future__ import annotations

import gc
import logging
import os
import pickle
import random
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFile

BLANKET = ("ignore", None, Warning, None, 0)  # a filter that hides every warning of every library
SIGNALS = (signal.SIGINT, signal.SIGTERM)  # a run finishes its step and writes a checkpoint when it gets one

SETTINGS: dict[str, Callable[[], Any]] = {
    "the default dtype of torch": torch.get_default_dtype,
    "gradient mode": torch.is_grad_enabled,
    "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled,
    "torch's number of threads": torch.get_num_threads,
    "the precision of float32 products": torch.get_float32_matmul_precision,
    "the working folder": os.getcwd,
    "environment variables": lambda: dict(os.environ),
    "how numpy treats floating-point errors": np.geterr,
    "the default device of torch": torch.get_default_device,
    "torch's search for anomalies": torch.is_anomaly_enabled,
    "the choice of cuDNN's kernels": lambda: (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
    "how PIL treats damaged and huge pictures": lambda: (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS),
    "which warnings are shown": lambda: BLANKET in warnings.filters,
    "what is logged": lambda: (logging.root.level, logging.root.manager.disable),
    "where modules are looked for (sys.path)": lambda: tuple(sys.path),
    "what signals do": lambda: tuple(map(signal.getsignal, SIGNALS)),
    "how deep Python recurses": sys.getrecursionlimit,
    "the timeout of the network": socket.getdefaulttimeout,
    "the collection of garbage": gc.isenabled,
}
# Libraries set these when they are first used (decord the PATH); a component that uses one is not at fault.
OF_LIBRARIES = (
    "PATH", "KMP_", "OMP_", "TORCH", "PYTORCH", "TRANSFORMERS_", "HF_", "TOKENIZERS_", "CUDA_", "TRITON_", "MKL_",
)  # fmt: skip


def settings() -> dict[str, Any]:
    """Return the settings of the process, by what they are in words."""
    return {words: _without_libraries(read()) for words, read in SETTINGS.items()}


def changed_settings(before: dict[str, Any]) -> list[str]:
    """Return which settings are not what they were, in words; environment variables by name."""
    changed = []
    for words, now in settings().items():
        if now == before[words]:
            continue
        names = (
            sorted(key for key in {*now, *before[words]} if now.get(key) != before[words].get(key))
            if isinstance(now, dict)
            else []
        )
        changed.append(f"{words} ({', '.join(names)})" if names else words)
    return changed


def random_states() -> dict[str, bytes]:
    """Return the states of the global random numbers, by library."""
    states = {"torch": torch.get_rng_state().tolist(), "random": random.getstate(), "numpy": np.random.get_state()}
    return {name: pickle.dumps(state) for name, state in states.items()}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run with the global random numbers of torch, Python and NumPy seeded, and put them back."""
    own, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(own)
            np.random.set_state(arrays)


def _without_libraries(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if not str(key).startswith(OF_LIBRARIES)}
