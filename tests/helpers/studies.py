"""Small studies: their file, and a training that takes no time, in place of the real one."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from helpers.runs import manifest, training

from vlframe.config.schema import RunConfig
from vlframe.config.typed import to_yaml
from vlframe.evaluation.scores import Cost, Estimate, Evaluation, Scores, Tallies, Tally
from vlframe.registry.registry import Registry
from vlframe.runs.folder import RunFolder
from vlframe.runs.outcome import Outcome

CONNECTORS = {"stc": "connector=stc_tiny", "pool": "connector=pool_tiny"}


def study_file(folder: Path, axes: Mapping[str, Any] | None = None, base: tuple[str, ...] = (), **more: Any) -> Path:
    """A study of two connectors on a manifest of words, which is its benchmark, too."""
    words = manifest(folder)
    values = {
        "base": [
            *training(words), "benchmark=exact_match_file", f"benchmark.dataset.path={words}",
            "trainer.accelerator=cpu", *base,
        ],
        "axes": {"connector": CONNECTORS} if axes is None else axes,
        "seeds": [0],
        **more,
    }  # fmt: skip
    file = folder / "study.yaml"
    file.write_text(to_yaml(values))
    return file


def pretended(happens: Callable[[RunConfig, int], float | None] | None = None) -> Callable[..., RunFolder]:
    """A ``train`` that leaves a run folder as a run does. ``happens`` gets the config and how often it was called, and
    gives the share of right answers, raises what is to go wrong, or gives None for a run that stops early."""
    calls = []

    def train(config: RunConfig, registry: Registry) -> RunFolder:
        calls.append(config)
        folder = RunFolder(Path(config.resume)) if config.resume else RunFolder.create(config, registry)
        Outcome("running", "", 0, 6).write(folder)
        share = happens(config, len(calls)) if happens else 0.5
        if share is None:
            Outcome("stopped", "trainer.max_time is over", 3, 6, None).write(folder)
            return folder
        _score(folder, share)
        Outcome("done", "", 6, 6, 0).write(folder)
        return folder

    return train


def _score(folder: RunFolder, share: float, questions: int = 40) -> None:
    right = 0 if math.isnan(share) else round(share * questions)
    tally = Tally(questions, questions, 0, {"accuracy": Estimate(share, 0.0, 1.0, questions)})
    scores = Scores(Tallies(tally), 1.0, None, {}, Cost(16, {"encoder": 100}, 2.0))
    folder.scores.write_text(json.dumps(Evaluation({"exact": scores}, "exact").tree()))
    rows = [
        {"benchmark": "exact", "id": f"q{number}", "group": f"clip{number}", "question": f"{number}?", "options": [],
         "answers": ["red"], "category": "", "text": "red", "parsed": "red", "scores": {"accuracy": number < right},
         "media": []}
        for number in range(questions)
    ]  # fmt: skip
    folder.predictions.write_text("".join(json.dumps(row) + "\n" for row in rows))
