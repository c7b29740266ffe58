"""Evaluation counts everything: what was asked, answered, quarantined, unparsed; and so does training."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.clips import ClipSpec, write_clip
from helpers.compositions import SOUND, TINY
from helpers.endings import Ends

from vlframe.composer.compose import compose, open_registry
from vlframe.errors import DataError
from vlframe.evaluation.evaluate import ask
from vlframe.evaluation.questions import open_benchmarks
from vlframe.evaluation.run import score_table
from vlframe.evaluation.tally import scores_of
from vlframe.inference.pipeline import build_pipeline
from vlframe.runs.folder import RunFolder
from vlframe.runs.quarantine import QuarantineLog
from vlframe.training.run import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips: with sound, without, and one that is none."""
    path = tmp_path_factory.mktemp("clips")
    write_clip(path, ClipSpec("sounding.mp4", sound="aac"))
    write_clip(path, ClipSpec("silent.mp4"))
    (path / "broken.mp4").write_bytes((path / "silent.mp4").read_bytes()[:900])
    return path


def manifest(folder: Path, name: str, files: list[str], tag: str = "<video>") -> Path:
    rows = [
        {
            "id": f"{file}-{number}",
            "video": file,
            "conversations": [
                {"from": "human", "value": f"{tag}\nwhich colour, case {number}?"},
                {"from": "gpt", "value": "red" if number else "green"},
            ],
            "options": ["red", "green"],
            "category": f"case{number}",
        }
        for file in files
        for number in range(2)
    ]
    path = folder / f"{name}.json"
    path.write_text(json.dumps(rows))
    return path


def session_of(registry, file: Path, *overrides: str):
    config = compose(
        "train", [*TINY, "benchmark=exact_match_file", f"benchmark.dataset.path={file}", *overrides], registry
    )
    return build_pipeline(config, registry)


def test_an_unreadable_file_stops_the_evaluation_by_default(folder: Path, registry) -> None:
    pipeline = session_of(registry, manifest(folder, "raise", ["silent.mp4", "broken.mp4"]))
    with pytest.raises(DataError, match=r"broken.mp4-0.*broken.mp4"):
        ask(*open_benchmarks(pipeline), QuarantineLog(), batch_size=2)


def test_answers_end_with_the_texts_of_the_processor(folder: Path, registry) -> None:
    pipeline = session_of(registry, manifest(folder, "ends", ["silent.mp4"]))
    whole = [item.text for item in ask(*open_benchmarks(pipeline), QuarantineLog(), batch_size=2).predictions]
    stop = whole[0][len(whole[0]) // 2 :][:2]
    ended = replace(pipeline, processor=Ends(stop))
    cut = [item.text for item in ask(*open_benchmarks(ended), QuarantineLog(), batch_size=2).predictions]
    assert cut == [text.partition(stop)[0] for text in whole] and cut != whole


def test_quarantined_questions_are_counted_and_listed(folder: Path, registry, tmp_path: Path) -> None:
    file = manifest(folder, "skip", ["silent.mp4", "broken.mp4", "sounding.mp4"])
    pipeline = session_of(registry, file, "media.on_error=skip")
    quarantine = QuarantineLog(tmp_path / "quarantine.jsonl")
    outcome = ask(*open_benchmarks(pipeline), quarantine, batch_size=3)
    scores = scores_of(outcome, None, quarantine.counts)
    assert (scores.overall.n, scores.overall.asked, scores.quarantined) == (4, 6, {"media": 2})
    assert (scores.categories["case0"].n, scores.categories["case0"].asked) == (2, 3)
    assert scores.flat()["quarantined/media"] == 2
    table = score_table(scores)
    assert "4/6" in table and table.count("2/3") == 2
    rows = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["broken.mp4-0", "broken.mp4-1"]
    assert all(row["why"] == "media" and "broken.mp4" in row["reason"] for row in rows)


def test_a_category_that_is_quarantined_whole_is_still_in_the_table(folder: Path, registry) -> None:
    file = manifest(folder, "gone", ["broken.mp4"])
    seen = json.loads(manifest(folder, "seen", ["silent.mp4"]).read_text())[0] | {"category": "other"}
    file.write_text(json.dumps([*json.loads(file.read_text()), seen]))
    pipeline = session_of(registry, file, "media.on_error=skip")
    scores = scores_of(ask(*open_benchmarks(pipeline), QuarantineLog(), batch_size=3), None, {})
    flat = scores.flat()
    assert (flat["n/case0"], flat["n_asked/case0"]) == (0, 1) and "accuracy/case0" not in flat
    assert score_table(scores).count("0/1") == 2 and flat["n/other"] == flat["n"] == 1


def test_a_benchmark_of_which_nothing_can_be_asked_has_no_score(folder: Path, registry) -> None:
    pipeline = session_of(registry, manifest(folder, "none", ["broken.mp4"]), "media.on_error=skip")
    with pytest.raises(DataError, match=r"none of the 2 questions .* 2 for media\).*broken\.mp4"):
        ask(*open_benchmarks(pipeline), QuarantineLog(), batch_size=3)


@pytest.mark.parametrize(
    "policy, answered, quarantined", [("drop", 2, {"missing_audio": 2}), ("silence", 4, {}), ("error", None, {})]
)
def test_a_clip_without_a_sound_track_follows_the_policy(folder, registry, policy, answered, quarantined) -> None:
    file = manifest(folder, "sound", ["silent.mp4", "sounding.mp4"], tag="<video><audio>")
    pipeline = session_of(registry, file, *SOUND, f"media.missing_audio={policy}")
    quarantine = QuarantineLog()
    if answered is None:
        with pytest.raises(DataError, match=r"silent.mp4-0.*no"):
            ask(*open_benchmarks(pipeline), quarantine, batch_size=2)
        return
    scores = scores_of(ask(*open_benchmarks(pipeline), quarantine, batch_size=2), None, quarantine.counts)
    assert scores.overall.n == answered and scores.quarantined == quarantined


def test_sound_for_a_composition_without_ears_is_explained(folder: Path, registry) -> None:
    pipeline = session_of(registry, manifest(folder, "deaf", ["sounding.mp4"], tag="<video><audio>"))
    with pytest.raises(ValueError, match=r"no audio_encoder.*media.withhold=\[audio\]"):
        ask(*open_benchmarks(pipeline), QuarantineLog(), batch_size=2)


@pytest.mark.parametrize("policy", ["error", "drop"])
def test_a_conversation_that_is_too_long_follows_the_policy(folder: Path, registry, policy: str) -> None:
    pipeline = session_of(
        registry, manifest(folder, "long", ["silent.mp4"]), f"text.too_long={policy}", "text.max_length=65"
    )
    quarantine = QuarantineLog()
    if policy == "error":
        with pytest.raises(DataError, match=r"silent.mp4-0.*media tokens.*65"):
            ask(*open_benchmarks(pipeline), quarantine, batch_size=2)
    else:
        with pytest.raises(DataError, match=r"none of the 2 questions .* 66 tokens do not fit a context of 65"):
            ask(*open_benchmarks(pipeline), quarantine, batch_size=2)
        assert quarantine.counts == {"too_long": 2}


def test_text_that_is_no_answer_is_wrong_and_counted(folder: Path, registry) -> None:
    pipeline = session_of(registry, manifest(folder, "noise", ["silent.mp4"]))
    outcome = ask(*open_benchmarks(pipeline), QuarantineLog(), batch_size=2)
    scores = scores_of(outcome, outcome, {})
    flat = scores.flat()
    assert flat["unparsed"] == sum(item.parsed is None for item in outcome.predictions) == 2
    assert flat["accuracy"] == flat["blind_accuracy"] == 0.0 and flat["chance"] == 0.5
    assert flat["blind_n"] == flat["blind_unparsed"] == 2
    assert flat["blind_answered"] == 0.0 and "blind_accuracy_answered" not in flat
    assert flat["accuracy/case0"] == 0.0 and flat["n/case1"] == 1


def test_a_blind_evaluation_shows_no_media(folder: Path, registry) -> None:
    pipeline = session_of(registry, manifest(folder, "blind", ["silent.mp4"]))
    ran = []
    pipeline.model.parts["encoder"].register_forward_hook(lambda *_: ran.append(True))
    ask(*open_benchmarks(pipeline), QuarantineLog(), batch_size=2, withhold=["video", "image", "audio"])
    assert not ran


def test_questions_about_one_clip_decode_and_encode_it_once(folder: Path, registry, monkeypatch) -> None:
    pipeline = session_of(registry, manifest(folder, "once", ["silent.mp4", "sounding.mp4"]))
    seen = []
    pipeline.model.parts["encoder"].register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    ask(*open_benchmarks(pipeline), QuarantineLog(), batch_size=1)
    assert sum(seen) == 2


def test_training_counts_what_it_leaves_out(folder: Path, tmp_path: Path) -> None:
    registry = open_registry()
    file = manifest(folder, "train", ["silent.mp4", "broken.mp4"])
    config = compose(
        "train",
        [
            *TINY, "dataset=conversations", f"dataset.path={file}", "+stage@stages.main=tune", "stages.main.steps=3",
            "stages.main.batch_size=4", "media.on_error=skip", "trainer.progress=false", f"runs={tmp_path}",
        ],
        registry,
    )  # fmt: skip
    run: RunFolder = train(config, registry)
    ids = [json.loads(line)["id"] for line in run.quarantine.read_text().splitlines()]
    assert sorted(ids) == ["broken.mp4-0", "broken.mp4-1"]
    assert "2 sample(s) quarantined: 2 for media" in run.log.read_text()
