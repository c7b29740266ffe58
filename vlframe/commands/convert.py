"""``vlframe convert``: convert another project's checkpoint into a folder that is used like a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlframe.config.schema import ConvertConfig
    from vlframe.conversion.account import PartAccount
    from vlframe.registry.registry import Registry

USAGE = (("convert source=<folder> out=<folder>", "another project's checkpoint into one of ours"),)


def main(words: list[str]) -> int:
    from vlframe.composer.command_line import parse
    from vlframe.composer.jobs import run_jobs

    run_jobs("convert", "vlframe.commands.convert:show", parse("convert", words))
    return 0


def show(config: ConvertConfig, registry: Registry) -> str:
    from vlframe.conversion.account import table
    from vlframe.conversion.convert import existing, preset_name
    from vlframe.conversion.formats import recognise

    if config.format is None:
        config = replace(config, format=recognise(existing(config.source), registry))
        print(f"{config.source} is a checkpoint of format {config.format!r}")
    report = convert(config, registry)
    out = Path(config.out)
    text = (
        f"{table(report)}\n{out} is ready: vlframe predict run={out} media=… prompt=…, or train from it:\n"
        f"vlframe train --config-dir {out / 'conf'} model={preset_name(out)} init.run={out} …"
    )
    print(text)
    return text


def convert(config: ConvertConfig, registry: Registry) -> list[PartAccount]:
    """Convert the checkpoint and return what became of every tensor, part by part."""
    from vlframe.conversion.convert import convert as convert_checkpoint

    return convert_checkpoint(
        config.source,
        config.out,
        format=config.format,
        sources=dict(config.sources),
        registry=registry,
    )
