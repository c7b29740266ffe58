"""Devices by name: their memory and speed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache

import torch

from vlframe.errors import UnknownName, did_you_mean
from vlframe.machine.memory import free_main_memory

UTILISATION = 0.4  # share of the peak that training of large models commonly reaches
MEASURED_SECONDS = 0.3  # how long the speed of a CPU is measured


@dataclass(frozen=True)
class Device:
    """A device. ``memory`` is in bytes; ``bf16``, ``f16`` and ``f32`` are peak dense operations per second,
    accumulated in float32; None if unknown, or if the device lacks
    that type. ``shared``: all processes of a machine compute on it.
    """

    words: str
    memory: int
    bf16: float | None
    f16: float | None
    f32: float | None
    shared: bool = False

    def lacks(self, precision: str) -> bool:
        """Return whether the device is known not to compute in bfloat16, and asked to."""
        return precision == "bf16" and self.bf16 is None and self.f16 is not None

    def refuses(self, precision: str) -> bool:
        """Return whether training in this precision is refused: on a CPU, which does not scale losses."""
        return precision == "16" and self.shared

    def seconds(self, flops: int, precision: str) -> float | None:
        """Return the seconds that these operations take at the assumed share of the peak."""
        peak = {"bf16": self.bf16, "16": self.f16}.get(precision, self.f32)
        return None if peak is None else flops / (peak * UTILISATION)


def _table(*rows: tuple[str, str, int, float, float, bool]) -> dict[str, Device]:
    return {
        name: Device(words, gb * 10**9, low * 1e12 if has_bf16 else None, low * 1e12, f32 * 1e12)
        for name, words, gb, low, f32, has_bf16 in rows
    }  # A card of 80 GB has 85 * 10^9 bytes: the rest is left to the driver, the libraries and fragments.


# From the makers' data sheets: TFLOP/s without sparsity in 16 bits (of gaming cards with float32 accumulation) and in
# float32; whether there is bfloat16.
DEVICES = _table(
    ("b200", "NVIDIA B200", 180, 2250, 75, True),
    ("h200", "NVIDIA H200", 141, 989, 67, True),
    ("h100", "NVIDIA H100", 80, 989, 67, True),
    ("a100", "NVIDIA A100 80GB", 80, 312, 19.5, True),
    ("a100_40", "NVIDIA A100 40GB", 40, 312, 19.5, True),
    ("l40s", "NVIDIA L40S", 48, 362, 91.6, True),
    ("a10", "NVIDIA A10", 24, 125, 31.2, True),
    ("rtx4090", "NVIDIA RTX 4090", 24, 165, 82.6, True),
    ("rtx3090", "NVIDIA RTX 3090", 24, 71, 35.6, True),
    ("mi300x", "AMD MI300X", 192, 1307, 163, True),
    ("v100", "NVIDIA V100", 32, 125, 15.7, False),
    ("rtx2080ti", "NVIDIA RTX 2080 Ti", 11, 53.8, 13.4, False),
    ("t4", "NVIDIA T4", 16, 65, 8.1, False),
)


def device_named(name: str) -> Device:
    """Return the device of this name; ``cpu`` is this machine's. UnknownName if it is not in the table."""
    if name == "cpu":
        return this_cpu()
    if name not in DEVICES:
        known = [*DEVICES, "cpu"]
        raise UnknownName(f"no device {name!r} is known; there are {', '.join(known)}{did_you_mean(name, known)}")
    return DEVICES[name]


def device_here(accelerator: str = "auto") -> Device:
    """Return the device that a run on this machine computes on."""
    if accelerator == "cpu" or not torch.cuda.is_available():
        return this_cpu()
    found = torch.cuda.get_device_properties(0)
    words = found.name.replace("GeForce ", "").removeprefix("NVIDIA ").removeprefix("Tesla ")
    words = words if words.startswith("AMD") else f"NVIDIA {words}"
    known = [
        item for item in DEVICES.values() if words.startswith(item.words.partition(" 80GB")[0].partition(" 40GB")[0])
    ]
    memory = int(found.total_memory * 0.94)
    return replace(known[0], words=found.name, memory=memory) if known else Device(found.name, memory, None, None, None)


def this_cpu() -> Device:
    """Return this machine's processor, at the speed of a matrix product; 16 bits are assumed to be no faster.

    One thread is measured and counted for all of torch's: several that wait for each other beside other work can take
    ten times as long.
    """
    rate = _rate_of_a_thread() * torch.get_num_threads()
    return Device("this machine's CPU", free_main_memory(), rate, rate, rate, shared=True)


@cache
def _rate_of_a_thread() -> float:
    """Measure, once in a process, how many operations a second one thread does in a matrix product. The fastest product
    counts, as other work takes the processor for moments.
    """
    threads = torch.get_num_threads()
    a_NN = torch.ones(512, 512)
    took: list[float] = []
    torch.set_num_threads(1)
    try:
        while len(took) < 3 or sum(took) < MEASURED_SECONDS:
            before = time.perf_counter()
            torch.mm(a_NN, a_NN)
            took.append(time.perf_counter() - before)
    finally:
        torch.set_num_threads(threads)
    return 2 * 512**3 / min(took)
