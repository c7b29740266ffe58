"""Short real runs of the command line."""

import json
import time
from pathlib import Path

import torch
from helpers.compositions import TINY
from safetensors.torch import load_file

from vlframe.config.schema import parts_of
from vlframe.config.typed import to_yaml
from vlframe.inference.pipeline import Pipeline
from vlframe.runs.checkpoint import latest, part_history
from vlframe.runs.folder import RunFolder
from vlframe.weights.parts import owned_parts, save_parts


def wait_for_steps(folder: Path) -> None:
    """Until metrics.csv has rows."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        found = list(folder.glob("runs/default/*/metrics.csv"))
        if found and len(found[0].read_text().splitlines()) > 3:
            return
        time.sleep(0.2)
    raise AssertionError("the run does not come to its first steps")


def only_run(cwd: Path, name: str = "default") -> Path:
    (run,) = (cwd / "runs" / name).iterdir()
    return run


def manifest(folder: Path, rows: int = 6, **extra: object) -> Path:
    """Text-only questions with one-word answers."""
    words = ["red", "green", "blue", "left", "right", "up"]
    file = folder / "text.jsonl"
    with open(file, "w") as out:
        for number in range(rows):
            turns = [
                {"from": "human", "value": f"say word {number}"},
                {"from": "gpt", "value": words[number % len(words)]},
            ]
            out.write(json.dumps({"id": f"row{number}", "conversations": turns, **extra}) + "\n")
    return file


def training(manifest_file: Path, *more: str) -> list[str]:
    """Arguments of a training run of a few steps on a manifest."""
    return [
        *TINY, "dataset=conversations", f"dataset.path={manifest_file}", "+stage@stages.main=tune",
        "stages.main.steps=6", "stages.main.batch_size=2", "stages.main.lr=1e-3", "trainer.log_every=1",
        "trainer.progress=false",
        *more,
    ]  # fmt: skip


def save_as_run(pipeline: Pipeline, folder: Path) -> Path:
    """A pipeline's weights as a run folder with one finished checkpoint."""
    checkpoint = folder / "checkpoints" / "00-main-0000001-end"
    checkpoint.mkdir(parents=True)
    save_parts(checkpoint, owned_parts(pipeline.model, parts_of(pipeline.config), part_history(pipeline.config, 0)), {})
    state = {"stage": "main", "stage_number": 0, "step": 1, "finished": True, "seconds": 0.0}
    (checkpoint / "state.json").write_text(json.dumps(state))
    (folder / "config.yaml").write_text(to_yaml(pipeline.config))
    return folder


def weights(run: RunFolder | Path) -> dict[str, torch.Tensor]:
    """What the newest checkpoint of a run holds, as ``part/name``."""
    folder = run if isinstance(run, RunFolder) else RunFolder.open(run)
    files = {file.stem: load_file(file) for file in sorted(latest(folder).path.glob("*.safetensors"))}
    return {f"{part}/{name}": tensor for part, tensors in files.items() for name, tensor in tensors.items()}
