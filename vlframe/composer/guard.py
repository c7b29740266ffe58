"""Refuses configs from a stranger's folder (``--config-dir``) that could run code.

Hydra instantiates the classes named in its own part of a config before any code of vlframe runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vlframe.composer.command_line import CommandLine, Word
from vlframe.errors import ConfigError

MAKES = ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging", "job.env_set", "searchpath")
HydrasPart = Callable[[Sequence[str], Path | None], Any]


def refuse_strange_hydra(line: CommandLine, folder: Path | None, hydras_part: HydrasPart) -> None:
    """Raise ConfigError when the folder's configs change what Hydra would instantiate. ``hydras_part`` composes some
    overrides, with or without the folder, and returns Hydra's own part.
    """
    if line.flags.config_path is not None:
        raise ConfigError("--config-path would hide vlframe's own configs; add a folder of yours with --config-dir")
    if folder is None:
        return
    if not folder.is_dir():
        raise ConfigError(f"--config-dir is {folder}, and there is no such folder")
    own = hydras_part([word.text for word in line.overrides if word.key.startswith("hydra")], None)
    for words in _each(line.overrides):
        theirs = hydras_part(words, folder)
        for key in MAKES:
            if OmegaConf.select(own, key) != OmegaConf.select(theirs, key):
                raise ConfigError(f"a config in {folder} sets hydra.{key}, which could run code; take that out of it")


def _each(overrides: Sequence[Word]) -> Iterator[list[str]]:
    """Yield the overrides of one job; for a sweep, of enough jobs to cover every option of every override."""
    options = [
        [f"{word.sign}{word.key}={value}" for value in word.sweep] if word.sweep else [word.text] for word in overrides
    ]
    first = [several[0] for several in options]
    yield first
    for place, several in enumerate(options):
        for other in several[1:]:
            yield [*first[:place], other, *first[place + 1 :]]
