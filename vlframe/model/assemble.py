"""Assembles a model from names: checks on the meta device that the parts fit, counts tokens, then builds it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from vlframe.config.schema import RunConfig, parts_of
from vlframe.contracts.declared import grid_of, width_of
from vlframe.contracts.grids import TYPICAL
from vlframe.contracts.meta import meta_build
from vlframe.contracts.modalities import MODALITIES, Modality, modality_of
from vlframe.contracts.token_budget import TokenBudget
from vlframe.errors import ConfigError, NoArchitecture, PluginError, UserError, WeightsError, some_of
from vlframe.model.absent import AbsentLanguageModel
from vlframe.model.branch import AudioBranch, Branch, VideoBranch
from vlframe.model.objectives import build_objectives, check_objectives, needs_llm
from vlframe.model.promises import as_named, check_declared, check_promises
from vlframe.model.video_llm import VideoLLM
from vlframe.registry.imported import imported
from vlframe.registry.presets import preset_files, read_preset
from vlframe.registry.sources import missing_paths, taken_for_hub_ids

if TYPE_CHECKING:
    from vlframe.contracts.objective import Objective
    from vlframe.registry.registry import Registry

log = logging.getLogger("vlframe")
FIRST_PARTY: dict[str, type[Branch]] = {"video": VideoBranch, "audio": AudioBranch}
LEAST_TEXT = 16  # minimum tokens for a question and an answer besides the media
HEIGHT, WIDTH = 336, 336  # of a typical picture, in pixels


@dataclass(frozen=True)
class MetaComposition:
    """A composition on the meta device: everything that is known about it without weights. ``unchecked`` are sentences
    about parts that could not run there. ``objectives`` are those of the stages, by name.
    """

    model: VideoLLM
    budget: TokenBudget
    unchecked: tuple[str, ...] = ()
    objectives: Mapping[str, Objective] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, int]:
        """Return the number of parameters of each part."""
        return {name: sum(p.numel() for p in part.parameters()) for name, part in self.model.parts.items()}

    def least_bytes(self, parts: Mapping[str, Any]) -> int:
        """Return the minimum bytes of the weights, by the parts' configs: four per randomly initialised value, two per
        value read from a source, or a part's packed size.
        """
        total = 0.0
        for name, part in self.model.parts.items():
            packed = packed_bits(part)
            size = 2 if (parts[name] or {}).get("source") else 4
            total += sum(p.numel() * packed.get(id(p), 8 * size) / 8 for p in part.parameters())
        return int(total)


def packed_bits(part: nn.Module) -> dict[int, float]:
    """Return the bits per value of the weights that a part packs (``packed_bits()``, by name), by the id of the
    parameter.
    """
    said: dict[str, float] = getattr(part, "packed_bits", dict)()
    parameters = dict(part.named_parameters())
    return {id(parameters[name]): bits for name, bits in said.items()}


def compose_on_meta(config: RunConfig, registry: Registry) -> MetaComposition:
    """Build on the meta device and check that the parts fit, without reading weights. ConfigError names the misfit."""
    for said in taken_for_hub_ids(_parts_to_load(config, registry), registry):
        log.warning("%s", said)
    with meta_build():
        model = _assemble(config, registry)
    max_length = _max_length(config.text.max_length, model.llm.context)
    budget = TokenBudget(max_length, config.media.frames, dict[str, Any](model.branches.items()))
    check_declared(model, config, registry)
    _check_room(model, budget, config)
    objectives = build_objectives(config, registry)
    check_objectives(objectives, model, config, registry)
    return MetaComposition(model, budget, check_promises(model, config, registry), objectives)


def build_model(config: RunConfig, registry: Registry) -> VideoLLM:
    """Build the composition with its weights: pretrained where a part names a ``source``, random elsewhere."""
    if missing := list(missing_paths(_parts_to_load(config, registry))):
        raise WeightsError("; ".join(missing))
    _check_machine(config, registry)
    return _assemble(config, registry)


def _check_machine(config: RunConfig, registry: Registry) -> None:
    """Call the checks of parts with requirements (a GPU, for example) before any weights are loaded. A plan
    skips this.
    """
    for kind, chosen in _parts_to_load(config, registry).items():
        if chosen is not None:
            check = getattr(registry.row(kind, chosen["name"]).load_class(), "check_machine", None)
            if check is not None:
                check(registry.check(kind, chosen))


def _assemble(config: RunConfig, registry: Registry) -> VideoLLM:
    """Build a branch for every chosen encoder, with the connector between it and the language model."""
    for kind in (MODALITIES["video"].encoder, MODALITIES["video"].connector, "llm"):
        if getattr(config, kind) is None:
            raise ConfigError(f"there is no {kind}; choose one of {', '.join(registry.names(kind))}")
    # In the order of the table, the language model second: random weights are drawn in this order.
    first, *rest = MODALITIES.values()
    encoder = _built(first.encoder, config, registry)
    llm = _language_model(config, registry)
    branches = {first.name: _branch(first, encoder, llm.dim, config, registry)}
    for modality in rest:
        if getattr(config, modality.encoder) is not None:
            encoder = _built(modality.encoder, config, registry)
            branches[modality.name] = _branch(modality, encoder, llm.dim, config, registry)
    return VideoLLM(branches, llm)


def _language_model(config: RunConfig, registry: Registry) -> Any:
    """Build the language model; of one that no stage uses, only its sizes, from its config."""
    if needs_llm(config, registry):
        llm = _built("llm", config, registry)
    else:
        with meta_build():
            planned = _built("llm", config, registry)
        llm = AbsentLanguageModel(planned.dim, planned.context)
    with as_named(config, registry, llm=llm):
        width_of(llm)
    return llm


def _parts_to_load(config: RunConfig, registry: Registry) -> dict[str, Any]:
    """Return the configs of the parts that are built with weights."""
    absent = () if needs_llm(config, registry) else ("llm",)
    return {name: part for name, part in parts_of(config).items() if name not in absent}


def _built(kind: str, config: RunConfig, registry: Registry, **neighbours: int) -> Any:
    """Build a part. One without any sizes is refused with the presets that have some."""
    chosen = getattr(config, kind)
    try:
        return registry.build(kind, chosen, **neighbours)
    except NoArchitecture as error:
        component = chosen["name"]
        presets = [name for name in preset_files(kind, registry) if name != component]
        able = [name for name in presets if read_preset(kind, name, registry)["name"] == component]
        ready = f"; presets of it: {kind}={some_of(able)}" if able else ""
        raise ConfigError(f"{kind} {component!r}: {error}{ready}") from error


def _branch(modality: Modality, encoder: nn.Module, out_dim: int, config: RunConfig, registry: Registry) -> Branch:
    chosen = getattr(config, modality.connector)
    if chosen is None:
        names = ", ".join(registry.names(modality.connector))
        raise ConfigError(f"there is an {modality.encoder} and no {modality.connector}; choose one of {names}")
    with as_named(config, registry, **{modality.encoder: encoder}):
        in_dim = width_of(encoder)
    connector = _built(modality.connector, config, registry, in_dim=in_dim, out_dim=out_dim)
    kind = branch_class(modality)
    given: dict[str, Any] = {}
    taken = inspect.signature(kind).parameters
    if "frames" in taken:
        given["frames"] = config.media.frames
    if "pixels" in taken and config.pixels is not None:
        given["pixels"] = registry.build("pixels", config.pixels, own=encoder.pixels)
    return kind(encoder, connector, **given)


def branch_class(modality: Modality) -> type[Branch]:
    """Return the class that joins the modality's parts. PluginError if its path names no ``Branch``."""
    if modality.branch is None:
        return FIRST_PARTY[modality.name]
    found = imported(modality.branch, f"the branch of the modality {modality.name!r}")
    if not (isinstance(found, type) and issubclass(found, Branch)):
        raise PluginError(f"the branch of the modality {modality.name!r}, {modality.branch}, is no vlframe.Branch")
    return found


def _max_length(asked: int | None, limit: int) -> int:
    if asked is not None and asked > limit:
        raise ConfigError(f"text.max_length is {asked}, and the language model was made for {limit} tokens")
    return asked or limit


def typical_tokens(budget: TokenBudget, kind: str, frames: int, height: int = HEIGHT, width: int = WIDTH) -> int:
    """Return N for a clip, or an image (``frames`` = 1), of pictures of that size."""
    layout = budget.front_end(kind).layout(height, width, frames)
    return budget.tokens(kind, (frames * layout.tiles, 3, layout.height, layout.width), layout.tiles)


def refusal(budget: TokenBudget, kind: str) -> str:
    """Return why the parts take no picture of a typical size as media of this kind; "" if they take some, or if the
    kind has no picture.
    """
    reason = ""
    if modality_of(kind).name != "video":
        return reason
    for height, width in TYPICAL:
        try:
            typical_tokens(budget, kind, 1 if kind == "image" else budget.frames, height, width)
            return ""
        except ValueError as error:
            reason = str(error)
    return reason


def _check_steps(frames: int, step: int, encoder: str) -> None:
    """Raise ConfigError if ``media.frames`` is not a multiple of the frames that the encoder joins in a step."""
    if frames % step:
        below = frames // step * step
        nearest = f"{below} or {below + step}" if below else f"{step}"
        raise ConfigError(
            f"media.frames is {frames}, and encoder {encoder!r} joins {step} frames of a clip in one time step; take "
            f"media.frames={nearest} (a shorter clip is filled with its last frame)"
        )


def _check_room(model: VideoLLM, budget: TokenBudget, config: RunConfig) -> None:
    """Raise ConfigError if the connector cannot take a clip, or a clip leaves no room for text."""
    modality = modality_of("video")
    names = (getattr(config, modality.connector)["name"], getattr(config, modality.encoder)["name"])
    branch: Any = model.branches[modality.name]
    _check_steps(budget.frames, branch.frames_per_step, names[1])
    layout = budget.front_end("video").layout(HEIGHT, WIDTH, budget.frames)
    try:
        grid = grid_of(branch.encoder, budget.frames, layout.height, layout.width)
    except UserError:
        raise
    except ValueError as error:
        raise ConfigError(f"encoder {names[1]!r} does not take {budget.frames} frames: {error}") from error
    try:
        tokens = typical_tokens(budget, "video", budget.frames)
    except ValueError as error:
        raise ConfigError(
            f"connector {names[0]!r} does not fit encoder {names[1]!r}: {error} (the encoder gives {grid} features of "
            f"{branch.encoder.dim} for {budget.frames} frames)"
        ) from error
    if tokens + LEAST_TEXT > budget.max_length:
        raise ConfigError(
            f"{budget.frames} frames become {tokens} media tokens (connector {names[0]!r} on a {grid} grid), which "
            f"leaves no room for text in a context of {budget.max_length}; use fewer media.frames, a connector that "
            f"gives fewer tokens, or a larger text.max_length"
        )
