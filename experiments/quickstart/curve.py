"""Learning curve: the accuracy in each category while the quickstart trains, in one process.

.venv/bin/python experiments/quickstart/curve.py [--every 120] [overrides of Hydra]

Steps are those of ``vlframe train`` on one CPU thread (same order, optimizer, schedule and clipping). An answer is
right if each of its tokens is the most likely one given those before it.
"""

import argparse
import time
from collections import Counter

import torch
from torch import nn

from vlframe.composer.compose import compose, open_registry
from vlframe.contracts.batch import Batch
from vlframe.data.collate import Collate
from vlframe.data.order import SampleOrder
from vlframe.data.prepare import PreparedSamples
from vlframe.inference.pipeline import build_pipeline
from vlframe.model.video_llm import VideoLLM, place
from vlframe.runs.init import begin, with_init_parts
from vlframe.training.optim import gradient_parameters, make_optimizer, warmup_cosine
from vlframe.training.trainable import prepare_parts, set_modes

ASKED_AT_ONCE = 50


def batches(rows: PreparedSamples) -> list[Batch]:
    starts = range(0, len(rows), ASKED_AT_ONCE)
    return [Collate()([rows[index] for index in range(len(rows))[start : start + ASKED_AT_ONCE]]) for start in starts]


@torch.no_grad()
def accuracies(model: VideoLLM, questions: list[Batch]) -> dict[str, float]:
    """Count by category, the last part of a sample's id."""
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    model.eval()
    for batch in questions:
        media_NE = model.connect(model.encode(batch.files), batch.uses)
        embeds_BSE = place(model.llm.embed(batch.ids_BS), media_NE, batch.slots_N)
        hidden_LE = model.llm(embeds_BSE, batch.layout).flatten(0, 1)[batch.taught_L]
        wrong_L = model.llm.logits(hidden_LE).argmax(-1) != batch.targets_L
        wrong_rows = set((batch.taught_L[wrong_L] // batch.ids_BS.shape[1]).tolist())
        for number, sample in enumerate(batch.samples):
            category = sample.rsplit("/", 1)[1]
            asked[category] += 1
            right[category] += number not in wrong_rows
    set_modes(model)
    return {category: right[category] / asked[category] for category in asked}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=120, help="steps between two lines")
    parser.add_argument("overrides", nargs="*", help="Hydra's overrides")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    registry = open_registry()
    config = with_init_parts(compose("train", ["experiment=quickstart", *arguments.overrides], registry))
    pipeline = build_pipeline(config, registry)
    model = pipeline.model
    begin(model, config)
    questions = batches(pipeline.prepared(registry.build("dataset", config.benchmark["dataset"]), answers=True))
    for name, stage in config.stages.items():
        rows = pipeline.prepared(registry.build("dataset", stage.data or config.dataset), answers=True)
        order = SampleOrder(len(rows), config.seed, rows.samples.subsets)
        prepare_parts(model, stage)
        set_modes(model)
        optimizer = make_optimizer(model, stage)
        factor = warmup_cosine(stage.steps, stage.warmup_ratio, stage.final_lr_ratio)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        seconds = 0.0
        for step in range(1, stage.steps + 1):
            started = time.process_time()
            drawn = order.take((step - 1) * stage.batch_size, step * stage.batch_size)
            loss = model(Collate()([rows[index] for index in drawn]))
            (loss.total / loss.tokens).backward()
            nn.utils.clip_grad_norm_(gradient_parameters(optimizer), stage.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            seconds += time.process_time() - started
            if step % arguments.every == 0 or step == stage.steps:
                found = "  ".join(f"{category} {value:.3f}" for category, value in accuracies(model, questions).items())
                mean = float(loss.total.detach()) / loss.tokens
                print(f"{name} {step}  loss {mean:.4f}  {seconds:.0f} CPU s  {found}", flush=True)


if __name__ == "__main__":
    main()
