"""What a careless person types, beyond the wrong names of ``test_cli.py``: one message each, nothing left."""

from pathlib import Path

import pytest
from helpers.runs import manifest, training

from vlframe.cli import main

QUICK = ["train", "experiment=quickstart"]

MISTAKES = [
    # words
    (["train", "--experiment", "quickstart"], ["no option '--experiment'", "experiment=…", "--cfg job"]),
    (["train", "experiment", "quickstart"], ["'experiment' is not key=value", "connector=stc"]),
    (["predict", "run=x", "prompt=what", "is", "this"], ["'is' is not key=value", 'prompt="What happens?"']),
    (["train", "experiment=[quickstart,nowhere]"], ["no experiment named 'nowhere'", "real_input"]),
    (["list", "connector=stc"], ["plugins.paths", "not connector"]),
    # keys
    (["train", "+foo=1"], ["no key 'foo'", "connector"]),
    ([*QUICK, "+media.framez=1"], ["media.framez", "frames"]),
    ([*QUICK, "+stages.main.step=1"], ["stages.main.step", "steps"]),
    (["predict", "run=x"], ["needs prompt", 'prompt="What happens?"']),
    (["predict", "prompt=hello"], ["needs run", "run=runs/quickstart/<id>"]),
    (["predict", "run=x", "prompt=hello", "seed=1"], ["no key 'seed'", "max_new_tokens"]),
    (["evaluate", "run=x", "connector=pool"], ["'connector' cannot be chosen here", "takes run, benchmark"]),
    # numbers
    ([*QUICK, "stages.main.steps=-5"], ["stages.main.steps is -5", "at least 1"]),
    ([*QUICK, "stages.main.steps=null", "stages.main.epochs=0"], ["stages.main.epochs is 0", "above 0"]),
    ([*QUICK, "stages.main.batch_size=0"], ["stages.main.batch_size is 0", "at least 1"]),
    ([*QUICK, "stages.main.accumulate=0"], ["stages.main.accumulate is 0"]),
    ([*QUICK, "stages.main.lr=-1"], ["stages.main.lr is -1", "at least 0"]),
    ([*QUICK, "stages.main.llm.lr=-1"], ["stages.main.llm.lr is -1"]),
    ([*QUICK, "stages.main.betas=[0.9]"], ["stages.main.betas is [0.9]", "two numbers"]),
    ([*QUICK, "stages.main.warmup_ratio=3"], ["warmup_ratio is 3", "between 0 and 1"]),
    ([*QUICK, "stages.main.llm.lora.rank=0"], ["lora.rank is 0", "at least 1"]),
    ([*QUICK, "loader.workers=-1"], ["loader.workers is -1", "at least 0"]),
    ([*QUICK, "trainer.log_every=0"], ["trainer.log_every is 0"]),
    ([*QUICK, "trainer.checkpoint_every=0"], ["trainer.checkpoint_every is 0"]),
    ([*QUICK, "trainer.devices=0"], ["trainer.devices is 0", "at least 1"]),
    ([*QUICK, "trainer.accelerator=quantum"], ["trainer.accelerator is 'quantum'", "auto, cpu, gpu"]),
    (["plan", "text.context=0"], ["text.context is 0", "at least 1"]),
    (["plan", "media.fps=0"], ["media.fps is 0", "above 0"]),
    (["plan", "media.withhold=[vidoe]"], ["media.withhold is 'vidoe'", "video, image, audio"]),
    (["evaluate", "run=x", "media.withhold=[vidoe]"], ["media.withhold is 'vidoe'"]),
    (["evaluate", "run=x", "evaluation.batch_size=0"], ["evaluation.batch_size is 0"]),
    (["predict", "run=x", "prompt=hello", "max_new_tokens=0"], ["max_new_tokens is 0", "at least 1"]),
    ([*QUICK, "name=../elsewhere"], ["name is '../elsewhere'", "under runs"]),
    # parts
    (["plan", "connector=null"], ["no connector", "stc"]),
    (["plan", "encoder.dim=0"], ["dim=0", "above 0"]),
    (["plan", "encoder.heads=5"], ["dim=128", "heads=5"]),
    (["plan", "llm.architecture.num_attention_heads=5"], ["hidden_size=128", "num_attention_heads=5", "multiple"]),
    (["plan", "llm.architecture.num_key_value_heads=3"], ["num_attention_heads=4", "num_key_value_heads=3"]),
    (["plan", "llm=causal_lm", "llm.source=/nowhere/llm"], ["'/nowhere/llm'", "no such folder"]),
    (["plan", "-m", "encoder.heads=5,7"], ["encoder.heads=5: dim=128", "encoder.heads=7: dim=128"]),
]  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message and "Error executing" not in message
    assert len(message.strip().splitlines()) == 1, message
    return message


@pytest.mark.parametrize("arguments, words", MISTAKES, ids=[" ".join(arguments)[:70] for arguments, _ in MISTAKES])
def test_a_mistake_is_one_message(
    arguments: list[str], words: list[str], here: Path, capsys: pytest.CaptureFixture
) -> None:
    message = refused(capsys, *arguments)
    for word in words:
        assert word in message
    assert not [path for path in here.iterdir() if path.name != "runs"]
    assert not list(here.glob("runs/[!s]*")), "a run that was refused left a folder"


def test_data_that_cannot_be_used_leaves_no_folder(here: Path, capsys: pytest.CaptureFixture) -> None:
    """Those of the last stage and of the benchmark are looked at before the first stage begins."""
    good = training(manifest(here))
    last = ["+stage@stages.last=tune", "stages.last.steps=1", "+dataset@stages.last.data=conversations"]
    message = refused(capsys, "train", *good, *last, "stages.last.data.path=gone.jsonl")
    assert "gone.jsonl does not exist" in message
    message = refused(capsys, "train", *good, "benchmark=exact_match_file", "benchmark.dataset.path=gone.jsonl")
    assert "gone.jsonl does not exist" in message
    twice = here / "twice.jsonl"
    twice.write_text(manifest(here, rows=1).read_text() * 2)
    message = refused(capsys, "train", *good, "benchmark=exact_match_file", f"benchmark.dataset.path={twice}")
    assert "(row0)" in message and "another" in message
    assert "there is no reader; choose one of auto" in refused(capsys, "train", *good, "reader=null")
    message = refused(capsys, "train", *good, f"runs={twice}")
    assert f"no run folder can be made in {twice}" in message
    assert not (here / "runs").exists()


def test_an_adapter_for_layers_that_are_not_there(here: Path, capsys: pytest.CaptureFixture) -> None:
    lora = ["stages.main.llm.train=lora", "stages.main.llm.lora.targets=[q_porj]"]
    assert main(["train", *training(manifest(here)), *lora]) == 2
    message = capsys.readouterr().err
    assert "no layer called q_porj" in message and "q_proj" in message


def test_a_gpu_that_is_not_there(here: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    message = refused(capsys, "train", *training(manifest(here)), "trainer.accelerator=gpu")
    assert "trainer.accelerator is 'gpu'" in message and "no GPU" in message


def test_an_interrupt_is_no_traceback(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    from vlframe import cli

    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "plan", interrupted)
    assert main(["plan"]) == 130
    assert capsys.readouterr().err == "vlframe: stopped\n"


def test_the_folder_above_a_run_says_which_is_its_newest(here: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("20260101-1", "20260202-2"):
        (here / "runs" / "mine" / name).mkdir(parents=True)
        (here / "runs" / "mine" / name / "config.yaml").write_text("{}")
    message = refused(capsys, "evaluate", "run=runs/mine")
    assert "its newest is runs/mine/20260202-2" in message
