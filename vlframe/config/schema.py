"""The typed configuration: every key there is, with its type, default, meaning, choices and bounds.

The dataclasses are frozen: a config is composed and checked once (``vlframe.composer``, ``vlframe.runs.saved``), and
``dataclasses.replace`` makes another one. A component's config is a plain mapping, its ``name`` and its parameters,
typed by the component itself (see ``vlframe.registry``).
"""

# ruff: noqa: RUF009 (``key`` makes a dataclass field)

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from vlframe.config.controls import CONTROLS
from vlframe.config.debug import DebugConfig
from vlframe.config.fields import MISSING, key, keys_of
from vlframe.config.parts import MODES, LoraConfig, PartConfig, modes_of_roles, narrows_nothing  # noqa: F401 (by name)
from vlframe.config.rules import devices, duration, files, folder_name, media, two_betas
from vlframe.config.validation import EarlyStoppingConfig, ValidationConfig
from vlframe.contracts.modalities import parts


@dataclass(frozen=True)
class MediaConfig:
    """How media files are decoded, and what happens to those that cannot be."""

    sampler: Any = key(None, "which frames of a clip are looked at", component="sampler")
    frames: int = key(8, "the most frames of a clip", at_least=1)
    on_error: str = key(
        "raise", "an unreadable file ends the run, or (skip) its samples are quarantined", choices=("raise", "skip")
    )
    max_bad_share: float | None = key(
        0.1,
        "the run stops above this quarantined share (and above 10 samples); null = no limit",
        above=0,
        at_most=1,
    )
    timeout: float | None = key(
        None, "seconds a file may take, in a process that can be killed; null = decode in this one", above=0
    )
    missing_audio: str = key(
        "error",
        "what happens when a video without a sound track is asked for its sound; drop quarantines the sample",
        choices=("error", "drop", "silence"),
    )
    withhold: tuple[str, ...] = key(
        (),
        "kinds that the model is not shown (video, image, audio, those of plugins), for blind runs",
        rule=media,
        items=True,
    )
    cache_mb: int = key(0, "decoded media kept in memory by each process, so that a clip is decoded once", at_least=0)


@dataclass(frozen=True)
class TextConfig:
    """The limits on a conversation's tokens."""

    max_length: int | None = key(
        None, "tokens, media included; null = what the language model was made for", at_least=1
    )
    too_long: str = key(
        "error",
        "what happens to a longer conversation: drop quarantines it, trim_text never cuts media",
        choices=("error", "drop", "trim_text"),
    )
    thinking: bool = key(
        False, "prompts leave room for a thought of the model, where its chat template writes an empty one"
    )


def _part_settings() -> Any:
    return key(PartConfig, "how this part is trained", part=True)


@dataclass(frozen=True)
class StageConfig:
    """One stage of a run: what is trained, how, and on which data. A run is an ordered mapping of stages."""

    data: Any = key(None, "a data set; null = the run's `dataset`", component="dataset")
    objective: Any = key(None, "what is minimised; null = the run's `objective`", component="objective")
    steps: int | None = key(None, "optimizer steps; give this or `epochs`", at_least=1)
    epochs: float | None = key(None, "passes over the data; give this or `steps`", above=0)
    batch_size: int = key(8, "samples per device and micro-batch", at_least=1)
    accumulate_grad_batches: int = key(1, "micro-batches per optimizer step", at_least=1)
    lr: float = key(1e-3, "peak learning rate", at_least=0)
    weight_decay: float = key(0.0, "of AdamW; norms and biases never decay", at_least=0)
    betas: tuple[float, ...] = key((0.9, 0.999), "of AdamW", rule=two_betas)
    warmup_ratio: float = key(0.03, "share of the steps in which the rate climbs linearly", at_least=0, at_most=1)
    warmup_steps: int | None = key(None, "steps in which it climbs, in place of `warmup_ratio`", at_least=0)
    warmup_start_ratio: float = key(0.0, "where the climb begins, as a share of the peak", at_least=0, at_most=1)
    schedule: str = key(
        "cosine", "the decay; cosine_floor has a lower bound", choices=("cosine", "cosine_floor", "linear", "constant")
    )
    final_lr_ratio: float = key(0.0, "where the rate ends, as a share of the peak", at_least=0)
    max_grad_norm: float = key(1.0, "gradients are scaled down to this norm; 0 = never", at_least=0)
    resize: str | None = key(
        None,
        "frames that are not square, in this stage; null = as the encoder says",
        choices=("crop", "squash", "pad"),
    )
    encoders: str = key("frozen", "what the stage does to each encoder that has no `train` of its own", choices=MODES)
    connectors: str = key(
        "frozen", "what the stage does to each connector that has no `train` of its own", choices=MODES
    )
    encoder: PartConfig = _part_settings()
    connector: PartConfig = _part_settings()
    audio_encoder: PartConfig = _part_settings()
    audio_connector: PartConfig = _part_settings()
    llm: PartConfig = _part_settings()

    @staticmethod
    def problem(where: str, values: Mapping[str, Any]) -> str:
        """Return what is wrong with the combination of keys; "" = nothing."""
        modes = modes_of_roles(values["encoders"], values["connectors"])
        for name in [name for name, value in values.items() if isinstance(value, Mapping) and "train" in value]:
            if found := narrows_nothing(f"{where}.{name}", values[name], modes.get(name, "frozen")):
                return found
        both = values.get("steps") is not None and values.get("epochs") is not None
        if not both and (values.get("steps"), values.get("epochs")) != (None, None):
            return ""
        hint = f"; {where}.steps=null {where}.epochs={values['epochs']} counts epochs" if both else ""
        return f"{where} needs steps or epochs, and not both{hint}"


@dataclass(frozen=True)
class LoaderConfig:
    """The processes that decode media."""

    workers: int = key(0, "processes that decode; 0 = the training process itself", at_least=0)
    prefetch: int = key(2, "batches ahead, per worker", at_least=1)


@dataclass(frozen=True)
class TrainerConfig:
    """The hardware settings of a run; of these only ``precision`` changes what is computed."""

    precision: str = key(
        "32",
        "number format of the computation: 32, bf16, or 16 (float16 with loss scaling, for GPUs without bfloat16)",
        choices=("32", "bf16", "16"),
    )
    gradient_checkpointing: bool = key(
        False, "parts that can recompute activations in the backward pass do so, to save memory"
    )
    accelerator: str = key("auto", "what computes", choices=("auto", "cpu", "gpu", "cuda", "mps", "tpu"))
    devices: Any = key(
        1,
        "processes (ranks) on each node, one for each device: how many, -1 or auto for all, or which, like [0,2]",
        rule=devices,
    )
    num_nodes: int = key(1, "machines, each with as many devices; started by torchrun or srun", at_least=1)
    strategy: str = key(
        "auto",
        "auto, ddp: every rank has the whole model; fsdp: the language model is in shards",
        choices=("auto", "ddp", "fsdp"),
    )
    threads: int | None = key(None, "CPU threads for torch; null = torch's own choice", at_least=1)
    log_every: int = key(10, "optimizer steps between two rows of metrics", at_least=1)
    checkpoint_every: int = key(
        500, "optimizer steps between checkpoints; there is always one at the end of a stage", at_least=1
    )
    keep_checkpoints: int = key(
        2, "how many of a stage stay on disk; the older one is for when the newest is torn", at_least=1
    )
    keep_best: bool = key(True, "each stage's best checkpoint stays, too, where something is evaluated in training")
    max_time: str | None = key(None, "DD:HH:MM:SS; the run stops cleanly after it", rule=duration)
    progress: bool = key(True, "show a progress bar; lines where there is no terminal (run.log always has them)")


@dataclass(frozen=True)
class EvaluationConfig:
    """How benchmarks are run."""

    batch_size: int = key(16, "questions that are answered together", at_least=1)
    blind: bool = key(
        False, "ask every question once more without media: what is answered then, and how much of it is right"
    )
    controls: tuple[str, ...] = key(
        (),
        "ask again with something taken away, to see whether the score uses it: frames in another order, no sound, "
        "options that change places; see also `blind`",
        choices=CONTROLS,
        items=True,
    )
    media_in_tables: int = key(16, "predictions that are logged with their media", at_least=0)
    every: int | None = key(
        None, "optimizer steps of a stage between evaluations in training; null = only at the end", at_least=1
    )
    best_by: str | None = key(
        None,
        "what decides which evaluation in training is the best: `loss` (of the validation data) or a score; null = "
        "loss, or the first benchmark's primary metric if there is no validation data",
    )


@dataclass(frozen=True)
class PluginsConfig:
    """Plugins besides the installed ones."""

    paths: tuple[str, ...] = key((), "single Python files that are plugins; given on the command line only")
    strict: bool = key(False, "a plugin that does not load is fatal")


def _checkpoint() -> Any:
    return key("newest", "of the run's checkpoints: newest, best (see `trainer.keep_best`), or the name of its folder")


@dataclass(frozen=True)
class InitConfig:
    """Weights that a run starts from, besides those of the parts' own sources."""

    run: str | None = key(None, "a run folder, or what `vlframe convert` wrote")
    checkpoint: str = _checkpoint()
    parts: tuple[str, ...] | None = key(None, "which parts to take from it; null = all that it holds")


@dataclass(frozen=True)
class SweepConfig:
    """The sweep (``-m``) that a run is a job of; filled in."""

    folder: str | None = key(None, "where the sweep keeps what became of its jobs; null = the run is no job of one")
    job: int | None = key(None, "the job's number, from 1")
    words: tuple[str, ...] = key((), "what distinguishes the job from the others")


def _moved() -> Any:
    return key(dict, "folders of data that have moved since the run began: {old folder: new folder}")


def _component(kind: str, text: str, part: bool = False) -> Any:
    return key(None, text, component=kind, part=part)


@dataclass(frozen=True)
class RunConfig:
    """The config of `vlframe train` and `vlframe plan`, and of every run folder."""

    name: str = key("default", "the experiment; the folder under `runs`", rule=folder_name)
    runs: str = key("runs", "the folder of all runs")
    seed: int = key(0, "of weights, order and sampling", at_least=0, below=2**63)
    resume: str | None = key(
        None, "a run folder to continue, with its own config and the keys changed on the command line"
    )
    resume_changes: str = key(
        "refuse", "changes to a resumed run that alter what it computes", choices=("refuse", "allow")
    )
    optimized_metric: str | None = key(
        None,
        "the score that `train` returns to a sweeper, or `loss`; null = the first benchmark's own, or loss without one",
    )
    plugins: PluginsConfig = key(PluginsConfig, "plugins in single files")
    moved: dict[str, str] = _moved()
    encoder: Any = _component("encoder", "what sees", part=True)
    connector: Any = _component("connector", "from video features to the language model", part=True)
    audio_encoder: Any = _component("audio_encoder", "the encoder of sound; null = no sound", part=True)
    audio_connector: Any = _component("audio_connector", "from sound features to the language model", part=True)
    llm: Any = _component("llm", "the language model", part=True)
    reader: Any = _component("reader", "what opens media files")
    dataset: Any = _component("dataset", "the data of stages that name none themselves")
    objective: Any = _component("objective", "what stages minimise that name nothing themselves")
    benchmark: Any = _component("benchmark", "the questions of the evaluation; null = none")
    benchmarks: dict[str, Any] = key(
        dict, "more benchmarks, by names of your own; null = not asked", component="benchmark", items=True
    )
    pixels: Any = _component("pixels", "a front end in place of the encoder's own; null = the encoder's own")
    processor: Any = _component("processor", "another system's exact data path; null = vlframe's own")
    init: InitConfig = key(InitConfig, "weights to start from")
    media: MediaConfig = key(MediaConfig, "from files to arrays")
    text: TextConfig = key(TextConfig, "the length of a conversation")
    stages: dict[str, StageConfig] = key(dict, "what is trained, in order")
    loader: LoaderConfig = key(LoaderConfig, "data workers")
    trainer: TrainerConfig = key(TrainerConfig, "the machine")
    evaluation: EvaluationConfig = key(EvaluationConfig, "the evaluation after training, and in it")
    validation: ValidationConfig = key(ValidationConfig, "data whose loss is measured in training")
    early_stopping: EarlyStoppingConfig = key(EarlyStoppingConfig, "when a stage ends before its last step")
    debug: DebugConfig = key(DebugConfig, "shortcuts for trying a run out")
    logger: dict[str, Any] = key(
        dict, "loggers by name, besides the CSV that is always written: plugins' and Lightning's", components="logger"
    )
    callbacks: dict[str, Any] = key(dict, "callbacks by name: plugins' and Lightning's", components="callback")
    choices: dict[str, str] = key(dict, "the presets that were chosen, by group; filled in")
    words: tuple[str, ...] = key((), "what was typed when the run began; filled in")
    sweep: SweepConfig = key(SweepConfig, "the sweep that the run is a job of; filled in")


@dataclass(frozen=True)
class EvaluateConfig:
    """The config of ``vlframe evaluate``: a finished run, and changes to its evaluation."""

    run: str = key(MISSING, "a run folder", like="runs/quickstart/<id>")
    checkpoint: str = _checkpoint()
    benchmark: Any = key(None, "other questions; null = the run's own")
    benchmarks: dict[str, Any] = key(dict, "several benchmarks, by names of your own, or keys of the run's to change")
    evaluation: dict[str, Any] = key(dict, "keys of the run's `evaluation` to change", some_of=EvaluationConfig)
    media: dict[str, Any] = key(dict, "keys of the run's `media` to change", some_of=MediaConfig)
    trainer: dict[str, Any] = key(dict, "keys of the run's `trainer` to change", some_of=TrainerConfig)
    logger: dict[str, Any] = key(
        dict,
        "loggers by name, which join their earlier records of the run: plugins' and Lightning's",
        components="logger",
    )
    plugins: PluginsConfig = key(PluginsConfig, "plugins in single files")
    sweep: SweepConfig = key(SweepConfig, "the sweep that the evaluation is a job of; filled in")
    moved: dict[str, str] = _moved()


@dataclass(frozen=True)
class PredictConfig:
    """The config of `vlframe predict`: a finished run, media files and a question."""

    run: str = key(MISSING, "a run folder", like="runs/quickstart/<id>")
    checkpoint: str = _checkpoint()
    prompt: str = key(MISSING, "the question", like='"What happens?"')
    media: Any = key(None, "a path, or a list of paths in brackets", rule=files)
    sound: bool = key(False, "also use a video's own sound track")
    show_timeline: bool = key(
        False, "print first which frames of each medium are shown, their seconds, sizes, tiles and tokens"
    )
    max_new_tokens: int = key(128, "the longest answer", at_least=1)
    temperature: float = key(0.0, "0 = greedy", at_least=0)
    device: str | None = key(None, "cpu, cuda, cuda:<number> or mps; null = as the run's trainer.accelerator says")
    moved: dict[str, str] = _moved()
    plugins: PluginsConfig = key(PluginsConfig, "plugins in single files")


@dataclass(frozen=True)
class ConvertConfig:
    """The config of ``vlframe convert``: another project's checkpoint and a folder to write, used like a run."""

    source: str = key(MISSING, "a folder, or a file in one", like="<folder>")
    out: str = key(MISSING, "a new folder", like="<new folder>")
    format: str | None = key(
        None, "a checkpoint format (`vlframe list checkpoint_format`); null = the one that recognises the source"
    )
    sources: dict[str, str] = key(dict, "further files of the checkpoint, by the names that its format gives them")
    plugins: PluginsConfig = key(PluginsConfig, "plugins in single files")


@dataclass(frozen=True)
class ExportConfig:
    """The config of ``vlframe export``: a run, or a converted checkpoint, and the format to write."""

    run: str = key(MISSING, "a run folder", like="runs/quickstart/<id>")
    checkpoint: str = _checkpoint()
    out: str = key(MISSING, "a new folder", like="<new folder>")
    format: str | None = key(
        None, "a checkpoint format; null = the one its weights came in, or the only one that is installed"
    )
    moved: dict[str, str] = _moved()
    plugins: PluginsConfig = key(PluginsConfig, "plugins in single files")


def run_schema() -> type[RunConfig]:
    """Return ``RunConfig`` with the parts of every modality of vlframe and its plugins, in the run and its stages."""
    return run_schema_of(parts())


@cache
def run_schema_of(parts: tuple[str, ...]) -> type[RunConfig]:
    """Return ``RunConfig`` with these parts. Parts that the class does not declare become fields like the others."""
    declared = {item.name for item in dataclasses.fields(RunConfig)}
    new = [name for name in parts if name not in declared]
    if not new:
        return RunConfig
    more = [(name, PartConfig, _part_settings()) for name in new]
    stage = dataclasses.make_dataclass("StageConfig", more, bases=(StageConfig,), frozen=True)
    fields: list[tuple[str, Any, Any]] = [(name, Any, _component(name, "a part of the model", True)) for name in new]
    fields.append(("stages", dict[str, stage], key(dict, "what is trained, in order")))  # type: ignore[valid-type]
    return dataclasses.make_dataclass("RunConfig", fields, bases=(RunConfig,), frozen=True)


def parts_of(config: RunConfig) -> dict[str, Any]:
    """Return the configs of the model's parts by name, in the schema's order; None for an absent part."""
    return {item.name: getattr(config, item.name) for item in keys_of(type(config)) if item.law.part}


def part_settings(stage: StageConfig) -> dict[str, PartConfig]:
    """Return a stage's settings of each part, with ``train`` filled in."""
    modes = modes_of_roles(stage.encoders, stage.connectors)
    given = {item.name: getattr(stage, item.name) for item in keys_of(type(stage)) if item.law.part}
    return {name: settings.or_else(modes.get(name, "frozen")) for name, settings in given.items()}
