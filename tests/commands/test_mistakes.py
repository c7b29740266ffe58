"""What a careless person types, beyond the wrong names of ``test_cli.py``: one message each, nothing left."""

from pathlib import Path

import pytest
from helpers.runs import manifest, training

from vlframe.cli import main

QUICK = ["train", "experiment=quickstart"]

MISTAKES = [
    (["train", "experiment=quickstart", "resume="], ["resume= names no folder", "or leave it out"]),
    # words
    (["train", "--experiment", "quickstart"], ["no option '--experiment'", "experiment=…", "--cfg job"]),
    ([*QUICK, "seed=1,2"], ["seed=1,2 has several values", "add -m", "(seed=[1,2])"]),
    (["-m", "plan", "encoder.heads=5,7"], ["encoder.heads=5: dim=128", "encoder.heads=7: dim=128"]),
    (["--foo", "plan"], ["no option '--foo'"]),
    (["plan", "encoder=clip", "encoder.source=/no/where"], ["'/no/where', a path", "no such folder"]),
    (["train", "experiment", "quickstart"], ["'experiment' is not key=value", "seed=1"]),
    (["predict", "run=x", "prompt=what", "is", "this"], ["'is' is not key=value", 'prompt="What happens?"']),
    (["train", "experiment=[quickstart,nowhere]"], ["no experiment named 'nowhere'", "quickstart_av"]),
    (["list", "connector=stc"], ["plugins.paths", "it has no key 'connector'"]),
    # keys
    (["train", "+foo=1"], ["no key 'foo'", "connector"]),
    ([*QUICK, "lr=1e-4"], ["no key 'lr'. Did you mean ", "stages.main.lr", " or stages.motion."]),
    ([*QUICK, "trainer.batch_size=4"], ["no key 'trainer.batch_size'. Did you mean ", "stages.main.batch_size"]),
    ([*QUICK, "frames=4"], ["no key 'frames'. Did you mean ", "media.frames"]),
    ([*QUICK, "clip=1"], ["no key 'clip'. Did you mean stages.m", ".max_grad_norm"]),
    (["plan", "clip=a.mp4"], ["no key 'clip'; the config has audio_connector"]),
    ([*QUICK, "stage@stages.more=tune"], ["no stage 'more'", "+stage@stages.more=everything stages.more.steps="]),
    (["train", "dataset@benchmark.dataset=motionqa"], ["add it with +dataset@benchmark.dataset=<name>"]),
    (["predict", "run=x", "prompt=what"], ["'x' is no run folder: there is no such folder in /"]),
    (["trian", "experiment=quickstart"], ["no command 'trian'", "Did you mean 'train'"]),
    ([*QUICK, "+media.framez=1"], ["media.framez", "frames"]),
    ([*QUICK, "media.sampler=interval", "media.sampler.seconds=2"], ["sampler has every, name, offset, unit. Did you"]),
    # items of lists
    ([*QUICK, "stages.main.betas.x=1"], ["betas is a list, and its items are stages.main.betas.0 to stages.main."]),
    ([*QUICK, "stages.main.betas.2=1"], ["no key 'stages.main.betas.2'", "like stages.main.betas=[first,second]"]),
    ([*QUICK, "evaluation.controls.0=order"], ["evaluation.controls is a list, and it has no items; give all of it"]),
    (["plan", "++connector.stride.x=1"], ["no key 'connector.stride.x': connector.stride is a list"]),
    (["plan", "connector.stride.0.x=1"], ["connector.stride"]),
    (["plan", "~connector.stride.x"], ["no key 'connector.stride.x': connector.stride is a list"]),
    (["-m", "plan", "connector.stride.9=1,2"], ["no key 'connector.stride.9': connector.stride is a list"]),
    ([*QUICK, "+stages.main.step=1"], ["stages.main.step", "steps"]),
    (["predict", "run=x"], ["needs prompt", 'prompt="What happens?"']),
    (["predict", "prompt=hello"], ["needs run", "run=runs/quickstart/<id>"]),
    (["predict", "run=x", "prompt=hello", "seed=1"], ["no key 'seed'", "max_new_tokens"]),
    (["evaluate", "run=x", "connector=pool"], ["'connector' cannot be chosen here", "takes run, checkpoint"]),
    (["predict", "run=x", "prompt=a", "media=a.mp4", "media.frames=2"], ["no key 'media.frames': here media is a path",
     "takes run, checkpoint", "other settings are those of the run"]),
    (["predict", "run=x", "prompt=a", "checkpoint.name=2"], ["checkpoint"]),
    ([*QUICK, "stages=everything"], ["stages are given one by one", "+stage@stages.main=everything stages.main."]),
    ([*QUICK, "stages=[everything]"], ["+stage@stages.main=everything stages.main.steps="]),
    ([*QUICK, "stages.main=tune"], ["stages.main is a stage that is already there", "+stage@stages.second=everything"]),
    ([*QUICK, "benchmarks=exact_match"], ["benchmarks holds values by name", "benchmarks.<name>=…"]),
    (["plan", "sampler=fps"], ["'sampler' is chosen at media.sampler; write media.sampler=…"]),
    (["plan", "logger=3"], ["logger is 3; it is chosen by name"]),
    (["plan", "encoder=1.5"], ["encoder is 1.5; it is chosen by name"]),
    (["train", "-m", "connector=glob(*)"], ["connector=glob(*)", "connector=first,second"]),
    (["train", "-m", "seed=glob(*)"], ["glob() is not taken"]),
    # values of another type
    (["plan", "media.frames=abc"], ["media.frames is 'abc'; it must be a whole number"]),
    (["plan", "media.frames=1.5"], ["media.frames is 1.5; it must be a whole number"]),
    (["plan", "media.frames=[1]"], ["media.frames is [1]; it must be a whole number, not a list"]),
    (["plan", "media.frames=null"], ["media.frames cannot be null; leave it out"]),
    (["plan", "encoder.depth=abc"], ["encoder.depth is 'abc'; it must be a whole number"]),
    (["plan", "connector.stride=[a,b,c]"], ["connector.stride[0] is 'a'; it must be a whole number"]),
    ([*QUICK, "stages.main.lr=fast"], ["stages.main.lr is 'fast'; it must be a number"]),
    (["plan", "trainer.progress=maybe"], ["trainer.progress is 'maybe'; it must be true or false"]),
    (["plan", "name=[a]"], ["name is ['a']; it must be one text, not a list"]),
    (["plan", "seed=-1"], ["seed is -1; it must be at least 0 and below 9.22"]),
    (["plan", f"seed={10**20}"], ["seed is 1e+20; it must be at least 0 and below"]),
    ([*QUICK, "stages.main.llm.lora.dropout=1"], ["lora.dropout is 1; it must be at least 0 and below 1"]),
    (["plan", "name={a:1}"], ["it must be one text, not a mapping"]),
    (["plan", "media.frames=${nope}"], ["media.frames refers to ${nope}, and there is no key 'nope'"]),
    # files where names are expected
    (["plan", "dataset=train.jsonl"], ["no dataset named 'train.jsonl'", "=conversations dataset.path=train.jsonl"]),
    (["plan", "dataset=./train"], ["dataset=conversations dataset.path=./train"]),
    (["plan", "benchmark=q.jsonl"], ["benchmark=exact_match_file benchmark.dataset.path=q.jsonl"]),
    (["plan", "encoder=./folder"], ["no encoder named './folder'", "encoder.source=./folder"]),
    (["plan", "llm=Qwen/Qwen2"], ["llm=causal_lm llm.source=Qwen/Qwen2"]),
    ([*QUICK, "encoder=clip_l_336", "encoder.source=a/b/clip"], ["encoder.source is 'a/b/clip', a path, and there"]),
    ([*QUICK, "encoder=clip_l_336", "encoder.source=./clip"], ["/clip', a path"]),
    (["plan", "encoder=clip", "encoder.source=./clip"], ["source is './clip', a path, and there is no such folder"]),
    (["plan", "encoder=clip"], ["encoder 'clip': architecture is empty", "encoder=clip_b_224, clip_l_224, clip_l_336"]),
    # numbers
    ([*QUICK, "stages.main.steps=-5"], ["stages.main.steps is -5", "at least 1"]),
    ([*QUICK, "stages.main.steps=null", "stages.main.epochs=0"], ["stages.main.epochs is 0", "above 0"]),
    ([*QUICK, "stages.main.batch_size=0"], ["stages.main.batch_size is 0", "at least 1"]),
    ([*QUICK, "stages.main.accumulate_grad_batches=0"], ["stages.main.accumulate_grad_batches is 0"]),
    ([*QUICK, "stages.main.lr=-1"], ["stages.main.lr is -1", "at least 0"]),
    ([*QUICK, "stages.main.llm.lr=-1"], ["stages.main.llm.lr is -1"]),
    ([*QUICK, "stages.main.betas=[0.9]"], ["stages.main.betas is [0.9]", "two numbers"]),
    ([*QUICK, "stages.main.warmup_ratio=3"], ["warmup_ratio is 3", "between 0 and 1"]),
    ([*QUICK, "stages.main.llm.lora.rank=0"], ["lora.rank is 0", "at least 1"]),
    ([*QUICK, "loader.workers=-1"], ["loader.workers is -1", "at least 0"]),
    ([*QUICK, "trainer.log_every=0"], ["trainer.log_every is 0"]),
    ([*QUICK, "trainer.checkpoint_every=0"], ["trainer.checkpoint_every is 0"]),
    ([*QUICK, "trainer.devices=0"], ["trainer.devices is 0", "at least 1"]),
    ([*QUICK, "trainer.devices=-2"], ["trainer.devices is -2", "-1 or auto"]),
    ([*QUICK, "trainer.devices=[0,0]"], ["trainer.devices is [0, 0]", "like [0,2]"]),
    ([*QUICK, "trainer.devices=[0,1]", "trainer.accelerator=cpu"], ["names GPUs", "trainer.devices=2"]),
    ([*QUICK, "trainer.accelerator=quantum"], ["trainer.accelerator is 'quantum'", "auto, cpu, gpu"]),
    (["plan", "text.max_length=0"], ["text.max_length is 0", "at least 1"]),
    (["plan", "media.timeout=0"], ["media.timeout is 0", "above 0"]),
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
    assert "(row0)" in message and "its own" in message
    assert "there is no reader; choose one of auto" in refused(capsys, "train", *good, "reader=null")
    message = refused(capsys, "train", *good, f"runs={twice}")
    assert f"no run folder can be made in {twice}" in message
    assert not (here / "runs").exists()


def test_an_adapter_for_layers_that_are_not_there(here: Path, capsys: pytest.CaptureFixture) -> None:
    lora = ["stages.main.llm.train=lora", "stages.main.llm.lora.targets=[q_porj]"]
    assert main(["train", *training(manifest(here)), *lora]) == 2
    message = capsys.readouterr().err
    assert "no layer called q_porj" in message and "q_proj" in message


def test_an_accelerator_that_is_not_there(
    here: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each that the key takes, in training and in an evaluation of a run."""
    import torch

    from vlframe.config.fields import keys_of
    from vlframe.config.schema import TrainerConfig
    from vlframe.machine import devices

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    (choices,) = (item.law.choices for item in keys_of(TrainerConfig) if item.name == "accelerator")
    absent = [name for name in choices if name not in ("auto", "cpu")]
    scored = ["benchmark=exact_match_file", f"benchmark.dataset.path={manifest(here)}"]
    assert main(["train", *training(manifest(here)), *scored, "stages.main.steps=1", "runs=made"]) == 0
    (run,) = (here / "made").glob("*/*")
    before = sorted(run.rglob("*"))
    for name in absent:
        message = refused(capsys, "train", *training(manifest(here)), f"trainer.accelerator={name}")
        assert f"trainer.accelerator is {name!r}, which needs a " in message and "on this machine" in message
        refused(capsys, "evaluate", f"run={run}", f"trainer.accelerator={name}")
    assert not (here / "runs").exists() and sorted(run.rglob("*")) == before


@pytest.mark.parametrize(
    ("devices", "accelerator", "gpus", "world"),
    [(1, "auto", 4, 1), (3, "cpu", 0, 3), (-1, "auto", 4, 4), ("auto", "gpu", 2, 2), (-1, "auto", 0, 1),
     ("auto", "cpu", 4, 1), ([0, 2], "gpu", 4, 2)],
)  # fmt: skip
def test_devices_are_what_lightning_takes(
    devices: object, accelerator: str, gpus: int, world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from vlframe.composer.compose import compose, open_registry
    from vlframe.distributed.ranks import world_size

    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    words = [f"trainer.devices={str(devices).replace(' ', '')}", f"trainer.accelerator={accelerator}"]
    settings = compose("train", words, open_registry()).trainer
    assert settings.devices == devices and world_size(settings) == world


def test_a_gpu_that_is_not_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from vlframe.config.schema import TrainerConfig
    from vlframe.errors import ConfigError
    from vlframe.training.asked import check_device

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_device(TrainerConfig(devices=[0, 1]))
    for devices in (3, [0, 2]):
        with pytest.raises(ConfigError, match=r"this machine has 2 GPU"):
            check_device(TrainerConfig(devices=devices))


def test_a_folder_that_is_not_there_is_taken_for_a_hub_id_aloud(
    here: Path, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["plan", "encoder=clip_l_336", "connector=linear", "llm=tiny"]
    assert main([*words, "encoder.source=weights/clip"]) == 0
    (said,) = caplog.messages
    assert said == f"encoder.source is 'weights/clip': there is no such folder in {here}, so it is taken for a hub id"
    caplog.clear()
    assert main(words) == 0 and not caplog.messages, "what a preset names is one"
    (here / "weights" / "clip").mkdir(parents=True)
    assert main([*words, "encoder.source=weights/clip"]) == 0 and not caplog.messages


def test_the_help_of_plan_has_its_own_key(capsys: pytest.CaptureFixture) -> None:
    assert main(["plan", "--help"]) == 0
    assert "device=…" in capsys.readouterr().out


def test_a_recording_whose_name_has_an_equals_sign(here: Path, capsys: pytest.CaptureFixture) -> None:
    assert "no recording a=b.safetensors" in refused(capsys, "verify", "a=b.safetensors")
    assert "vlframe verify does not know formt" in refused(capsys, "verify", "a.safetensors", "formt=x")
    (here / "run=1").write_bytes(b"no recording")
    assert "does not know" not in refused(capsys, "verify", "run=1")


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
    for above in ("runs/mine", "runs"):
        assert "its newest is runs/mine/20260202-2" in refused(capsys, "evaluate", f"run={above}")


def test_a_run_without_its_key_is_told_it(here: Path, capsys: pytest.CaptureFixture) -> None:
    (here / "some").mkdir()
    (here / "some" / "config.yaml").write_text("seed: 1")
    assert "a run is named by a key, like run=some" in refused(capsys, "evaluate", "some")


def test_predict_looks_for_its_files_before_it_reads_weights(
    here: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "some").mkdir()
    (here / "some" / "config.yaml").write_text("seed: 1")
    monkeypatch.setattr("vlframe.inference.pipeline.load_run", lambda *_: pytest.fail("weights were read"))
    for prompt in ("prompt=what?", "prompt='<video> what?'"):
        words = ["predict", "run=some", prompt, "media=nowhere.mp4"]
        assert "nowhere.mp4: there is no such file" in refused(capsys, *words)
