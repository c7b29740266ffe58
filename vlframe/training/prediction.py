"""Predicts the cost of a stage on one device before weights are read: parameters, tokens, bytes and operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vlframe.contracts.batch import Batch, MediaFile
from vlframe.contracts.meta import needs_values
from vlframe.contracts.modalities import PLACEHOLDERS
from vlframe.data.collate import Collate
from vlframe.data.prepare import PreparedMedia, PreparedSample
from vlframe.distributed.ranks import imagined, world_size
from vlframe.errors import ConfigError, named_line
from vlframe.machine.precision import low_type
from vlframe.model.assemble import LEAST_TEXT, MetaComposition, packed_bits
from vlframe.model.cost import Looked, PassCost, on_meta, pass_cost
from vlframe.model.selection import blocks_of
from vlframe.training.trainable import held_type, prepare_parts, recompute_activations, set_modes

if TYPE_CHECKING:
    from vlframe.config.schema import RunConfig, StageConfig, TrainerConfig
    from vlframe.contracts.language_model import Loss
    from vlframe.contracts.token_budget import TokenBudget
    from vlframe.model.video_llm import VideoLLM

TEXT = 256  # text tokens per sample, half of them supervised, assumed by a plan without data
CAPTION = 32  # tokens of a caption that is compared with its clip, if its front end does not say how many it takes
INSTRUCTION = 16  # tokens of the instruction that a connector reads
PICTURE = (336, 336)  # height and width of pictures assumed by a plan
STATES = 2  # values that AdamW keeps per trained value


@dataclass(frozen=True)
class Resident:
    """Bytes held from the first step to the last."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer

    def __add__(self, other: Resident) -> Resident:
        return Resident(
            self.weights + other.weights, self.gradients + other.gradients, self.optimizer + other.optimizer
        )

    def shared(self, ranks: int) -> Resident:
        """Return one rank's share."""
        return Resident(*(-(-size // ranks) for size in (self.weights, self.gradients, self.optimizer)))


@dataclass(frozen=True)
class DeviceBytes:
    """The memory of one device under a strategy. ``peak`` is its maximum: gradients are created while activations are
    freed, unless they are kept from an earlier micro-batch.
    """

    strategy: str
    recompute: bool
    resident: Resident
    activations: int
    peak: int


@dataclass(frozen=True)
class StagePrediction:
    """The cost of a stage on one device. ``flops`` are those of an optimizer step, ``tokens`` those of a micro-batch;
    ``sample`` says what is in each of its samples.
    """

    parameters: int
    trained: int
    tokens: int
    flops: dict[bool, int]  # without and with recomputation
    held: tuple[DeviceBytes, ...]
    sample: str

    def of(self, strategy: str, recompute: bool) -> DeviceBytes:
        """Return the bytes of this variant. KeyError if the composition does not support it."""
        for item in self.held:
            if (item.strategy, item.recompute) == (strategy, recompute):
                return item
        raise KeyError(strategy)


@dataclass(frozen=True)
class NotPredicted:
    """Why nothing is known of the cost of a stage."""

    why: str


@dataclass(frozen=True)
class Example:
    """A micro-batch of a stage, what is in each of its samples, and the loss (None: the cross-entropy)."""

    batch: Batch
    sample: str
    loss: Callable[[VideoLLM, Batch], Loss] | None = None


def meta_stages(composition: MetaComposition, config: RunConfig) -> dict[str, VideoLLM]:
    """Return the model on the meta device as each stage trains it: adapters, gradients, data types and modes."""
    low = low_type(config.trainer.precision)
    model = on_meta(composition.model)
    found = {}
    for name, stage in config.stages.items():
        prepare_parts(model, stage, name)
        found[name] = staged = on_meta(model)
        for parameter in staged.parameters():
            parameter.data = parameter.data.to(held_type(parameter, low))
        set_modes(staged)
    return found


def predict(model: VideoLLM, example: Example, config: RunConfig, stage: StageConfig, ranks: int) -> StagePrediction:
    """Return the cost of a stage whose micro-batches are like this one, on this many ranks. ``model`` comes from
    ``meta_stages``, or is a real one prepared for its stage.
    """
    accumulates = stage.accumulate_grad_batches > 1
    known: Looked = {}
    given: dict[str, Any] = {
        "low": low_type(config.trainer.precision),
        "accumulates": accumulates,
        "loss": example.loss,
        "known": known,
    }
    costs = {False: pass_cost(model, example.batch, **given)}
    again = on_meta(model)
    try:
        recompute_activations(again)
    except ConfigError:  # no part supports recomputation
        pass
    else:
        costs[True] = pass_cost(again, example.batch, **given)
    parameters = list(model.parameters())
    return StagePrediction(
        parameters=sum(item.numel() for item in parameters),
        trained=sum(item.numel() for item in parameters if item.requires_grad),
        tokens=example.batch.ids_BS.numel(),
        sample=example.sample,
        flops={key: cost.flops * stage.accumulate_grad_batches for key, cost in costs.items()},
        held=tuple(
            held(model, strategy, recompute, cost, ranks, accumulates)
            for strategy in (("ddp", "fsdp") if _can_be_sharded(model) else ("ddp",))
            for recompute, cost in costs.items()
        ),
    )


def _can_be_sharded(model: VideoLLM) -> bool:
    """Return whether there is a language model to share out (there is none if no stage uses it), and it can be."""
    return any(True for _ in model.llm.parameters()) and not packed_bits(model.llm)


def held(model: VideoLLM, strategy: str, recompute: bool, cost: PassCost, ranks: int, accumulates: bool) -> DeviceBytes:
    """Return a device's memory: the whole model, or (``fsdp``) its media parts and a share of the language model, of
    which the outermost tensors and two blocks are gathered at a time (``vlframe.distributed.sharding``).
    """
    if strategy == "ddp":
        resident = resident_bytes(model)
        kept = resident.total if accumulates else resident.weights + resident.optimizer
        return DeviceBytes(strategy, recompute, resident, cost.activations, kept + cost.peak)
    resident = sharded_bytes(model, ranks)
    peak = resident.total + cost.activations + (_gathered(model.llm) if ranks > 1 else 0)
    return DeviceBytes(strategy, recompute, resident, cost.activations, peak)


def sharded_bytes(model: VideoLLM, ranks: int) -> Resident:
    """Return the bytes of the whole media parts and one rank's share of the language model."""
    resident = resident_bytes(model.llm).shared(ranks)
    for branch in model.branches.values():
        resident += resident_bytes(branch)
    return resident


def stage_resident(model: VideoLLM, settings: TrainerConfig) -> Resident:
    """Return the bytes that one rank holds throughout a stage, by the configured strategy."""
    sharded = settings.strategy == "fsdp" and world_size(settings) > 1
    return sharded_bytes(model, world_size(settings)) if sharded else resident_bytes(model)


def _gathered(llm: nn.Module) -> int:
    """Return the bytes of a sharded language model that are gathered at once: the weights outside blocks, those of two
    blocks, and the gradients of one.
    """
    blocks = blocks_of(llm)
    inside = {id(parameter) for block in blocks for parameter in block.parameters()}
    outermost = sum(_size(item) for item in llm.parameters() if id(item) not in inside)
    sizes = [resident_bytes(block) for block in blocks] or [Resident()]
    return outermost + 2 * max(item.weights for item in sizes) + max(item.gradients for item in sizes)


def resident_bytes(module: nn.Module) -> Resident:
    """Return the bytes of weights (with buffers), gradients of trained ones, and AdamW's states, in their
    current types.
    """
    packed: dict[int, float] = {}
    for part in module.modules():
        if hasattr(part, "packed_bits"):
            packed |= packed_bits(part)
    weights = sum(packed.get(id(item), 8 * item.element_size()) * item.numel() / 8 for item in module.parameters())
    buffers = sum(_size(item) for item in module.buffers())
    trained = sum(_size(item) for item in module.parameters() if item.requires_grad)
    return Resident(int(weights) + buffers, trained, STATES * trained)


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def example_batch(budget: TokenBudget, samples: int) -> Batch:
    """Return a micro-batch of samples with one clip, its sound if the composition has an audio encoder, and ``TEXT``
    tokens of text (fewer if the context leaves fewer).
    """
    media = example_media(budget)
    room = budget.max_length - sum(item.tokens for item in media)
    if room < LEAST_TEXT and len(media) > 1:  # video and sound do not fit together
        media = media[:1]
        room = budget.max_length - media[0].tokens
    text = min(TEXT, room)
    ids = [PLACEHOLDERS[item.file.kind] for item in media for _ in range(item.tokens)] + [0] * text
    taught = text // 2
    supervised = [False] * (len(ids) - taught) + [True] * taught
    return Collate()(
        [PreparedSample(str(number), ids, supervised, _renamed(media, number)) for number in range(samples)]
    )


def example_media(budget: TokenBudget) -> list[PreparedMedia]:
    """Return a clip of ``media.frames`` frames, and the longest sound if the composition takes sound."""
    layout = budget.front_end("video").layout(*PICTURE, budget.frames)
    frames_TCYX = torch.empty(budget.frames * layout.tiles, 3, layout.height, layout.width, dtype=torch.uint8)
    found = [_medium(budget, "video", frames_TCYX, layout.tiles)]
    if budget.has("audio"):
        front_end = budget.front_end("audio")
        silence_L = torch.zeros(int(front_end.seconds * front_end.sampling_rate))
        found.append(_medium(budget, "audio", front_end.features(silence_L), 1))
    return found


def _medium(budget: Any, kind: str, tensor: Tensor, tiles: int) -> PreparedMedia:
    tokens = budget.tokens(kind, tuple(tensor.shape), tiles)
    reading = [branch for branch in budget.branches.values() if branch.front_end is budget.front_end(kind)]
    asked = any(branch.instruction is not None for branch in reading)
    timed = any(branch.reads_seconds for branch in reading)
    seconds_T = torch.zeros(len(tensor) // tiles) if timed else None
    return PreparedMedia(MediaFile(kind, tensor, kind, tiles, seconds_T), tokens, (0,) * INSTRUCTION if asked else ())


def _renamed(media: list[PreparedMedia], number: int) -> tuple[PreparedMedia, ...]:
    """Return the same media as another sample's files."""
    return tuple(
        PreparedMedia(
            replace(item.file, key=(item.file.key, number)),
            item.tokens,
            item.instruction,
        )
        for item in media
    )


def captioned_batch(budget: TokenBudget, samples: int) -> Batch:
    """Return a micro-batch of samples with one clip and a caption beside it, as long as captions may be."""
    clip = example_media(budget)[:1]
    ids = [1] * int(getattr(budget.captions("video"), "longest", CAPTION))
    supervised = [False, *[True] * (len(ids) - 1)]
    return Collate()(
        [PreparedSample(str(number), ids, supervised, _renamed(clip, number)) for number in range(samples)]
    )


def predictions(
    composition: MetaComposition, config: RunConfig, ranks: int
) -> Mapping[str, StagePrediction | NotPredicted]:
    """Return the cost of each stage of a config, by name, on micro-batches of ``example_batch``, or of
    ``captioned_batch`` if its objective does not run the language model.
    """
    found: dict[str, StagePrediction | NotPredicted] = {}
    for name, model in meta_stages(composition, config).items():
        stage = config.stages[name]
        try:
            with imagined(world_size(config.trainer)):
                found[name] = predict(model, _example(composition, config, name), config, stage, ranks)
        except Exception as error:
            if not needs_values(error):
                raise
            found[name] = NotPredicted(why_not(error))
    return found


def why_not(error: Exception) -> str:
    """Say why no cost could be predicted, after what a part raised on the meta device."""
    said = named_line(error)[:150]
    return f"a part cannot be tried without data ({said})" if needs_values(error) else said


def _example(composition: MetaComposition, config: RunConfig, name: str) -> Example:
    objective, samples = composition.objectives.get(name), config.stages[name].batch_size
    budget = composition.budget
    loss = None if objective is None else objective.loss
    if objective is None or objective.uses_llm:
        heard = " with sound" if budget.has("audio") else ""
        return Example(example_batch(budget, samples), f"a clip{heard} and {TEXT} tokens of text at most", loss)
    batch = captioned_batch(budget, samples)
    return Example(batch, f"a clip and a caption of {batch.ids_BS.shape[1]} tokens", loss)
