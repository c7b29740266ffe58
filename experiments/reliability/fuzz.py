"""Read damaged files of every type, through every reader, each in a process that can be killed.

    python experiments/reliability/fuzz.py [--seed 0] [--only NAME] [--keep FOLDER] [--no-report]

A damaged file is read like a good one: its metadata, all of its frames, its sound. The output is compared with that of
the good file. The figures go into README.md, between its markers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bases import RATE, Base, write_bases, write_oddities
from cost import cost
from damage import damaged
from report import tables

from vlframe import MediaError
from vlframe.media.process import ReaderProcess
from vlframe.registry.registry import Registry

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # experiments/
from study_page import write_between

HERE = Path(__file__).resolve().parent
READERS = ("auto", "decord", "pyav")
LIMIT = 10.0  # seconds for a file
NAMES = ("clip {}", "ein Clip für {}", "短片 {}", "клип,=[{}]'$x")


@dataclass(frozen=True)
class Damaged:
    path: Path
    kind: str
    base: Base


@dataclass(frozen=True)
class Outcome:
    """``result``: same, refused, different, count, hung, crashed, fault."""

    reader: str
    kind: str
    base: str
    codec: str
    read: str
    result: str
    reason: str


def make(folder: Path, seed: int, only: str | None) -> tuple[list[Base], list[Damaged], dict[str, Path]]:
    """Write good files, their damaged copies, and files that were never good."""
    rng = np.random.default_rng(seed)
    (folder / "good").mkdir()
    (folder / "bad").mkdir()
    bases = [base for base in write_bases(folder / "good") if only is None or only in base.path.name]
    contents = [base.path.read_bytes() for base in bases]
    files = []
    for number, (base, content) in enumerate(zip(bases, contents, strict=True)):
        other = contents[(number + 7) % len(contents)]
        for kind, suffix, bad in damaged(content, base.path.suffix, other, rng):
            path = folder / "bad" / (NAMES[len(files) % len(NAMES)].format(len(files)) + suffix)
            path.write_bytes(bad)
            files.append(Damaged(path, kind, base))
    return bases, files, write_oddities(folder)


def read(reader: Any, path: Path, what: str) -> np.ndarray:
    if what == "image":
        return reader.load_image(path)
    if what == "sound":
        return reader.audio(path, RATE, None, None)
    return reader.frames(path, range(reader.info(path).frames))


def result_of(reader: Any, path: Path, what: str, good: np.ndarray | None) -> tuple[str, str]:
    """Return how a read ended, and its message."""
    try:
        with reader.one_file():
            found = read(reader, path, what)
    except MediaError as error:
        words = str(error).removeprefix(str(path))
        result = "hung" if "took longer" in words else "crashed" if "the decoder crashed" in words else "refused"
        return result, words
    except RuntimeError as error:  # the reader raises this for its own faults, not the file's
        return "fault", str(error)
    if good is None:
        return "different", f"{found.shape} of nothing"
    if found.shape != good.shape:
        return "count", f"{found.shape} and not {good.shape}"
    return ("same", "") if np.array_equal(found, good) else ("different", "")


def study(reader: Any, name: str, bases: list[Base], files: list[Damaged], odd: dict[str, Path]) -> Iterator[Outcome]:
    """Read every file through one reader. If it refuses a good file (decord does), its damaged copies are left out."""
    good: dict[tuple[Path, str], np.ndarray] = {}
    for base in bases:
        for what in base.reads:
            try:
                good[base.path, what] = read(reader, base.path, what)
            except MediaError as error:
                print(f"  {name} does not read {base.path.name}: {str(error)[-90:]}")
    for item in files:
        for what in item.base.reads:
            if (item.base.path, what) in good:
                result, reason = result_of(reader, item.path, what, good[item.base.path, what])
                yield Outcome(name, item.kind, item.base.path.name, item.base.codec, what, result, reason)
    for what_it_is, path in odd.items():
        result, reason = result_of(reader, path, "frames", None)
        yield Outcome(name, what_it_is, path.name, "", "frames", result, reason)


MEMORY = """
import sys, pathlib
from vlframe import MediaError
from vlframe.registry.registry import Registry
reader = Registry.installed().build("reader", {"name": sys.argv[1]})
files = sorted(pathlib.Path(sys.argv[2]).rglob("*.*"))
def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) // 1024
def once(number):
    path = files[number * 37 % len(files)]
    try:
        reader.frames(path, range(reader.info(path).frames))
    except MediaError:
        pass
for number in range(len(files)):
    once(number)
warm = resident()
for number in range(1000):
    once(number)
print(warm, resident())
"""


def memory(name: str, folder: Path) -> tuple[int, int]:
    """Return the resident MB of a process that has read every file once, and after 1000 more opens."""
    command = [sys.executable, "-c", MEMORY, name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=os.environ)
    if done.returncode:
        raise SystemExit(f"the memory of {name} was not measured:\n{done.stderr[-2000:]}")
    warm, end = done.stdout.split()[-2:]
    return int(warm), int(end)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="part of the name of a good file")
    parser.add_argument("--keep", type=Path, help="an empty folder in which the files stay")
    parser.add_argument("--no-report", action="store_true", help="leave README.md as it is")
    given = parser.parse_args()
    os.environ.setdefault("SVT_LOG", "1")
    registry = Registry.installed()
    with ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bases, files, odd = make(folder, given.seed, given.only)
        print(f"{len(bases)} good files, {len(files)} damaged ones, {len(odd)} oddities")
        outcomes: list[Outcome] = []
        seconds, sizes = {}, {}
        for name in READERS:
            started = time.monotonic()
            reader = ReaderProcess(registry.build("reader", {"name": name}), LIMIT, name)
            outcomes += study(reader, name, bases, files, odd)
            reader.close()
            seconds[name] = time.monotonic() - started
            print(name, Counter(item.result for item in outcomes if item.reader == name), f"{seconds[name]:.0f} s")
            sizes[name] = memory(name, folder)
            print(f"  resident MB, warm and 1000 opens later: {sizes[name]}")
    for item in outcomes:
        if item.result in ("hung", "crashed", "fault"):
            print(item)
    text = tables(outcomes, sizes, seconds, [] if given.only else cost(registry), given.seed)
    print(text)
    if not given.no_report and not given.only:
        write_between(HERE / "README.md", text)
    if any(item.result == "fault" for item in outcomes):
        raise SystemExit("a reader failed with an error that is not about the file")


if __name__ == "__main__":
    main()
