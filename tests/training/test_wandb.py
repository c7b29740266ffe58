"""What an offline W&B run holds, read back from its files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.clips import ClipSpec, write_clip
from helpers.processes import vlframe_anew
from helpers.runs import TINY, only_run

pytest.importorskip("wandb")


def test_a_run_logs_config_scalars_and_predictions_with_media(tmp_path: Path) -> None:
    write_clip(tmp_path, ClipSpec("clip.mp4"))
    turns = [{"from": "human", "value": "<video>\nwhat?"}, {"from": "gpt", "value": "red"}]
    file = tmp_path / "clips.json"
    file.write_text(json.dumps([{"id": "one", "video": "clip.mp4", "conversations": turns}]))
    vlframe_anew(
        "train", *TINY, "dataset=conversations", f"dataset.path={file}", "+stage@stages.main=tune",
        "stages.main.steps=3", "stages.main.batch_size=1", "trainer.progress=false", "trainer.log_every=1",
        "benchmark=exact_match_file", f"benchmark.dataset.path={file}", "logger=wandb",
        cwd=tmp_path, WANDB_MODE="offline", WANDB_DATA_DIR=str(tmp_path / "data"),
    )  # fmt: skip
    run = only_run(tmp_path)
    (offline,) = (run / "wandb").glob("offline-run-*")
    summary = _inspect(offline, "--summary")[0]
    text = json.dumps(summary)
    assert '"connector"' in text and "stc" in text, "the config is not in the run"
    history = " ".join(json.dumps(record) for record in _inspect(offline))
    for scalar in (
        "train/loss", "train/lr", "train/samples_per_second", "train/tokens_per_second", "train/data_wait_share",
        "train/peak_memory_gib", "eval/accuracy", "predictions",
    ):  # fmt: skip
        assert scalar in history, f"{scalar} was not logged"
    media = {path.suffix for path in (offline / "files" / "media").rglob("*") if path.is_file()}
    assert ".json" in media, "no table of predictions"
    staged = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert (tmp_path / "clip.mp4").read_bytes() in staged, "the clip is not with its prediction"


def _inspect(offline: Path, *flags: str) -> list[dict]:
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", *flags, "--json", str(offline)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()] if not flags else [json.loads(done.stdout)]
