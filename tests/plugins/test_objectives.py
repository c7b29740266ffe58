"""Objectives: the default one, and BLIP-2's alignment beside its formulas; what is refused; ranks; runs without a
language model.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from vlframe_objectives import alignment
from vlframe_objectives.alignment import Alignment, hard_negatives

from vlframe import Batch, ConfigError, DataError, Media, Sample, Turn
from vlframe.composer.compose import compose
from vlframe.data.collate import Collate
from vlframe.inference.pipeline import build_pipeline, load_run
from vlframe.model.assemble import compose_on_meta
from vlframe.runs.folder import RunFolder
from vlframe.training.run import train

SETTINGS: dict[str, Any] = {
    "contrastive": 1.0, "matching": 1.0, "captioning": 1.0, "similarity": "max", "contrastive_smoothing": 0.1,
    "captioning_smoothing": 0.1, "negatives": "all_ranks", "temperature_bounds": None,
}  # fmt: skip
PARTS = ["encoder=vit_tiny", "connector=qformer_instruct_blip2_tiny", "dataset=motionqa_few", "media.frames=2"]
STAGE = [
    "+stage@stages.main=align", "stages.main.steps=2", "stages.main.batch_size=4", "objective=blip2_alignment",
    "trainer.accelerator=cpu", "trainer.progress=false",
]  # fmt: skip


def batch_of(pipeline: Any, objective: Any, samples: int = 4) -> Batch:
    data = pipeline.registry.build("dataset", pipeline.config.dataset)
    prepared = pipeline.prepared(data, answers=True, objective=objective)
    return Collate()([prepared[number] for number in range(samples)])


@pytest.fixture(scope="module")
def pipeline(registry: Any) -> Any:
    built = build_pipeline(compose("train", [*PARTS, *STAGE], registry), registry)
    built.model.eval()
    return built


def test_the_default_is_the_cross_entropy_of_the_model(registry: Any) -> None:
    config = compose("train", ["dataset=motionqa_few", "media.frames=2"], registry)
    assert config.objective["name"] == "language_modelling"
    plain = build_pipeline(config, registry)
    objective = registry.build("objective", config.objective)
    batch = batch_of(plain, objective)
    ours, model = objective.loss(plain.model, batch), plain.model(batch)
    assert torch.equal(ours.total, model.total) and ours.tokens == model.tokens == batch.supervised


# --- the three losses, by the formulas of the paper ---


def smoothed(logits: list[float], right: int, smoothing: float) -> float:
    """- sum over classes of q log p, where q is 1 - s for the right one, and s / n for each besides."""
    log_sum = math.log(sum(math.exp(value) for value in logits))
    share = [smoothing / len(logits) + (1 - smoothing) * (number == right) for number in range(len(logits))]
    return -sum(q * (value - log_sum) for q, value in zip(share, logits, strict=True))


@pytest.mark.parametrize(("similarity", "smoothing"), [("max", 0.1), ("mean", 0.0)])
def test_contrast(pipeline: Any, similarity: str, smoothing: float) -> None:
    only = {"matching": 0.0, "captioning": 0.0, "similarity": similarity, "contrastive_smoothing": smoothing}
    objective = Alignment(**SETTINGS | only)
    batch = batch_of(pipeline, objective)
    found = objective.loss(pipeline.model, batch)
    connector = pipeline.model.branches["video"].connector
    features = pipeline.model.encode(batch.files)
    keys_BKD = torch.stack([features[use.file].values_K.flatten(0, 3) for use in batch.uses])
    media_BQP = connector.look(keys_BKD, torch.ones(keys_BKD.shape[:2], dtype=torch.bool))[0]
    text_BP = connector.read(batch.ids_BS)
    over = max if similarity == "max" else (lambda values: sum(values) / len(values))
    similar = [
        [over([float(query @ text) / 0.07 for query in media]) for text in text_BP] for media in media_BQP
    ]  # by medium, then caption
    losses = [smoothed(similar[number], number, smoothing) for number in range(4)]
    losses += [smoothed([row[number] for row in similar], number, smoothing) for number in range(4)]
    assert float(found.total) == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert found.tokens == 4 and set(found.terms) == {"contrastive"}


def test_matching(pipeline: Any) -> None:
    objective = Alignment(**SETTINGS | {"contrastive": 0.0, "captioning": 0.0, "matching": 2.0})
    batch = batch_of(pipeline, objective)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    connector = pipeline.model.branches["video"].connector
    match = connector.match

    def watched(keys_XKD: Tensor, seen_XK: Tensor, ids_XI: Tensor) -> Tensor:
        seen.append((keys_XKD, ids_XI, match(keys_XKD, seen_XK, ids_XI)))
        return seen[-1][2]

    connector.match = watched
    try:
        found = objective.loss(pipeline.model, batch)
    finally:
        del connector.match
    ((keys_XKD, ids_XI, logits_X2),) = seen
    by_hand = [smoothed(logits_X2[number].tolist(), int(number < 4), 0.0) for number in range(12)]
    assert float(found.total) == pytest.approx(2 * 4 * sum(by_hand) / 12, rel=1e-5)
    assert all(torch.equal(ids_XI[part], batch.ids_BS) for part in (slice(4), slice(4, 8)))
    assert torch.equal(keys_XKD[:4], keys_XKD[8:])
    assert not any(torch.equal(keys_XKD[4 + number], keys_XKD[number]) for number in range(4))


def test_captioning(pipeline: Any) -> None:
    objective = Alignment(**SETTINGS | {"contrastive": 0.0, "matching": 0.0})
    batch = batch_of(pipeline, objective)
    found = objective.loss(pipeline.model, batch)
    connector = pipeline.model.branches["video"].connector
    features = pipeline.model.encode(batch.files)
    losses = []
    for row, use in enumerate(batch.uses):
        length = batch.lengths[row]
        ids_1I = batch.ids_BS[row : row + 1, :length].clone()
        ids_1I[:, 0] = connector.captions.beginning
        keys_1KD = connector.keys(features[use.file].values_K)
        for end in range(1, length):  # word by word: what comes later must not matter
            seen_1K = torch.ones(keys_1KD.shape[:2], dtype=torch.bool)
            logits_V = connector.look(keys_1KD, seen_1K, ids_1I[:, :end])[1][0, -1]
            losses.append(smoothed(logits_V.tolist(), int(ids_1I[0, end]), 0.1))
    assert float(found.total) == pytest.approx(4 * sum(losses) / len(losses), rel=1e-4)


def test_hard_negatives_are_others_and_likely_the_similar_ones() -> None:
    torch.manual_seed(0)
    similar_BA = torch.randn(3, 7)
    similar_BA[:, 4] = 9.0
    drawn = [hard_negatives(similar_BA, 2) for _ in range(50)]
    assert all(int(row[number]) != 2 + number for row in drawn for number in range(3))
    assert sum(int(row[0]) == 4 for row in drawn) > 40 and sum(int(row[2]) == 4 for row in drawn) == 0
    torch.manual_seed(5)
    first = hard_negatives(similar_BA, 2)
    torch.manual_seed(5)
    assert torch.equal(first, hard_negatives(similar_BA, 2))


def test_one_sample_alone_has_no_negative(pipeline: Any) -> None:
    objective = Alignment(**SETTINGS)
    terms = objective.loss(pipeline.model, batch_of(pipeline, objective, 1)).terms
    assert float(terms["matching"]) == 0 and float(terms["captioning"]) > 0


def test_clips_and_images_stand_in_one_batch(pipeline: Any) -> None:
    """Shorter media have fewer keys: what fills them up is not seen."""
    objective = Alignment(**SETTINGS | {"matching": 0.0})
    clips = batch_of(pipeline, objective)
    short = replace(clips.files[0], tensor=clips.files[0].tensor[:1], key="short")
    both = replace(
        clips, files=(*clips.files, short), uses=(replace(clips.uses[0], file=len(clips.files)), *clips.uses[1:])
    )
    pairs = objective._pairs(pipeline.model, both)
    connector = pipeline.model.branches["video"].connector
    alone = connector.keys(pipeline.model.encode([short])[0].values_K)
    ours = connector.look(pairs.keys_BKD, pairs.seen_BK)[0][:1]
    theirs = connector.look(alone, torch.ones(alone.shape[:2], dtype=torch.bool))[0]
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    assert pairs.seen_BK.sum(1).tolist() == [alone.shape[1], *[2 * alone.shape[1]] * 3]


def test_the_temperature_stays_within_bounds(pipeline: Any) -> None:
    connector = pipeline.model.branches["video"].connector
    objective = Alignment(**SETTINGS | {"temperature_bounds": [0.1, 0.5]})
    batch = batch_of(pipeline, objective)
    with torch.no_grad():
        objective.loss(pipeline.model, batch)
    assert float(connector.temperature) == pytest.approx(0.07)  # it is moved in training only
    objective.loss(pipeline.model, batch)
    assert float(connector.temperature) == pytest.approx(0.1)
    with torch.no_grad():
        connector.temperature.fill_(0.07)


# --- what is refused ---


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["connector=stc_tiny"], "objective 'blip2_alignment' of stage 'main' needs heads .* connector 'stc' has none; "
         "qformer_instruct can have them"),
        (["connector=qformer_instruct_tiny"], "'qformer_instruct' was built without them; qformer_instruct can"),
        (["stages.main.llm.train=full"], "stages.main.llm.train is full, and the objective .* never runs the language"),
        (["benchmark=exact_match_file"], "1 benchmark.*no language model to ask"),
        (["trainer.strategy=fsdp"], "no stage of this run uses it; say trainer.strategy=ddp"),
        (["objective.similarity=min"], "objective.similarity is 'min'; it can be max, mean"),
        (["objective.captioning_smoothing=1"], "captioning_smoothing is 1.0; it is at least 0 and below 1"),
        (["objective.matching=-1"], "they are at least 0"),
        (["objective.temperature_bounds=[1,0.1]"], "two numbers above 0, the smaller first"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_trained(registry: Any, words: list[str], message: str) -> None:
    config = compose("train", [*PARTS, *STAGE, *words], registry)
    with pytest.raises(ConfigError, match=message):
        compose_on_meta(config, registry)


def test_a_sample_without_caption_is_named(pipeline: Any) -> None:
    turns = (Turn("user", "Hello?"), Turn("assistant", "Yes."))
    with pytest.raises(
        DataError, match=r"sample 'x' has no media and 1 answers; .* one video or image and one caption"
    ):
        Alignment(**SETTINGS).write(Sample("x", turns, (), ""), pipeline.budget)
    two = (*turns, *turns)
    with pytest.raises(DataError, match="has image and 2 answers"):
        Alignment(**SETTINGS).write(Sample("x", two, (Media("image", Path("a.png")),), ""), pipeline.budget)


# --- runs ---


def rows(run: RunFolder) -> list[dict[str, str]]:
    with open(run.metrics_csv, newline="") as file:
        return list(csv.DictReader(file))


def test_no_language_model_is_loaded(registry: Any, tmp_path: Path) -> None:
    """Not even one whose weights are nowhere. Each loss is logged, and the next run begins with the connector."""
    words = [*PARTS, "+stage@stages.first=align", "stages.first.steps=2", "stages.first.batch_size=4", *STAGE[-2:]]
    runs = [f"runs={tmp_path}", "trainer.log_every=1"]
    first = [*words, *runs, "llm.source=/no/such/weights", "stages.first.connector.frozen=[projection]"]
    config = compose("train", [*first, "stages.first.objective=blip2_alignment"], registry)
    run = train(config, registry)
    assert not list(run.path.glob("checkpoints/*/llm.safetensors"))
    (row, *_) = rows(run)
    terms = [float(row[f"train/loss/{name}"]) for name in ("contrastive", "matching", "captioning")]
    assert float(row["train/loss"]) == pytest.approx(sum(terms), rel=1e-6) and "train/loss/cross_entropy" not in row
    with pytest.raises(ConfigError, match=r"was trained without its language model, .* init\.run="):
        load_run(str(run.path), registry)
    after = train(compose("train", [*words, *runs, f"init.run={run.path}"], registry), registry)
    assert list(after.path.glob("checkpoints/*/llm.safetensors"))


def likeliest(similar_BA: Tensor, first: int) -> Tensor:
    """In place of ``hard_negatives``, which draws."""
    other_BA = similar_BA.detach().clone()
    other_BA[:, first : first + len(other_BA)].fill_diagonal_(-torch.inf)
    return other_BA.argmax(1)


def gradients(pipeline: Any, batch: Batch) -> dict[str, Tensor]:
    """Return the sum of contrast and matching as one tensor, and the gradient of every parameter."""
    alignment.hard_negatives, drawn = likeliest, alignment.hard_negatives
    try:
        total = Alignment(**SETTINGS | {"captioning": 0.0}).loss(pipeline.model, batch).total
        pipeline.model.zero_grad()
        total.backward()
    finally:
        alignment.hard_negatives = drawn
    found = {name: value.grad for name, value in pipeline.model.named_parameters() if value.grad is not None}
    return {name: value.clone() for name, value in found.items()} | {"total": total.detach()}


def one_rank(rank: int, rows: Sequence[int], folder: Path, pipeline: Any, batches: Sequence[Batch]) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=len(rows))
    torch.save(gradients(pipeline, batches[rank]), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("rows", [(2, 2), (1, 3), (4, 0)])
def test_ranks_align_the_samples_of_all(pipeline: Any, tmp_path: Path, rows: tuple[int, int]) -> None:
    """Their gradients add up to those of one process with the whole batch, through the samples of the other rank, too.
    One of them may have no sample.
    """
    pipeline.model.requires_grad_(True)
    objective = Alignment(**SETTINGS)
    data = pipeline.registry.build("dataset", pipeline.config.dataset)
    prepared = pipeline.prepared(data, answers=True, objective=objective)
    samples = [prepared[3 * number] for number in range(4)]
    batches = [Collate()(samples[: rows[0]]), Collate()(samples[rows[0] :])]
    torch.multiprocessing.start_processes(
        one_rank, (rows, tmp_path, pipeline, batches), nprocs=len(rows), start_method="fork"
    )
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(rows))]
    whole = gradients(pipeline, Collate()(samples))
    assert any(name.startswith("branches.video.encoder") for name in whole)
    for name, value in whole.items():
        added = sum((rank[name] for rank in ranks if name in rank), torch.zeros_like(value))
        torch.testing.assert_close(added, value, atol=2e-5, rtol=1e-4, msg=name)
