"""Connectors on MotionQA: the same encoder, language model, data and steps; only the connector is another.

    .venv/bin/python experiments/motionqa_connectors/study.py            # trains what is missing, then reports
    .venv/bin/python experiments/motionqa_connectors/study.py --report   # reports on results.json alone

Runs are ordinary ``vlframe train`` commands, two at a time with one thread each. results.json holds what each gave;
the table and the figure are made from it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vlframe.evaluation.statistics import over_seeds
from vlframe.table import markdown

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
CONNECTORS = {"stc": "stc_tiny", "qformer": "qformer_tiny", "pool": "pool_tiny", "mlp": "mlp"}
SEEDS = (1, 2, 3)
CATEGORIES = ("direction", "order", "count", "colour", "shape")
START, END = "<!-- table -->", "<!-- end of table -->"


def command(connector: str, seed: int, more: list[str]) -> list[str]:
    return [
        "train", "experiment=quickstart", f"connector={CONNECTORS[connector]}", f"seed={seed}", "trainer.threads=1",
        "trainer.progress=false", "evaluation.blind=false", f"name=motionqa_connectors/{connector}-{seed}", *more,
    ]  # fmt: skip


def measure(connector: str, seed: int, more: list[str]) -> dict[str, Any]:
    """Train and evaluate one; what it gave."""
    arguments = command(connector, seed, more)
    process = subprocess.run(
        [sys.executable, "-m", "vlframe", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    if process.returncode:
        raise RuntimeError(f"vlframe {' '.join(arguments)} failed:\n{process.stderr[-3000:]}")
    run = max((Path("runs") / "motionqa_connectors" / f"{connector}-{seed}").iterdir())
    metrics = json.loads((run / "metrics.json").read_text())
    commit = json.loads((run / "versions.json").read_text())["git_commit"]
    print(f"{connector} {seed}: accuracy {metrics['accuracy']:.3f}, {metrics['train_seconds']:.0f} s", flush=True)
    made_by = "vlframe " + " ".join(arguments)
    return {"connector": connector, "seed": seed, "command": made_by, "git_commit": commit, "metrics": metrics}


def report(results: list[dict[str, Any]]) -> str:
    """One line a connector: means over seeds with 95 % t-intervals."""
    lines = []
    for connector in CONNECTORS:
        mine = [row for row in results if row["connector"] == connector]
        if not mine:
            continue
        line: dict[str, Any] = {"connector": f"`{connector}`", "seeds": len(mine)}
        for category in ("", *CATEGORIES):
            key = f"accuracy/{category}" if category else "accuracy"
            line[category or "all"] = _interval([row["metrics"][key] for row in mine])
        line["tokens a clip"] = mine[0]["metrics"]["tokens_per_clip"]
        line["connector parameters"] = f"{mine[0]['metrics']['parameters/connector']:,}"
        line["seconds"] = f"{over_seeds([row['metrics']['train_seconds'] for row in mine]).value:.0f}"
        lines.append(line)
    return markdown(lines)


def _interval(values: list[float]) -> str:
    interval = over_seeds(values)
    if len(values) < 2:
        return f"{interval.value:.3f}"
    return f"{interval.value:.3f} ± {interval.high - interval.value:.3f}"


def figure(results: list[dict[str, Any]]) -> None:
    """Accuracy by category, a dot for each seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for number, connector in enumerate(CONNECTORS):
        mine = [row for row in results if row["connector"] == connector]
        for place, category in enumerate(CATEGORIES):
            values = [row["metrics"][f"accuracy/{category}"] for row in mine]
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


def write_page(results: list[dict[str, Any]]) -> None:
    page = HERE / "README.md"
    text = page.read_text()
    made = (
        f"{report(results)}\n\nMade on {results[0]['date']} by `{results[0]['made_by']}` on {results[0]['machine']}; "
        f"torch {results[0]['torch']}, commit {results[0]['git_commit']}."
    )
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{START}\n{made}\n\n![accuracy by category](accuracy.png)\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("overrides", nargs="*", help="more of Hydra's overrides, for every run")
    arguments = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    if not arguments.report:
        done = {(row["connector"], row["seed"]) for row in results}
        wanted = [(connector, seed) for seed in SEEDS for connector in CONNECTORS if (connector, seed) not in done]
        cores = f"{os.cpu_count()} CPU cores ({platform.machine()})"
        about = {
            "date": str(date.today()),
            "machine": f"{cores}, one thread a run, {arguments.jobs} runs at a time",
            "torch": version("torch"),
            "made_by": " ".join(["python", "experiments/motionqa_connectors/study.py", *arguments.overrides]),
        }
        with ThreadPoolExecutor(arguments.jobs) as pool:
            for row in pool.map(lambda pair: measure(*pair, arguments.overrides), wanted):
                results.append({**row, **about})
                RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    results.sort(key=lambda row: (list(CONNECTORS).index(row["connector"]), row["seed"]))
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    figure(results)
    write_page(results)
    print(report(results))


if __name__ == "__main__":
    main()
