"""What new users ran into."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.cases import MODEL, TINY, anew, one_sentence, runs_in, train
from helpers.processes import vlframe

Case = Callable[[str], Path]
OPEN = pytest.mark.xfail(strict=False, reason="not mended yet")


def test_all_dropped(case: Case) -> None:
    folder = case("user-all-dropped")
    done = train(
        folder, "dataset.path=train.jsonl", "dataset.sound=true", "audio_encoder=whisper_micro",
        "media.missing_audio=drop", "stages.main.steps=20", "trainer.log_every=10",
    )  # fmt: skip
    one_sentence(done, "quarantined")


@pytest.mark.parametrize(
    ("words", "piece"),
    [
        (["dataset=motionqa"], "+stage@stages.main=everything stages.main.steps="),
        (["dataset=motionqa", "+stages.main.steps=3"], "+stage@stages.main=everything"),
        (["dataset=motionqa", "stages.main.steps=3"], "+stage@stages.main=everything"),
        (["dataset=motionqa", "stage=tune_lora"], "+stage@stages.main="),
        (["experiment=quickstart", "stages.main.epochs=1"], "stages.main.steps=null"),
    ],
)
def test_add_a_stage(case: Case, words: list[str], piece: str) -> None:
    one_sentence(vlframe("train", *words, cwd=case("user-add-a-stage"), check=False), piece)


@pytest.mark.parametrize(
    ("words", "piece"),
    [
        (["train", *TINY, "dataset.path=train.jsonl", "trainer.accelerator=tpu"], "tpu"),
        (["train", *TINY, "-m", "connector=pool,linear", "dataset.path=train.jsonl"], ""),
        (["train", *TINY, "dataset.path=train.jsonl", "stages.main.llm.lora.targets=all-linear"], ""),
        (["plan", "media=clip.mp4"], "media"),
        (
            ["train", *TINY, "benchmark=exact_match", "benchmark.dataset.path=val.json"],
            "), or a preset that has one: benchmark=exact_match_file,",
        ),
        (["train", *TINY, "llm=Qwen/Qwen2-0.5B-Instruct"], "llm=causal_lm llm.source=Qwen/"),
    ],
)
def test_tracebacks(case: Case, words: list[str], piece: str) -> None:
    done = vlframe(*words, cwd=case("user-all-dropped"), check=False)
    if piece:
        one_sentence(done, piece)
    else:
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


def test_wrong_token_count(case: Case) -> None:
    folder = case("user-wrong-token-count")
    words = ["connector=short", "plugins.paths=[short.py]"]
    one_sentence(vlframe("plan", *MODEL, *words, cwd=folder, check=False), "short", "promises 4", "gives 1")
    one_sentence(train(folder, *words, "dataset.path=train.jsonl"), "short", "promises 4", "gives 1")
    assert runs_in(folder) == []


def test_graded_benchmark(case: Case) -> None:
    folder = case("user-graded-benchmark")
    done = train(
        folder, "dataset.path=train.jsonl", "benchmark=token_f1", "+dataset@benchmark.dataset=conversations",
        "benchmark.dataset.path=train.jsonl", "plugins.paths=[token_f1.py]",
    )  # fmt: skip
    one_sentence(done, "correct", "True or False")


LITTLE = 20 * 10**9  # bytes of address space: torch alone takes some of them
FINETUNE = [
    "train", "experiment=videollama2/finetune", "encoder.source=null", "llm.source=null",
    "stages.finetune.data.path=train.jsonl",
]  # fmt: skip


def test_out_of_memory(case: Case) -> None:
    folder = case("user-all-dropped")
    eight = vlframe(*FINETUNE, cwd=folder, check=False)
    one_sentence(eight, "trainer.devices is 8", "finds no GPU", "trainer.accelerator=cpu")
    limited = ["bash", "-c", f'ulimit -v {LITTLE // 1024}; exec "$@"', "-", sys.executable, "-m", "vlframe"]
    words = [*limited, *FINETUNE, "trainer.devices=1"]
    one = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=240)
    one_sentence(one, "32.1 GB of main memory", "are free")
    assert runs_in(folder) == []


@pytest.mark.parametrize(
    ("words", "piece"),
    [
        (["model=videollama2_av_7b", "text.max_length=2048"], "do not fit together"),
        (["experiment=videollama2/finetune", "trainer.devices=8"], "GB"),
    ],
)
def test_plan_says_too_little(case: Case, words: list[str], piece: str) -> None:
    done = vlframe("plan", *words, cwd=case("user-plan-says-too-little"), check=False)
    assert piece in done.stdout + done.stderr


def test_sweep_without_labels(case: Case) -> None:
    folder = case("user-sweep-without-labels")
    done = vlframe(
        "train", "-m", *TINY, f"dataset.path={case('user-all-dropped') / 'train.jsonl'}", "name=sweep",
        "connector=stc_small,stc_tiny", "seed=0,1", cwd=folder, check=False,
    )  # fmt: skip
    assert "connector=stc_small seed=1" in done.stdout + done.stderr
    assert any("stc_tiny" in (run / "config.yaml").read_text() for run in runs_in(folder))


def test_wandb_without_a_login(case: Case) -> None:
    folder = case("user-wandb-no-login")
    words = ["train", *TINY, "dataset.path=train.jsonl", "logger=wandb"]
    done = anew(folder, *words, WANDB_MODE=None, WANDB_API_KEY=None, HOME=str(folder), WANDB_CONFIG_DIR=None)
    one_sentence(done, "wandb login", "WANDB_API_KEY", "WANDB_MODE=offline")
    assert runs_in(folder) == []


def test_wandb_failed_looks_finished(case: Case) -> None:
    folder = case("user-wandb-failed-looks-finished")
    done = train(
        folder, "dataset.path=train.jsonl", "stages.main.lr=1e30", "stages.main.max_grad_norm=0", "stages.main.steps=6"
    )
    assert done.returncode == 2, done.stderr[-500:]
    outcome = json.loads((runs_in(folder)[0] / "outcome.json").read_text())
    assert outcome["state"] == "failed" and outcome["steps_asked"] == 6
