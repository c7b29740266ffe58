"""A study's file, read and checked: which cells there are, which are left out and why, what each is as overrides."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from vlframe.config.checks import check_values
from vlframe.config.controls import CONTROLS
from vlframe.config.study import StudyConfig
from vlframe.config.typed import frozen, read_yaml, typed
from vlframe.errors import ConfigError, did_you_mean, some_of
from vlframe.paths import at_home

LEFT_TO_THE_STUDY = ("seed", "runs", "name", "resume", "resume_changes", "sweep", "words", "plugins.paths")


@dataclass(frozen=True)
class Cell:
    """One combination. ``words`` are its overrides, those of the base first, without the seed."""

    label: str
    axes: Mapping[str, str]  # axis -> label
    words: tuple[str, ...]


@dataclass(frozen=True)
class Excluded:
    """A combination that is left out."""

    label: str
    axes: Mapping[str, str]
    reason: str


@dataclass(frozen=True)
class Study:
    """A file and what it comes to. The baseline is among the cells."""

    file: Path
    name: str
    folder: Path
    config: StudyConfig
    cells: tuple[Cell, ...]
    excluded: tuple[Excluded, ...]

    @property
    def baseline(self) -> Cell:
        wanted = self.config.baseline
        return next(cell for cell in self.cells if wanted in (None, cell.label))

    @property
    def runs(self) -> int:
        return len(self.cells) * len(self.config.seeds)


def read_study(file: Path) -> Study:
    """Read a file. ConfigError, in one sentence: a key, axis or label that is not known, a word that is no override,
    cells that are the same by their labels, a baseline that is no cell, a list in place of something else."""
    if not file.is_file():
        raise ConfigError(f"there is no study {str(file)!r}; give a YAML file with base, axes and seeds")
    values = read_yaml(file, resolve=False)
    try:
        _refuse_odd_labels(values)
        whole = typed(StudyConfig, _kept(values))
        check_values(StudyConfig, whole)
        config = frozen(StudyConfig, whole)
        every = _combined(config)
        reasons = _reasons(config, [label for label, _, _ in every])
        shared = (*_controls(config), *config.base, *_benchmarks(config))
        _refuse_other_keys(config)
        _check_words(config)
        cells = tuple(Cell(label, axes, (*shared, *words)) for label, axes, words in every if label not in reasons)
        _check_cells(config, cells, reasons)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    name = config.name or (file.resolve().parent.name if file.stem == "study" else file.stem)
    folder = Path(at_home(config.folder)) if config.folder else Path("runs", "studies", name)
    excluded = tuple(Excluded(label, axes, reasons[label]) for label, axes, _ in every if label in reasons)
    return Study(file, name, folder.resolve(), config, cells, excluded)


def _kept(values: Any) -> Any:
    """Escape ``${…}``, which the run's config fills in, and not the study's."""
    if isinstance(values, Mapping):
        return {name: _kept(value) for name, value in values.items()}
    if isinstance(values, list):
        return [_kept(value) for value in values]
    return values.replace("${", r"\${") if isinstance(values, str) else values


def _refuse_odd_labels(values: Mapping[str, Any]) -> None:
    axes = values.get("axes")
    for axis, labels in axes.items() if isinstance(axes, Mapping) else ():
        if not isinstance(labels, Mapping):
            raise ConfigError(
                f"axes.{axis} is {labels!r}; it is labels with their overrides, like {axis}: {{first: key=1, second: "
                f"key=2}}"
            )
        for label in labels:
            if isinstance(label, bool):
                raise ConfigError(
                    f"axes.{axis} has the label {str(label).lower()}: YAML reads on, off, yes and no so; put the label "
                    f"in quotes"
                )
            if re.search(r"[*?\[\]]|^\s*$", str(label)):
                raise ConfigError(f"axes.{axis} has the label {label!r}; a label is a word without * ? [ ]")


def _combined(config: StudyConfig) -> list[tuple[str, dict[str, str], tuple[str, ...]]]:
    """Label, axes and words of each combination, those that are left out too."""
    axes = {}
    for axis, values in config.axes.items():
        axes[axis] = {label: _words(axis, label, value) for label, value in values.items()}
        if not values:
            raise ConfigError(f"axes.{axis} has no label")
    cells = []
    for chosen in _choices(config, axes):
        words = tuple(word for axis, label in chosen.items() for word in axes[axis][label])
        cells.append((" ".join(chosen.values()) or "base", chosen, words))
    names = [label for label, _, _ in cells]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"two cells are called {twice[0]!r}; give the labels of one axis other names")
    return cells


def _choices(config: StudyConfig, axes: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    if config.combine == "product":
        yield from (dict(zip(axes, labels, strict=True)) for labels in itertools.product(*axes.values()))
    elif config.combine == "list":
        yield from ({axis: label} for axis, labels in axes.items() for label in labels)
    else:
        lengths = {axis: len(labels) for axis, labels in axes.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{axis} {length}" for axis, length in lengths.items())
            raise ConfigError(f"combine is zip, which needs as many labels on every axis, and there are {told}")
        yield from (dict(zip(axes, labels, strict=True)) for labels in zip(*axes.values(), strict=True))


def _words(axis: str, label: str, value: Any) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        like = "it is an override, like media.frames=8, or a list of them"
        raise ConfigError(f"axes.{axis}.{label} is {value!r}; {like}")
    return tuple(words)


def _benchmarks(config: StudyConfig) -> tuple[str, ...]:
    if not config.benchmarks:
        return ()
    one, several = config.benchmarks[0], ",".join(config.benchmarks)
    return (f"benchmark={one if len(config.benchmarks) == 1 else f'[{several}]'}",)


def _controls(config: StudyConfig) -> tuple[str, ...]:
    """Return the overrides that measure the study's controls, except those that its base or an axis sets itself."""
    axes = [word for labels in config.axes.values() for value in labels.values() for word in _as_list(value)]
    said = {word.partition("=")[0].lstrip("+") for word in [*config.base, *axes]}
    chosen = [name for name in config.controls if name in CONTROLS]
    blind = "blind" in config.controls and "evaluation.blind" not in said
    ordered = bool(chosen) and "evaluation.controls" not in said
    return (*(["evaluation.blind=true"] if blind else []),
            *([f"evaluation.controls=[{','.join(chosen)}]"] if ordered else []))  # fmt: skip


def _refuse_other_keys(config: StudyConfig) -> None:
    """Raise ConfigError for keys that a study sets itself."""
    values = [value for labels in config.axes.values() for value in labels.values()]
    for word in [*config.base, *(word for value in values for word in _as_list(value))]:
        key = word.partition("=")[0].lstrip("+~")
        if key in LEFT_TO_THE_STUDY or key.startswith(("hydra", "sweep.")) or word.startswith("-"):
            hint = "say seeds: [0, 1, 2]" if key == "seed" else "leave it out, or give it on the command line"
            raise ConfigError(f"{word!r} cannot be an override of a study, which gives {key} itself; {hint}")


def _check_words(config: StudyConfig) -> None:
    """Refuse words that are no overrides, here and not as cells that do not fit: the file is at fault."""
    from vlframe.composer.command_line import check_words_of_file

    axes = {f"axes.{axis}.{label}": value for axis, labels in config.axes.items() for label, value in labels.items()}
    for place, words in {"base": config.base, "benchmarks": _benchmarks(config), **axes}.items():
        try:
            check_words_of_file(_as_list(words))
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from error


def _as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _reasons(config: StudyConfig, labels: Sequence[str]) -> dict[str, str]:
    """Return why cells are left out, by label."""
    reasons: dict[str, str] = {}
    for pattern, reason in config.exclude.items():
        found = [label for label in labels if fnmatchcase(label, pattern)]
        if not found:
            raise ConfigError(
                f"exclude names {pattern!r}, and no cell is called so; there are {some_of(labels)}"
                f"{did_you_mean(pattern, labels)}"
            )
        if not reason.strip():
            raise ConfigError(f"exclude leaves {pattern!r} out and gives no reason")
        reasons |= {label: reason for label in found}
    return reasons


def _check_cells(config: StudyConfig, cells: Sequence[Cell], reasons: Mapping[str, str]) -> None:
    labels = [cell.label for cell in cells]
    if not labels:
        raise ConfigError("every cell is excluded")
    wanted = config.baseline
    if wanted is not None and wanted in reasons:
        raise ConfigError(f"the baseline {wanted!r} is excluded ({reasons[wanted]}); name another one")
    if wanted is not None and wanted not in labels:
        near = did_you_mean(wanted, labels)
        raise ConfigError(f"the baseline {wanted!r} is no cell; there are {some_of(labels)}{near}")
    runs, most = len(labels) * len(config.seeds), config.budget.runs
    if most is not None and runs > most:
        raise ConfigError(
            f"{len(labels)} cells with {len(config.seeds)} seed(s) are {runs} runs, and budget.runs is {most}; allow "
            f"more, or exclude cells"
        )
