"""What ``vlframe list`` shows."""

from vlframe.registry import Registry


def listing_rows(registry: Registry, kind: str | None = None) -> list[dict[str, str]]:
    """One row for each component, then one for each plugin that did not load."""
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
    """The rows as an aligned table."""
    columns = ("kind", "name", "distribution", "version", "state", "summary")
    rows = [columns, *(tuple(row[column] for column in columns) for row in listing_rows(registry, kind))]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)
