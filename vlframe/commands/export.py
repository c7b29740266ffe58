"""``vlframe export``: write a run, or a converted checkpoint, in another project's format."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlframe.config.schema import ExportConfig
    from vlframe.registry.registry import Registry

USAGE = (("export run=<folder> out=<folder>", "and back"),)


def main(words: list[str]) -> int:
    from vlframe.composer.command_line import parse
    from vlframe.composer.jobs import run_jobs

    run_jobs("export", "vlframe.commands.export:show", parse("export", words))
    return 0


def show(config: ExportConfig, registry: Registry) -> str:
    format = export(config, registry)
    print(f"{config.out} holds {config.run} in the format {format!r}")
    return config.out


def export(config: ExportConfig, registry: Registry) -> str:
    """Write the run and return the name of the format."""
    from vlframe.conversion.export import export as export_run
    from vlframe.runs.places import absolute_paths

    return export_run(
        config.run,
        config.out,
        format=config.format,
        registry=registry,
        checkpoint=config.checkpoint,
        moved=absolute_paths({"moved": config.moved})["moved"],
    )
