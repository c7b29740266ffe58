"""``vlframe _rank <folder>``: a further process of a run, started by the first (``vlframe.distributed``)."""

from __future__ import annotations

from pathlib import Path


def main(words: list[str]) -> int:
    from vlframe.config.typed import read_yaml
    from vlframe.registry.registry import Registry
    from vlframe.training.run import train_rank

    (folder,) = words
    plugins = read_yaml(Path(folder) / "config.yaml")["plugins"]
    train_rank(folder, Registry.installed(plugins["paths"], plugins["strict"]))
    return 0
