"""Predictions with their media, as a table on a W&B page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlframe.evaluation.evaluate import Prediction

COLUMNS = ["id", "category", "media", "question", "answer", "text", "parsed", "correct"]


def log_predictions(loggers: Sequence[Any], predictions: Sequence[Prediction], with_media: int) -> None:
    """To every logger that is W&B's. The first ``with_media`` rows carry their first file, the others its name."""
    for logger in loggers:
        if type(logger).__name__ == "WandbLogger":
            import wandb

            table = wandb.Table(columns=COLUMNS)
            for number, prediction in enumerate(predictions):
                table.add_data(*_row(prediction, number < with_media))
            logger.experiment.log({"predictions": table})


def _row(prediction: Prediction, with_media: bool) -> list[Any]:
    row = prediction.row()
    media = prediction.sample.media
    shown: Any = row["media"][0] if media else ""
    if media and with_media:
        shown = _shown(media[0].kind, media[0].path)
    return [
        row["id"],
        row["category"],
        shown,
        row["question"],
        row["answer"],
        row["text"],
        row["parsed"],
        row["correct"],
    ]


def _shown(kind: str, path: Path) -> Any:
    import wandb

    if kind == "image":
        return wandb.Image(str(path))
    if kind == "audio":
        return wandb.Audio(str(path))
    return wandb.Video(str(path), format=path.suffix.lstrip(".") or "mp4")
