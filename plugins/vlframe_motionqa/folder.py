"""The folder of clips: written once, completely or not at all, by one process however many ask for it.

It holds ``clips/000000.mp4 …`` and ``manifest.json``, which repeats the parameters and describes every clip. Everything
is written to a temporary folder beside it, the manifest last, which is then renamed. A lock file makes other processes
wait.
"""

import fcntl
import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vlframe import ConfigError
from vlframe_motionqa.rendering import Clip, frames_of, waveform_of, write_mp4

MANIFEST = "manifest.json"
MOST_WRITERS = 4  # processes
WORTH_SHARING = 200  # clips; fewer are written before another process has started


def clip_path(folder: Path, index: int) -> Path:
    return folder / "clips" / f"{index:06d}.mp4"


def ensure(folder: Path, parameters: dict[str, Any], clips: Sequence[Clip]) -> None:
    """Make ``folder`` hold these clips, unless it already does. A folder with missing files is written again."""
    if _is_whole(folder, parameters, clips):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if _is_whole(folder, parameters, clips):  # another process made it while this one waited
            return
        _refuse_strangers(folder)
        made = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(made, ignore_errors=True)  # left by a killed process
        _write(made, folder, parameters, clips)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def manifest_of(parameters: dict[str, Any], clips: Sequence[Clip]) -> str:
    rows = [{"kind": clip.scene.kind, **asdict(clip)} for clip in clips]
    lines = ",\n".join(json.dumps(row) for row in rows)
    return f'{{"parameters": {json.dumps(parameters)},\n"clips": [\n{lines}\n]}}\n'


def _write(made: Path, folder: Path, parameters: dict[str, Any], clips: Sequence[Clip]) -> None:
    started = time.monotonic()
    print(
        f"motionqa: writing {len(clips)} {parameters['split']} clips to {folder}",
        end=" ... ",
        file=sys.stderr,
        flush=True,
    )
    (made / "clips").mkdir(parents=True)
    shares = min(os.cpu_count() or 1, MOST_WRITERS) if len(clips) >= WORTH_SHARING else 1
    # Forked on Linux, so that the lock is held until the last of them ends, even if this process is killed.
    others = [
        multiprocessing.Process(target=_write_share, args=(made, parameters, clips, n, shares))
        for n in range(1, shares)
    ]
    for other in others:
        other.start()
    _write_share(made, parameters, clips, 0, shares)
    for other in others:
        other.join()
        if other.exitcode:
            raise RuntimeError(
                f"a process that wrote clips ended with exit code {other.exitcode}; its message is above"
            )
    (made / MANIFEST).write_text(manifest_of(parameters, clips), encoding="utf-8")
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)


def _write_share(made: Path, parameters: dict[str, Any], clips: Sequence[Clip], first: int, step: int) -> None:
    """Write every ``step``-th clip, from ``first`` on."""
    frames = round(parameters["seconds"] * parameters["fps"])
    for index in range(first, len(clips), step):
        frames_TYXC = frames_of(clips[index], parameters["size"], frames)
        waveform_L = waveform_of(clips[index], parameters["seconds"])
        write_mp4(clip_path(made, index), frames_TYXC, parameters["fps"], waveform_L)


def _is_whole(folder: Path, parameters: dict[str, Any], clips: Sequence[Clip]) -> bool:
    """Return whether a folder has all its clips; ``ConfigError`` if it was made with other parameters."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        found = json.loads(text)["parameters"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return False
    if found != parameters:
        keys = [key for key in parameters if found.get(key) != parameters[key]]
        differ = ", ".join(f"{key}: {found.get(key)} there, {parameters[key]} asked" for key in keys)
        raise ConfigError(
            f"dataset 'motionqa': {folder} holds clips made with other parameters ({differ}); "
            "give another folder, or null for a separate cache folder"
        )
    sizes = {path.name: path.stat().st_size for path in (folder / "clips").glob("*.mp4")}
    return text == manifest_of(parameters, clips) and all(
        sizes.get(clip_path(folder, index).name) for index in range(len(clips))
    )


def _refuse_strangers(folder: Path) -> None:
    """Raise ConfigError unless the folder holds nothing but an incomplete data set of ours, which may be deleted."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"dataset 'motionqa': {folder} is a file; give a folder for the clips")
    strangers = sorted({path.name for path in folder.glob("*")} - {MANIFEST, "clips"})
    strangers += sorted(path.name for path in (folder / "clips").glob("*") if path.suffix != ".mp4")
    if strangers:
        raise ConfigError(
            f"dataset 'motionqa': {folder} holds other files ({', '.join(strangers[:3])}); give an empty or new folder"
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock for one process at a time; the system frees the lock of a process that dies."""
    with open(folder.with_name(f".{folder.name}.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
