"""``vlframe doctor``: what vlframe sees of this machine, and what to do about it. Uses no network."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.errors import UserError, named_line, one_line
from vlframe.paths import at_home

if TYPE_CHECKING:
    from vlframe.machine.cpus import Cpus
    from vlframe.registry.registry import Registry

USAGE = (("doctor", "what this machine has: devices, threads, readers, cache, disk, logins; with advice"),)
OTHERS = ("lightning", "transformers", "hydra-core", "av", "decord", "wandb")
GIB = 2**30
OF_TORCH = ("torchvision", "torchaudio")  # compiled for one version of torch, and imported by transformers
ROOM = 20 * GIB  # below this, a note about the disk
LEAST_ROOM = GIB // 4  # below this, no run can start
LEAST_SHARED = GIB  # of the memory through which data workers pass their batches
BUSY = 1.5  # processes that want to run, for each CPU


@dataclass(frozen=True)
class Finding:
    """One line of the report: topic, finding, advice. ``stops`` means that a run would fail because of it."""

    what: str
    found: str
    advice: str = ""
    stops: bool = False


def main(words: list[str]) -> int:
    if words in (["--help"], ["-h"]):
        print("vlframe doctor: checks this machine and reports what it finds; exit code 2 if a run could not start")
        return 0
    if words:
        print(f"vlframe doctor: takes no arguments, not {' '.join(words)}", file=sys.stderr)
        return 2
    findings = list(examine())
    print(report(findings))
    return 2 if any(item.stops for item in findings) else 0


def report(findings: Sequence[Finding]) -> str:
    """Format the findings, each followed by its advice; the last line says whether anything would stop a run."""
    lines = []
    for item in findings:
        lines.append(f"{item.what:<9} {item.found}")
        if item.advice:
            lines.append(f"{'':<9} {'STOPS A RUN: ' if item.stops else '-> '}{item.advice}")
    bad = [item.what for item in findings if item.stops]
    lines.append(f"a run would be stopped by: {', '.join(bad)}" if bad else "nothing here would stop a run")
    return "\n".join(lines)


def examine() -> Iterator[Finding]:
    """Yield the findings about this machine, as this process sees it."""
    import torch

    from vlframe.machine.cpus import cpus, default_threads, thread_count
    from vlframe.registry.registry import Registry

    found, registry = cpus(), Registry.installed()
    yield versions()
    yield from of_torch(import_module)
    yield devices(torch)
    yield threads(found, thread_count(None, 1, found, default_threads()), os.environ, _load())
    yield from readers(registry)
    yield from plugins(registry)
    yield cache(os.environ)
    yield hub(os.environ)
    yield disk(Path("runs"))
    yield from shared_memory(Path("/dev/shm"))
    yield wandb_login()
    yield start(os.environ)


def versions() -> Finding:
    told = [f"Python {sys.version.split()[0]}"]
    for name in ("vlframe", "torch", *OF_TORCH, *OTHERS):
        try:
            told.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            told.append(f"no {name}")
    return Finding("versions", ", ".join(told))


def of_torch(load: Callable[[str], Any]) -> Iterator[Finding]:
    """Report the packages compiled for torch that do not load beside the one installed. ``load`` imports one."""
    for name in OF_TORCH:
        try:
            load(name)
        except Exception as error:
            needed = [item for item in requires("vlframe") or () if item.startswith(("torch==", "torch>", name))]
            words = " ".join(f"'{item}'" for item in needed)
            yield Finding(name, f"does not load: {named_line(error)}", f"pip install {words}", stops=True)


def devices(torch: Any, nvidia: Path = Path("/proc/driver/nvidia")) -> Finding:
    """Report the accelerators that torch finds. ``torch`` is the module; ``nvidia`` exists where NVIDIA's driver is
    loaded.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        every = [torch.cuda.get_device_properties(number) for number in range(count)]
        told = "; ".join(f"{item.name}, {item.total_memory / GIB:.0f} GiB" for item in every)
        bf16 = (
            "" if torch.cuda.is_bf16_supported() else ", without bfloat16: say trainer.precision=16, or leave it at 32"
        )
        return Finding("devices", f"{count} GPU(s): {told}{bf16}", _use_all(count))
    if torch.backends.mps.is_available():
        return Finding("devices", "Apple's GPU (mps)")
    if torch.version.cuda:
        return Finding(
            "devices",
            f"no GPU, though torch is built for CUDA {torch.version.cuda}; runs use the CPU",
            "where there should be one, look at nvidia-smi and at CUDA_VISIBLE_DEVICES",
        )
    advice = "there is one of NVIDIA's: install a torch that is built for CUDA" if nvidia.exists() else ""
    return Finding("devices", "no GPU that torch, built without CUDA, can use; runs use the CPU", advice)


def _use_all(count: int) -> str:
    return f"trainer.devices={count} uses all of them; one is the default" if count > 1 else ""


def _load() -> float | None:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def threads(found: Cpus, count: int, environment: Mapping[str, str], load: float | None) -> Finding:
    """Report CPUs and threads. ``count`` is torch's default number of threads, ``load`` the average number of runnable
    processes.
    """
    from vlframe.machine.cpus import in_words

    said = environment.get("OMP_NUM_THREADS")
    told = f"{in_words(found)}; torch uses {count} thread(s){f' (OMP_NUM_THREADS={said})' if said else ''}"
    advice = ""
    if said and count > found.usable:
        advice = f"threads without a CPU wait; unset OMP_NUM_THREADS, or set trainer.threads={found.usable}"
    elif load is not None and load > BUSY * found.cores:
        fewer = "trainer.threads=1 and loader.workers=0" if count > 1 else "loader.workers=0"
        advice = (
            f"{load:.0f} processes want to run on {found.cores} cores; where they are not yours, {fewer} can be faster"
        )
    elif found.usable > 2 and not said:
        advice = f"loader.workers={min(8, found.usable - 1)} decodes in parallel with training; 0 is the default"
    return Finding("threads", told, advice)


def readers(registry: Registry) -> Iterator[Finding]:
    """Build each installed reader as a run would, and report which work."""
    broken = {}
    names = registry.names("reader")
    for name in names:
        try:
            registry.build("reader", {"name": name})
        except (UserError, ImportError, OSError) as error:
            broken[name] = one_line(error)
    good = [name for name in names if name not in broken]
    for name, reason in broken.items():
        yield Finding("readers", f"{name} does not work: {reason}", "" if not good else f"say reader={good[0]}")
    stops = "" if good else "no media file can be opened; install av"
    yield Finding("readers", ", ".join(good) or "none that works", stops, stops=not good)


def plugins(registry: Registry) -> Iterator[Finding]:
    """Report the plugins that did not load."""
    for plugin in registry.broken:
        yield Finding(
            "plugins", f"{plugin.name} does not load: {plugin.reason}", "its components are missing from every run"
        )


def cache(environment: Mapping[str, str]) -> Finding:
    """Report vlframe's own cache, whose contents can be made again."""
    place = environment.get("VLFRAME_CACHE") or os.path.join(
        environment.get("XDG_CACHE_HOME") or at_home("~/.cache"), "vlframe"
    )
    if writable(Path(place)):
        return Finding("cache", place)
    return Finding(
        "cache",
        f"{place} cannot be written; a temporary folder takes its place, and what was made is made again each time",
        "set VLFRAME_CACHE=<folder> to choose another",
    )


def hub(environment: Mapping[str, str]) -> Finding:
    """Report where weights named by a hub id come from, and whether there is a login for gated ones."""
    home = environment.get("HF_HOME") or os.path.join(
        environment.get("XDG_CACHE_HOME") or at_home("~/.cache"), "huggingface"
    )
    place = environment.get("HF_HUB_CACHE") or os.path.join(home, "hub")
    offline = environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    token_file = Path(environment.get("HF_TOKEN_PATH") or os.path.join(home, "token"))
    logged_in = bool(environment.get("HF_TOKEN")) or token_file.is_file()
    models = sorted(folder.name[len("models--") :].replace("--", "/") for folder in Path(place).glob("models--*"))
    told = f"{place}, {len(models)} model(s){', offline' if offline else ''}, {'a' if logged_in else 'no'} login"
    if offline:
        return Finding("hub", told, "a source=<hub id> that is not there fails; HF_HUB_OFFLINE=0 lets it be fetched")
    if not writable(Path(place)):
        return Finding("hub", told, f"{place} cannot be written, so nothing can be fetched; HF_HOME=<folder> moves it")
    return Finding("hub", told, "" if logged_in else "models that ask for consent need `hf auth login`, or HF_TOKEN")


def disk(runs: Path) -> Finding:
    """Report the free space for run folders."""
    place = _there(runs.absolute())
    free = shutil.disk_usage(place).free
    told = f"{free / GIB:.1f} GiB free for {runs.absolute()}"
    if not writable(runs):
        return Finding("disk", told, f"{place} cannot be written; choose another with runs=<folder>", stops=True)
    if free < LEAST_ROOM:
        return Finding("disk", told, "no room for a checkpoint; choose another place with runs=<folder>", stops=True)
    few = "a checkpoint holds what is trained, and twice as much for the optimizer; see trainer.keep_checkpoints"
    return Finding("disk", told, few if free < ROOM else "")


def shared_memory(place: Path) -> Iterator[Finding]:
    """Report the shared memory through which data workers pass their batches; it is small in containers."""
    if place.is_dir() and (size := shutil.disk_usage(place).total) < LEAST_SHARED:
        yield Finding(
            "shared",
            f"{size / 2**20:.0f} MiB of shared memory",
            "large batches of data workers do not pass through it; loader.workers=0, or start the container with more "
            "(docker run --shm-size=8g)",
        )


def wandb_login() -> Finding:
    """Report whether ``logger=wandb`` could start, by the checks that it makes itself."""
    if find_spec("wandb") is None:
        return Finding("login", "no Weights & Biases (pip install 'vlframe[wandb]'); needed only by logger=wandb")
    from vlframe.training.wandb_login import check_login

    try:
        check_login(offline=False, mode=None)
    except UserError as error:
        advice = str(error).rpartition("; ")[2]
        return Finding("login", "no login of Weights & Biases; needed only by logger=wandb", advice)
    mode = os.environ.get("WANDB_MODE")
    return Finding("login", f"logger=wandb can begin{f' (WANDB_MODE={mode})' if mode else ''}")


def start(environment: Mapping[str, str]) -> Finding:
    """Report how a run started here would find its other processes."""
    from vlframe.distributed.launch import started

    mine = started(environment)
    if mine is not None:
        return Finding("start", f"{mine.by} started {mine.world} processes; this is number {mine.rank}")
    inside = ", inside a job of Slurm, where srun starts them" if "SLURM_JOB_ID" in environment else ""
    return Finding("start", f"a process on its own: it starts the others of trainer.devices itself{inside}")


def writable(folder: Path) -> bool:
    """Return whether a folder is writable, or could be created."""
    place = _there(folder.absolute())
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def _there(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())
