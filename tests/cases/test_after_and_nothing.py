"""Nothing after a step ends a run; a run in which nothing happens is not done."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.cases import MODEL, check, one_sentence, predictions, runs_in, train
from helpers.processes import vlframe
from safetensors import safe_open

Case = Callable[[str], Path]
SCORED = ["benchmark=exact_match_file", "benchmark.max_new_tokens=4"]


@pytest.mark.parametrize("questions", ["twenty_clips", "clip_and_text", "clip_and_photo", "avi"])
def test_wandb_table(case: Case, questions: str) -> None:
    folder = case("wandb-table")
    done = train(folder, "dataset.path=train.json", "logger=wandb", *SCORED, f"benchmark.dataset.path={questions}.json")
    assert done.returncode == 0, done.stderr[-2000:]
    assert predictions(runs_in(folder)[0])


def test_lone_surrogate(case: Case) -> None:
    folder = case("lone-surrogate")
    done = check(folder, "train.json", *MODEL)
    assert done.returncode == 1 and "half a surrogate pair" in done.stdout and "line 2" in done.stdout
    one_sentence(train(folder, "dataset.path=train.json", "stages.main.steps=4"), "half a surrogate pair", "line 2")
    (folder / "good.json").write_text(json.dumps(json.loads((folder / "train.json").read_text())[:1]))
    done = train(
        folder, "dataset.path=good.json", "stages.main.steps=1", "stages.main.batch_size=1", *SCORED,
        "benchmark.dataset.path=questions.json",
    )  # fmt: skip
    one_sentence(done, "half a surrogate pair", "questions.json")


def test_nothing_left_to_train_on(case: Case) -> None:
    folder = case("nothing-left-to-train-on")
    words = ["text.max_length=150", "text.too_long=drop"]
    one_sentence(train(folder, "dataset.path=long.json", *words, "stages.main.steps=6"), "quarantined")
    done = check(folder, "long.json", *MODEL, *words)
    assert done.returncode == 1 and "samples is left" in done.stdout


def test_gpt2_lora(case: Case) -> None:
    folder = case("gpt2-lora")
    gpt2 = [
        "encoder=vit_tiny", "connector=stc_tiny", "llm=causal_lm", "llm.tokenizer=bundled:tiny",
        "+llm.architecture.model_type=gpt2", "+llm.architecture.vocab_size=704", "+llm.architecture.n_embd=48",
        "+llm.architecture.n_layer=2", "+llm.architecture.n_head=4", "media.frames=4", "dataset=conversations",
        "dataset.path=words.json", "+stage@stages.main=tune_lora", "stages.main.steps=2", "stages.main.batch_size=2",
        "trainer.progress=false",
    ]  # fmt: skip
    done = train(folder, tiny=gpt2)
    assert done.returncode == 0, done.stderr
    (file,) = runs_in(folder)[0].glob("checkpoints/*/llm*.safetensors")
    with safe_open(file, "pt") as tensors:
        adapted = {key for key in tensors.keys() if "lora" in key}  # noqa: SIM118
    assert {piece for key in adapted for piece in key.split(".") if piece.startswith("c_")} == {
        "c_attn",
        "c_proj",
        "c_fc",
    }
    assert not any("lm_head" in key for key in adapted)


def talk(name: str, words: int, **more: str) -> dict:
    turns = [{"from": "human", "value": "q " * words}, {"from": "gpt", "value": "a"}]
    return {"id": name, "conversations": turns, **more}


def mixture(folder: Path, weights: tuple[float, float]) -> list[str]:
    for name, words in (("short", 2), ("long", 300)):
        (folder / f"{name}.json").write_text(json.dumps([talk(f"{name}{number}", words) for number in range(40)]))
    parts = [
        f"{{path: {name}.json, weight: {weight}}}" for name, weight in zip(("short", "long"), weights, strict=True)
    ]
    return [f"dataset.mixture=[{', '.join(parts)}]", "text.max_length=150", "text.too_long=drop"]


@pytest.mark.parametrize(("weights", "steps"), [((1, 1), 4), ((0.95, 0.05), 30)])
def test_a_part_of_a_mixture_left_out_whole(case: Case, weights: tuple[float, float], steps: int) -> None:
    """The limit on what is left out, a tenth, would not notice the second."""
    folder = case("mixture")
    words = [*mixture(folder, weights), f"stages.main.steps={steps}"]
    one_sentence(train(folder, *words), "part 2 of 2 of its data", "long.json", "too_long", "media.max_bad_share=null")
    done = train(folder, *words, "media.max_bad_share=null", "name=accepted")
    assert done.returncode == 0 and "part 2 of 2" in done.stdout + done.stderr, done.stderr
    (run,) = folder.glob("runs/accepted/[!.]*")
    assert "part 2 of 2" in (run / "run.log").read_text()


def test_a_check_names_a_part_left_out_whole(case: Case) -> None:
    folder = case("mixture")
    words = ["dataset=conversations", *mixture(folder, (1, 1)), *MODEL, "loader.workers=1"]
    done = check(folder, *words, "media.max_bad_share=0.9")
    assert (
        done.returncode == 1 and "none of the 40 samples of its part long.json is left: 40 for too_long" in done.stdout
    )
    assert check(folder, *words, "media.max_bad_share=null").returncode == 0


def test_a_category_left_out_whole(case: Case) -> None:
    """The answers to the others are kept."""
    folder = case("category")
    (folder / "train.json").write_text(json.dumps([talk(f"a{number}", 2) for number in range(4)]))
    asked = [
        talk(f"q{number}", 300 if number < 3 else 2, category="long" if number < 3 else "short") for number in range(33)
    ]
    (folder / "questions.json").write_text(json.dumps(asked))
    words = ["dataset.path=train.json", *SCORED, "benchmark.dataset.path=questions.json", "text.max_length=150"]
    words += ["text.too_long=drop"]
    one_sentence(train(folder, *words), "'long': all 3", "benchmark", "too_long", "media.max_bad_share=null")
    (run,) = runs_in(folder)
    assert len(predictions(run)) == 30 and json.loads((run / "outcome.json").read_text())["state"] == "failed"
    done = vlframe("evaluate", f"run={run}", "media.max_bad_share=null", cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    one_sentence(vlframe("evaluate", f"run={run}", cwd=folder, check=False), "'long': all 3")


@pytest.mark.parametrize("words", [["stages.main.lr=0"], ["stages.main.connector.lr=0", "stages.main.llm.lr=0"]])
def test_a_rate_of_zero_moves_nothing(case: Case, words: list[str]) -> None:
    folder = case("zero")
    (folder / "train.json").write_text(json.dumps([talk("a", 2)]))
    one_sentence(train(folder, "dataset.path=train.json", *words), "learning rate", "is 0", "stages.main.lr")
    assert not runs_in(folder)
