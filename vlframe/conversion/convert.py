"""``vlframe convert``: convert another project's checkpoint into a folder that is used like a run.

<out>/
    config.yaml                     the composition, with every size spelled out
    checkpoints/00-converted-…-end/ one safetensors per part, in the number format of the files
    tokenizer/                      if the checkpoint has one
    unused.safetensors              tensors that our model does not use; an export writes them back
    checkpoint_format.json          its format, form and sources; what became of each tensor, and its file
    conf/                           presets for `vlframe train --config-dir <out>/conf model=<name>`
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.config.schema import RunConfig, parts_of, run_schema
from vlframe.config.typed import to_yaml
from vlframe.contracts.checkpoint_format import MAIN_SOURCE
from vlframe.contracts.modalities import parts as part_names
from vlframe.conversion.account import PartAccount, Sorted, Sorter, refuse
from vlframe.conversion.formats import check_sources, open_format, recognise
from vlframe.errors import ConfigError, WeightsError
from vlframe.registry.registry import Registry
from vlframe.registry.settle import settled

if TYPE_CHECKING:
    from torch import nn

    from vlframe.contracts.checkpoint_format import ImportedCheckpoint

ABOUT = "checkpoint_format.json"

STAGE = "converted"
OWN_WAY = ("pixels", "processor")  # kinds besides the parts that a checkpoint may set
READER, SAMPLER = {"name": "auto"}, {"name": "uniform"}  # a run's defaults


def convert(
    source: str | Path,
    out: str | Path,
    *,
    sources: Mapping[str, str | Path] | None = None,
    format: str | None = None,
    registry: Registry | None = None,
) -> list[PartAccount]:
    """Read ``source``, account for every tensor, write ``out``. WeightsError: something is missing or unexplained.

    ``sources`` are further files and folders of the checkpoint, by the names that the format gives them
    (``CheckpointFormat.sources``). ``format`` None: the installed one that recognises ``source``.
    """
    from vlframe.weights.names import NameTable

    registry = registry or Registry.installed()
    source, out = existing(source), Path(out)
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"out is {out}, which is not empty; give a new folder")
    format = format or recognise(source, registry)
    reader = open_format(format, registry)
    check_sources(format, reader.sources, sources or {})
    places = {MAIN_SOURCE: source} | {key: Path(value) for key, value in (sources or {}).items()}
    imported = reader.read({key: places[key] for key in reader.sources if key in places})
    config = run_config(imported, out, registry)
    parts = _empty_parts(config, imported, registry)
    sorter = Sorter(imported, NameTable(reader.names(imported.config)), parts)
    configs = parts_of(config)
    found = sorter.sort({part: str(configs[part].get("source") or "") for part in parts})
    refuse(source, sorter.problems())
    about = {"checkpoint_format": format, "sources": {key: str(place) for key, place in places.items()}}
    write(out, config, imported, found, about, registry)
    return found.accounts


def existing(source: str | Path) -> Path:
    """Return the path. WeightsError if nothing exists there."""
    if not Path(source).exists():
        raise WeightsError(f"source is {source}, and there is no such file or folder")
    return Path(source)


def _empty_parts(config: RunConfig, imported: ImportedCheckpoint, registry: Registry) -> dict[str, nn.Module]:
    """Build the parts on the meta device, with the low-rank adapters that the checkpoint has."""
    from vlframe.model.adapters import add_adapter
    from vlframe.model.assemble import compose_on_meta
    from vlframe.model.selection import adapter_places

    parts = compose_on_meta(config, registry).model.parts
    for part in imported.adapters:
        if part in parts:
            settings = getattr(config.stages[STAGE], part)
            add_adapter(part, parts[part], settings.lora, adapter_places(part, parts[part], settings))
    return parts


def run_config(imported: ImportedCheckpoint, out: Path, registry: Registry) -> RunConfig:
    """Build a whole run config for the composition, each part checked and with all its parameters."""
    said = dict(imported.config)
    parts = {part: dict(registry.check(part, said[part])) for part in part_names() if said.get(part) is not None}
    if (tokenizer := _tokenizer(imported)) is not None:
        parts["llm"]["tokenizer"] = str((out / "tokenizer").resolve())
        parts["llm"]["chat_template"] = said.get("chat_template") if not _has_template(tokenizer) else None
    stage: dict[str, Any] = {"steps": 0}
    for part in parts:
        lora = imported.adapters.get(part)
        trained = "lora" if lora else "full" if imported.tensors.get(part) else "frozen"
        stage[part] = {"train": trained, **({"lora": lora} if lora else {})}
    media = {**said["media"], "sampler": registry.check("sampler", said["media"].get("sampler", SAMPLER))}
    own = {kind: registry.check(kind, said[kind]) for kind in OWN_WAY if said.get(kind) is not None}
    values = {"name": out.name, **parts, **own, "reader": READER, "media": media, "stages": {STAGE: stage}}
    return settled(run_schema(), values, registry, saved=True)


def _tokenizer(imported: ImportedCheckpoint) -> Path | None:
    """Return the folder of the checkpoint's tokenizer, if it has one."""
    folder = imported.tokenizer
    found = folder is not None and any((folder / name).is_file() for name in TOKENIZERS)
    return folder if found else None


def _has_template(folder: Path) -> bool:
    file = folder / "tokenizer_config.json"
    return (folder / "chat_template.jinja").is_file() or (
        file.is_file() and bool(json.loads(file.read_text(encoding="utf-8")).get("chat_template"))
    )


def write(
    out: Path,
    config: RunConfig,
    imported: ImportedCheckpoint,
    found: Sorted,
    about: dict[str, Any],
    registry: Registry,
) -> None:
    """Write the folder described at the top of this file."""
    from safetensors.torch import save_file

    from vlframe.runs.checkpoint import checkpoint_name
    from vlframe.runs.folder import versions, write_json, write_text

    state = {"stage": STAGE, "stage_number": 0, "step": 0, "finished": True, "seconds": 0.0}
    checkpoint = out / "checkpoints" / checkpoint_name(state)
    checkpoint.mkdir(parents=True)
    for part, tensors in found.kept.items():
        if tensors:
            save_file({name: value.contiguous() for name, value in tensors.items()}, checkpoint / f"{part}.safetensors")
    if found.left:
        save_file({name: value.clone().contiguous() for name, value in found.left.items()}, out / "unused.safetensors")
    if (tokenizer := _tokenizer(imported)) is not None:
        _copy_tokenizer(tokenizer, out / "tokenizer")
    text = to_yaml(config)
    write_text(checkpoint / "config.yaml", text)
    rows = [asdict(tensor) for account in found.accounts for tensor in account.tensors]
    write_json(out / ABOUT, {**about, "record": imported.record, "tensors": rows})
    write_json(out / "versions.json", versions(registry))
    write_presets(out, config)
    write_json(checkpoint / "state.json", state)
    write_text(out / "config.yaml", text)


TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")  # a tokenizer has one of these
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja",
)  # fmt: skip


def _copy_tokenizer(source: Path, out: Path) -> None:
    out.mkdir()
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


def preset_name(out: Path) -> str:
    """Derive a preset name from the folder's name."""
    return re.sub(r"\W", "_", out.resolve().name).strip("_").lower() or "converted"


def write_presets(out: Path, config: RunConfig) -> None:
    """Write the composition as presets, so that each part can be chosen and swapped like any other."""
    name = preset_name(out)
    lines = ["# @package _global_", f"# The composition of {out.name}.", "defaults:"]
    sampler = {"sampler": config.media.sampler}
    own = {kind: getattr(config, kind) for kind in OWN_WAY}
    for group, chosen in {**parts_of(config), **own, **sampler}.items():
        if chosen is not None:
            values = dict(chosen)
            row = values.pop("name")
            folder = out / "conf" / group
            folder.mkdir(parents=True)
            preset = {"defaults": [row, "_self_"], **values}
            (folder / f"{name}.yaml").write_text(to_yaml(preset), encoding="utf-8")
            at = "sampler@media.sampler" if group == "sampler" else group
            lines.append(f"  - override /{at}: {name}")
    lines += ["  - _self_", "media:", f"  frames: {config.media.frames}"]
    (out / "conf" / "model").mkdir(parents=True)
    (out / "conf" / "model" / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
