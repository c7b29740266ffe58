"""The main job, end to end: train on generated clips, evaluate, train the same model blind, ask about a clip.

make demo        or        .venv/bin/python experiments/quickstart/demo.py [--experiment quickstart_av]
"""

import argparse
import json
import sys
import time
from pathlib import Path

from vlframe.cli import main as command_line

EXPERIMENTS = {
    # experiment: (what the control is not given, the name of that control, what the answer at the end is about)
    "quickstart": ("video", "blind", "direction"),
    "quickstart_av": ("audio", "deaf", "sound"),
}


def vlframe(*arguments: str) -> None:
    """The command as it would be typed; all of them in this process, so that torch is imported once."""
    print(f"\n$ vlframe {' '.join(arguments)}", flush=True)
    if code := command_line(arguments):
        sys.exit(code)


def newest(folder: Path) -> Path:
    return max((path for path in folder.iterdir() if (path / "metrics.json").is_file()), key=lambda path: path.name)


def scores(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.json").read_text())


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
    print(f"(the right answer is {first['answer']})")

    print(f"\n{'category':12} {'accuracy':>8} {control:>8} {'chance':>8}")
    ours, theirs = scores(seeing), scores(lacking)
    for key in [key for key in ours if key == "accuracy" or key.startswith("accuracy/")]:
        name = key.removeprefix("accuracy").removeprefix("/") or "all"
        chance = ours["chance" + key.removeprefix("accuracy")]
        print(f"{name:12} {ours[key]:8.3f} {theirs[key]:8.3f} {chance:8.3f}")
    print(f"{time.perf_counter() - started:.0f} s in all; the runs are {seeing} and {lacking}")


if __name__ == "__main__":
    main()
