"""Selects the parameters of a part that learn in a stage, by name.

``train: full`` is every parameter, ``train: lora`` the adapters. ``layers_from_top: k`` restricts either to the last k
blocks. ``trainable`` names weights that learn directly: with ``full`` only these (and the blocks of
``layers_from_top``, if given), with ``lora`` these in addition to the adapters. ``frozen`` names parameters that never
learn.

A pattern is a glob, in which ``*`` matches dots too, for the name of a parameter or of a module, which selects all its
parameters: ``norm``, ``blocks.3``, ``*.q_proj.weight``. An adapter has the name of the weight that it adapts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from torch import nn

from vlframe.errors import ConfigError, did_you_mean
from vlframe.model.adapters import adaptable, adapted_module, is_adapter, targets_of

if TYPE_CHECKING:
    from vlframe.config.parts import PartConfig

SHOWN = 6  # names of a part in a message


def is_whole(settings: PartConfig) -> bool:
    """Return whether a stage trains every parameter of a part."""
    return settings.train == "full" and not is_narrowed(settings)


def is_narrowed(settings: PartConfig) -> bool:
    return settings.layers_from_top is not None or bool(settings.trainable) or bool(settings.frozen)


def learning(part_name: str, part: nn.Module, settings: PartConfig) -> set[str]:
    """Return the names of the parameters that a stage trains; ConfigError for a pattern that matches none.

    A tensor with two names is listed under both, or neither. Adapters count once they are in the part.
    """
    if settings.train not in ("full", "lora"):
        return set()
    parameters = dict(part.named_parameters(remove_duplicate=False))
    weights = [name for name in parameters if not is_adapter(name)]
    wanted = parameters.keys() - set(weights) if settings.train == "lora" else set(weights)
    if settings.layers_from_top is not None:
        within = {id(item) for block in top_blocks(part_name, part, settings) for item in block.parameters()}
        wanted = {name for name in wanted if id(parameters[name]) in within}
    elif settings.train == "full" and settings.trainable:
        wanted = set()
    wanted = wanted | _matching(f"{part_name}.trainable", settings.trainable or [], weights)
    stopped = _matching(f"{part_name}.frozen", settings.frozen or [], parameters)
    ids = {id(parameters[name]) for name in wanted} - {id(parameters[name]) for name in stopped}
    return {name for name, parameter in parameters.items() if id(parameter) in ids}


def adapter_places(part_name: str, part: nn.Module, settings: PartConfig) -> list[str]:
    """Return the plain names of the modules that get adapters in a stage: the targets, restricted to the top blocks if
    only those learn, without frozen ones.
    """
    layers = adaptable(part)
    names = targets_of(part_name, part, settings.lora, layers)
    if settings.layers_from_top is not None:
        within = {id(item) for block in top_blocks(part_name, part, settings) for item in block.modules()}
        names = [name for name in names if id(layers[name]) in within]
    weights = [f"{name}.weight" for name in names]
    stopped = {weight for weight in weights for pattern in settings.frozen or [] if names_parameter(pattern, weight)}
    places = [name for name in names if f"{name}.weight" not in stopped]
    if not places:
        raise ConfigError(
            f"{part_name} has no layer left for a low-rank adapter: lora.targets, layers_from_top and frozen leave "
            f"none; its linear layers are {_some(layers)}"
        )
    return places


def top_blocks(part_name: str, part: nn.Module, settings: PartConfig) -> list[nn.Module]:
    """Return the last ``layers_from_top`` blocks; ConfigError if the part has fewer, or lists none."""
    blocks, count = blocks_of(part), settings.layers_from_top
    assert count is not None
    if not blocks:
        raise ConfigError(
            f"{part_name}.layers_from_top is {count}, and {type(part).__name__} does not say which blocks it has (a "
            f"method blocks() that lists them); name what learns with {part_name}.trainable=[…]: {_some(_names(part))}"
        )
    if count > len(blocks):
        raise ConfigError(f"{part_name}.layers_from_top is {count}, and {type(part).__name__} has {len(blocks)} blocks")
    return blocks[-count:]


def blocks_of(part: nn.Module) -> list[nn.Module]:
    """Return a part's blocks from input to output, by its optional ``blocks()`` or a ModuleList of that name."""
    blocks = getattr(part, "blocks", None)
    if isinstance(blocks, nn.ModuleList | nn.Sequential):
        return list(blocks)
    return list(blocks()) if callable(blocks) else []


def modules_that_train(part: nn.Module, learned: set[str]) -> set[str]:
    """Return the names of the modules to put in train mode: those with a parameter that learns, in themselves or below.
    A module without parameters (a dropout) follows the module that contains it.
    """
    above = {"" for _ in learned}
    for name in learned:
        pieces = name.split(".")
        above |= {".".join(pieces[:end]) for end in range(1, len(pieces))}
    found: set[str] = set()
    for name, module in part.named_modules():  # parents come before children
        follows = name != "" and name.rpartition(".")[0] in found and next(module.parameters(), None) is None
        if name in above or follows:
            found.add(name)
    return found


def changed_tensors(part_name: str, part: nn.Module, settings: PartConfig) -> set[str]:
    """Return the names of a part's tensors that training changes: the parameters that learn, and the statistics
    (buffers) of the modules in train mode.
    """
    learned = learning(part_name, part, settings)
    training = modules_that_train(part, learned)
    return learned | {name for name, _ in part.named_buffers() if name.rpartition(".")[0] in training}


def names_parameter(pattern: str, name: str) -> bool:
    """Return whether a pattern names this parameter or a module that contains it. An adapter has the name of
    its weight.
    """
    plain = plain_name(name)
    return fnmatchcase(plain, pattern) or fnmatchcase(plain, f"{pattern}.*")


def plain_name(name: str) -> str:
    """Return a tensor's name in a part without adapters; for an adapter, that of the weight it adapts."""
    if is_adapter(name):
        return f"{adapted_module(name)}.weight"
    return name.replace(".base_layer.", ".")


def _matching(key: str, patterns: Sequence[str], names: Iterable[str]) -> set[str]:
    names = list(names)
    found: set[str] = set()
    for pattern in patterns:
        matched = {name for name in names if names_parameter(pattern, name)}
        if not matched:
            plain = [plain_name(name) for name in names]
            raise ConfigError(
                f"{key} has {pattern!r}, which matches no parameter. It is a glob for a name (* matches dots too) or "
                f"for a module, like {_some(plain)}{_near(pattern, plain)}"
            )
        found |= matched
    return found


def _near(pattern: str, names: Iterable[str]) -> str:
    """Return the end of a message about a pattern: similar names, modules and endings of these."""
    pieces = [name.split(".") for name in names]
    modules = {".".join(parts[:end]): None for parts in pieces for end in range(len(parts), 0, -1)}
    if not pattern.startswith("*"):
        return did_you_mean(pattern, modules)
    split = [name.split(".") for name in modules]
    ends = {f"*.{'.'.join(parts[start:])}": None for parts in split for start in range(1, len(parts))}
    return did_you_mean(pattern, ends)


def _names(part: nn.Module) -> list[str]:
    return [plain_name(name) for name, _ in part.named_parameters()]


def _some(names: Iterable[str]) -> str:
    """List a few of many names, evenly spaced."""
    names = list(dict.fromkeys(names))
    step = max(1, -(-len(names) // SHOWN))
    return ", ".join(names[::step]) + (f" ({len(names)} in all)" if step > 1 else "")
