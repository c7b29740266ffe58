"""Real runs on files that hang, crash and are not there: they go on, or stop, as the config says."""

import csv
import hashlib
import json
from pathlib import Path

import pytest
from helpers.processes import vlframe
from helpers.runs import only_run, training

from vlframe.composer.compose import compose, open_registry
from vlframe.errors import DataError
from vlframe.evaluation.evaluate import ask
from vlframe.evaluation.questions import open_benchmarks
from vlframe.inference.pipeline import build_pipeline
from vlframe.runs.checkpoint import checkpoints, latest
from vlframe.runs.folder import RunFolder
from vlframe.runs.quarantine import QuarantineLog
from vlframe.training.run import train

PLUGIN = Path(__file__).parent.parent / "helpers" / "bad_reader.py"
SKIP = [f"plugins.paths=[{PLUGIN}]", "reader=misbehaving", "media.on_error=skip", "media.timeout=3"]


def manifest(folder: Path, present: list[str], missing: int = 0) -> Path:
    """A question about each of these files, and about some that are not there."""
    for name in present:
        (folder / name).write_bytes(name.encode())
    rows = [
        {
            "id": name,
            "video": name,
            "conversations": [{"from": "human", "value": "<video>\nwhat?"}, {"from": "gpt", "value": "a word"}],
        }
        for name in (*present, *(f"gone{number}.mp4" for number in range(missing)))
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder / "rows.json"


def test_files_that_hang_and_crash_the_decoder_cost_only_themselves(tmp_path: Path) -> None:
    """In data workers, which may have no children by multiprocessing."""
    names = ["a.mp4", "hang.mp4", "b c.mp4", "abort.mp4", "ü.mp4", "d.mp4"]
    file = manifest(tmp_path, names)
    vlframe("train", *training(file, *SKIP, "loader.workers=2", "stages.main.steps=3"), cwd=tmp_path)
    run = RunFolder.open(only_run(tmp_path))
    assert latest(run).finished
    rows = {row["id"]: row for row in map(json.loads, run.quarantine.read_text().splitlines())}
    assert set(rows) == {"hang.mp4", "abort.mp4"}
    for name, row in rows.items():
        assert row["path"] == str(tmp_path / name) and row["reader"] == "misbehaving" and row["why"] == "media"
        assert row["sha256"] == hashlib.sha256(name.encode()).hexdigest()
    assert "took longer than 3 s in the misbehaving reader" in rows["hang.mp4"]["reason"]
    assert "the decoder crashed (signal 6, SIGABRT)" in rows["abort.mp4"]["reason"]


def test_a_step_of_which_nothing_is_left_changes_nothing_and_a_stage_of_such_fails(tmp_path: Path) -> None:
    registry = open_registry([str(PLUGIN)])
    arguments = [item for item in training(manifest(tmp_path, [], missing=12), *SKIP) if not item.startswith("plugins")]
    arguments += ["media.max_bad_share=null", "stages.main.warmup_ratio=0", "stages.main.weight_decay=0.1"]
    arguments += ["stages.main.steps=5", "trainer.checkpoint_every=1", "trainer.keep_checkpoints=9"]
    config = compose("train", [*arguments, f"runs={tmp_path / 'runs'}"], registry)
    with pytest.raises(DataError, match=r"stage main had no usable sample: all 10 .*\(media\).*gone"):
        train(config, registry)
    run = RunFolder.open(only_run(tmp_path))
    done = checkpoints(run)
    assert [(item.step, item.finished) for item in done] == [(step, False) for step in (1, 2, 3, 4)]
    for file in done[0].path.glob("*.safetensors"):
        assert file.read_bytes() == (done[-1].path / file.name).read_bytes()
    with open(run.metrics_csv, newline="") as lines:
        rows = list(csv.DictReader(lines))
    rows = [row for row in rows if row["train/step_samples"]]  # the last row says how the run ended
    assert len(rows) == 4 and all(row["train/step_samples"] == "0.0" for row in rows)
    assert not any(row.get("train/loss") for row in rows), "a step without samples has no loss"
    assert len(run.quarantine.read_text().splitlines()) == 10


def test_all_ranks_stop_when_too_many_files_are_bad(tmp_path: Path) -> None:
    """Six of eighteen samples are there; the share is that of all ranks."""
    file = manifest(tmp_path, [f"good{number}.mp4" for number in range(6)], missing=12)
    words = [*SKIP, "trainer.devices=2", "trainer.accelerator=cpu", "stages.main.steps=9", "stages.main.batch_size=1"]
    done = vlframe("train", *training(file, *words, "media.max_bad_share=0.5"), cwd=tmp_path, check=False)
    assert done.returncode == 2, done.stderr
    run = RunFolder.open(only_run(tmp_path))
    said = "samples met so far had to be quarantined (media), more than media.max_bad_share=0.5 allows"
    assert done.stderr.count(said) == 2  # both ranks
    assert "11 of 1" in done.stderr and "gone" in done.stderr and str(run.quarantine) in done.stderr
    rows = [json.loads(line) for line in run.quarantine.read_text().splitlines()]
    assert len(rows) >= 11 and all(row["sha256"] is None and row["path"].startswith(str(tmp_path)) for row in rows)


def test_an_evaluation_stops_when_too_many_files_are_bad(tmp_path: Path) -> None:
    registry = open_registry([str(PLUGIN)])
    file = manifest(tmp_path, ["z1.mp4", "z2.mp4"], missing=12)
    benchmark = ["benchmark=exact_match_file", f"benchmark.dataset.path={file}"]
    arguments = [item for item in training(file, *SKIP, *benchmark) if not item.startswith("plugins")]
    with pytest.raises(DataError, match=r"11 of 14 samples \(11 met so far\).*gone0.mp4"):
        pipeline = build_pipeline(compose("train", arguments, registry), registry)
        ask(*open_benchmarks(pipeline), QuarantineLog(), batch_size=1)
    lenient = build_pipeline(compose("train", [*arguments, "media.max_bad_share=null"], registry), registry)
    outcome = ask(*open_benchmarks(lenient), QuarantineLog(), batch_size=8)
    assert (len(outcome.predictions), sum(outcome.asked.values())) == (2, 14)
