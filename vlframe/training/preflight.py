"""Preflight checks of a run, before its folder is created."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from vlframe.config.asking import benchmarks_of
from vlframe.config.schema import RunConfig, parts_of
from vlframe.contracts.sample import Sample, said_of
from vlframe.data.chat import check_shapes, shape_of
from vlframe.data.first import first_samples
from vlframe.data.opened import open_samples
from vlframe.data.prepare import check_modalities, withhold
from vlframe.distributed.ranks import devices_of_node
from vlframe.errors import ConfigError, DataError
from vlframe.inference.pipeline import Pipeline
from vlframe.machine.memory import check_main_memory, free_main_memory, gigabytes
from vlframe.model.assemble import refusal
from vlframe.training.asked import check_device, check_stages
from vlframe.training.loss_scale import check_precision
from vlframe.training.prediction import STATES, Resident, meta_stages, stage_resident

if TYPE_CHECKING:
    from vlframe.evaluation.questions import Questions
    from vlframe.model.assemble import MetaComposition

LOOKED_AT = 50_000  # rows of a data set that are checked before training; 5 s


def check_run(config: RunConfig) -> None:
    """Check what is asked for before anything is built."""
    check_stages(config)
    check_device(config.trainer)
    check_precision(config.trainer)


def check_memory(composition: MetaComposition, config: RunConfig) -> None:
    """Raise ConfigError if a stage's weights, gradients and optimizer states exceed this machine's memory, of the GPU
    or main memory. Activations depend on the data and are not counted.
    """
    most = sum(composition.parameters.values()) * (1 + 1 + 1 + STATES) * 4  # includes the kept originals
    settings = config.trainer
    on_gpu = settings.accelerator != "cpu" and torch.cuda.is_available()
    devices = devices_of_node(settings)
    limits = [free_main_memory() // devices]
    if on_gpu:
        limits.append(torch.cuda.get_device_properties(0).total_memory)
    if most <= min(limits):
        return
    if on_gpu:
        check_main_memory(
            devices * composition.least_bytes(parts_of(config)),
            f"{devices} process(es) first build the model in main memory, which needs at least",
            "use fewer trainer.devices on this machine, or smaller parts",
        )
    for name, model in meta_stages(composition, config).items():
        _check_stage(name, stage_resident(model, settings), config, on_gpu)


def _check_stage(name: str, need: Resident, config: RunConfig, on_gpu: bool) -> None:
    ranks = devices_of_node(config.trainer)
    free = torch.cuda.get_device_properties(0).total_memory if on_gpu else free_main_memory()
    total = need.total if on_gpu else need.total * ranks
    if total <= free:
        return
    advice = ["trains only adapters with llm.train=lora"] if config.stages[name].llm.train == "full" else []
    if on_gpu and config.trainer.strategy != "fsdp":
        advice.append("shares the language model out with trainer.strategy=fsdp on several GPUs")
    advice.append("fits with a smaller llm, or on a larger machine (`vlframe plan` with device=<name> counts)")
    raise ConfigError(
        f"stage {name} needs {gigabytes(total)} {'on each GPU' if on_gpu else 'of main memory'} before the first batch "
        f"(weights {gigabytes(need.weights)}, gradients {gigabytes(need.gradients)}, optimizer states "
        f"{gigabytes(need.optimizer)}{'' if on_gpu or ranks == 1 else f', {ranks} times'}), and "
        f"{gigabytes(free)} {'are there' if on_gpu else 'are free'}; it {', or '.join(advice)}"
    )


@dataclass(frozen=True)
class OpenedData:
    """A run's data: the data set of each stage, its benchmarks, and the validation data, if any."""

    stages: Mapping[str, Any]
    benchmarks: Sequence[Questions] = ()
    validation: Sequence[Sample] | None = None


def open_data(pipeline: Pipeline) -> OpenedData:
    """Open all data of a run before its first step, so that errors in later stages are reported at once."""
    stages = stage_data(pipeline)
    validation = _validation_data(pipeline)
    benchmarks: Sequence[Questions] = ()
    for data in [*stages.values(), *([] if validation is None else [validation])]:
        _check_samples(pipeline, data)
    if benchmarks_of(pipeline.config):
        from vlframe.evaluation.questions import open_benchmarks

        benchmarks = open_benchmarks(pipeline)
    for questions in benchmarks:
        _check_samples(questions.pipeline, [question.asked for question in questions.all])
    return OpenedData(stages, benchmarks, validation)


def _validation_data(pipeline: Pipeline) -> Sequence[Sample] | None:
    settings = pipeline.config.validation.dataset
    if settings is None:
        return None
    samples = open_samples(pipeline.registry, settings, pipeline.config.moved, "validation.dataset")
    if not len(samples):
        raise DataError(f"validation.dataset {settings['name']!r} has no sample")
    return samples


def _check_samples(pipeline: Pipeline, samples: Sequence[Sample]) -> None:
    """Raise ConfigError if the model cannot take such media, or the chat template cannot write such conversations, by
    all rows, or by rows spread over the data if there are more than ``LOOKED_AT``.
    """
    step = -(-len(samples) // LOOKED_AT) or 1
    withheld = pipeline.config.media.withhold
    differing: dict[Hashable, Sample] = {}  # the first of each kind of media and shape; all would take much memory
    for index in range(0, len(samples), step):
        sample = withhold(samples[index], withheld)
        check_modalities(sample, pipeline.budget)
        if pipeline.processor is None:  # it may leave media out, and writes conversations itself
            for feature in (*(item.kind for item in sample.media), shape_of(sample)):
                differing.setdefault(feature, sample)
    if differing:
        _check_kinds(pipeline, list(differing.values()))
        if pipeline.writes_chats:
            check_shapes(pipeline.model.llm.tokenizer, differing.values())


def _check_kinds(pipeline: Pipeline, samples: Sequence[Sample]) -> None:
    """Raise ConfigError for a kind of media of which the parts refuse every typical picture size."""
    first = {item.kind: (sample, item) for sample in reversed(samples) for item in sample.media}
    for kind, (sample, item) in first.items():
        if reason := refusal(pipeline.budget, kind):
            raise ConfigError(said_of(sample, f"{item.path}: {reason}"))


def stage_data(pipeline: Pipeline) -> dict[str, Any]:
    """Return a data set for each stage, by the stage's name."""
    datasets = {}
    for name, stage in pipeline.config.stages.items():
        own = stage.data is not None
        settings, place = (stage.data, f"stages.{name}.data") if own else (pipeline.config.dataset, "dataset")
        samples = open_samples(pipeline.registry, settings, pipeline.config.moved, place)
        datasets[name] = first_samples(samples, pipeline.config.debug.samples)
        if not len(datasets[name]):
            raise DataError(f"stage {name!r} has no sample: its data set {settings['name']!r} is empty")
    return datasets
