"""A tiny run that is killed with SIGKILL at random moments, resumed, and killed again, until it is done.

    .venv/bin/python experiments/reliability/soak.py --kills 50

A leg is a process that begins the run or resumes it. One leg in three is killed at a moment drawn uniformly between its
start and ``AHEAD`` steps after the point where it resumes; the others at one drawn uniformly over the time of that many
steps, counted from the first. So processes are killed during imports, while parts are built or read, inside a step,
while a checkpoint is written, between stages, in the evaluation. A finished run is compared with one that was never
disturbed, and the next begins, until there were enough kills. One leg in ``COLD_EVERY`` is ``python -m vlframe``; the
others are forked from a process that has already imported torch, and are killed in the same way.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vlframe.runs.checkpoint import checkpoints
from vlframe.runs.folder import RunFolder, git_commit
from vlframe.table import markdown

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # experiments/
from study_page import write_between

HERE = Path(__file__).resolve().parent
PAGE, RESULT = HERE / "README.md", HERE / "soak.json"
MARKS = ("<!-- soak -->", "<!-- end of soak -->")
COLD_EVERY = 8
AHEAD = 8  # steps
IMPORTED = [  # by the process that legs are forked from
    "vlframe.composer.compose", "vlframe.training.run", "vlframe.evaluation.run", "peft", "torchaudio",
    "vlframe_causal_lm.model", "vlframe_vit_tiny.encoder", "vlframe_stc.connector", "vlframe_conversations.dataset",
    "vlframe_readers.pyav", "vlframe_benchmarks.exact_match",
]  # fmt: skip
WORDS = ["red", "green", "blue", "left", "right", "up"]
TINY = [
    "encoder=vit_tiny", "encoder.dim=32", "encoder.heads=2", "connector=stc_tiny", "llm=tiny", "media.frames=4",
    "llm.architecture.hidden_size=48", "llm.architecture.intermediate_size=64",
    "llm.architecture.num_attention_heads=4", "trainer.progress=false", "trainer.log_every=1", "trainer.threads=1",
    "trainer.checkpoint_every=2", "trainer.accelerator=cpu", "dataset=conversations",
    "+stage@stages.full=tune", "stages.full.steps=8", "stages.full.batch_size=2",
    "stages.full.accumulate_grad_batches=2",
    "+stage@stages.adapters=tune_lora", "stages.adapters.steps=8", "stages.adapters.batch_size=3",
    "stages.adapters.llm.lora.rank=2", "stages.adapters.llm.lora.dropout=0.2",
]  # fmt: skip


@dataclass
class Leg:
    """The state of one process after it was killed."""

    cold: bool
    after: float  # seconds from its start to its end
    killed: bool
    where: str
    step: int  # step of the run in its newest checkpoint
    half_written: int  # checkpoints it was writing


@dataclass
class Soak:
    """Everything recorded so far."""

    place: Path
    arguments: list[str]
    generator: random.Random
    legs: list[Leg] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    # cold or not -> seconds from the start to AHEAD steps on, and from the first step to that point
    spans: dict[bool, tuple[float, float]] = field(default_factory=dict)

    @property
    def kills(self) -> int:
        return sum(leg.killed for leg in self.legs)


def soak(kills: int, seed: int, place: Path, cold_every: int = COLD_EVERY) -> dict[str, Any]:
    """Kill at least ``kills`` processes; return the results of their runs."""
    began = time.perf_counter()
    manifest = write_manifest(place)
    paths = [f"dataset.path={manifest}", "benchmark=exact_match_file", f"benchmark.dataset.path={manifest}"]
    state = Soak(place, [*TINY, *paths], random.Random(seed))
    warm_up()
    undisturbed = measured_run(state, "undisturbed", cold=False)
    if cold_every:
        measured_run(state, "undisturbed_cold", cold=True)
    while state.kills < kills or not state.runs:
        name = f"run{len(state.runs)}"
        folder = killed_run(state, name, kills, cold_every)
        state.runs.append({"run": name, **compared(undisturbed, folder)})
        print(f"{name} is done after {state.kills} kills: {state.runs[-1]}", flush=True)
    return summary(state, seed, time.perf_counter() - began)


def write_manifest(place: Path) -> Path:
    """Write questions about single-colour images, and some without media."""
    from PIL import Image

    rows = []
    for number, word in enumerate(WORDS):
        row: dict[str, Any] = {"id": f"row{number}", "answer": word}
        question = f"say word {number}"
        if number % 2:
            Image.new("RGB", (48, 40), (40 * number, 90, 250 - 40 * number)).save(place / f"{number}.png")
            row["image"], question = f"{number}.png", f"<image>\n{question}"
        row["conversations"] = [{"from": "human", "value": question}, {"from": "gpt", "value": word}]
        rows.append(json.dumps(row) + "\n")
    (place / "rows.jsonl").write_text("".join(rows))
    return place / "rows.jsonl"


def measured_run(state: Soak, name: str, cold: bool) -> RunFolder:
    """Run undisturbed, and measure how long a leg takes to its first steps."""
    began, first, seen = time.perf_counter(), 0.0, 0.0
    leg = start(state, [*state.arguments, f"name={name}"], name, cold)
    while leg.alive():
        folder = run_folder(state, name)
        names, rows = progress(folder)
        first = first or (rows > 1) * (time.perf_counter() - began)
        if not seen and names and int(names[-1].split("-")[2]) >= AHEAD:
            seen = time.perf_counter() - began
        time.sleep(0.01)
    folder = run_folder(state, name)
    if leg.code() or folder is None:
        raise RuntimeError(f"the undisturbed run ended with {leg.code()}:\n{leg.printed.read_text()[-3000:]}")
    state.spans[cold] = (seen, seen - first)
    return folder


def killed_run(state: Soak, name: str, kills: int, cold_every: int) -> RunFolder:
    """Start, kill and resume until the run is done, by itself or because there were enough kills."""
    while True:
        folder = run_folder(state, name)
        words = [f"resume={folder.path}"] if folder else [*state.arguments, f"name={name}"]
        if folder:  # the number of data workers does not change the result, so it may differ in each leg
            words.append(f"loader.workers={int(state.generator.random() < 0.25)}")
        cold = bool(cold_every) and len(state.legs) % cold_every == 0
        at_once = state.generator.random() < 1 / 3
        moment = state.generator.uniform(0, state.spans[cold][0 if at_once else 1])
        before = progress(folder)
        since = began = time.perf_counter()
        leg = start(state, words, name, cold)
        while leg.alive() and (state.kills >= kills or time.perf_counter() - since < moment):
            if not at_once and progress(run_folder(state, name)) == before:
                since = time.perf_counter()
            time.sleep(0.002)
        killed = leg.kill()
        after = time.perf_counter() - began
        folder = run_folder(state, name)
        state.legs.append(found(folder, before, leg.pid, cold, after, killed))
        print(f"{len(state.legs):>4} {name} {state.legs[-1]}", flush=True)
        if not killed:
            if leg.code() or folder is None:
                raise RuntimeError(f"a leg of {name} ended with {leg.code()}:\n{leg.printed.read_text()[-3000:]}")
            return folder


def found(folder: RunFolder | None, before: tuple, pid: int, cold: bool, after: float, killed: bool) -> Leg:
    """Return what a killed process left."""
    half = len(list(folder.checkpoints.glob(f".*.{pid}"))) if folder else 0
    here = progress(folder)
    ends = sum(name.endswith("-end") for name in here[0])
    if not killed:
        where = "not killed: the run was done"
    elif folder is None:
        where = "before the run had a folder"
    elif half:
        where = "while a checkpoint was written"
    elif here == before:
        where = "start-up of a resumption" if before[0] else "first start, before its first step"
    elif ends == 2:
        where = "evaluation"
    elif here[0] and here[0][-1].endswith("-end"):
        where = "between the stages"
    else:
        where = "inside a step"
    step = sum(item.step for item in newest_of_stages(folder)) if folder else 0
    return Leg(cold, round(after, 3), killed, where, step, half)


def newest_of_stages(folder: RunFolder) -> list[Any]:
    return list({item.stage: item for item in checkpoints(folder)}.values())


def progress(folder: RunFolder | None) -> tuple[list[str], int]:
    """Return the existing checkpoints, and the length of the metrics."""
    if folder is None:
        return [], 0
    rows = folder.metrics_csv.read_text().count("\n") if folder.metrics_csv.is_file() else 0
    return sorted(path.name for path in folder.checkpoints.glob("[0-9]*")), rows


def run_folder(state: Soak, name: str) -> RunFolder | None:
    found = [path for path in (state.place / "runs" / name).glob("[0-9]*")]
    return RunFolder.open(found[0]) if found else None


# --- processes ---


@dataclass
class Process:
    """A leg's process, forked or cold."""

    pid: int
    printed: Path
    alive: Callable[[], bool]
    code: Callable[[], int | None]
    send_kill: Callable[[], None]
    join: Callable[[], Any]

    def kill(self) -> bool:
        """Kill it; return whether that ended it."""
        self.send_kill()
        self.join()
        return self.code() == -9


def warm_up() -> None:
    """Start the process that legs are forked from, and let it import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    child = context.Process(target=time.sleep, args=(0,))
    child.start()
    child.join()


def start(state: Soak, words: list[str], name: str, cold: bool) -> Process:
    printed = state.place / f"{name}.txt"
    if cold:
        with open(printed, "ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "vlframe", "train", *words], cwd=state.place, stdout=out, stderr=out
            )
        return Process(process.pid, printed, lambda: process.poll() is None, process.poll, process.kill, process.wait)
    child = multiprocessing.get_context("forkserver").Process(target=_leg, args=(words, str(state.place), str(printed)))
    child.start()
    assert child.pid is not None
    return Process(child.pid, printed, child.is_alive, lambda: child.exitcode, child.kill, child.join)


def _leg(words: list[str], place: str, printed: str) -> None:
    os.chdir(place)
    handle = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1), os.dup2(handle, 2)
    from vlframe.cli import main

    sys.exit(main(["train", *words]))


# --- results ---


def compared(one: RunFolder, two: RunFolder) -> dict[str, Any]:
    """Return how many things were compared, and how many differ."""
    from vlframe.training.prove_resume import compare

    rows = compare(one, two, batches=False)
    different = {row["what"]: row["different"] for row in rows}
    different["predictions"] = int(one.predictions.read_bytes() != two.predictions.read_bytes())
    different["checkpoints kept"] = int(progress(one)[0] != progress(two)[0])
    torn = two.log.read_text().count(" is torn ")
    litter = [path.name for path in (*two.path.glob(".*"), *two.checkpoints.glob(".*"))]
    return {
        "compared": {row["what"]: row["compared"] for row in rows},
        "different": different,
        "torn": torn,
        "litter": litter,
    }


def summary(state: Soak, seed: int, seconds: float) -> dict[str, Any]:
    killed = [leg for leg in state.legs if leg.killed]
    return {
        "date": str(date.today()),
        "seed": seed,
        "kills": len(killed),
        "cold_kills": sum(leg.cold for leg in killed),
        "resumes": len(state.legs)
        - sum(leg.where == "before the run had a folder" for leg in killed)
        - len(state.runs),
        "runs": len(state.runs),
        "equal": all(not any(run["different"].values()) for run in state.runs),
        "compared": state.runs[0]["compared"],
        "different": dict(sum((Counter(run["different"]) for run in state.runs), Counter())),
        "where": dict(Counter(leg.where for leg in killed)),
        "half_written": sum(leg.half_written for leg in killed),
        "torn": sum(run["torn"] for run in state.runs),
        "litter": [name for run in state.runs for name in run["litter"]],
        "steps": [leg.step for leg in killed],
        "seconds": round(seconds),
        "commit": git_commit(HERE),
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()})",
        "torch": version("torch"),
    }


def report(result: dict[str, Any]) -> str:
    places = [{"killed": where, "times": count} for where, count in sorted(result["where"].items())]
    equal = "all equal to the undisturbed run, bit for bit" if result["equal"] else f"NOT EQUAL: {result['different']}"
    counts = ", ".join(f"{count} {what}" for what, count in result["compared"].items())
    return "\n".join([
        f"**{result['kills']} kills, {result['resumes']} resumptions, {result['runs']} runs: {equal}** (compared in "
        f"each run: {counts}; the predictions and the list of checkpoints).",
        "",
        markdown(places),
        "",
        f"Checkpoints left half written, under a name of their own: {result['half_written']}. Torn ones under their "
        f"final name: {result['torn']}. Left over at the end: {len(result['litter'])} files.",
        "",
        f"Steps of the newest checkpoint at each kill: {', '.join(map(str, result['steps']))}.",
        "",
        f"Made on {result['date']} by `experiments/reliability/soak.py --kills {result['asked']} --seed "
        f"{result['seed']}` in {result['seconds']} s on {result['machine']}, one thread; {result['cold_kills']} of the "
        f"killed were `python -m vlframe`, the others forks; torch {result['torch']}, commit {result['commit']}.",
    ])  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="soak-") as place:
        result = {"asked": arguments.kills, **soak(arguments.kills, arguments.seed, Path(place))}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    write_between(PAGE, report(result), MARKS)
    print(report(result))
    return 0 if result["equal"] and not result["litter"] else 1


if __name__ == "__main__":
    sys.exit(main())
