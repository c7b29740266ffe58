"""Kernels that give the same numbers every time: cuBLAS has to be told before it is first used."""

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(autouse=True)
def exact_kernels() -> Iterator[None]:
    """Full float32 in convolutions too (cuDNN takes TF32 unasked), and deterministic algorithms or an error."""
    import torch

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.allow_tf32 = before
