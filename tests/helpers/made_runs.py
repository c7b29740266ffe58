"""Run folders as runs leave them, made up: with a config, scores and answers to questions."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlframe.config.typed import to_yaml
from vlframe.evaluation.scores import Cost, Estimate, Evaluation, Scores, Tallies, Tally
from vlframe.evaluation.statistics import wilson
from vlframe.runs.folder import RunFolder
from vlframe.runs.outcome import Outcome

QUESTIONS = 40
DONE = Outcome("done", "", 6, 6, 0)


def run(
    runs: Path,
    name: str,
    right: Sequence[float] | None,
    *,
    connector: str = "pool",
    seed: int = 1,
    outcome: Outcome | None = DONE,
    first: int = 0,
    per_clip: int = 1,
    metric: str = "accuracy",
    **more: Any,
) -> Path:
    """A folder with a config, and answers to questions from ``first`` on; ``right`` None: it was not scored."""
    folder = RunFolder(runs / name)
    folder.path.mkdir(parents=True)
    benchmark = more.pop("benchmark", {"name": "exact", "normalise": True, "dataset": {"path": "/a/q.json"}})
    texts = more.pop("texts", {})
    config = {
        "name": "made_up", "seed": seed, "runs": "runs", "encoder": {"name": "vit"}, "connector": {"name": connector},
        "choices": {"connector": connector, "reader": "auto"}, "benchmark": benchmark, "logger": {}, "words": [name],
        "trainer": {"precision": "32", "log_every": seed}, **more,
    }  # fmt: skip
    folder.config.write_text(to_yaml(config))
    if outcome:
        outcome.write(folder)
    folder.parameters.write_text(json.dumps({"a": {"connector": {"trained": 10}}, "b": {"llm": {"trained": 7}}}))
    if right is None:
        return folder.path
    interval = wilson(sum(map(bool, right)), len(right))
    estimate = Estimate(sum(right) / len(right), interval.low, interval.high, len(right))
    tally = Tally(len(right), len(right), 0, {metric: estimate})
    cost = Cost(16, {"encoder": 100, "connector": 20}, 1.0 + seed)
    blind = Tallies(Tally(len(right), len(right), 0, {metric: Estimate(4 / len(right))}))
    scores = Scores(Tallies(tally), 1.0, blind, {}, cost)
    folder.scores.write_text(json.dumps(Evaluation({"exact": scores, "more": scores}, "exact").tree()))
    rows = [
        {
            "id": f"q{number}", "question": texts.get(number, f"what {number}?"), "options": [], "answers": ["red"],
            "category": "", "text": "red", "parsed": "red", "benchmark": "exact",
            "scores": {metric: hit if isinstance(hit, float) else bool(hit)},
            "media": [f"/{name}/clip{number // per_clip}.mp4"],
        }
        for number, hit in enumerate(right, first)
    ]  # fmt: skip
    rows.append({**rows[-1], "benchmark": "more"})  # of another benchmark: not compared
    folder.predictions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder.path


def share(of: int, n: int = QUESTIONS) -> list[int]:
    return [1] * of + [0] * (n - of)
