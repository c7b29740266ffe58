"""A small twin of a system's training: it runs through its stages, resumes bit for bit, and answers."""

import csv
import math
import shutil
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vlframe.composer.compose import compose
from vlframe.inference.generate import answer, question
from vlframe.inference.pipeline import build_pipeline, load_run
from vlframe.runs.checkpoint import Checkpoint, checkpoints
from vlframe.runs.folder import RunFolder
from vlframe.training.run import train

State = dict[str, Tensor]


def check_recipe(words: Sequence[str], learns: Mapping[str, Sequence[str]], folder: Path, registry: Any) -> RunFolder:
    """Train as ``words`` say. ``learns`` has, for each stage, patterns of the tensors (``part.name``) that change in
    it: all others are equal to the last bit, and each pattern has at least one. The loss falls in each stage. A run
    that goes on from the middle of its last stage ends with the same tensors."""
    every = ["trainer.checkpoint_every=4", "trainer.keep_checkpoints=99", "trainer.log_every=1"]
    more = [f"runs={folder / 'runs'}", "trainer.progress=false", "trainer.threads=1", *every]
    config = compose("train", [*words, *more], registry)
    before = state_of(build_pipeline(config, registry).model)
    run = train(config, registry)
    curve, ends = losses(run), [item for item in checkpoints(run) if item.finished]
    assert [item.stage for item in ends] == list(learns)
    for end, (stage, patterns) in zip(ends, learns.items(), strict=True):
        steps, curve = curve[: end.step], curve[end.step :]
        third = math.ceil(len(steps) / 3)
        assert len(steps) == end.step and mean(steps[-third:]) < mean(steps[:third]), f"{stage}: {steps}"
        before = check_moved(before, tensors(end), patterns, stage)
    check_resumed(run, folder / "again", registry)
    return run


def state_of(model: Any) -> State:
    return {
        f"{part}.{name}": value.clone()
        for part, module in model.parts.items()
        for name, value in module.state_dict().items()
    }


def tensors(checkpoint: Checkpoint) -> State:
    """By part and name; what peft has wrapped keeps the name it had before."""
    files = sorted(checkpoint.path.glob("*.safetensors"))
    return {
        f"{file.stem}.{key.replace('.base_layer', '')}": value
        for file in files
        for key, value in load_file(file).items()
    }


def losses(run: RunFolder) -> list[float]:
    with open(run.metrics_csv, newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def check_moved(before: State, after: State, patterns: Sequence[str], stage: str) -> State:
    """Return all tensors after a stage."""
    moved = {name for name, value in after.items() if name not in before or not torch.equal(value, before[name])}
    meant = {name for name in after if any(fnmatchcase(name, pattern) for pattern in patterns)}
    assert moved == meant, (
        f"{stage}: only in what moved {sorted(moved - meant)[:9]}, stayed {sorted(meant - moved)[:9]}"
    )
    idle = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in after)]
    assert not idle, f"{stage}: nothing is called {idle}"
    return before | after


def check_resumed(run: RunFolder, folder: Path, registry: Any) -> None:
    """A copy without the last checkpoint goes on and ends with the same tensors."""
    shutil.copytree(run.path, folder)
    kept = checkpoints(RunFolder.open(str(folder)))
    last, mid = kept[-1], kept[-2]
    assert not mid.finished and mid.stage == last.stage
    shutil.rmtree(last.path)
    again = train(compose("train", [f"resume={folder}", "trainer.progress=false"], registry), registry)
    expected, found = tensors(checkpoints(run)[-1]), tensors(checkpoints(again)[-1])
    assert expected.keys() == found.keys() and all(torch.equal(value, found[name]) for name, value in expected.items())


def check_answers(run: RunFolder, clip: Path, registry: Any) -> None:
    """The trained model says something to a question about a clip, and the same to the same question in a batch."""
    pipeline, _ = load_run(str(run.path), registry)
    asked = question([str(clip)], "What happens?")
    alone = answer(pipeline, [asked], max_new_tokens=5)
    assert answer(pipeline, [asked, question([str(clip)], "And then, after that?")], max_new_tokens=5)[0] == alone[0]
