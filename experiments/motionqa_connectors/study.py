"""Connectors on MotionQA: the same encoder, language model, data and steps; only the connector differs.

    .venv/bin/python experiments/motionqa_connectors/study.py            # trains what is missing, then reports
    .venv/bin/python experiments/motionqa_connectors/study.py --report   # only reports on results.json

Runs are ordinary ``vlframe train`` commands, two at a time with one thread each. results.json holds the result of each
and the cost of a training step (CPU seconds, medians of interleaved steps); the table and figure are made from it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from vlframe.evaluation.scores import Evaluation, Scores
from vlframe.evaluation.statistics import over_seeds
from vlframe.table import markdown

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # experiments/
from study_page import write_between

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
CONNECTORS = {"stc": "stc_tiny", "qformer": "qformer_tiny", "pool": "pool_tiny", "mlp": "mlp"}
SEEDS = (1, 2, 3)
ROUNDS = 9  # timed steps per connector
CATEGORIES = ("direction", "order", "count", "colour", "shape")
MARKS = ("<!-- table -->", "<!-- end of table -->")


def command(connector: str, seed: int, more: list[str]) -> list[str]:
    return [
        "train", "experiment=quickstart", f"connector={CONNECTORS[connector]}", f"seed={seed}", "trainer.threads=1",
        "trainer.progress=false", "evaluation.blind=false", f"name=motionqa_connectors/{connector}-{seed}", *more,
    ]  # fmt: skip


def measure(connector: str, seed: int, more: list[str]) -> dict[str, Any]:
    """Train and evaluate one; return its results."""
    arguments = command(connector, seed, more)
    process = subprocess.run(
        [sys.executable, "-m", "vlframe", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    if process.returncode:
        raise RuntimeError(f"vlframe {' '.join(arguments)} failed:\n{process.stderr[-3000:]}")
    run = max((Path("runs") / "motionqa_connectors" / f"{connector}-{seed}").iterdir())
    scores = Evaluation.from_tree(json.loads((run / "scores.json").read_text())).first
    assert scores.cost is not None
    commit = json.loads((run / "versions.json").read_text())["git_commit"]
    print(
        f"{connector} {seed}: accuracy {scores.overall.primary.value:.3f}, {scores.cost.train_seconds:.0f} s",
        flush=True,
    )
    made_by = "vlframe " + " ".join(arguments)
    return {"connector": connector, "seed": seed, "command": made_by, "git_commit": commit, "scores": scores.tree()}


def step_costs() -> dict[str, float]:
    """Measure the CPU seconds of a training step on one batch, by connector."""
    import torch

    torch.set_num_threads(1)
    steps = {connector: training_step(preset) for connector, preset in CONNECTORS.items()}
    taken: dict[str, list[float]] = {connector: [] for connector in steps}
    for _ in range(1 + ROUNDS):
        for connector, step in steps.items():
            started = time.process_time()
            step()
            taken[connector].append(time.process_time() - started)
    return {connector: median(times[1:]) for connector, times in taken.items()}  # the first warms up


def training_step(preset: str) -> Callable[[], None]:
    """Run forward, backward and AdamW of the quickstart with this connector, on its first batch."""
    from vlframe.composer.compose import compose, open_registry
    from vlframe.data.collate import Collate
    from vlframe.data.order import SampleOrder
    from vlframe.inference.pipeline import build_pipeline
    from vlframe.training.optim import make_optimizer
    from vlframe.training.trainable import prepare_parts, set_modes

    registry = open_registry()
    config = compose("train", ["experiment=quickstart", f"connector={preset}"], registry)
    pipeline, stage = build_pipeline(config, registry), config.stages["main"]
    rows = pipeline.prepared(registry.build("dataset", config.dataset), answers=True)
    order = SampleOrder(len(rows), config.seed, rows.samples.subsets)
    batch = Collate()([rows[index] for index in order.take(0, stage.batch_size)])
    prepare_parts(pipeline.model, stage)
    set_modes(pipeline.model)
    optimizer = make_optimizer(pipeline.model, stage)

    def step() -> None:
        optimizer.zero_grad()
        pipeline.model(batch).total.backward()
        optimizer.step()

    return step


def report(results: dict[str, Any]) -> str:
    """Return one line per connector: means over seeds with 95 % t-intervals."""
    lines = []
    for connector in CONNECTORS:
        mine = [row for row in results["runs"] if row["connector"] == connector]
        if not mine:
            continue
        line: dict[str, Any] = {"connector": f"`{connector}`", "seeds": len(mine)}
        scores = [Scores.from_tree(row["scores"]) for row in mine]
        line["all"] = _interval([item.overall.primary.value for item in scores])
        for category in CATEGORIES:
            line[category] = _interval([item.categories[category].primary.value for item in scores])
        cost = scores[0].cost
        assert cost is not None
        line["tokens a clip"] = cost.tokens_per_clip
        line["connector parameters"] = f"{cost.parameters['connector']:,}"
        line["CPU seconds a step"] = f"{results['step_costs'][connector]:.3f}" if results["step_costs"] else ""
        lines.append(line)
    return markdown(lines)


def _interval(values: list[float]) -> str:
    interval = over_seeds(values)
    if len(values) < 2:
        return f"{interval.value:.3f}"
    return f"{interval.value:.3f} ± {interval.high - interval.value:.3f}"


def figure(runs: list[dict[str, Any]]) -> None:
    """Plot the accuracy by category, a dot for each seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for number, connector in enumerate(CONNECTORS):
        mine = [Scores.from_tree(row["scores"]) for row in runs if row["connector"] == connector]
        for place, category in enumerate(CATEGORIES):
            values = [item.categories[category].primary.value for item in mine]
            if not values:
                continue
            at = place + (number - 1.5) * 0.2
            label = connector if place == 0 else None
            axes.bar(at, sum(values) / len(values), width=0.18, color=f"C{number}", alpha=0.55, label=label)
            axes.scatter([at] * len(values), values, color=f"C{number}", s=12, zorder=3)
    axes.axhline(0.25, color="black", linewidth=0.8, linestyle="--")
    axes.text(len(CATEGORIES) - 0.45, 0.26, "chance", fontsize=8)
    axes.set_xticks(range(len(CATEGORIES)), CATEGORIES)
    axes.set_ylabel("validation accuracy")
    axes.set_ylim(0, 1.05)
    axes.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    figure.savefig(HERE / "accuracy.png", dpi=150)


def write_page(results: dict[str, Any]) -> None:
    commits = ", ".join(dict.fromkeys(row["git_commit"] for row in results["runs"]))
    made = (
        f"{report(results)}\n\nMade on {results['date']} by `{results['made_by']}` on {results['machine']}; "
        f"torch {results['torch']}, commit {commits}."
    )
    write_between(HERE / "README.md", f"{made}\n\n![accuracy by category](accuracy.png)", MARKS)


def about(overrides: list[str], jobs: int) -> dict[str, str]:
    return {
        "date": str(date.today()),
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), one thread a run, {jobs} at a time",
        "torch": version("torch"),
        "made_by": " ".join(["python", "experiments/motionqa_connectors/study.py", *overrides]),
    }


def train_missing(results: dict[str, Any], jobs: int, overrides: list[str]) -> None:
    """Train the runs missing from the results, saving the results after every run."""
    done = {(row["connector"], row["seed"]) for row in results["runs"]}
    wanted = [(connector, seed) for seed in SEEDS for connector in CONNECTORS if (connector, seed) not in done]
    results |= about(overrides, jobs)
    with ThreadPoolExecutor(jobs) as pool:
        for row in pool.map(lambda pair: measure(*pair, overrides), wanted):
            results["runs"].append(row)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("overrides", nargs="*", help="more of Hydra's overrides, for every run")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"runs": [], "step_costs": {}}
    if RESULTS.is_file():
        results = json.loads(RESULTS.read_text())
    if not arguments.report:
        train_missing(results, arguments.jobs, arguments.overrides)
        results["step_costs"] = step_costs()
    results["runs"].sort(key=lambda row: (list(CONNECTORS).index(row["connector"]), row["seed"]))
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    figure(results["runs"])
    write_page(results)
    print(report(results))


if __name__ == "__main__":
    main()
