"""A plugin for tests: small models, data sets and experiments that only tests need, in ``tests/conf``.

The fixture ``registry`` has it; a command line reaches the same folder by ``--config-dir`` (``CONFIG_DIR``).
"""

from collections.abc import Mapping
from pathlib import Path

import vlframe
from vlframe.registry.registry import Registry

CONF = Path(__file__).resolve().parents[1] / "conf"
CONFIG_DIR = ("--config-dir", str(CONF))


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Where the twins are."""
    return CONF


def open_with_twins() -> Registry:
    """The installed plugins and this one, offered to Hydra."""
    from vlframe.composer.compose import open_registry

    return open_registry([str(Path(__file__).resolve())], strict=True)


def small(experiment: str, model: str, data: Mapping[str, str], *more: str) -> list[str]:
    """Overrides that run an experiment of many GPUs in seconds on a CPU: small parts, few steps, generated clips.

    ``data`` names the data set of each of its stages. What each stage trains, and how, stays that of the experiment;
    its length and rate do not.
    """
    short = {"steps": 9, "epochs": "null", "batch_size": 4, "accumulate_grad_batches": 1, "lr": 3e-3}
    return [
        f"experiment={experiment}", f"model={model}", "media.cache_mb=256", "loader.workers=0", "trainer.devices=1",
        "trainer.strategy=auto",
        *(f"dataset@stages.{stage}.data={name}" for stage, name in data.items()),
        *(f"stages.{stage}.{key}={value}" for stage in data for key, value in short.items()),
        *more,
    ]  # fmt: skip
