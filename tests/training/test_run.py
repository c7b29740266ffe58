"""Real runs: what they write, that they go on where they stopped, and that accumulation changes nothing."""

import csv
import json
import zipfile
from pathlib import Path

import pytest
import torch
from helpers.mixtures import mixture
from helpers.processes import vlframe
from helpers.runs import manifest, only_run, training, weights
from safetensors.torch import load_file

from vlframe.composer.compose import compose, open_registry
from vlframe.errors import TrainingError
from vlframe.inference.pipeline import load_run
from vlframe.runs.checkpoint import checkpoints, latest
from vlframe.runs.folder import RunFolder
from vlframe.training.run import train


def run_here(folder: Path, arguments: list[str]) -> RunFolder:
    """A run in this process."""
    registry = open_registry()
    return train(compose("train", [*arguments, f"runs={folder / 'runs'}"], registry), registry)


def metric_rows(folder: RunFolder) -> list[dict[str, str]]:
    with open(folder.metrics_csv, newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_everything_that_is_needed_to_repeat_it(tmp_path: Path) -> None:
    file = manifest(tmp_path, answer="red")
    benchmark = ["benchmark=exact_match_file", f"benchmark.dataset.path={file}"]
    vlframe("train", *training(file, *benchmark), cwd=tmp_path)
    run = RunFolder.open(only_run(tmp_path))
    names = {path.name for path in run.path.iterdir()}
    assert names >= {
        "config.yaml", "versions.json", "metrics.csv", "metrics.json", "predictions.jsonl", "parameters.json",
        "checkpoints", "run.log", "scores.json", "outcome.json",
    }  # fmt: skip
    versions = json.loads(run.versions.read_text())
    assert versions["packages"]["torch"] and versions["plugins"]["vlframe:stc"]
    scores = json.loads(run.metrics_json.read_text())
    assert {"accuracy", "n", "n_asked", "unparsed", "samples_per_second"} <= scores.keys() and scores["n"] == 6
    assert all(isinstance(value, int | float) for value in scores.values())
    assert len(run.predictions.read_text().splitlines()) == 6
    rows = metric_rows(run)
    assert [int(row["step"]) for row in rows if row["train/loss"]] == [1, 2, 3, 4, 5, 6]
    assert {
        "train/samples_per_second",
        "train/tokens_per_second",
        "train/data_wait_share",
        "train/peak_memory_gib",
    } <= rows[0].keys()
    table = json.loads(run.parameters.read_text())["main"]
    assert table["encoder"]["trained"] == 0 and table["llm"]["trained"] == table["llm"]["parameters"]
    # and the next commands need nothing else
    again = vlframe("evaluate", f"run={run.path}", cwd=tmp_path)
    assert "6/6" in again.stderr and json.loads(run.metrics_json.read_text())["accuracy"] == scores["accuracy"]
    said = vlframe("predict", f"run={run.path}", "prompt=say word 1", "max_new_tokens=4", cwd=tmp_path)
    assert said.returncode == 0


def test_checkpoints_are_parts_without_pickled_code(tmp_path: Path) -> None:
    run = run_here(tmp_path, training(manifest(tmp_path)))
    checkpoint = latest(run)
    files = {path.name for path in checkpoint.path.iterdir()}
    assert files == {
        "encoder.safetensors", "connector.safetensors", "llm.safetensors", "config.yaml", "state.json", "training.pt",
    }  # fmt: skip
    torch.load(checkpoint.path / "training.pt", weights_only=True)
    assert zipfile.is_zipfile(checkpoint.path / "training.pt")
    assert checkpoint.finished and checkpoint.step == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_ends_where_a_straight_one_does(tmp_path: Path, workers: int) -> None:
    """Bit for bit: weights, optimizer, and the metrics of every step, across an epoch's border and with dropout on."""
    arguments = training(
        manifest(tmp_path), f"loader.workers={workers}", "stages.main.accumulate_grad_batches=2",
        "stages.main.warmup_ratio=0.5", "stages.main.llm.lora.dropout=0.1", "stages.main.llm.train=lora",
        "trainer.checkpoint_every=2", "trainer.keep_checkpoints=9",
    )  # fmt: skip
    straight = run_here(tmp_path / "straight", arguments)
    cut = run_here(tmp_path / "cut", arguments)
    for checkpoint in checkpoints(cut):
        if checkpoint.step > 4 or checkpoint.finished:
            for file in checkpoint.path.iterdir():
                file.unlink()
            checkpoint.path.rmdir()
    assert [item.step for item in checkpoints(cut)] == [2, 4]
    registry = open_registry()
    train(compose("train", [f"resume={cut.path}"], registry), registry)
    ours, theirs = weights(cut), weights(straight)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    states = [torch.load(latest(run).path / "training.pt", weights_only=True) for run in (cut, straight)]
    for key, value in _flat(states[0]["optimizer_states"]).items():
        other = _flat(states[1]["optimizer_states"])[key]
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other
    kept = [[(row["step"], row["train/loss"], row["train/lr"]) for row in metric_rows(run)] for run in (cut, straight)]
    assert kept[0] == kept[1]


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}/{key}").items()}
    if isinstance(value, list | tuple):
        return {k: v for index, item in enumerate(value) for k, v in _flat(item, f"{prefix}/{index}").items()}
    return {prefix: value}


def test_accumulation_is_weighted_by_supervised_tokens(tmp_path: Path) -> None:
    """1 x 4 = 4 x 1 = 2 x 2, on answers of very different lengths; the steps are those of plain gradient descent on
    the mean over tokens only if micro-batches are weighted."""
    file = tmp_path / "uneven.jsonl"
    with open(file, "w") as out:
        for number, answer in enumerate(
            ["red", "a long answer of many words about many things", "up", "left then right"]
        ):
            turns = [{"from": "human", "value": f"q{number}"}, {"from": "gpt", "value": answer}]
            out.write(json.dumps({"id": str(number), "conversations": turns}) + "\n")
    runs = {}
    for batch_size, accumulate in ((4, 1), (1, 4), (2, 2)):
        arguments = training(
            file,
            f"stages.main.batch_size={batch_size}",
            f"stages.main.accumulate_grad_batches={accumulate}",
            "stages.main.steps=3",
        )
        runs[batch_size, accumulate] = run_here(tmp_path / f"{batch_size}x{accumulate}", arguments)
    losses = {key: [float(row["train/loss"]) for row in metric_rows(run)] for key, run in runs.items()}
    whole = weights(runs[4, 1])
    for key, run in runs.items():
        assert losses[key] == pytest.approx(losses[4, 1], rel=1e-5)
        for name, value in weights(run).items():
            torch.testing.assert_close(value, whole[name], rtol=1e-4, atol=2e-5, msg=f"{key} {name}")


def test_a_frozen_language_model_passes_over_text(tmp_path: Path) -> None:
    """Nothing learns from text alone below it, and its steps leave everything as it was."""
    words = ["stages.main.llm.train=frozen", "stages.main.weight_decay=0.1", "stages.main.steps=2"]
    with pytest.raises(TrainingError, match="learned nothing in 2 steps: it trains connector"):
        run_here(tmp_path, training(manifest(tmp_path), *words, "trainer.checkpoint_every=1"))
    run = RunFolder.open(only_run(tmp_path))
    assert float(metric_rows(run)[0]["train/loss"]) > 0
    states = torch.load(latest(run).path / "training.pt", weights_only=True)["optimizer_states"]
    assert latest(run).step == 1 and states[0]["state"] == {}


def test_a_batch_of_which_nothing_could_be_read_is_passed_over(tmp_path: Path) -> None:
    file = mixture(tmp_path, ["broken", "broken", "text"])
    words = ["media.on_error=skip", "stages.main.steps=null", "stages.main.epochs=2", "stages.main.batch_size=1"]
    rows = metric_rows(run_here(tmp_path, training(file, *words)))
    assert [float(row["train/step_samples"]) for row in rows].count(0.0) == 4
    assert [bool(row["train/loss"]) for row in rows] == [float(row["train/step_samples"]) > 0 for row in rows]
    assert sum(float(row["train/step_samples"]) for row in rows) == 2


def test_stages_hand_weights_on_and_train_only_what_they_say(tmp_path: Path) -> None:
    arguments = training(
        manifest(tmp_path), "stages.main.steps=2", "+stage@stages.adapt=tune_lora", "stages.adapt.steps=2",
        "stages.adapt.connector.train=frozen", "stages.adapt.batch_size=2", "trainer.keep_checkpoints=5",
    )  # fmt: skip
    run = run_here(tmp_path, arguments)
    first, second = (
        {
            f"{file.stem}.{key}": value
            for file in item.path.glob("*.safetensors")
            for key, value in load_file(file).items()
        }
        for item in checkpoints(run)
    )
    renamed = {key.replace(".base_layer", ""): value for key, value in second.items() if "lora_" not in key}
    assert renamed.keys() == first.keys()
    assert all(torch.equal(value, first[key]) for key, value in renamed.items())
    assert any("lora_B" in key and value.abs().max() > 0 for key, value in second.items())
    pipeline, _ = load_run(str(run.path), open_registry())
    assert any("lora_" in name for name, _ in pipeline.model.llm.named_parameters())


def test_jobs_of_a_multirun_have_folders_of_their_own(tmp_path: Path) -> None:
    arguments = training(manifest(tmp_path), "stages.main.steps=1", "connector=stc_tiny,mlp", "seed=1,2")
    vlframe("train", "-m", *arguments, cwd=tmp_path)
    runs = sorted((tmp_path / "runs" / "default").iterdir())
    configs = [RunFolder.open(run).read_config() for run in runs]
    assert sorted((c.connector["name"], c.seed) for c in configs) == [("mlp", 1), ("mlp", 2), ("stc", 1), ("stc", 2)]
    assert {path.name for path in tmp_path.iterdir()} <= {"runs", "text.jsonl"}


def test_equal_seeds_give_equal_metrics_and_others_do_not(tmp_path: Path) -> None:
    arguments = training(manifest(tmp_path), "stages.main.steps=2")
    losses = [
        [row["train/loss"] for row in metric_rows(run_here(tmp_path / name, [*arguments, f"seed={seed}"]))]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert losses[0] == losses[1] != losses[2]


def test_bf16_runs_and_says_so_in_its_weights(tmp_path: Path) -> None:
    run = run_here(tmp_path, training(manifest(tmp_path), "trainer.precision=bf16", "stages.main.steps=2"))
    assert all(value.dtype == torch.float32 for value in weights(run).values() if value.is_floating_point())


def test_a_run_that_does_not_fit_leaves_no_folder(tmp_path: Path) -> None:
    done = vlframe("train", *training(manifest(tmp_path), "text.max_length=20"), cwd=tmp_path, check=False)
    assert done.returncode == 2 and "context of 20" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_time_is_up_means_a_checkpoint_and_a_hint(tmp_path: Path) -> None:
    arguments = training(manifest(tmp_path), "stages.main.steps=100000", "trainer.max_time=00:00:00:02")
    done = vlframe("train", *arguments, cwd=tmp_path)
    run = RunFolder.open(only_run(tmp_path))
    assert "resume=" in done.stderr and 0 < latest(run).step < 100000 and not latest(run).finished
