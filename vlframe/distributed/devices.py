"""Devices by name: their memory and speed."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from vlframe.errors import UnknownName, did_you_mean
from vlframe.machine.memory import free_main_memory

UTILISATION = 0.4  # share of the peak that training of large models commonly reaches
MEASURED_SECONDS = 0.3  # how long the speed of a CPU is measured


@dataclass(frozen=True)
class Device:
    """A device. ``memory`` is in bytes; ``bf16`` and ``f32`` are peak dense operations per second, accumulated in
    float32; None if unknown. ``shared``: all processes of a machine compute on it.
    """

    words: str
    memory: int
    bf16: float | None
    f32: float | None
    shared: bool = False

    def seconds(self, flops: int, precision: str) -> float | None:
        """Return the seconds that these operations take at the assumed share of the peak."""
        peak = self.bf16 if precision == "bf16" else self.f32
        return None if peak is None else flops / (peak * UTILISATION)


def _table(*rows: tuple[str, str, int, float, float]) -> dict[str, Device]:
    return {
        name: Device(words, gb * 10**9, bf16 * 1e12, f32 * 1e12) for name, words, gb, bf16, f32 in rows
    }  # A card of 80 GB has 85 * 10^9 bytes: the rest is left to the driver, the libraries and fragments.


# From the makers' data sheets: TFLOP/s without sparsity; of gaming cards with float32 accumulation.
DEVICES = _table(
    ("b200", "NVIDIA B200", 180, 2250, 75),
    ("h200", "NVIDIA H200", 141, 989, 67),
    ("h100", "NVIDIA H100", 80, 989, 67),
    ("a100", "NVIDIA A100 80GB", 80, 312, 19.5),
    ("a100_40", "NVIDIA A100 40GB", 40, 312, 19.5),
    ("l40s", "NVIDIA L40S", 48, 362, 91.6),
    ("a10", "NVIDIA A10", 24, 125, 31.2),
    ("rtx4090", "NVIDIA RTX 4090", 24, 165, 82.6),
    ("rtx3090", "NVIDIA RTX 3090", 24, 71, 35.6),
    ("mi300x", "AMD MI300X", 192, 1307, 163),
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
    words = found.name.replace("GeForce ", "")
    known = [
        item for item in DEVICES.values() if words.startswith(item.words.partition(" 80GB")[0].partition(" 40")[0])
    ]
    bf16, f32 = (known[0].bf16, known[0].f32) if known else (None, None)
    return Device(found.name, int(found.total_memory * 0.94), bf16, f32)


def this_cpu() -> Device:
    """Return this machine's processor, at the speed of a matrix product; bfloat16 is assumed to be no faster.

    One thread is measured and counted for all of torch's: several that wait for each other beside other work can take
    ten times as long. The fastest product counts, as other work takes the processor for moments.
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
    rate = 2 * 512**3 / min(took) * threads
    return Device("this machine's CPU", free_main_memory(), rate, rate, shared=True)
