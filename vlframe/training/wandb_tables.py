"""Tables of predictions for Weights & Biases, with media, from what ``predictions.jsonl`` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wandb import Table

    from vlframe.contracts.reader import ClipPath


TEXTS = ("id", "category", "question", "answers", "text", "parsed")
# The files that W&B can show, by column: others appear only by name.
SHOWN = {
    "video": ("mp4", "webm", "ogg", "gif"),
    "image": ("png", "jpg", "jpeg", "gif", "bmp", "webp"),
    "audio": ("wav", "mp3", "ogg", "flac", "m4a"),
}


def prediction_table(
    rows: Sequence[Mapping[str, Any]], media: Sequence[Sequence[tuple[str, ClipPath]]]
) -> tuple[Table, list[str]]:
    """Return a table, and a sentence for each file that cannot be shown. Every column has one type, however many rows
    there are: names of media are text, and each shown kind of media and each metric has its own column.

    ``rows`` are those of predictions.jsonl; ``media`` has kinds and files, for the rows at the beginning that are to
    show the first of each kind.
    """
    import wandb

    problems: list[str] = []
    shown = [_media(files, problems) for files in media]
    cells = [{**_row(row), **(shown[at] if at < len(shown) else {})} for at, row in enumerate(rows)]
    kinds = [kind for kind in SHOWN if any(kind in row for row in cells)]
    metrics = _metric_types(rows)
    columns = [*TEXTS[:2], "media", *kinds, *TEXTS[2:], *metrics]
    types: dict[str, type] = {**{kind: _media_types()[kind] for kind in kinds}, **metrics}
    table = wandb.Table(columns=[*columns], dtype=[types.get(name, str) for name in columns], optional=True)
    for row in cells:
        table.add_data(*(row.get(name) for name in columns))
    return table, problems


def can_show(kind: str, path: ClipPath) -> bool:
    """Return whether W&B plays or shows a file, by its name."""
    return path.suffix.lstrip(".").lower() in SHOWN.get(kind, ())


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cells of a row of predictions.jsonl by column, without media."""
    values = {**row, "answers": " | ".join(row["answers"])}
    cells = {name: None if values[name] is None else unicode_only(values[name]) for name in TEXTS}
    media = ", ".join(unicode_only(str(name)) for name in dict.fromkeys(map(str, row["media"])))
    return {**cells, "media": media, **_metrics(row)}


def _metrics(row: Mapping[str, Any]) -> dict[str, bool | float]:
    """Return an answer's own metrics, without numbers that are summed over answers."""
    return {name: value for name, value in row["scores"].items() if isinstance(value, int | float)}


def _metric_types(rows: Sequence[Mapping[str, Any]]) -> dict[str, type]:
    """Return the column type of each metric: bool, or float."""
    found: dict[str, type] = {}
    for row in rows:
        found |= {name: type(value) for name, value in _metrics(row).items()}
    return found


def _media(files: Sequence[tuple[str, ClipPath]], problems: list[str]) -> dict[str, Any]:
    """Return the first file of each kind, in W&B's form."""
    cells: dict[str, Any] = {}
    for kind, path in files:
        if kind in cells or not can_show(kind, path):
            continue
        try:
            cells[kind] = _media_types()[kind](str(path))
        except Exception as error:  # missing, damaged, or not of the format its name says: only its name is shown
            problems.append(f"{unicode_only(str(path))} is not shown in W&B: {unicode_only(str(error))}")
    return cells


def _media_types() -> dict[str, type]:
    import wandb

    return {"video": wandb.Video, "image": wandb.Image, "audio": wandb.Audio}


def unicode_only(text: str) -> str:
    r"""Return the text with invalid Unicode (half a surrogate pair) escaped, as ``\ud83d``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
