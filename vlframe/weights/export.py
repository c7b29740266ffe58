"""``vlframe export``: a run, or what ``vlframe convert`` wrote, in somebody else's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from vlframe.contracts import Ours
from vlframe.errors import ConfigError
from vlframe.registry import Registry
from vlframe.runs.folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor


def export_command(config: DictConfig, registry: Registry) -> None:
    export(config.run, config.out, layout=config.layout, registry=registry)
    print(f"{config.out} holds {config.run} in the layout {config.layout!r}")


def export(run: str | Path, out: str | Path, *, layout: str = "videollama2", registry: Registry | None = None) -> None:
    """Write the newest weights of ``run`` to ``out``.

    A folder that was converted, and not trained since, gives back every tensor it came with, bit by bit and in the form
    it came in. Otherwise the whole model is written, adapters merged.
    """
    from vlframe.app import open_registry

    registry = registry or open_registry()
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"out is {out}, which is not empty; give a new folder")
    folder = RunFolder.open(run)
    writer = registry.build("layout", {"name": layout})
    config = folder.read_config()
    origin = _origin(folder)
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    if origin == folder.path:
        tensors, record = _as_converted(folder, writer)
    else:
        tensors, record = _as_trained(folder, registry, origin, writer), {}
    tokenizer = folder.path / "tokenizer"
    tokenizer = tokenizer if tokenizer.is_dir() or origin is None else origin / "tokenizer"
    ours = Ours(
        config=plain,
        tensors=tensors,
        tokenizer=tokenizer if tokenizer.is_dir() else None,
        record=record,
        language_model=_language_model(config, registry),
    )
    writer.write(out, ours)


def _origin(folder: RunFolder) -> Path | None:
    """The converted folder that a run began with: itself, or what its ``init.run`` leads to."""
    if (folder.path / "layout.json").is_file():
        return folder.path
    begun = folder.read_config().get("init", {}).get("run")
    return _origin(RunFolder.open(begun)) if begun and Path(begun).is_dir() else None


def _as_converted(folder: RunFolder, writer: Any) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The tensors as the files hold them, with second names and unused ones back in."""
    from safetensors.torch import load_file

    from vlframe.runs.checkpoint import latest

    about = json.loads((folder.path / "layout.json").read_text())
    checkpoint = latest(folder).path
    unused = folder.path / "unused.safetensors"
    left = load_file(unused) if unused.is_file() else {}
    tensors: dict[str, dict[str, Tensor]] = {}
    for row in about["tensors"]:
        part = row["part"]
        file = checkpoint / f"{part}.safetensors"
        own = load_file(file) if file.is_file() else {}
        by_their_name = {writer.their_name(part, name): name for name in [*own, *_names_of(part, row, writer)]}
        for theirs in row["shared"]:
            name = by_their_name[theirs]
            own[name] = own[writer.repeats(part, name)]
        for theirs in row["unused"]:
            own[by_their_name[theirs]] = left[theirs]
        tensors[part] = own
    return tensors, about["record"]


def _names_of(part: str, row: dict[str, Any], writer: Any) -> list[str]:
    """Our names of tensors that were not loaded: the prefix of a part's names is one and the same."""
    prefix = writer.their_name(part, "")
    return [theirs.removeprefix(prefix) for theirs in (*row["shared"], *row["unused"])]


def _as_trained(
    folder: RunFolder, registry: Registry, origin: Path | None, writer: Any
) -> dict[str, dict[str, Tensor]]:
    """The whole state of the model, adapters merged; what it never ran comes from where it began."""
    from vlframe.model.adapters import merge_adapters
    from vlframe.runs.session import load_run
    from vlframe.weights.parts import distinct_tensors

    session, _ = load_run(str(folder.path), registry)
    tensors = {}
    for part, module in session.model.parts.items():
        merge_adapters(module)
        tensors[part] = {name: value.detach() for name, value in distinct_tensors(module).items()}
    if origin is not None:
        before, _ = _as_converted(RunFolder(origin), writer)
        for part, found in before.items():
            if part in tensors:
                extra = {name: value for name, value in found.items() if name not in tensors[part]}
                tensors[part] |= {
                    name: tensors[part].get(writer.repeats(part, name), value)
                    for name, value in extra.items()
                    if "lora_" not in name
                }
    return tensors


def _language_model(config: DictConfig, registry: Registry) -> dict[str, Any]:
    from vlframe.model.compose import make_plan

    lm = getattr(make_plan(config, registry).model.llm, "lm", None)
    if lm is None:
        raise ConfigError(f"llm {config.llm.name!r} is no language model of transformers; only those can be exported")
    return dict(lm.config.to_dict())
