"""The main task, end to end: train on generated clips, evaluate, train the same model blind, ask about a clip.

make demo        or        .venv/bin/python experiments/quickstart/demo.py [--experiment quickstart_av]
"""

import argparse
import json
import sys
import time
from pathlib import Path

from page import write_page

from vlframe.cli import main as command_line
from vlframe.evaluation.scores import Evaluation, Scores
from vlframe.table import render

EXPERIMENTS = {
    # experiment: (media withheld from the control, the control's name, the topic of the final question)
    "quickstart": ("video", "blind", "direction"),
    "quickstart_av": ("audio", "deaf", "sound"),
}


def vlframe(*arguments: str) -> None:
    """Run the command as it would be typed; all of them in this process, so that torch is imported once."""
    print(f"\n$ vlframe {' '.join(arguments)}", flush=True)
    if code := command_line(arguments):
        sys.exit(code)


def newest(folder: Path) -> Path:
    return max((path for path in folder.iterdir() if (path / "scores.json").is_file()), key=lambda path: path.name)


def scores(run: Path) -> Scores:
    return Evaluation.from_tree(json.loads((run / "scores.json").read_text())).first


def comparison(ours: Scores, theirs: Scores, control: str) -> str:
    """Return a line for each category, and one for all."""
    lacking = dict(theirs.seeing.named())
    rows = [
        {
            "category": name or "all",
            "accuracy": f"{item.primary.value:.3f}",
            "95 %": f"{item.primary.low:.3f}-{item.primary.high:.3f}",
            f"trained {control}": f"{lacking[name].primary.value:.3f}",
            "chance": f"{item.chance:.3f}",
        }
        for name, item in ours.seeing.named()
    ]
    return render(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", choices=EXPERIMENTS, default="quickstart")
    parser.add_argument("overrides", nargs="*", help="more of Hydra's overrides, for both runs")
    arguments = parser.parse_args()
    withheld, control, category = EXPERIMENTS[arguments.experiment]
    started = time.perf_counter()

    train = ["train", f"experiment={arguments.experiment}", *arguments.overrides]
    vlframe(*train)
    seeing = newest(Path("runs") / arguments.experiment)
    without = ["evaluation.blind=false", f"name={arguments.experiment}_{control}"]
    vlframe(*train, f"media.withhold=[{withheld}]", *without)
    lacking = newest(Path("runs") / f"{arguments.experiment}_{control}")

    rows = map(json.loads, (seeing / "predictions.jsonl").read_text().splitlines())
    first = next(row for row in rows if row["category"] == category)
    files = list(dict.fromkeys(first["media"]))
    sound = ["sound=true"] if "<audio>" in first["question"] else []
    question = first["question"].splitlines()[-1]
    vlframe("predict", f"run={seeing}", f"media={files[0]}", f"prompt={question!r}", *sound)
    print(f"(the right answer is {first['answers'][0]})")

    table = comparison(scores(seeing), scores(lacking), control)
    print("\n" + table)
    print(f"clips beside answers, and both losses: {write_page(seeing, lacking, control, table, seeing / 'demo.html')}")
    print(f"{time.perf_counter() - started:.0f} s in all; the runs are {seeing} and {lacking}")


if __name__ == "__main__":
    main()
