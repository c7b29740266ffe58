"""Which devices a machine has, and the processes that a run has on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec


def _tpu() -> bool:
    if find_spec("torch_xla") is None:
        return False
    from lightning.pytorch.accelerators import XLAAccelerator

    return XLAAccelerator.is_available()


def _cuda() -> bool:
    import torch

    return torch.cuda.device_count() > 0


def _mps() -> bool:
    import torch

    return torch.backends.mps.is_available()


# What `trainer.accelerator` may name, besides auto and cpu: what it needs, and whether that is here.
_NEEDED: dict[str, tuple[str, Callable[[], bool]]] = {
    "gpu": ("a GPU", lambda: _cuda() or _mps()),
    "cuda": ("a GPU of NVIDIA or AMD", _cuda),
    "mps": ("a GPU of Apple (MPS)", _mps),
    "tpu": ("a TPU and the package torch_xla", _tpu),
}


def what_lacks(accelerator: str) -> str:
    """Return what this machine lacks for an accelerator, in words; "" if it is there."""
    if accelerator not in _NEEDED:
        return ""
    needed, is_here = _NEEDED[accelerator]
    return "" if is_here() else needed


def process_count(devices: int | str | Sequence[int], accelerator: str) -> int:
    """Return the number of processes that ``trainer.devices`` means on a machine: that number, one per listed device,
    or (-1, auto) one per GPU.
    """
    if isinstance(devices, list | tuple):
        return len(devices)
    if devices in (-1, "auto"):
        import torch

        return max(1, torch.cuda.device_count()) if accelerator in ("auto", "gpu", "cuda") else 1
    return int(str(devices))
