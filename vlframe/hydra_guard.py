"""What a folder of configs from a stranger (``--config-dir``) may not do.

Hydra makes objects of the classes that its own part of a config names, before any code of ours is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from vlframe.errors import ConfigError

MAKES = ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging", "job.env_set", "searchpath")


def refuse_strange_hydra(
    arguments: Sequence[str],
    compose: Callable[[Sequence[str]], Any],
    searching: Callable[[Path], AbstractContextManager[None]],
) -> None:
    """ConfigError when the folder's configs change what Hydra would make. ``compose`` gives Hydra's own part for some
    words, ``searching`` lets it look into the folder as well."""
    flags, _ = get_args_parser().parse_known_args(list(arguments))  # Hydra will speak of what it does not know
    if flags.config_path is not None:
        raise ConfigError("--config-path would hide vlframe's own configs; add a folder of yours with --config-dir")
    if flags.config_dir is None:
        return
    own = compose([word for word in flags.overrides if word.lstrip("+~").startswith("hydra")])
    for words in _each(flags.overrides):
        with searching(Path(flags.config_dir).resolve()):
            theirs = compose(words)
        for key in MAKES:
            if OmegaConf.select(own, key) != OmegaConf.select(theirs, key):
                raise ConfigError(
                    f"a config in {flags.config_dir} sets hydra.{key}, which could run code; take that out of it"
                )


def _each(words: Sequence[str]) -> Iterator[list[str]]:
    """The words of one job; of a sweep, of jobs that together have every option of every word."""
    options = []
    for override, word in zip(OverridesParser.create().parse_overrides(list(words)), words, strict=True):
        start = word.partition("=")[0]
        several = (
            [f"{start}={value}" for value in override.sweep_string_iterator()] if override.is_sweep_override() else []
        )
        options.append(several or [word])
    first = [several[0] for several in options]
    yield first
    for place, several in enumerate(options):
        for other in several[1:]:
            yield [*first[:place], other, *first[place + 1 :]]
