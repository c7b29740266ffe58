"""Prepares each part for a stage: frozen, trained in full, or through low-rank adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vlframe.config.schema import part_settings
from vlframe.errors import ConfigError
from vlframe.machine.precision import low_type
from vlframe.model.adapters import adapted, add_adapter, alpha_of, has_adapter, size_in_words
from vlframe.model.selection import adapter_places, is_narrowed, learning, modules_that_train

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vlframe.config.parts import LoraConfig, PartConfig
    from vlframe.config.schema import StageConfig
    from vlframe.model.video_llm import VideoLLM


@dataclass(frozen=True)
class PartSummary:
    """A line of the table of trainable parameters. ``of`` says what narrows the mode; ``names`` are then the parameters
    that learn. ``adapters`` are their rank and scale.
    """

    part: str
    mode: str
    parameters: int
    trained: int
    lr: float
    of: str = ""
    names: tuple[str, ...] = ()
    adapters: str = ""

    def __str__(self) -> str:
        words = [f"{self.trained:>13,} of {self.parameters:>13,} parameters"]
        if self.trained:
            words.append(f"lr {self.lr:g}")
        if self.adapters:
            words.append(self.adapters)
        if self.of:
            words.append(f"{self.of}: {len(self.names)} tensors")
        return f"{self.part:<16} {self.mode:<7} {'  '.join(words)}"


def check_parts(model: VideoLLM, stages: Mapping[str, StageConfig]) -> None:
    """Raise ConfigError for a stage that trains a part in a way it does not support. ``model`` may have no
    weights (a plan's).
    """
    for stage_name, stage in stages.items():
        learns, stage_settings = False, part_settings(stage)
        _refuse_absent(stage_settings, model, stage_name)
        for name, part in model.parts.items():
            settings, key = stage_settings[name], f"stages.{stage_name}.{name}"
            learned = learning(key, part, settings)
            if settings.train == "full" and is_narrowed(settings) and not learned:
                raise ConfigError(
                    f"{key} trains nothing: {key}.frozen={list(settings.frozen or [])} has all that the other keys "
                    f"select ({_selecting(settings)}); take some of it out, or set {key}.train to frozen"
                )
            learns |= bool(learned)
            if settings.train == "lora":
                learns |= bool(adapter_places(key, part, settings))
        if not learns:
            raise _trains_nothing(model, stage, stage_name)
        _check_rates(model, stage, stage_name)
    for name in model.parts:
        _check_adapters_agree(name, {stage_name: part_settings(stage)[name] for stage_name, stage in stages.items()})


def _refuse_absent(stage_settings: Mapping[str, PartConfig], model: VideoLLM, stage: str) -> None:
    """Raise ConfigError for parameters named in a part that the model does not have."""
    for name, settings in stage_settings.items():
        if name not in model.parts and is_narrowed(settings):
            given = next(
                key for key in ("trainable", "frozen", "layers_from_top") if getattr(settings, key) is not None
            )
            raise ConfigError(
                f"stages.{stage}.{name}.{given} is set, and the model has no {name} (it has {', '.join(model.parts)}); "
                f"leave it out, or choose one ({name}=<name>)"
            )


def _selecting(settings: PartConfig) -> str:
    blocks = [] if settings.layers_from_top is None else [f"layers_from_top={settings.layers_from_top}"]
    named = [f"trainable={list(settings.trainable)}"] if settings.trainable else []
    return ", ".join([f"train={settings.train}", *blocks, *named])


def _check_rates(model: VideoLLM, stage: StageConfig, name: str) -> None:
    """Raise ConfigError for a stage in which no weight can move."""
    trained = {part: item for part, item in part_settings(stage).items() if part in model.parts}
    trained = {part: item for part, item in trained.items() if item.train != "frozen"}
    if any(stage.lr if settings.lr is None else settings.lr for settings in trained.values()):
        return
    raise ConfigError(
        f"the learning rate of all that stage {name!r} trains ({', '.join(trained)}) is 0, so no weight moves; set "
        f"stages.{name}.lr (or stages.{name}.{next(iter(trained))}.lr) above 0"
    )


def _check_adapters_agree(name: str, stages: Mapping[str, PartConfig]) -> None:
    """Check that all stages agree on a part's adapters, which the first stage that has some creates."""
    kept = [(stage, settings.lora) for stage, settings in stages.items() if settings.train == "lora"]
    for stage, lora in kept[1:]:
        if _adapter_terms(lora) != _adapter_terms(kept[0][1]):
            raise ConfigError(
                f"stages.{stage}.{name}.lora is not that of stage {kept[0][0]}, which makes the adapters of the "
                f"{name}; say the same in both, or train the second in a separate run (init.run=…), which merges the "
                "first"
            )


def _adapter_terms(lora: LoraConfig) -> tuple[object, ...]:
    targets = lora.targets
    return lora.rank, alpha_of(lora), lora.dropout, targets if isinstance(targets, str | None) else tuple(targets)


def _trains_nothing(model: VideoLLM, stage: StageConfig, name: str = "") -> ConfigError:
    stage_settings = part_settings(stage)
    modes = ", ".join(f"{part}: {stage_settings[part].train}" for part in model.parts)
    return ConfigError(
        f"{f'stage {name}' if name else 'the stage'} trains nothing ({modes}); set train: full or lora for at least "
        f"one part"
    )


def prepare_parts(model: VideoLLM, stage: StageConfig, stage_name: str = "") -> list[PartSummary]:
    """Set gradients and adapters for a stage; return a table of the changes to each part. Errors name the stage."""
    rows, stage_settings = [], part_settings(stage)
    for name, part in model.parts.items():
        settings = stage_settings[name]
        learned = _prepare(f"stages.{stage_name}.{name}" if stage_name else name, part, settings)
        rows.append(
            PartSummary(
                name,
                str(settings.train),
                sum(p.numel() for p in part.parameters()),
                sum(p.numel() for p in part.parameters() if p.requires_grad),
                stage.lr if settings.lr is None else settings.lr,
                _narrowing(settings),
                tuple(key for key, _ in part.named_parameters() if key in learned) if is_narrowed(settings) else (),
                size_in_words(settings.lora) if settings.train == "lora" else "",
            )
        )
    if not any(row.trained for row in rows):
        raise _trains_nothing(model, stage, stage_name)
    return rows


def _narrowing(settings: PartConfig) -> str:
    said = [] if settings.layers_from_top is None else [f"last {settings.layers_from_top} blocks"]
    said += [", ".join(settings.trainable)] if settings.trainable else []
    said += [f"without {', '.join(settings.frozen)}"] if settings.frozen else []
    return "; ".join(said)


def recompute_activations(model: VideoLLM) -> None:
    """Enable recomputation of activations in every part that supports it (``enable_gradient_checkpointing``)."""
    able: list[Any] = [part for part in model.parts.values() if hasattr(part, "enable_gradient_checkpointing")]
    for part in able:
        part.enable_gradient_checkpointing()
    if not able:
        raise ConfigError("trainer.gradient_checkpointing is true, and no part of this composition can recompute")


def set_modes(model: VideoLLM) -> None:
    """Set train mode for modules in which something learns, eval mode for the rest: no dropout, fixed statistics.

    The branches themselves are in train mode: their front ends may normalise differently in training.
    """
    for branch in model.branches.values():
        branch.training = True
    for part in model.parts.values():
        learned = {name for name, parameter in part.named_parameters() if parameter.requires_grad}
        training = modules_that_train(part, learned)
        for name, module in part.named_modules():
            module.training = name in training


def _prepare(name: str, part: nn.Module, settings: PartConfig) -> set[str]:
    """Prepare one part; return the names of the parameters that learn."""
    if settings.train == "full" and has_adapter(part):
        raise ConfigError(
            f"{name} has low-rank adapters from an earlier stage and cannot be trained in full beside them; keep "
            f"train: lora or frozen (weights named in trainable learn beside the adapters of train: lora)"
        )
    if settings.train == "lora":
        _give_adapters(name, part, settings)
    learned = learning(name, part, settings)
    parameters = dict(part.named_parameters())
    if not all(parameters[key].is_floating_point() for key in learned if key in parameters):
        raise ConfigError(f"{name} is quantised and cannot be trained in full; use train: lora, or leave it frozen")
    for key, parameter in parameters.items():
        parameter.requires_grad_(key in learned)
    return learned


def _give_adapters(name: str, part: nn.Module, settings: PartConfig) -> None:
    places = adapter_places(name, part, settings)
    if not has_adapter(part):
        add_adapter(name, part, settings.lora, places)
    lacking = [place for place in places if place not in adapted(part)]
    if lacking:
        raise ConfigError(
            f"{name} has adapters from an earlier stage, and none in {len(lacking)} layers that this stage wants some "
            f"in ({', '.join(lacking[:3])}, …); let the first stage with train: lora have them all"
        )


def held_type(parameter: Tensor, low: torch.dtype | None) -> torch.dtype:
    """Return the data type in which a stage holds a parameter; ``low``: the run's type of 16 bits, if any."""
    return low if low is not None and not parameter.requires_grad and parameter.ndim >= 2 else torch.float32


class RunPrecision:
    """Holds frozen weights in the run's precision, trained ones in float32, and keeps the originals of rounded ones.

    Without the originals a run in 16 bits would change frozen parts. Norms and biases stay in float32: they are small,
    and autocast expects it.
    """

    def __init__(self, model: VideoLLM, precision: str) -> None:
        self.model = model
        self.low = low_type(precision)
        self.kept: dict[str, dict[str, Tensor]] = {}

    def apply(self) -> None:
        for name, part in self.model.parts.items():
            for key, parameter in part.named_parameters():
                if not parameter.is_floating_point():  # packed four-bit weights
                    continue
                wanted = held_type(parameter, self.low)
                held = parameter.data.to(wanted)
                if wanted == torch.float16 and not held.isfinite().all():
                    raise ConfigError(
                        f"{name} has weights beyond float16, whose largest number is 65504 ({key}: "
                        f"{parameter.detach().abs().max():.3g}); say trainer.precision=bf16 or 32"
                    )
                if parameter.dtype == torch.float32 and wanted != torch.float32:
                    self.kept.setdefault(name, {})[key] = parameter.detach().cpu().clone()
                parameter.data = held

    def restore(self) -> None:
        for name, tensors in self.kept.items():
            parameters = dict(self.model.parts[name].named_parameters())
            for key, tensor in tensors.items():
                parameters[key].data = tensor.to(parameters[key].device)
        self.kept = {}
