"""Front ends that vary pictures in training: what they draw, by what, and that a resumed run draws the same."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.recipes import check_recipe
from PIL import Image
from vlframe_pixels.centre_crop import CentreCrop
from vlframe_pixels.random_crop import RATIO, Cut, RandomCrop

from vlframe import ConfigError, SquarePixels
from vlframe.composer.compose import compose
from vlframe.inference.pipeline import build_pipeline

OWN = SquarePixels(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PARTS = ["encoder=vit_tiny", "connector=mlp", "dataset=motionqa_few", "media.frames=2", "media.cache_mb=64"]


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (2, height, width, 3), dtype=np.uint8)


def test_boxes_have_the_area_and_ratio_that_are_asked_for() -> None:
    generator = np.random.default_rng(1)
    boxes = [Cut((0.5, 1.0), 0.0).box(40, 60, generator) for _ in range(300)]
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= 60 and 0 <= top < bottom <= 40
        assert 0.48 <= (right - left) * (bottom - top) / 2400 <= 1
        assert RATIO[0] * 0.95 <= (right - left) / (bottom - top) <= RATIO[1] * 1.05
    assert len(set(boxes)) > 200
    whole = Cut((1.0, 1.0), 0.0).box(10, 60, generator)  # no ratio fits: the widest centre that is allowed
    assert whole == (23, 0, 36, 10)


def test_a_part_is_the_same_of_all_frames_and_mirrored_as_often_as_asked() -> None:
    frames_TYXC = np.stack([picture()[0]] * 2)
    front_end = RandomCrop(own=OWN, area=[0.5, 1.0], mirror=0.5)
    counts: Counter[bool] = Counter()
    for seed in range(40):
        ours_TCYX = front_end.prepare_to_train(frames_TYXC, np.random.default_rng(seed))
        again_TCYX = front_end.prepare_to_train(frames_TYXC, np.random.default_rng(seed))
        assert torch.equal(ours_TCYX, again_TCYX) and torch.equal(ours_TCYX[0], ours_TCYX[1])
        box = front_end.cut.box(40, 60, np.random.default_rng(seed))
        plain_YXC = np.asarray(Image.fromarray(frames_TYXC[0]).crop(box).resize((16, 16), Image.Resampling.BICUBIC))
        ways = [np.array_equal(ours_TCYX[0].permute(1, 2, 0), item) for item in (plain_YXC, plain_YXC[:, ::-1])]
        assert any(ways)
        counts[ways[1]] += 1
    assert min(counts.values()) > 8
    assert torch.equal(front_end.prepare(frames_TYXC), OWN.prepare(frames_TYXC))  # as without it, in inference


def test_the_centre_is_the_default() -> None:
    given: dict[str, Any] = {"training_mean": None, "training_std": None, "mirror": 0.0}
    assert not hasattr(CentreCrop(own=OWN, training_area=None, **given), "prepare_to_train")
    assert hasattr(CentreCrop(own=OWN, training_area=[0.5, 1.0], **given), "prepare_to_train")
    for area, mirror, message in (
        ([0.5], 0.0, r"pixels.area is \[0.5\]; it is two shares"),
        ([0.9, 0.5], 0.0, "the smaller first"),
        ([0.5, 1.0], 1.5, r"pixels.mirror is 1.5; it is a probability"),
    ):
        with pytest.raises(ConfigError, match=message):
            RandomCrop(own=OWN, area=area, mirror=mirror)


def test_pictures_differ_by_seed_and_place_and_not_in_inference(registry: Any) -> None:
    pipeline = build_pipeline(compose("train", [*PARTS, "pixels=random_crop"], registry), registry)
    data = pipeline.registry.build("dataset", pipeline.config.dataset)
    from vlframe.data.order import Draw

    def drawn(seed: int, place: int, *, training: bool = True) -> torch.Tensor:
        prepared = pipeline.prepared(data, answers=True, training=training, seed=seed)
        return prepared[Draw(0, place)].media[0].file.tensor

    assert torch.equal(drawn(0, 5), drawn(0, 5))
    assert not torch.equal(drawn(0, 5), drawn(0, 6)) and not torch.equal(drawn(0, 5), drawn(1, 5))
    assert torch.equal(drawn(0, 5, training=False), drawn(1, 6, training=False))


def test_a_resumed_run_sees_the_same_pictures(registry: Any, tmp_path: Path) -> None:
    stage = ["+stage@stages.main=align", "stages.main.steps=9", "stages.main.batch_size=4", "stages.main.lr=3e-3"]
    words = [*PARTS, "pixels=random_crop", "pixels.mirror=0.5", *stage, "trainer.accelerator=cpu"]
    check_recipe(words, {"main": ["connector.*"]}, tmp_path, registry)
