"""``vlframe list``: list the installed components."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlframe.registry.registry import Registry

USAGE = (("list [kind] [--json]", "the components that are installed, and who offers them"),)


def main(words: list[str]) -> int:
    from vlframe.commands.of_plugins import opened

    names = [word for word in words if not word.startswith("-") and "=" not in word]
    flags = [word for word in words if word.startswith("-")]
    overrides = [word for word in words if "=" in word]
    if "--help" in flags or "-h" in flags:
        print("vlframe list [kind] [--json] [plugins.paths=[file.py]] [plugins.strict=true]")
        return 0
    unknown = [flag for flag in flags if flag != "--json"]
    if unknown or len(names) > 1:
        print(f"vlframe list: takes one kind and --json, not {' '.join([*unknown, *names[1:]])}", file=sys.stderr)
        return 2
    registry, strange = opened([word.removeprefix("+") for word in overrides])
    if strange:
        print(f"vlframe list: it has no key {strange[0].partition('=')[0]!r}; it takes plugins.paths", file=sys.stderr)
        return 2
    kind = names[0] if names else None
    print(json.dumps(listing_rows(registry, kind), indent=1) if "--json" in flags else listing(registry, kind))
    return 0


def listing_rows(registry: Registry, kind: str | None = None) -> list[dict[str, str]]:
    """Return one row per component, then one per plugin that did not load."""
    rows = [
        {
            "kind": row.component.kind,
            "name": row.component.name,
            "distribution": row.plugin.distribution,
            "version": row.plugin.version,
            "plugin": row.plugin.name,
            "state": "ok",
            "summary": row.component.summary,
        }
        for row in registry.rows(kind)
    ]
    return rows + [
        {
            "kind": "plugin",
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "plugin": plugin.name,
            "state": "broken",
            "summary": plugin.reason,
        }
        for plugin in registry.broken
    ]


def listing(registry: Registry, kind: str | None = None) -> str:
    """Return the rows as an aligned table."""
    columns = ("kind", "name", "distribution", "version", "state", "summary")
    rows = [columns, *(tuple(row[column] for column in columns) for row in listing_rows(registry, kind))]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)
