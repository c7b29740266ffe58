"""Which data sets are checked, and their rows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from vlframe.data.sample import Entry, Problem
from vlframe.errors import ConfigError, DataError, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from vlframe.registry import Registry


@dataclass(frozen=True)
class Source:
    """A data set under the name it has in the report. ``answers``: it is trained on; False: only its questions are
    asked. Samples are compared with others of the same ``scope``. ``entries`` reads its rows anew with each call.
    """

    name: str
    answers: bool
    scope: str
    entries: Callable[[], Iterator[Entry]]


def manifest_sources(paths: Sequence[str], config: DictConfig, registry: Registry) -> list[Source]:
    """The manifests of a command line, each read by the config's data set."""
    absent = [path for path in paths if not os.path.isfile(os.path.expanduser(path))]
    if absent:
        raise DataError(f"there is no manifest {', '.join(absent)}; name files, and write options as key=value")
    if "path" not in config.dataset.keys():  # noqa: SIM118 (a value that is still to be given is not `in` it)
        raise ConfigError(
            f"the data set {config.dataset.name!r} reads no manifest (it has no 'path'); leave out dataset=…, or the "
            f"manifest {paths[0]}"
        )
    return [
        _source(path, OmegaConf.merge(config.dataset, {"path": path}), registry, scope="manifests")
        for path in dict.fromkeys(paths)
    ]


def configured_sources(config: DictConfig, registry: Registry) -> list[Source]:
    """What ``vlframe train`` would read with this config: the data of its stages, and its benchmark's questions."""
    named: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for name, stage in config.stages.items() or [("", None)]:
        chosen = config.dataset if stage is None or stage.data is None else stage.data
        if chosen is not None:
            _refuse_missing(chosen)
            values = registry.check("dataset", chosen)
            named.setdefault(repr(values), (values, []))[1].append(str(name))
    sources = [
        _source(f"{' and '.join(stages)} ({values['name']})" if stages != [""] else values["name"], values, registry)
        for values, stages in named.values()
    ]
    if config.benchmark is not None and config.benchmark.get("dataset") is not None:
        sources.append(_benchmark(config, registry))
    if not sources:
        raise ConfigError(
            "there is nothing to check; name a manifest (vlframe data check train.jsonl), a data set "
            "(dataset=motionqa) or an experiment (experiment=quickstart)"
        )
    return sources


def _refuse_missing(config: DictConfig) -> None:
    missing = [re.sub(r"\[(\d+)\]", r".\1", item) for item in sorted(OmegaConf.missing_keys(config))]
    if missing:
        raise ConfigError(f"the check needs values for {', '.join(missing)}; give them, like {missing[0]}=…")


def _source(name: str, config: Mapping[str, Any], registry: Registry, scope: str | None = None) -> Source:
    values = registry.check("dataset", config)
    return Source(name, True, scope or name, lambda: _entries(name, values, registry))


def _entries(name: str, values: Mapping[str, Any], registry: Registry) -> Iterator[Entry]:
    own = getattr(registry.row("dataset", values["name"]).load_class(), "entries", None)
    if own is not None:
        return own(**{key: value for key, value in values.items() if key != "name"})
    return _one_by_one(registry.build("dataset", values), name)


def _one_by_one(dataset: Any, name: str) -> Iterator[Entry]:
    for index in range(len(dataset)):
        where = f"{name}, index {index}"
        try:
            yield Entry(where, dataset[index])
        except UserError as error:
            yield Entry(where, problems=(Problem("row", str(error)),))
        except Exception as error:  # a stranger's code; the other samples are still to be checked
            yield Entry(where, problems=(Problem("row", f"{type(error).__name__}: {error}"),))


def _benchmark(config: DictConfig, registry: Registry) -> Source:
    """The questions as the benchmark asks them, or the data set's own samples where the benchmark refuses them."""
    _refuse_missing(config.benchmark.dataset)
    values = registry.check("dataset", config.benchmark.dataset)
    name = f"benchmark ({config.benchmark.name})"

    def entries() -> Iterator[Entry]:
        good: list[Entry] = []
        for entry in _entries(name, values, registry):
            if entry.sample is None or entry.problems:
                yield entry
            else:
                good.append(entry)
        samples = [entry.sample for entry in good]
        try:
            asked = registry.build("benchmark", config.benchmark, dataset=samples).samples
        except DataError as error:
            yield Entry(name, problems=(Problem("row", str(error)),))
            asked = samples
        if len(asked) != len(good):  # a benchmark of its own mind about what it asks
            good = [Entry(f"{name}, question {number + 1}") for number in range(len(asked))]
        yield from (Entry(entry.where, sample) for entry, sample in zip(good, asked, strict=True))

    return Source(name, False, name, entries)
