"""The processor `videollama2`: its settings and presets, and that runs obey them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.clips import ClipSpec, write_clip
from helpers.compositions import TINY, tiny_pipeline
from helpers.processes import vlframe
from helpers.runs import manifest, only_run, training
from helpers.videollama2_processor import processor, shown
from PIL import Image
from vlframe_videollama2.settings import OfficialProcessorParams

from vlframe import (
    PLACEHOLDERS,
    ConfigError,
    Media,
    Sample,
    Turn,
)
from vlframe.composer.compose import compose
from vlframe.config.asking import AskingConfig
from vlframe.config.typed import read_yaml
from vlframe.contracts.batch import Batch
from vlframe.data.collate import Collate
from vlframe.data.prepare import PreparedSample
from vlframe.evaluation.evaluate import ask
from vlframe.evaluation.judge import Judge
from vlframe.evaluation.questions import Questions
from vlframe.runs.quarantine import QuarantineLog


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"branch": "master"}, "processor.branch is 'master'; it can be main, audio_visual"),
        ({"crop": "middle"}, "processor.crop is 'middle'; it can be random, seeded, start"),
        ({"training_resize": "square"}, "processor.training_resize is 'square'; it can be pad, encoder"),
        ({"max_frames": 0}, "processor.max_frames is 0; it must be at least 1"),
        ({"track_clip_seconds": 0.0}, "processor.track_clip_seconds is 0.0; it must be more than 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        processor(**settings)


def test_types_are_checked_when_the_config_is_composed(registry: Any) -> None:
    with pytest.raises(ConfigError, match=r"processor\.max_frames"):
        compose("train", [*TINY, "processor=videollama2", "processor.max_frames=many"], registry)
    with pytest.raises(ConfigError, match=r"processor\.brunch.*branch"):
        compose("train", [*TINY, "processor=videollama2", "processor.brunch=main"], registry)


def test_presets(registry: Any) -> None:
    chosen = {
        name: compose("train", [*TINY, f"processor={name}"], registry).processor
        for name in ("videollama2", "videollama2_pretrain", "videollama2_av", "videollama2_av_pretrain")
    }
    assert {config["name"] for config in chosen.values()} == {"videollama2"}
    assert [chosen[name]["pretraining"] for name in chosen] == [False, True, False, True]
    assert [chosen[name]["branch"] for name in chosen] == ["main", "main", "audio_visual", "audio_visual"]
    assert chosen["videollama2_pretrain"]["training_resize"] == "encoder"
    assert chosen["videollama2"] == {"name": "videollama2", **vars(OfficialProcessorParams())}


def test_without_a_protocol_nothing_is_asked(registry: Any) -> None:
    pipeline = tiny_pipeline(registry)
    assert pipeline.processor is None
    rows = pipeline.prepared([Sample("x", (Turn("user", "?"), Turn("assistant", "a")))], answers=True)
    assert rows.processor is None and rows.loader.processor is None and rows[0].hidden is None


def test_a_session_obeys_and_a_model_answers(registry: Any, tmp_path: Path) -> None:
    pipeline = tiny_pipeline(registry, "processor=videollama2_av", "audio_encoder=beats_tiny")
    path = write_clip(tmp_path, ClipSpec("clip.mp4", frames=20, sound="aac"))
    still = Image.new("RGB", (20, 10), (9, 9, 9))
    still.save(tmp_path / "still.png")
    pair = (Media("video", path), Media("audio", path, track=True))
    answer = Turn("assistant", "left")
    samples = [
        Sample("both", (Turn("user", "<video><audio>\nWhat?"), answer), pair),
        Sample("image", (Turn("user", "<image>\nWhat?"), answer), (Media("image", tmp_path / "still.png"),)),
        Sample("text", (Turn("user", "What?"), answer)),
    ]
    for answers in (True, False):
        rows = pipeline.prepared(samples, answers=answers)
        items = [rows[index] for index in range(3)]
        assert all(isinstance(item, PreparedSample) for item in items)
        batch = Collate(left=not answers)(items)
        assert [file.kind for file in batch.files] == ["video", "audio", "image"]
        assert len(batch.slots_N) == sum(use.tokens for use in batch.uses)
        ids, _ = shown(batch)
        for kind, token in PLACEHOLDERS.items():
            there = sum(use.tokens for use in batch.uses if batch.files[use.file].kind == kind)
            assert sum(row.count(token) for row in ids) == there
        frames_TCYX = batch.files[2].tensor
        assert (frames_TCYX[0, 0, 0, 0] != 9) == answers  # bars in training, none in inference
        if answers:
            assert torch.isfinite(pipeline.model(batch).total)
        else:
            assert pipeline.model.generate(batch, max_new_tokens=2).shape[0] == 3
    assert PLACEHOLDERS["image"] in items[1].ids


def test_evaluation_obeys(registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = tiny_pipeline(registry, "processor=videollama2", "processor.system_prompt=always")
    asked = []

    def generate(batch: Batch, cache: Any, **sampling: Any) -> torch.Tensor:
        asked.append(pipeline.model.llm.tokenizer.decode(batch.ids_BS[0]))
        return torch.zeros(len(batch), 1, dtype=torch.long)

    monkeypatch.setattr(pipeline.model, "generate", generate)
    samples = [Sample("x", (Turn("user", "Which way?"),), answer="left")]
    benchmark = SimpleNamespace(samples=samples, max_new_tokens=1, parse=lambda *_: "left", correct=lambda *_: True)
    judge = Judge("benchmark", benchmark)
    questions = Questions("benchmark", benchmark, judge, AskingConfig(), pipeline, "")
    outcome = ask(questions, QuarantineLog(), batch_size=1)
    assert [dict(item.scores) for item in outcome.predictions] == [{"accuracy": True}]
    assert "<<SYS>>" in asked[0] and "\nWhich way?" in asked[0]


def test_training_and_prediction_obey_the_saved_choice(tmp_path: Path) -> None:
    file = manifest(tmp_path)
    more = ["processor=videollama2", "processor.system_prompt=always", "stages.main.steps=1"]
    vlframe("train", *training(file, *more), cwd=tmp_path)
    run = only_run(tmp_path)
    saved = read_yaml(run / "config.yaml")["processor"]
    assert saved == {
        "name": "videollama2",
        **vars(OfficialProcessorParams(system_prompt="always")),
    }
    vlframe("predict", f"run={run}", "prompt=Which way?", "max_new_tokens=2", cwd=tmp_path)
