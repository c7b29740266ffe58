"""Compares the shapes that parts declare with their outputs on the meta device, where a forward pass needs no memory.

Slots for media tokens are counted from declared shapes before anything runs; a wrong one would end a run in its first
step. B batch, K tiles, T frames, H W patches, D features, X rows (tiles of files), N media tokens, E embedding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vlframe.config.typed import plain
from vlframe.contracts.declared import WrongDeclaration
from vlframe.contracts.meta import meta_build, needs_values
from vlframe.contracts.modalities import MODALITIES
from vlframe.errors import PluginError, UserError, one_line
from vlframe.model.branch import Branch, Trial

if TYPE_CHECKING:
    from vlframe.config.schema import RunConfig
    from vlframe.model.video_llm import VideoLLM
    from vlframe.registry.registry import Registry

BATCH = 2  # more than one, to detect parts that merge the items of a batch
# The branches that kept their promises in this process, with what could not be tried: jobs of a sweep, and a run with
# what loads it again, often have the same, and a trial takes longer than building them.
_kept: dict[Hashable, dict[str, str]] = {}
INSTRUCTION_IDS = 8  # length of a made-up instruction, for connectors that read one; a plan needs no tokenizer


@dataclass(frozen=True)
class Parts:
    """The names of a branch's parts in messages, and the required width of tokens."""

    encoder: str
    connector: str
    out_dim: int


def check_promises(model: VideoLLM, config: RunConfig, registry: Registry) -> tuple[str, ...]:
    """Run the parts of each branch on the meta device for a few typical sizes. PluginError if their outputs differ from
    ``grid``, ``steps``, ``dim`` and ``tokens``.

    A part that cannot run there (because it reads values) is left to the first step; return a sentence about each.
    """
    unchecked: dict[str, str] = {}
    for name, branch in model.branches.items():
        case = _case(name, branch, model.llm.dim, config, registry)
        if case not in _kept:
            modality = MODALITIES[name]
            parts = Parts(
                _named(modality.encoder, config, registry), _named(modality.connector, config, registry), model.llm.dim
            )
            _kept[case] = _run_trials(branch, parts)
        unchecked |= _kept[case]
    return tuple(unchecked.values())


def _case(name: str, branch: Branch, out_dim: int, config: RunConfig, registry: Registry) -> Hashable:
    """Return all that decides what a branch gives: its classes, their parameters, and the shapes of its weights, which
    a ``source`` may decide.
    """
    modality = MODALITIES[name]
    chosen = {kind: getattr(config, kind) for kind in (modality.encoder, modality.connector, "pixels")}
    chosen = {kind: given for kind, given in chosen.items() if given is not None}
    rows = [row for kind, given in chosen.items() for row in registry.rows_in(kind, given)]
    classes = (type(branch), *(row.load_class() for row in rows))
    shapes = tuple(sorted(_shapes(branch).items()))
    return name, out_dim, config.media.frames, classes, json.dumps(plain(chosen), sort_keys=True), shapes


def _run_trials(branch: Branch, parts: Parts) -> dict[str, str]:
    """Run a branch's parts for all its trials; return a sentence about each part that could not run, by its name."""
    unchecked: dict[str, str] = {}
    trials = list(branch.trials())  # a front end may compute real values
    with _at_rest(branch), torch.no_grad(), meta_build():
        encoded: set[Hashable] = set()
        for trial in trials:
            case = _encoders_case(branch, trial)
            _check(branch, trial, parts, unchecked, run_encoder=case not in encoded)
            encoded.add(case)
    return unchecked


def check_declared(model: VideoLLM, config: RunConfig, registry: Registry) -> None:
    """Read every shape that the parts declare for a few typical sizes. PluginError names the part and its method."""
    for name, branch in model.branches.items():
        modality = MODALITIES[name]
        with as_named(config, registry, **{modality.encoder: branch.encoder, modality.connector: branch.connector}):
            for trial in branch.trials():
                _count(branch, trial)


@contextmanager
def as_named(config: RunConfig, registry: Registry, **parts: nn.Module) -> Iterator[None]:
    """Name the component and its plugin in an error about what one of these parts, by kind, declares."""
    try:
        yield
    except WrongDeclaration as error:
        kind = next((kind for kind, part in parts.items() if part is error.part), None)
        if kind is None:
            raise
        raise PluginError(f"{_named(kind, config, registry)}: {error}") from error


def check_as_planned(planned: VideoLLM, built: VideoLLM, config: RunConfig, registry: Registry) -> None:
    """Raise PluginError if a part was built with other parameters than planned, or a branch counts other tokens."""
    for name, part in planned.parts.items():
        then, now = _shapes(part), _shapes(built.parts[name])
        different = sorted(key for key in {*then, *now} if then.get(key) != now.get(key))
        if different:
            key = different[0]
            raise PluginError(
                f"{_named(name, config, registry)} is built with other parameters than were planned: {key} is "
                f"{_shown(now.get(key))}, and was planned as {_shown(then.get(key))} ({len(different)} differ); its "
                "class must decide only by its parameters what it builds, not by the weights it reads"
            )
    for name, branch in planned.branches.items():
        for trial in branch.trials():
            counts = [_count(one, trial) for one in (branch, built.branches[name])]
            if counts[0] != counts[1]:
                connector = _named(MODALITIES[name].connector, config, registry)
                raise PluginError(
                    f"{connector} gives {counts[1]} tokens for {trial.what}, and {counts[0]} were planned; its "
                    f"tokens() depends on something that changes when it is built"
                )


def _encoders_case(branch: Branch, trial: Trial) -> Hashable:
    """Return a key of the distinct cases to run an encoder on: each kind of media; for a per-frame encoder,
    each plane of features.
    """
    if not getattr(branch.encoder, "per_frame", False):
        return trial.kind
    try:
        steps, *plane = branch.feature_shape(trial.kind, trial.shape, trial.tiles)
    except ValueError:
        return trial.kind
    return (steps * trial.tiles == trial.shape[0], *plane)


def _check(branch: Branch, trial: Trial, parts: Parts, unchecked: dict[str, str], *, run_encoder: bool) -> None:
    promised = _count(branch, trial)
    if promised is None:  # refused when such media occur
        return
    shape = branch.feature_shape(trial.kind, trial.shape, trial.tiles)
    if run_encoder:
        stacked = torch.empty((BATCH, *trial.shape), dtype=trial.dtype, device="meta")
        features_BK = _tried(parts.encoder, trial, unchecked, lambda: branch.features(stacked, trial.tiles))
        if features_BK is not None:
            _check_features(features_BK, (BATCH, trial.tiles, *shape), trial, parts)
    features_X = torch.empty((BATCH * trial.tiles, *shape), device="meta")
    instruction_XI = _instruction(branch, len(features_X))
    seconds_XT = None
    if branch.reads_seconds:
        seconds_XT = torch.empty((len(features_X), trial.shape[0] // trial.tiles), device="meta")
    tokens_XNE = _tried(
        parts.connector,
        trial,
        unchecked,
        lambda: branch.media_tokens(trial.kind, features_X, instruction_XI, seconds_XT),
    )
    if tokens_XNE is not None:
        _check_tokens(tokens_XNE, len(features_X), promised // trial.tiles, trial, parts)


def _check_features(features_BK: Tensor, promised: tuple[int, ...], trial: Trial, parts: Parts) -> None:
    found = tuple(features_BK.shape)
    if found != promised:
        raise PluginError(
            f"{parts.encoder} promises {_grid(promised[2:])} for {trial.what} and gives {_grid(found[2:])}; its "
            f"{'grid' if len(promised) > 4 else 'steps'}() or its dim is wrong"
        )


def _check_tokens(tokens_XNE: Tensor, rows: int, promised: int, trial: Trial, parts: Parts) -> None:
    found = tuple(tokens_XNE.shape)
    if len(found) != 3 or found[0] != rows:
        raise PluginError(
            f"{parts.connector} gives a tensor of shape {found} for {rows} items of {trial.what}; it is to give "
            f"tokens_BNE: {(rows, promised, parts.out_dim)}"
        )
    if found[1] != promised:
        raise PluginError(
            f"{parts.connector} promises {promised} tokens for {trial.what} and gives {found[1]}; its tokens() is wrong"
        )
    if found[2] != parts.out_dim:
        raise PluginError(
            f"{parts.connector} gives tokens of width {found[2]} for {trial.what}, and the language model's are "
            f"{parts.out_dim} wide (out_dim)"
        )


def _tried(part: str, trial: Trial, unchecked: dict[str, str], run: Callable[[], Any]) -> Tensor | None:
    """Return a part's output; None if it refuses such media, or cannot run on the meta device, which ``unchecked`` then
    says. PluginError if it would fail on any device.
    """
    try:
        given = run()
    except UserError:  # refused when such media occur
        return None
    except Exception as error:
        text = one_line(error)
        if needs_values(error):
            unchecked.setdefault(
                part,
                f"{part} cannot be tried without data ({type(error).__name__}: {text[:120]}), so what it gives is "
                "compared with what it promises only in the first step",
            )
            return None
        raise PluginError(f"{part} fails on {trial.what}: {type(error).__name__}: {text[:300]}") from error
    if not isinstance(given, Tensor):
        raise PluginError(f"{part} gives a {type(given).__name__} for {trial.what}; it is to give a tensor")
    return given


def _count(branch: Branch, trial: Trial) -> int | None:
    """Return the declared tokens; None if the parts refuse the input."""
    try:
        return branch.tokens(trial.kind, trial.shape, trial.tiles)
    except ValueError:
        return None


def _instruction(branch: Branch, rows: int) -> Tensor | None:
    if branch.instruction is None:
        return None
    return torch.zeros((rows, INSTRUCTION_IDS), dtype=torch.long, device="meta")


def _grid(shape: Sequence[int]) -> str:
    return f"{'x'.join(map(str, shape[:-1]))} features of width {shape[-1]}" if shape else "nothing"


def _shapes(part: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a part's parameters. Packed ones (four bits) are skipped."""
    return {name: tuple(item.shape) for name, item in part.named_parameters() if item.is_floating_point()}


def _shown(shape: tuple[int, ...] | None) -> str:
    return "not there" if shape is None else f"of shape {list(shape)}"


def _named(kind: str, config: RunConfig, registry: Registry) -> str:
    """Name a part, like ``connector 'short' of plugin short.py``."""
    name = getattr(config, kind)["name"]
    return f"{kind} {name!r} of plugin {registry.row(kind, name).plugin.name}"


@contextmanager
def _at_rest(module: nn.Module) -> Iterator[None]:
    """Disable dropout and running statistics."""
    modes = {item: item.training for item in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for item, mode in modes.items():
            item.training = mode
