"""Words and looks for the situations in ``tests/cases``."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from helpers.processes import vlframe

MODEL = ["encoder=vit_tiny", "connector=stc_tiny", "llm=tiny", "media.frames=4"]
TUNED = [
    "dataset=conversations", "+stage@stages.main=tune", "stages.main.steps=2", "stages.main.batch_size=2",
    "trainer.log_every=1", "trainer.progress=false", "trainer.accelerator=cpu",
]  # fmt: skip
TINY = [*MODEL, *TUNED]
HEARING = [*MODEL, "audio_encoder=beats_tiny"]


def check(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return vlframe("data", "check", *words, cwd=folder, check=False)


def anew(folder: Path, *words: str, **environment: str | None) -> subprocess.CompletedProcess:
    """The command in an interpreter of its own: for what an environment changes. None takes a variable away."""
    mine = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, "-m", "vlframe", *words],
        cwd=folder,
        capture_output=True,
        env={key: value for key, value in mine.items() if value is not None},
        timeout=240,
        text=True,
        encoding=(environment.get("PYTHONIOENCODING") or "utf-8"),
    )


def checked(folder: Path, *words: str) -> dict[str, Any]:
    """The report of a check, as JSON."""
    return json.loads(check(folder, *words, "--json").stdout)


def train(folder: Path, *words: str, tiny: list[str] = TINY) -> subprocess.CompletedProcess:
    return vlframe("train", *tiny, *words, cwd=folder, check=False)


def runs_in(folder: Path) -> list[Path]:
    return sorted(item.parent for item in folder.glob("runs/*/*/config.yaml") if not item.parent.name.startswith("."))


def predictions(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def scores(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))


def one_sentence(done: subprocess.CompletedProcess, *pieces: str, exit_code: int = 2) -> None:
    """The command was refused: one message that says these pieces, no traceback."""
    said = done.stderr
    assert done.returncode == exit_code, (done.returncode, done.stdout[-2000:], said[-3000:])
    assert "Traceback" not in said and len(re.findall("^vlframe: ", said, re.MULTILINE)) == 1, said
    for piece in pieces:
        assert piece in said, (piece, said)
