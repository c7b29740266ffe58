"""``vlframe predict``: ask a trained model one question about some files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlframe.config.schema import PredictConfig
    from vlframe.registry.registry import Registry

USAGE = (
    ('predict run=runs/quickstart/<id> media=clip.mp4 prompt="Which way does it move?"', "ask a run"),
    ("predict run=… media=… prompt=… --show-timeline", "and print which frames it is shown, and their tokens"),
)


def main(words: list[str]) -> int:
    from vlframe.composer.command_line import parse
    from vlframe.composer.jobs import run_jobs

    words = ["show_timeline=true" if word == "--show-timeline" else word for word in words]
    run_jobs("predict", "vlframe.commands.predict:show", parse("predict", words))
    return 0


def show(config: PredictConfig, registry: Registry) -> str:
    text = predict(config, registry)
    print(text)
    return text


def predict(config: PredictConfig, registry: Registry) -> str:
    """Return the model's answer. What the model is shown is printed first."""
    from vlframe.inference.described import notes, timeline_table
    from vlframe.inference.generate import answer_prepared, prepared, question
    from vlframe.inference.pipeline import load_run, named_device
    from vlframe.runs.folder import RunFolder
    from vlframe.runs.places import absolute_paths

    device = None if config.device is None else named_device(config.device)
    RunFolder.open(config.run)
    paths = [config.media] if isinstance(config.media, str) else list(config.media or [])
    sample = question(paths, config.prompt, sound=config.sound)  # before minutes go into weights
    pipeline, _ = load_run(config.run, registry, absolute_paths({"moved": config.moved}), config.checkpoint)
    pipeline.device = device
    sampling: dict[str, Any] = {"max_new_tokens": config.max_new_tokens}
    if config.temperature > 0:
        sampling |= {"do_sample": True, "temperature": config.temperature}
    (row,) = prepared(pipeline, [sample])
    if config.show_timeline:
        print(timeline_table(sample, row, pipeline.budget), end="\n\n", flush=True)
    else:
        for note in notes(row):
            print(note, file=sys.stderr, flush=True)
    return answer_prepared(pipeline, [row], **sampling)[0]
