"""A plugin with a callback and a logger, for tests."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import Logger

import vlframe


@dataclass
class CountingParams:
    every: int = 1
    file: str = "???"


class Counting(Callback):
    """Writes a line every so many optimizer steps. Its count goes with a checkpoint."""

    def __init__(self, *, every: int, file: str) -> None:
        if every < 1:
            raise vlframe.ConfigError(f"callbacks.counting.every is {every}; it must be at least 1")
        self.every, self.file, self.seen = every, Path(file), 0

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        self.seen += 1
        if trainer.global_step % self.every == 0:
            with open(self.file, "a") as lines:
                lines.write(f"{trainer.global_step} {self.seen}\n")

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = state_dict["seen"]


class Lines(Logger):
    """A line for each call, in the run's folder."""

    name = "lines"
    version = 0

    def __init__(self, *, save_dir: str) -> None:
        super().__init__()
        self.file = Path(save_dir) / "lines.txt"

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        with open(self.file, "a") as lines:
            lines.write(f"{step} {' '.join(sorted(metrics))}\n")

    def log_hyperparams(self, params: Any, *_: Any) -> None:
        self.file.write_text(f"config {params['name']}\n")


class Stray:
    """Nothing that Lightning could call."""


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("callback", "counting", "watching_steps:Counting", CountingParams, "counts steps")
    yield vlframe.Component("callback", "stray", "watching_steps:Stray", None, "is no callback")
    yield vlframe.Component("logger", "lines", "watching_steps:Lines", None, "writes lines")
