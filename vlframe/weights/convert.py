"""``vlframe convert``: a checkpoint in somebody else's layout into a folder that is used like a run.

<out>/
    config.yaml                     the composition, with every size spelled out
    checkpoints/00-converted-…-end/ one safetensors per part, in the number format of the files
    tokenizer/                      if the checkpoint has one
    unused.safetensors              what nothing of ours runs; an export writes it back
    layout.json                     which layout and form it came from, and what became of each tensor
    conf/                           presets for `vlframe train --config-dir <out>/conf model=<name>`
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from vlframe.config import PARTS, RunConfig
from vlframe.errors import ConfigError, WeightsError
from vlframe.registry import Registry
from vlframe.table import render

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe.contracts import Foreign, Layout

SHOWN = 8
STAGE = "converted"


@dataclass
class Coverage:
    """What became of the tensors of one part, by the names they have in the foreign checkpoint."""

    part: str
    loaded: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)  # second names of tensors that are loaded
    unused: list[str] = field(default_factory=list)  # known, run by nothing of ours, kept for an export
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    source: str = ""  # where the weights are that the checkpoint does not hold

    @property
    def problems(self) -> Iterator[str]:
        for title in ("missing", "unexpected", "misshapen"):
            found = getattr(self, title)
            if found:
                more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
                yield f"{self.part}: {len(found)} {title}: {', '.join(found[:SHOWN])}{more}"


def convert_command(config: DictConfig, registry: Registry) -> None:
    given = {name: config[name] for name in ("base", "vision", "audio")}
    report = convert(config.source, config.out, layout=config.layout, registry=registry, **given)
    print(table(report))
    out = Path(config.out)
    print(f"{out} is ready: vlframe predict run={out} media=… prompt=…, or train from it:")
    print(f"vlframe train --config-dir {out / 'conf'} model={preset_name(out)} init.run={out} …")


def convert(
    source: str | Path,
    out: str | Path,
    *,
    layout: str = "videollama2",
    base: str | None = None,
    vision: str | None = None,
    audio: str | None = None,
    registry: Registry | None = None,
) -> list[Coverage]:
    """Read ``source``, account for every tensor, write ``out``. WeightsError: something is missing or unexplained."""
    from vlframe.app import open_registry

    registry = registry or open_registry()
    source, out = Path(source), Path(out)
    if not source.exists():
        raise WeightsError(f"source is {source}, and there is no such file or folder")
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"out is {out}, which is not empty; give a new folder")
    reader: Layout = registry.build("layout", {"name": layout})
    foreign = reader.read(source, {"base": base, "vision": vision, "audio": audio})
    config = run_config(foreign, out, registry)
    kept, unused, report = sort(foreign, config, reader, registry)
    problems = [problem for item in report for problem in item.problems]
    if problems:
        raise WeightsError(f"{source} is not what its config says. {'; '.join(problems)}")
    write(out, config, foreign, kept, unused, report, layout, registry)
    return report


def run_config(foreign: Foreign, out: Path, registry: Registry) -> DictConfig:
    """A whole run config for the composition, each part checked and spelled out."""
    said = dict(foreign.config)
    parts = {part: registry.check(part, said[part]) for part in PARTS if said.get(part) is not None}
    if foreign.tokenizer is not None:
        parts["llm"]["tokenizer"] = str((out / "tokenizer").resolve())
        parts["llm"]["chat_template"] = said.get("chat_template") if not _has_template(foreign.tokenizer) else None
    stage: dict[str, Any] = {"steps": 0}
    for part in parts:
        lora = foreign.adapters.get(part)
        trained = "lora" if lora else "full" if foreign.tensors.get(part) else "frozen"
        stage[part] = {"train": trained, **({"lora": lora} if lora else {})}
    values = {"name": out.name, **parts, "reader": {"name": "auto"}, "media": said["media"], "stages": {STAGE: stage}}
    config = OmegaConf.merge(OmegaConf.structured(RunConfig), values)
    assert isinstance(config, DictConfig)
    return config


def _has_template(folder: Path) -> bool:
    file = folder / "tokenizer_config.json"
    return (folder / "chat_template.jinja").is_file() or (
        file.is_file() and bool(json.loads(file.read_text(encoding="utf-8")).get("chat_template"))
    )


def sort(
    foreign: Foreign, config: DictConfig, layout: Layout, registry: Registry
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor], list[Coverage]]:
    """What each part holds, what is left over, and the account of it."""
    from vlframe.model.adapters import add_adapter, is_adapter
    from vlframe.model.compose import make_plan

    model = make_plan(config, registry).model
    kept: dict[str, dict[str, Tensor]] = {}
    unused: dict[str, Tensor] = {}
    report = []
    for part, module in model.parts.items():
        found = foreign.tensors.get(part, {})
        if part in foreign.adapters:
            add_adapter(part, module, config.stages[STAGE][part].lora)
        shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
        if part in foreign.adapters:
            shapes = {name: shape for name, shape in shapes.items() if is_adapter(name)}
        item = Coverage(part, source=str(config[part].get("source") or ""))
        kept[part] = _sort_part(item, found, shapes, layout, unused)
        if not found and item.source:
            item.missing.clear()  # the part comes from its own source
        report.append(item)
    return kept, unused, report


def _sort_part(
    item: Coverage,
    found: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    layout: Layout,
    unused: dict[str, Tensor],
) -> dict[str, Tensor]:
    import torch

    kept = {}
    for name, tensor in found.items():
        theirs, first = layout.their_name(item.part, name), layout.repeats(item.part, name)
        if first in found and torch.equal(found[first], tensor):
            item.shared.append(theirs)
        elif name in shapes and tuple(tensor.shape) != shapes[name]:
            item.misshapen.append(f"{theirs} is {tuple(tensor.shape)}, not {shapes[name]}")
        elif name in shapes:
            kept[name] = tensor
            item.loaded.append(theirs)
        elif layout.unused(item.part, name):
            unused[theirs] = tensor
            item.unused.append(theirs)
        else:
            item.unexpected.append(theirs)
    for name in shapes:
        if name not in found and layout.repeats(item.part, name) not in found:
            item.missing.append(layout.their_name(item.part, name))
    return kept


def write(
    out: Path,
    config: DictConfig,
    foreign: Foreign,
    kept: Mapping[str, Mapping[str, Tensor]],
    unused: Mapping[str, Tensor],
    report: list[Coverage],
    layout: str,
    registry: Registry,
) -> None:
    from safetensors.torch import save_file

    from vlframe.runs.checkpoint import checkpoint_name
    from vlframe.runs.folder import versions, write_json, write_text

    state = {"stage": STAGE, "stage_number": 0, "step": 0, "finished": True, "seconds": 0.0}
    checkpoint = out / "checkpoints" / checkpoint_name(state)
    checkpoint.mkdir(parents=True)
    for part, tensors in kept.items():
        if tensors:
            save_file({name: value.contiguous() for name, value in tensors.items()}, checkpoint / f"{part}.safetensors")
    if unused:
        save_file({name: value.contiguous() for name, value in unused.items()}, out / "unused.safetensors")
    if foreign.tokenizer is not None:
        _copy_tokenizer(foreign.tokenizer, out / "tokenizer")
    text = OmegaConf.to_yaml(config, resolve=True)
    write_text(checkpoint / "config.yaml", text)
    write_json(
        out / "layout.json", {"layout": layout, "record": foreign.record, "tensors": [asdict(r) for r in report]}
    )
    write_json(out / "versions.json", versions(registry))
    write_presets(out, config)
    write_json(checkpoint / "state.json", state)
    write_text(out / "config.yaml", text)


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
    """A folder's name as a name of presets."""
    return re.sub(r"\W", "_", out.resolve().name).strip("_").lower() or "converted"


def write_presets(out: Path, config: DictConfig) -> None:
    """The composition as presets, so that each part can be chosen, and swapped, like any other."""
    name = preset_name(out)
    lines = ["# @package _global_", f"# The composition of {out.name}.", "defaults:"]
    for part in PARTS:
        values = OmegaConf.to_container(config[part], resolve=True) if config[part] is not None else None
        if isinstance(values, dict):
            row = values.pop("name")
            folder = out / "conf" / part
            folder.mkdir(parents=True)
            preset = {"defaults": [row, "_self_"], **values}
            (folder / f"{name}.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(preset)))
            lines.append(f"  - override /{part}: {name}")
    lines += ["  - _self_", "media:", f"  frames: {config.media.frames}"]
    (out / "conf" / "model").mkdir(parents=True)
    (out / "conf" / "model" / f"{name}.yaml").write_text("\n".join(lines) + "\n")


def table(report: list[Coverage]) -> str:
    counted = ("loaded", "shared", "unused", "missing", "unexpected", "misshapen")
    rows = [
        {"part": item.part, **{title: str(len(getattr(item, title))) for title in counted}, "others from": item.source}
        for item in report
    ]
    return render(rows)
