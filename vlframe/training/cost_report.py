"""Reports the predicted cost of stages: bytes on each device, and whether they fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlframe.config.schema import part_settings, parts_of
from vlframe.distributed.devices import UTILISATION, Device
from vlframe.distributed.ranks import devices_of_node, world_size
from vlframe.machine.memory import gigabytes
from vlframe.model.adapters import size_in_words
from vlframe.table import render
from vlframe.training.prediction import DeviceBytes, NotPredicted, StagePrediction, predictions

if TYPE_CHECKING:
    from vlframe.config.schema import RunConfig, StageConfig
    from vlframe.model.assemble import MetaComposition

SHARDED_OVER = 8  # devices that a single-device plan assumes for shards


def report(composition: MetaComposition, config: RunConfig, device: Device) -> str:
    """Report each stage: what is trained, bytes by strategy, time, and whether a device holds it."""
    settings = config.trainer
    ranks = world_size(settings) if world_size(settings) > 1 else SHARDED_OVER
    texts = []
    for name, found in predictions(composition, config, ranks).items():
        if isinstance(found, NotPredicted):
            texts.append(f"stage {name}: its cost is not predicted: {found.why}")
            continue
        lines = _stage(name, config.stages[name], config, found, ranks, device)
        texts.append("\n".join([*lines[:1], *_adapters(config.stages[name], composition), *lines[1:]]))
    return "\n\n".join([*texts, *_while_building(composition, config, device)])


def _adapters(stage: StageConfig, composition: MetaComposition) -> list[str]:
    settings = part_settings(stage)
    lora = {name: settings[name].lora for name in composition.model.parts if settings[name].train == "lora"}
    return [f"adapters of {name}: {size_in_words(item)}" for name, item in lora.items()]


def _while_building(composition: MetaComposition, config: RunConfig, device: Device) -> list[str]:
    """Say what the processes of a machine need in main memory before the model is on their devices."""
    if device.shared:
        return []
    processes, least = devices_of_node(config.trainer), composition.least_bytes(parts_of(config))
    each = "its process" if processes == 1 else f"each of its {processes} processes"
    total = "" if processes == 1 else f", {gigabytes(processes * least)} together"
    return [
        f"main memory of a machine, while {each} builds the whole model there (with any strategy): at least "
        f"{gigabytes(least)}{total}"
    ]


def _stage(
    name: str, stage: StageConfig, config: RunConfig, found: StagePrediction, ranks: int, device: Device
) -> list[str]:
    settings = config.trainer
    asked = as_configured(config, found)
    samples = world_size(settings) * stage.batch_size * stage.accumulate_grad_batches
    rows = [
        {
            "strategy": item.strategy if item.strategy == "ddp" else f"fsdp on {ranks}",
            "recomputed": "yes" if item.recompute else "no",
            "weights": gigabytes(item.resident.weights),
            "gradients": gigabytes(item.resident.gradients),
            "optimizer": gigabytes(item.resident.optimizer),
            "activations": gigabytes(item.activations),
            "at once": gigabytes(item.peak),
            "": "as configured" if item is asked else "",
        }
        for item in found.held
    ]
    flops = found.flops[asked.recompute]
    sharing = _sharing(config, device)
    seconds = device.seconds(flops * sharing, settings.precision)
    pace = (
        f"; {device.words} has no {settings.precision}: say trainer.precision=16" if device.lacks(settings.precision)
        else "" if seconds is None
        else f", about {seconds:.2g} s on {device.words} (at {UTILISATION:.0%} of its peak, {settings.precision})"
    )  # fmt: skip
    return [
        f"stage {name}: trains {found.trained:,} of {found.parameters:,} parameters; global batch {samples} = "
        f"{world_size(settings)} device(s) x {stage.batch_size} samples x {stage.accumulate_grad_batches} "
        "micro-batch(es)",
        f"bytes on each device, for samples of {found.sample} ({found.tokens:,} tokens a micro-batch):",
        render(rows),
        f"a step is {flops / 1e12:.3g} TFLOP on each device{pace}",
        verdict(stage, found, asked, device, ranks, sharing, settings.precision),
    ]


def _sharing(config: RunConfig, device: Device) -> int:
    """Return how many processes of a run share one device: those of a machine share its memory and cores."""
    return devices_of_node(config.trainer) if device.shared else 1


def as_configured(config: RunConfig, found: StagePrediction) -> DeviceBytes:
    """Return the configured variant, as far as the composition supports it."""
    settings = config.trainer
    strategy = "fsdp" if settings.strategy == "fsdp" and world_size(settings) > 1 else "ddp"
    able = settings.gradient_checkpointing and True in found.flops
    return found.of(strategy if any(item.strategy == strategy for item in found.held) else "ddp", able)


def verdict(
    stage: StageConfig,
    found: StagePrediction,
    asked: DeviceBytes,
    device: Device,
    ranks: int,
    sharing: int = 1,
    precision: str = "32",
) -> str:
    """Say whether a device holds the stage as configured, and what would make it fit. ``sharing`` processes have the
    device to themselves together.
    """
    each = gigabytes(asked.peak)
    need = each if sharing == 1 else f"{gigabytes(sharing * asked.peak)} ({sharing} processes with {each} each)"
    told = f"needs {need}, {device.words} has {gigabytes(device.memory)}"
    if device.refuses(precision):
        return (
            f"does not run: trainer.precision={precision} is for GPUs, and this is planned for {device.words}; say "
            "trainer.precision=32 or bf16, or plan for a GPU (device=h100)"
        )
    if sharing * asked.peak <= device.memory:
        return f"fits: {told}"
    found_out = ways_out(stage, found, asked, device.memory // sharing, ranks)
    fewer = [f"fewer than {sharing} trainer.devices"] if sharing > 1 else []
    return f"does not fit: {told}: {', '.join([*fewer, *found_out])}"


def ways_out(stage: StageConfig, found: StagePrediction, asked: DeviceBytes, memory: int, ranks: int) -> list[str]:
    """List the changes that would make a stage fit, those already computed first. ``memory`` is that of a process."""
    said = []
    for item in found.held:
        if item.peak <= memory and item is not asked:
            keys = [f"trainer.strategy=fsdp on {ranks} devices"] if item.strategy != asked.strategy else []
            if item.recompute != asked.recompute:
                keys.append(f"trainer.gradient_checkpointing={str(item.recompute).lower()}")
            said.append(f"{' and '.join(keys)} needs {gigabytes(item.peak)}")
    if stage.llm.train == "full":
        said.append("llm.train=lora in the stage trains only adapters")
    if stage.batch_size > 1:
        said.append("a smaller batch_size with more accumulate_grad_batches has fewer activations")
    return said or ["choose a smaller llm, fewer frames or a larger device"]
