"""``vlframe plugin``: for authors of plugins."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlframe.commands import OF_PLUGINS
from vlframe.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from vlframe.registry.registry import Registry
    from vlframe.testing.matrix import Only, Pair

USAGE = (("plugin matrix [kind kind]", "which installed parts fit which, and why others do not"),)
HELP = """\
vlframe plugin matrix [<kind> <kind>] [--train] [format=table|markdown|json] [plugins.paths=[file.py]]

  vlframe plugin matrix                              every pair of neighbouring parts, at the size of their examples
  vlframe plugin matrix encoder connector --train    these; those that fit take a step on small media of their own
  vlframe plugin matrix plugins.paths=[mine.py]      every pair with a part of that file

Exit code: 0, or 1 if a pair that fits did not train.
"""
FORMATS = ("table", "markdown", "json")


def main(words: list[str]) -> int:
    if "--help" in words or "-h" in words or not words:
        print(HELP, end="")
        return 0 if words else 2
    action, *rest = words
    if action != "matrix":
        raise ConfigError(f"vlframe plugin does matrix, and not {action!r}{did_you_mean(action, ['matrix'])}")
    of_plugins = [word for word in rest if word.startswith(OF_PLUGINS)]
    flags = [word for word in rest if word.startswith("-")]
    keys = {word.partition("=")[0]: word.partition("=")[2] for word in rest if "=" in word and word not in of_plugins}
    if unknown := [*({*flags} - {"--train"}), *(keys.keys() - {"format"})]:
        raise ConfigError(f"vlframe plugin matrix has no {unknown[0]}; it has --train and format=; see --help")
    form = keys.get("format", "table")
    if form not in FORMATS:
        raise ConfigError(f"format is {form!r}; it can be {', '.join(FORMATS)}{did_you_mean(form, FORMATS)}")
    kinds = [word for word in rest if "=" not in word and word not in flags]
    from vlframe.composer.command_line import parse
    from vlframe.composer.offer import open_registry

    line = parse("plugin", of_plugins)
    registry = open_registry(line.plugin_paths, line.strict)
    pairs = tried(registry, kinds, train="--train" in flags, only=_with_parts_of_files(registry))
    systems = [] if kinds else parts_of_models(registry)
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
    """Return the pairs of two kinds, or of all neighbouring kinds; ``only`` selects by kinds and names."""
    from vlframe.composer.compose import compose
    from vlframe.testing.matrix import matrix, neighbours

    known = neighbours()
    asked = [pair for pair in known if not kinds or pair == tuple(kinds)]
    if not asked:
        there = "; ".join(" ".join(pair) for pair in known)
        raise ConfigError(f"{' '.join(kinds)!r} is no pair of neighbouring kinds; there are {there}")
    base = compose("train", [], registry)
    return [pair for two in asked for pair in matrix(base, registry, two, train=train, only=only)]


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
