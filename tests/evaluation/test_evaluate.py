"""Evaluation counts everything: what was asked, answered, left out, unparsed; and so does training."""

import json
from pathlib import Path

import pytest
from helpers.clips import ClipSpec, write_clip
from helpers.compositions import SOUND, TINY

from vlframe.app import compose, open_registry
from vlframe.data.skips import SkipLog
from vlframe.errors import DataError
from vlframe.evaluation.evaluate import ask, metrics
from vlframe.evaluation.run import build_benchmark, score_table
from vlframe.runs.folder import RunFolder
from vlframe.runs.session import open_session
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
    return open_session(config, registry)


def test_an_unreadable_file_stops_the_evaluation_by_default(folder: Path, registry) -> None:
    session = session_of(registry, manifest(folder, "raise", ["silent.mp4", "broken.mp4"]))
    with pytest.raises(DataError, match=r"broken.mp4-0.*broken.mp4"):
        ask(session, build_benchmark(session), SkipLog(), batch_size=2)


def test_left_out_questions_are_counted_and_listed(folder: Path, registry, tmp_path: Path) -> None:
    file = manifest(folder, "skip", ["silent.mp4", "broken.mp4", "sounding.mp4"])
    session = session_of(registry, file, "media.on_error=skip")
    skips = SkipLog(tmp_path / "quarantine.jsonl")
    outcome = ask(session, build_benchmark(session), skips, batch_size=3)
    scores = metrics(outcome, None, skips.counts)
    assert (scores["n"], scores["n_asked"], scores["left_out/media"]) == (4, 6, 2)
    assert (scores["n/case0"], scores["n_asked/case0"]) == (2, 3)
    table = score_table(scores)
    assert "4/6" in table and table.count("2/3") == 2
    rows = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["broken.mp4-0", "broken.mp4-1"]
    assert all(row["why"] == "media" and "broken.mp4" in row["reason"] for row in rows)


def test_a_category_that_is_left_out_whole_is_still_in_the_table(folder: Path, registry) -> None:
    session = session_of(registry, manifest(folder, "gone", ["broken.mp4"]), "media.on_error=skip")
    scores = metrics(ask(session, build_benchmark(session), SkipLog(), batch_size=3), None, {})
    assert (scores["n/case0"], scores["n_asked/case0"]) == (0, 1) and "accuracy/case0" not in scores
    assert score_table(scores).count("0/1") == 2


@pytest.mark.parametrize(
    "policy, answered, left_out", [("drop", 2, {"left_out/missing_audio": 2}), ("silence", 4, {}), ("error", None, {})]
)
def test_a_clip_without_a_sound_track_follows_the_policy(folder, registry, policy, answered, left_out) -> None:
    file = manifest(folder, "sound", ["silent.mp4", "sounding.mp4"], tag="<video><audio>")
    session = session_of(registry, file, *SOUND, f"media.missing_audio={policy}")
    skips = SkipLog()
    if answered is None:
        with pytest.raises(DataError, match=r"silent.mp4-0.*no"):
            ask(session, build_benchmark(session), skips, batch_size=2)
        return
    scores = metrics(ask(session, build_benchmark(session), skips, batch_size=2), None, skips.counts)
    assert scores["n"] == answered
    assert {key: value for key, value in scores.items() if key.startswith("left_out")} == left_out


def test_sound_for_a_composition_without_ears_is_explained(folder: Path, registry) -> None:
    session = session_of(registry, manifest(folder, "deaf", ["sounding.mp4"], tag="<video><audio>"))
    with pytest.raises(ValueError, match=r"no audio_encoder.*media.withhold=\[audio\]"):
        ask(session, build_benchmark(session), SkipLog(), batch_size=2)


@pytest.mark.parametrize("policy", ["error", "drop"])
def test_a_conversation_that_is_too_long_follows_the_policy(folder: Path, registry, policy: str) -> None:
    session = session_of(
        registry, manifest(folder, "long", ["silent.mp4"]), f"text.too_long={policy}", "text.context=65"
    )
    skips = SkipLog()
    if policy == "error":
        with pytest.raises(DataError, match=r"silent.mp4-0.*media tokens.*65"):
            ask(session, build_benchmark(session), skips, batch_size=2)
    else:
        outcome = ask(session, build_benchmark(session), skips, batch_size=2)
        assert outcome.predictions == [] and skips.counts == {"too_long": 2}
        assert metrics(outcome, None, skips.counts)["n"] == 0


def test_text_that_is_no_answer_is_wrong_and_counted(folder: Path, registry) -> None:
    session = session_of(registry, manifest(folder, "noise", ["silent.mp4"]))
    outcome = ask(session, build_benchmark(session), SkipLog(), batch_size=2)
    scores = metrics(outcome, outcome, {})
    assert scores["unparsed"] == sum(item.parsed is None for item in outcome.predictions) == 2
    assert scores["accuracy"] == scores["blind_accuracy"] == 0.0 and scores["chance"] == 0.5
    assert scores["blind_n"] == scores["blind_unparsed"] == 2
    assert scores["accuracy/case0"] == 0.0 and scores["n/case1"] == 1


def test_a_blind_evaluation_shows_no_media(folder: Path, registry) -> None:
    session = session_of(registry, manifest(folder, "blind", ["silent.mp4"]))
    ran = []
    session.model.encoder.register_forward_hook(lambda *_: ran.append(True))
    ask(session, build_benchmark(session), SkipLog(), batch_size=2, withhold=["video", "image", "audio"])
    assert not ran


def test_questions_about_one_clip_decode_and_encode_it_once(folder: Path, registry, monkeypatch) -> None:
    session = session_of(registry, manifest(folder, "once", ["silent.mp4", "sounding.mp4"]))
    seen = []
    session.model.encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    ask(session, build_benchmark(session), SkipLog(), batch_size=1)
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
    assert "2 sample(s) left out: 2 for media" in run.log.read_text()
