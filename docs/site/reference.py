"""Writes the reference pages of the site from what is installed: config keys, components, commands."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import io
import textwrap
import tokenize
import types
import typing
from collections.abc import Mapping
from typing import Any

from vlframe import _DOOR as DOOR
from vlframe.composer.compose import compose
from vlframe.composer.help import all_keys, shown_value
from vlframe.composer.offer import schemas
from vlframe.config.checks import law_in_words
from vlframe.config.fields import Key
from vlframe.contracts.kinds import Kind, kinds
from vlframe.errors import UserError
from vlframe.model.assemble import compose_on_meta, typical_tokens
from vlframe.registry.presets import preset_files, read_preset
from vlframe.registry.registry import Registry, Row
from vlframe.table import markdown

FRAMES = (1, 8, 16, 32)
TOWER = "clip_l_336"


def pages(registry: Registry) -> Mapping[str, str]:
    """Return the generated pages by their path in the site."""
    found = {f"reference/config/{name}.md": config_page(name, schema) for name, schema in schemas().items()}
    for kind in kinds().values():
        found[f"reference/components/{kind.name}.md"] = component_page(kind, registry)
    return found | {"reference/api.md": api_page()}


def api_page() -> str:
    """Return the page of everything that plugins and scripts import from ``vlframe``, by the room it comes from."""
    rooms: dict[str, list[str]] = {}
    for name, module in sorted(DOOR.items()):
        rooms.setdefault(module.partition(".")[0], []).append(_entry(name, module))
    blocks = [
        "# Python",
        "What `import vlframe` offers, to scripts and to plugins. Everything else may change without notice.",
    ]
    for room, names in sorted(rooms.items()):
        blocks += [f"## {room}", *names]
    return "\n\n".join(blocks) + "\n"


def _entry(name: str, module: str) -> str:
    """Return the block of one name, under the path by which it is imported."""
    options = {"heading": f"vlframe.{name}", "toc_label": name}
    lines = [f"      {option}: {value}" for option, value in options.items()]
    return "\n".join([f"::: vlframe.{module}.{name}", "    options:", *lines])


def config_page(command: str, schema: type) -> str:
    """Return the keys of a command with their defaults, what is allowed, and what they mean."""
    rows = [_of_key(path, item) for path, item in all_keys(schema)]
    return (
        f"# Keys of `vlframe {command}`\n\nEvery key can be given on the command line as `key=value`. "
        "`???` has to be given; `<name>` stands for a name of your own.\n\n" + markdown(rows) + "\n"
    )


def _of_key(path: str, item: Key) -> dict[str, str]:
    component = item.law.component or item.law.components
    allowed = f"[{component}](../components/{component}.md)" if component else law_in_words(item.law)
    return {
        "key": f"`{path}`",
        "default": f"`{shown_value(item.default)}`",
        "allowed": allowed or _type(item.hint),
        "meaning": _cell(item.law.text),
    }


def component_page(kind: Kind, registry: Registry) -> str:
    """Return all components of a kind: what each is, its parameters, its presets and, of a connector, its tokens."""
    where = f" A run's config holds it as `{kind.place}`." if kind.place else ""
    blocks = [f"# `{kind.name}`", f"{_contract(kind)}{where}"]
    rows = list(registry.rows(kind.name))
    if kind.name == "connector":
        blocks += ["## Tokens", _TOKENS, markdown([_tokens(row.component.name, registry) for row in rows])]
    presets = {name: read_preset(kind.group, name, registry)["name"] for name in _presets(kind, registry)}
    for row in rows:
        blocks += [
            f"## {row.component.name}",
            _cell(row.component.summary) + f" (plugin `{row.plugin.name}`)",
            _text(row),
        ]
        if parameters := _parameters(row):
            blocks.append(markdown(parameters))
        if mine := [name for name, of in presets.items() if of == row.component.name]:
            blocks.append(f"Presets: {', '.join(f'`{name}`' for name in mine)}")
    return "\n\n".join(blocks) + "\n"


def _presets(kind: Kind, registry: Registry) -> list[str]:
    if kind.place is None or kind.many:
        return []
    return list(preset_files(kind.group, registry))


_TOKENS = (
    f"Tokens of a clip after `encoder={TOWER}` (24 x 24 patches a frame), with the parameters that a connector has by "
    "default; `vlframe plan` counts them for any other composition."
)


def _tokens(name: str, registry: Registry) -> dict[str, Any]:
    cells: dict[str, Any] = {"connector": f"`{name}`"}
    for frames in FRAMES:
        words = [
            f"encoder={TOWER}",
            f"connector={name}",
            "llm=mistral_7b_instruct",
            "text.max_length=32768",
            f"media.frames={frames}",
        ]
        try:
            budget = compose_on_meta(compose("train", words, registry), registry).budget
            cells[f"{frames} frame{'s' * (frames > 1)}"] = typical_tokens(budget, "video", frames)
        except UserError:  # it does not fit, and plan says why
            cells[f"{frames} frame{'s' * (frames > 1)}"] = "–"
    return cells


def swaps(registry: Registry) -> str:
    """Return the table of README: the components of every kind that a run chooses, by the key that chooses them."""
    what = {
        "encoder": "frames to features",
        "connector": "features to tokens",
        "audio_encoder": "sound to features",
        "audio_connector": "features to tokens",
        "llm": "the language model",
        "pixels": "pictures to pixels",
        "sampler": "which frames",
        "reader": "files to arrays",
        "processor": "another system's preprocessing, exactly",
        "dataset": "training data",
        "benchmark": "questions",
        "objective": "what a stage minimises",
    }
    rows = [
        {
            "part": text,
            "override": f"`{kinds()[kind].place}=`",
            "comes with": ", ".join(map(_code, registry.names(kind))),
        }
        for kind, text in what.items()
    ]
    return markdown(rows) + "\n"


def _code(name: str) -> str:
    return f"`{name}`"


def _contract(kind: Kind) -> str:
    if kind.contract is None:
        return "What is called of one is defined by Lightning."
    module, _, name = kind.contract.partition(":")
    return inspect.cleandoc(getattr(importlib.import_module(module), name).__doc__ or "")


def _text(row: Row) -> str:
    module, _, name = row.component.path.partition(":")
    found = getattr(importlib.import_module(module), name)
    about = [inspect.getdoc(found) if found.__doc__ else None, inspect.getdoc(importlib.import_module(module))]
    return "\n\n".join(text for text in about if text)


def _parameters(row: Row) -> list[dict[str, str]]:
    comments = field_comments(row.schema)
    rows = [
        {
            "parameter": f"`{item.name}`",
            "type": _type(item.type),
            "default": f"`{shown_value(_default(item))}`",
            "meaning": _cell(comments.get(item.name, "")),
        }
        for item in dataclasses.fields(row.schema)
        if item.name != "name"
    ]
    told = any(row["meaning"] for row in rows)
    return [{name: cell for name, cell in row.items() if told or name != "meaning"} for row in rows]


def field_comments(schema: type) -> dict[str, str]:
    """Return the comment of each field of a dataclass: that on its lines, or else that on the lines above it."""
    found: dict[str, str] = {}
    for owner in reversed(schema.__mro__):
        if dataclasses.is_dataclass(owner):
            try:
                source = textwrap.dedent(inspect.getsource(owner))
            except (OSError, TypeError):  # a class that was made, not written
                continue
            found |= _comments_in(source)
    return found


def _comments_in(source: str) -> dict[str, str]:
    comments: dict[int, str] = {}
    alone: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.string.lstrip("# ").strip()
            if not token.line[: token.start[1]].strip():
                alone.add(token.start[0])
    body = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)).body
    found = {}
    for node in body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        lines = [number for number in range(node.lineno, (node.end_lineno or node.lineno) + 1) if number in comments]
        if not lines:
            first = node.lineno
            while first - 1 in alone:
                first -= 1
            lines = list(range(first, node.lineno))
        found[node.target.id] = " ".join(comments[number] for number in lines)
    return found


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return "???" if item.default is dataclasses.MISSING else item.default


def _type(hint: Any) -> str:
    words = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return " or ".join(words.get(option) or f"`{_written(option)}`" for option in options)


def _written(hint: Any) -> str:
    if isinstance(hint, str) or not isinstance(hint, type) or typing.get_args(hint):
        return str(hint).replace("typing.", "")
    return hint.__name__


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")
