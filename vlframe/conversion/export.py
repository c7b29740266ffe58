"""``vlframe export``: write a run, or a converted checkpoint, in another project's format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.config.moved import moved_path
from vlframe.config.schema import RunConfig, part_settings, parts_of
from vlframe.config.typed import plain, read_yaml
from vlframe.contracts.checkpoint_format import ExportRequest
from vlframe.conversion.convert import ABOUT
from vlframe.conversion.formats import only_format, open_format
from vlframe.errors import ConfigError
from vlframe.registry.registry import Registry
from vlframe.runs.folder import RunFolder
from vlframe.runs.saved import checked
from vlframe.weights.files import read_json, read_tensors
from vlframe.weights.names import NameTable

if TYPE_CHECKING:
    from torch import Tensor


def export(
    run: str | Path,
    out: str | Path,
    *,
    format: str | None = None,
    registry: Registry | None = None,
    checkpoint: str = "newest",
    moved: Mapping[str, str] | None = None,
) -> str:
    """Write the weights of ``run`` (of its newest checkpoint, or another) to ``out``, and return the format's name.

    A folder that was converted and not trained since gives back every original tensor bit by bit, in its original form.
    Otherwise the whole model is written, adapters merged. ``format`` None: the one that the run's weights came in, or
    the only one installed. ``moved``: {old folder: new folder}, for what the run names and is elsewhere now.
    """
    registry = registry or Registry.installed()
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"out is {out}, which is not empty; give a new folder")
    folder = RunFolder.open(run)
    changes = {"moved": dict(moved or {})}
    config = checked(read_yaml(folder.config), registry, changes)
    origin = _origin(folder, config.moved)
    format = format or (_about(origin)["checkpoint_format"] if origin else only_format(registry))
    writer = open_format(format, registry)
    values = plain(config)
    for name, stage in config.stages.items():  # what a stage says of all its encoders and connectors, said of each
        for part, settings in part_settings(stage).items():
            values["stages"][name][part]["train"] = settings.train
    names = NameTable(writer.names(values))
    if origin == folder.path:
        tensors, record = _as_converted(folder, names), _about(folder.path)["record"]
    else:
        tensors, record = _as_trained(folder, registry, origin, names, checkpoint, changes), {}
    tokenizer = folder.path / "tokenizer"
    tokenizer = tokenizer if tokenizer.is_dir() or origin is None else origin / "tokenizer"
    request = ExportRequest(
        config=values,
        tensors=tensors,
        tokenizer=tokenizer if tokenizer.is_dir() else None,
        record=record,
        hf_config=_hf_config(config, registry),
    )
    writer.write(out, request)
    return format


def _about(folder: Path) -> dict[str, Any]:
    return read_json(folder / ABOUT)


def _origin(folder: RunFolder, moved: Mapping[str, str]) -> Path | None:
    """Return the converted folder that a run began with: itself, or the one its ``init.run`` leads to."""
    if (folder.path / ABOUT).is_file():
        return folder.path
    begun = folder.read_config().init.run
    begun = None if begun is None else moved_path(begun, moved)
    return _origin(RunFolder.open(begun), moved) if begun and Path(begun).is_dir() else None


def _as_converted(folder: RunFolder, names: NameTable) -> dict[str, Tensor]:
    """Return the tensors as in the original files, under their names, including second names and unused ones."""
    from vlframe.runs.checkpoint import latest

    files = sorted(latest(folder).path.glob("*.safetensors"))
    theirs = names.split({file.stem: read_tensors(file) for file in files})
    return theirs | _left_behind(_about(folder.path), folder.path, theirs, names)


def _left_behind(
    about: dict[str, Any], origin: Path, theirs: Mapping[str, Tensor], names: NameTable
) -> dict[str, Tensor]:
    """Return the tensors of a converted checkpoint that no part holds; a second name gets the tensor of its first."""
    unused = origin / "unused.safetensors"
    left = read_tensors(unused) if unused.is_file() else {}
    kept = {row["name"]: left[row["name"]] for row in about["tensors"] if row["became"] in ("unused", "buffer")}
    repeated = [row["name"] for row in about["tensors"] if row["became"] == "repeated"]
    firsts = [(name, names.first_name(name)) for name in repeated]
    return kept | {name: theirs[first] for name, first in firsts if first is not None and first in theirs}


def _as_trained(
    folder: RunFolder,
    registry: Registry,
    origin: Path | None,
    names: NameTable,
    checkpoint: str,
    changes: dict[str, Any],
) -> dict[str, Tensor]:
    """Return the whole state of the model, adapters merged; unused tensors come from the original checkpoint."""
    from vlframe.inference.pipeline import load_run
    from vlframe.model.adapters import merge_adapters
    from vlframe.weights.parts import distinct_tensors

    pipeline, _ = load_run(str(folder.path), registry, changes, checkpoint, to_ask=False)
    for module in pipeline.model.parts.values():
        merge_adapters(module)
    theirs = names.split({part: distinct_tensors(module) for part, module in pipeline.model.parts.items()})
    if origin is None:
        return theirs
    about, begun = _about(origin), parts_of(RunFolder(origin).read_config())
    now = parts_of(pipeline.config)
    same = [part for part in now if now[part] and begun.get(part) and begun[part]["name"] == now[part]["name"]]
    about["tensors"] = [
        row for row in about["tensors"] if row["part"] in ("", *same)
    ]  # not those of parts swapped since
    return _left_behind(about, origin, theirs, names) | theirs


def _hf_config(config: RunConfig, registry: Registry) -> dict[str, Any] | None:
    """Return the language model's transformers config, if it has one."""
    from vlframe.model.assemble import compose_on_meta

    llm = compose_on_meta(config, registry).model.llm
    return llm.hf_config() if hasattr(llm, "hf_config") else None
