"""The data sets to check, and their rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vlframe.config.asking import asking_of, benchmarks_of
from vlframe.config.fields import MISSING, missing_keys
from vlframe.contracts.sample import Entry, Problem, Sample
from vlframe.data.opened import moved_sample, open_samples, passed
from vlframe.data.phrasing import phrased
from vlframe.errors import ConfigError, DataError, UserError, named_line
from vlframe.paths import at_home

if TYPE_CHECKING:
    from vlframe.config.schema import RunConfig
    from vlframe.registry.registry import Registry


@dataclass(frozen=True)
class Source:
    """A data set under its name in the report. ``answers``: it is trained on; False: only its questions are used.
    Samples are compared with others of the same ``scope``. Each call of ``entries`` reads the rows again.
    """

    name: str
    answers: bool
    scope: str
    entries: Callable[[], Iterator[Entry]]


def manifest_sources(paths: Sequence[str], config: RunConfig, registry: Registry) -> list[Source]:
    """Return the manifests of a command line, each read by the config's data set."""
    absent = [path for path in paths if not os.path.isfile(at_home(path))]
    folders = [path for path in absent if os.path.isdir(at_home(path))]
    if folders:
        raise DataError(
            f"{', '.join(folders)} is a folder, not a manifest; name the files in it that hold rows, or the folder of "
            "the media as dataset.media_root=…"
        )
    if absent:
        raise DataError(f"there is no manifest {', '.join(absent)}; name files, and write options as key=value")
    if "path" not in config.dataset:
        raise ConfigError(
            f"the data set {config.dataset['name']!r} reads no manifest (it has no 'path'); leave out dataset=…, or "
            f"the manifest {paths[0]}"
        )
    return [
        _source(path, {**config.dataset, "path": path}, registry, config.moved, scope="manifests")
        for path in dict.fromkeys(paths)
    ]


def configured_sources(config: RunConfig, registry: Registry) -> list[Source]:
    """Return what ``vlframe train`` would read with this config: the stages' data and the benchmarks' questions."""
    named: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for name, stage in config.stages.items() or [("", None)]:
        chosen = config.dataset if stage is None or stage.data is None else stage.data
        if chosen is not None:
            _refuse_missing(
                chosen, f"stages.{name}.data" if stage is not None and stage.data is not None else "dataset"
            )
            values = registry.check("dataset", chosen)
            named.setdefault(repr(values), (values, []))[1].append(str(name))
    sources = [
        _source(
            f"{' and '.join(stages)} ({values['name']})" if stages != [""] else values["name"],
            values,
            registry,
            config.moved,
        )
        for values, stages in named.values()
    ]
    for name, chosen in benchmarks_of(config).items():
        if chosen.get("dataset") not in (None, MISSING):
            sources.append(_benchmark(name, chosen, config, registry))
    if not sources:
        raise ConfigError(
            f"there is nothing to check; name a manifest (vlframe data check train.jsonl), a data set (dataset=<name>; "
            f"there are {', '.join(registry.names('dataset'))}) or an experiment (experiment=quickstart)"
        )
    return sources


def _refuse_missing(config: Mapping[str, Any], path: str) -> None:
    missing = [f"{path}.{key}" for key in missing_keys(config)]
    if missing:
        raise ConfigError(f"the check needs values for {', '.join(missing)}; give them, like {missing[0]}=…")


def _source(
    name: str, config: Mapping[str, Any], registry: Registry, moved: Mapping[str, str], scope: str | None = None
) -> Source:
    values = registry.check("dataset", config)
    return Source(name, True, scope or name, lambda: _entries(name, values, registry, moved))


def _entries(name: str, values: Mapping[str, Any], registry: Registry, moved: Mapping[str, str]) -> Iterator[Entry]:
    own = getattr(registry.row("dataset", values["name"]).load_class(), "entries", None)
    if own is None:
        yield from _one_by_one(open_samples(registry, values, moved), name)
        return
    for entry in own(**{key: value for key, value in values.items() if key != "name"}, **passed(own, moved)):
        yield entry if entry.sample is None else replace(entry, sample=moved_sample(entry.sample, moved))


def _one_by_one(dataset: Any, name: str) -> Iterator[Entry]:
    for index in range(len(dataset)):
        where = f"{name}, index {index}"
        try:
            yield Entry(where, dataset[index])
        except UserError as error:
            yield Entry(where, problems=(Problem("row", str(error)),))
        except Exception as error:  # third-party code; go on with the other samples
            yield Entry(where, problems=(Problem("row", named_line(error)),))


def _benchmark(called: str, chosen: Mapping[str, Any], config: RunConfig, registry: Registry) -> Source:
    """Return the questions as the benchmark asks them, or the data set's own samples if the benchmark rejects them."""
    place = "benchmark" if chosen is config.benchmark else f"benchmarks.{called}"
    _refuse_missing(chosen["dataset"], f"{place}.dataset")
    values = registry.check("dataset", chosen["dataset"])
    asking = asking_of(registry.check("benchmark", chosen, complete=False))
    name = f"benchmark ({called})"

    def entries() -> Iterator[Entry]:
        good: list[Entry] = []
        bad = False
        for entry in _entries(name, values, registry, config.moved):
            if entry.sample is None or entry.problems:
                bad = True
                yield entry
            else:
                good.append(entry)
        if bad and not good:  # the benchmark would only say that it has no questions
            return
        samples = [entry.sample for entry in good]
        try:
            asked = registry.build("benchmark", chosen, dataset=samples).samples
        except DataError as error:
            yield from _refused(good, lambda sample: registry.build("benchmark", chosen, dataset=[sample])) or [
                Entry(name, problems=(Problem("row", str(error)),))
            ]
            asked = samples
        if len(asked) != len(good):  # the benchmark filtered or generated its own questions
            good = [Entry(f"{name}, question {number + 1}") for number in range(len(asked))]
        yield from (Entry(entry.where, phrased(sample, asking)) for entry, sample in zip(good, asked, strict=True))

    return Source(name, False, name, entries)


def _refused(entries: Sequence[Entry], ask: Callable[[Sample], Any]) -> list[Entry]:
    """Return the questions that a benchmark refuses by their name when it is asked about each alone."""
    found = []
    for entry in entries:
        assert entry.sample is not None
        try:
            ask(entry.sample)
        except DataError as error:
            if repr(entry.sample.id) in str(error):
                found.append(Entry(entry.where, problems=(Problem("row", str(error)),)))
    return found
