"""``vlframe plugin``: for authors of plugins."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.commands import OF_PLUGINS
from vlframe.errors import ConfigError, did_you_mean
from vlframe.paths import at_home

if TYPE_CHECKING:
    from vlframe.registry.registry import Registry
    from vlframe.testing.inspection import Finding
    from vlframe.testing.matrix import Only, Pair

USAGE = (
    ("plugin new <kind> <name>", "begin a package: a component that works, its preset and its test"),
    ("plugin check <name>", "what of a component, package or file keeps its promises"),
    ("plugin matrix [kind kind]", "which installed parts fit which, and why others do not"),
)
HELP = """\
vlframe plugin new <kind> <name> [folder=vlframe-<name>]
vlframe plugin check <component | package | file.py> [<kind>.<key>=<value> ...] [run=[overrides]] [--json]
vlframe plugin matrix [<kind> <kind>] [--train] [format=table|markdown|json] [plugins.paths=[file.py]]

  vlframe plugin new connector gated_pool            a package that installs and passes its own tests
  vlframe plugin check vlframe-gated-pool            the kit on all it offers, with the example parameters of its rows
  vlframe plugin check connector gated_pool connector.hidden=8
  vlframe plugin matrix                              every pair of neighbouring parts, at the size of their examples
  vlframe plugin matrix encoder connector --train    these; those that fit take a step on small media of their own
  vlframe plugin matrix plugins.paths=[mine.py]      every pair with a part of that file

Exit code: 0; 1 if a promise is broken, or a pair that fits did not train; 3 if nothing is broken, and some component
could not be tried.
"""
FORMATS = ("table", "markdown", "json")
ACTIONS = ("new", "check", "matrix")
BROKEN, UNTRIED = 1, 3


@dataclass(frozen=True)
class Words:
    """What was typed after an action: plain words, flags, ``key=value``, and what names plugins."""

    plain: list[str]
    flags: set[str]
    keys: dict[str, str]
    of_plugins: list[str]

    @classmethod
    def of(cls, words: Sequence[str]) -> Words:
        of_plugins = [word for word in words if word.startswith(OF_PLUGINS)]
        rest = [word for word in words if not word.startswith(OF_PLUGINS)]
        flags = {word for word in rest if word.startswith("-")}
        keys = {word.partition("=")[0]: word.partition("=")[2] for word in rest if "=" in word and word not in flags}
        return cls([word for word in rest if "=" not in word and word not in flags], flags, keys, of_plugins)

    def refuse_others(self, action: str, flags: Sequence[str], keys: Sequence[str]) -> None:
        """Raise ConfigError for a flag or key that the action does not have."""
        if unknown := sorted(self.flags - {*flags}) + sorted(self.keys.keys() - {*keys}):
            there = " and ".join([*flags, *(f"{key}=" for key in keys)])
            raise ConfigError(f"vlframe plugin {action} has no {unknown[0]}; it has {there}; see --help")


def main(words: list[str]) -> int:
    if "--help" in words or "-h" in words or not words:
        print(HELP, end="")
        return 0 if words else 2
    action, *rest = words
    if action not in ACTIONS:
        raise ConfigError(
            f"vlframe plugin does {', '.join(ACTIONS)}, and not {action!r}{did_you_mean(action, ACTIONS)}"
        )
    return {"new": _new, "check": _check, "matrix": _matrix}[action](Words.of(rest))


def _new(words: Words) -> int:
    from vlframe.commands.of_plugins import opened
    from vlframe.testing.starter import starter_kinds, write_starter

    words.refuse_others("new", (), ("folder",))
    if len(words.plain) != 2:
        raise ConfigError(
            f"vlframe plugin new takes a kind and a name, like `vlframe plugin new connector gated_pool`, and not "
            f"{' '.join(words.plain) or 'nothing'!r}; kinds are {', '.join(starter_kinds())}"
        )
    folder = words.keys.get("folder")
    if folder == "":
        raise ConfigError("folder= is empty; name the folder that is to be made, or leave it out")
    kind, name = words.plain
    registry, _ = opened(words.of_plugins)
    starter, made = write_starter(kind, name, Path(at_home(folder)) if folder else None, registry)
    print(f"{made} has a {starter.kind} called {starter.name}, its preset, and its test. Next:\n")
    print(f"  pip install -e {made}\n  vlframe plugin check {starter.distribution}\n  python -m pytest {made}/tests")
    return 0


def _check(words: Words) -> int:
    from vlframe.composer.command_line import words_in_brackets
    from vlframe.testing.inspection import Request, findings

    others = [key for key in words.keys if "." in key or key == "run"]
    words.refuse_others("check", ("--json",), ("run", *others))
    if not 1 <= len(words.plain) <= 2:
        raise ConfigError(
            "vlframe plugin check takes the name of a component (after its kind, if several kinds have the name), of a "
            f"package, or a file, and not {' '.join(words.plain) or 'nothing'!r}"
        )
    *kind, what = words.plain
    registry, paths = _opened(words, [what] if what.endswith(".py") else [])
    _refuse_unknown_kind(kind)  # plugins may add kinds
    request = Request(registry, paths, _values(words.keys), words_in_brackets("run", words.keys.get("run", "")))
    found = []
    for finding in findings(request, what, *kind):
        found.append(finding)
        if "--json" not in words.flags:  # each as soon as it is known
            print(said(finding), flush=True)
    if "--json" in words.flags:
        print(json.dumps([finding.as_data() for finding in found], indent=1, default=str))
    else:
        print(summary(found))
    return BROKEN if any(item.broken for item in found) else UNTRIED if any(item.untried for item in found) else 0


def _opened(words: Words, files: Sequence[str] = ()) -> tuple[Registry, list[str]]:
    """Open the plugins, including those that words name and those in ``files``, and offer their presets to Hydra;
    return them with the paths of all single files.
    """
    from vlframe.commands.of_plugins import parsed
    from vlframe.composer.offer import open_registry

    line = parsed(words.of_plugins)
    paths = list(dict.fromkeys([*line.plugin_paths, *files]))
    return open_registry(paths, line.strict), paths


def _refuse_unknown_kind(kind: Sequence[str]) -> None:
    from vlframe.contracts.kinds import kinds

    for word in kind:
        if word not in kinds():
            raise ConfigError(f"there is no kind {word!r}; kinds are {', '.join(kinds())}{did_you_mean(word, kinds())}")


def _values(keys: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return parameters by kind: ``connector.hidden=8``, ``benchmark.dataset.name=counts``."""
    from vlframe.composer.command_line import parse
    from vlframe.contracts.kinds import kinds

    line = parse("plugin", [f"{key}={text}" for key, text in keys.items() if "." in key])
    found: dict[str, dict[str, Any]] = {}
    for word in line.overrides:
        kind, *path = word.key.split(".")
        if kind not in kinds():
            raise ConfigError(f"{word.key}: there is no kind {kind!r}{did_you_mean(kind, kinds())}")
        if word.varies:
            raise ConfigError(
                f"{word.text} has several values; give one, or a list in brackets ({word.key}=[{word.written}])"
            )
        holder = found.setdefault(kind, {})
        for step in path[:-1]:
            holder = holder.setdefault(step, {})
        holder[path[-1]] = word.value
    return found


def said(finding: Finding) -> str:
    """Return a finding in words: what passed, what was left out, and what is broken."""
    given = ", ".join(f"{key}={value}" for key, value in finding.parameters.items())
    lines = [f"{finding.kind} {finding.name}" + f", with {given}" * bool(given)]
    lines += [f"  passed    {step}" for step in finding.passed]
    lines += [f"  left out  {step}" for step in finding.left_out]
    lines += [f"  BROKEN    {finding.broken}"] * bool(finding.broken)
    lines += [f"  not tried {finding.untried}"] * bool(finding.untried)
    return "\n".join(lines)


def summary(found: Sequence[Finding]) -> str:
    kept, broken = (sum(map(bool, items)) for items in zip(*((item.kept, item.broken) for item in found), strict=True))
    return f"\n{kept} of {len(found)} keep their promises" + (
        f"; {broken} broken" * bool(broken) + f"; {len(found) - kept - broken} not tried" * (kept + broken < len(found))
    )


def _matrix(words: Words) -> int:
    words.refuse_others("matrix", ("--train",), ("format",))
    form = words.keys.get("format", "table")
    if form not in FORMATS:
        raise ConfigError(f"format is {form!r}; it can be {', '.join(FORMATS)}{did_you_mean(form, FORMATS)}")
    registry, _ = _opened(words)
    pairs = tried(registry, words.plain, train="--train" in words.flags, only=_with_parts_of_files(registry))
    systems = [] if words.plain else parts_of_models(registry)
    if form == "json":
        print(json.dumps({"models": systems, "pairs": [pair.as_data() for pair in pairs]}, indent=1))
    else:
        print(text(systems, pairs, form))
    return int(any(pair.trained is False for pair in pairs))


def _with_parts_of_files(registry: Registry) -> Only | None:
    """Return what selects the pairs with a part of a plugin in ``plugins.paths``; None, all, if there is none."""
    theirs = {(row.component.kind, row.component.name) for row in registry.rows() if row.plugin.is_file}
    return (lambda kinds, names: not theirs.isdisjoint(zip(kinds, names, strict=True))) if theirs else None


def tried(
    registry: Registry, kinds: Sequence[str] = (), *, train: bool = False, only: Only | None = None
) -> list[Pair]:
    """Return the pairs of two kinds, or of all neighbouring kinds of which there is something to try; ``only`` selects
    by kinds and names.
    """
    from vlframe.composer.compose import compose
    from vlframe.testing.matrix import NothingToTry, matrix, neighbours

    known = neighbours()
    asked = [pair for pair in known if not kinds or pair == tuple(kinds)]
    if not asked:
        there = "; ".join(" ".join(pair) for pair in known)
        raise ConfigError(f"{' '.join(kinds)!r} is no pair of neighbouring kinds; there are {there}")
    base = compose("train", [], registry)
    found: list[Pair] = []
    for two in asked:
        try:
            found += matrix(base, registry, two, train=train, only=only)
        except NothingToTry:
            if kinds:
                raise
    return found


def parts_of_models(registry: Registry) -> list[dict[str, str]]:
    """Return the parts of every preset of the group ``model``, by name."""
    from vlframe.composer.compose import compose
    from vlframe.contracts.modalities import MODALITIES, parts
    from vlframe.registry.presets import preset_files

    rows = []
    for name in preset_files("model", registry):
        config = compose("train", [f"model={name}"], registry)
        encoders = {item.connector: getattr(config, item.encoder) for item in MODALITIES.values()}
        chosen = {kind: getattr(config, kind) for kind in (*parts(), "processor")}
        chosen |= {kind: None for kind, encoder in encoders.items() if encoder is None}
        chosen["sampler"] = config.media.sampler
        rows.append({"model": name, **{kind: item["name"] if item else "" for kind, item in chosen.items()}})
    return rows


def text(systems: Sequence[dict[str, str]], pairs: Sequence[Pair], form: str = "table") -> str:
    """Return the parts of models, a grid for every two kinds, and below it why parts do not fit."""
    from vlframe.table import markdown, render

    parts = [(markdown if form == "markdown" else render)(systems)] if systems else []
    for kinds in dict.fromkeys(pair.kinds for pair in pairs):
        mine = [pair for pair in pairs if pair.kinds == kinds]
        grid = (markdown if form == "markdown" else render)(_grid(mine))
        heading = f"## {kinds[0]} and {kinds[1]}" if form == "markdown" else f"{kinds[0]} (rows) and {kinds[1]}"
        parts.append("\n\n".join([heading, grid, *["\n".join(notes) for notes in [_notes(mine)] if notes]]))
    return "\n\n".join(parts)


def _grid(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        rows.setdefault(pair.names[0], {pair.kinds[0]: pair.names[0]})[pair.names[1]] = _mark(pair)
    return list(rows.values())


def _mark(pair: Pair) -> str:
    if not pair.takes:
        return "–"
    return ("yes" if not pair.reasons else f"{' and '.join(pair.takes)} only") + (
        ", not trained" if pair.trained is False else ""
    )


def _notes(pairs: Sequence[Pair]) -> list[str]:
    """Return each reason once, with how many pairs it holds for and one of them."""
    said: Counter[str] = Counter()
    example: dict[str, str] = {}
    for pair in pairs:
        for kind, reason in pair.reasons.items():
            words = reason
            for name in pair.names:
                words = words.replace(repr(name), "…")
            of = f"{kind}: {words}" if kind else words
            said[of] += 1
            example.setdefault(of, " and ".join(pair.names))
    return [f"* {count} pairs, like {example[words]}: {words}" for words, count in said.items()]
