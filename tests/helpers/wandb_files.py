"""What an offline run of Weights & Biases holds, by its own reader."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any


def shown_table(offline: Path) -> dict[str, Any]:
    (file,) = (offline / "files" / "media" / "table").glob("predictions*.table.json")
    return json.loads(file.read_text())


def history_of(offline: Path) -> list[dict[str, Any]]:
    return [item["history"]["item"] for item in inspect(offline) if item["type"] == "history"]


def exit_code(offline: Path) -> int:
    (record,) = [item["exit"] for item in inspect(offline) if item["type"] == "exit"]
    return int(record.get("exit_code", 0))


@cache
def inspect(offline: Path, *flags: str) -> list[dict]:
    """What W&B's reader finds in the files of a process that has ended."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *flags, "--json", str(offline)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()] if not flags else [json.loads(done.stdout)]
