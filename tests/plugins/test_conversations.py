"""Manifests of conversations: what is read."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.conversations import TAGS, conversations, llava, messages, rows, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vlframe_conversations.manifest import Manifest

from vlframe import DataError, Media, Sample, Subset, Turn

MEDIA = Path(os.environ.get("VLFRAME_TEST_MEDIA", Path(__file__).parents[3] / "shared" / "media"))


# --- what is read ---


def test_llava_row(tmp_path: Path) -> None:
    row = llava(id="q1", video="clips/a.mp4", start=1.5, end=4, answer="B", options=["x", "y"], category="why")
    assert conversations(write(tmp_path, row))[0] == Sample(
        "q1",
        (Turn("user", "<video>\nWhy?"), Turn("assistant", "Because.")),
        (Media("video", tmp_path / "clips/a.mp4", 1.5, 4.0),),
        "B",
        ("x", "y"),
        "why",
    )


def test_messages_row_with_several_media_in_text_order(tmp_path: Path) -> None:
    row = messages(
        "<image>, <video> then <image> with <audio>",
        videos=["a.mp4"],
        images=["1.png", "2.png"],
        audios=[{"path": "s.wav", "start": 2, "end": 3}],
    )
    sample = conversations(write(tmp_path, row))[0]
    assert sample.id == "rows/1"
    assert sample.media == (
        Media("image", tmp_path / "1.png"),
        Media("video", tmp_path / "a.mp4"),
        Media("image", tmp_path / "2.png"),
        Media("audio", tmp_path / "s.wav", 2.0, 3.0),
    )


def test_tags_of_later_turns_count_on(tmp_path: Path) -> None:
    row = messages("<image>Who?", images=["1.png", "2.png"])
    row["messages"] += [{"role": "user", "content": "And <image>?"}]
    sample = conversations(write(tmp_path, row))[0]
    assert [item.path.name for item in sample.media] == ["1.png", "2.png"]


def test_text_only_system_turn_numeric_id_and_null(tmp_path: Path) -> None:
    row = llava("Hello?", id=7, image=None, answer=None)
    row["conversations"].insert(0, {"from": "system", "value": "Be brief."})
    sample = conversations(write(tmp_path, row))[0]
    assert (sample.id, sample.media, sample.answer) == ("7", (), None)
    assert [turn.role for turn in sample.turns] == ["system", "user", "assistant"]


def test_audio_tags_without_sound_files_are_the_tracks(tmp_path: Path) -> None:
    row = llava("<video><audio> or <video><audio>?", video=["a.mp4", {"path": "b.mp4", "start": 1, "end": 2}])
    heard = [item for item in conversations(write(tmp_path, row))[0].media if item.kind == "audio"]
    assert heard == [
        Media("audio", tmp_path / "a.mp4", track=True),
        Media("audio", tmp_path / "b.mp4", 1.0, 2.0, track=True),
    ]


def test_sound_adds_the_track_of_every_video(tmp_path: Path) -> None:
    row = messages("<image><video>What?", images=["i.png"], videos=[{"path": "a.mp4", "start": 1}])
    sample = conversations(write(tmp_path, row), sound=True)[0]
    assert sample.turns[0].text == "<image><video><audio>What?"
    assert sample.media == (
        Media("image", tmp_path / "i.png"),
        Media("video", tmp_path / "a.mp4", 1.0),
        Media("audio", tmp_path / "a.mp4", 1.0, track=True),
    )


def test_sound_leaves_rows_that_ask_for_their_tracks(tmp_path: Path) -> None:
    path = write(tmp_path, llava("<audio><video>What?", video="a.mp4"))
    assert conversations(path, sound=True)[0] == conversations(path)[0]


def test_media_root(tmp_path: Path) -> None:
    path = write(tmp_path, llava(video="a.mp4"), llava(video="/films/deep/b.mp4"))
    data = conversations(path, media_root="/films")
    assert [data[index].media[0].path for index in range(2)] == [Path("/films/a.mp4"), Path("/films/deep/b.mp4")]


def test_ignored_fields(tmp_path: Path) -> None:
    row = llava("Hi", source="web")
    row["conversations"][0]["weight"] = 1
    assert conversations(write(tmp_path, row), ignore_fields=["source", "weight"])[0].turns[0].text == "Hi"


def test_mixture(tmp_path: Path) -> None:
    first = write(tmp_path, llava("1"), llava("2"), name="first.jsonl")
    other = tmp_path / "other"
    other.mkdir()
    second = write(other, json.dumps([llava("<video>", video="v.mp4")]), name="second.json")
    sources = [{"path": str(first), "weight": 3}, {"path": str(second), "media_root": "/films"}]
    data = conversations(mixture=sources)
    assert data.subsets == [Subset(0, 2, 3.0), Subset(2, 3, 1.0)]
    assert [data[index].id for index in range(len(data))] == ["first/1", "first/2", "second/1"]
    assert data[2].media[0].path == Path("/films/v.mp4")
    assert pickle.loads(pickle.dumps(data))[-1] == data[2]
    with pytest.raises(IndexError):
        data[3]


def test_each_manifest_of_a_mixture_may_be_heard_or_not(tmp_path: Path) -> None:
    seen, heard = (write(tmp_path, llava("<video>", video="v.mp4"), name=name) for name in ("a.jsonl", "b.jsonl"))
    sources = [{"path": str(seen)}, {"path": str(heard), "sound": True}]
    for whole, kinds in ((False, ["video"]), (True, ["video", "audio"])):
        data = conversations(mixture=[{"weight": 1, **source} for source in sources], sound=whole)
        assert [item.kind for item in data[0].media] == kinds
        assert [item.kind for item in data[1].media] == ["video", "audio"]


def test_one_file_is_one_part(tmp_path: Path) -> None:
    assert conversations(write(tmp_path, llava("1"), llava("2"))).subsets == [Subset(0, 2)]


# --- any manifest that is written is read back ---


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=st.lists(rows(), min_size=1, max_size=5), layout=st.sampled_from(["array", "indented", "lines"]))
def test_manifests_round_trip(tmp_path: Path, written: list[tuple[dict[str, Any], list[str]]], layout: str) -> None:
    plain = [row for row, _ in written]
    if layout == "lines":
        text = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in plain) + "\r\n"
    else:
        text = json.dumps(plain, ensure_ascii=False, indent=2 if layout == "indented" else None)
    path = tmp_path / "rows.json"
    path.write_bytes("\ufeff".encode() + text.encode())
    data = conversations(path)
    assert len(data) == len(plain)
    for index, (row, paths) in enumerate(written):
        turns = row.get("conversations") or row["messages"]
        said = [turn.get("value", turn.get("content")) for turn in turns]
        assert [turn.text for turn in data[index].turns] == said
        assert [str(item.path.relative_to(tmp_path)) for item in data[index].media] == paths
        assert data[index].answer == row.get("answer")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(TAGS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["path", "from", "value"]), inner),
    max_leaves=6,
)
FIELDS = ["id", "conversations", "messages", "video", "videos", "audio", "start", "end", "options", "answer"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.dictionaries(st.sampled_from(FIELDS), json_values), good=st.booleans())
def test_any_row_is_a_sample_or_a_data_error(tmp_path: Path, row: dict[str, Any], good: bool) -> None:
    try:  # the file, too, may be refused: an object in a row can look like a row among others
        assert isinstance(conversations(write(tmp_path, {**row, **llava("Hi")} if good else row))[0], Sample)
    except DataError as error:
        assert "rows.jsonl, line 1" in str(error)


# --- size, imports, real files ---


@pytest.mark.parametrize("name", ["many.json", "many.jsonl"])
def test_rows_are_not_kept(tmp_path: Path, name: str) -> None:
    row = json.dumps(llava("<video>" + "why " * 50, video="a.mp4"))
    path = tmp_path / name
    path.write_text("[" + ",\n".join([row] * 5000) + "]" if name == "many.json" else "\n".join([row] * 5000))
    manifest = Manifest(path)
    assert manifest.where(4999) == f"{path}, line 5000"
    assert len(pickle.dumps(manifest)) < 5000 * 25


def test_reading_a_manifest_imports_no_torch() -> None:
    code = "import sys, vlframe_conversations.dataset; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("mllm_video_demo.json", {"video"}),
        ("mllm_audio_demo.json", {"audio"}),
        ("mllm_video_audio_demo.json", {"video", "audio"}),
    ],
)
def test_real_manifests(name: str, kinds: set[str]) -> None:
    if not (MEDIA / name).is_file():
        pytest.skip(f"{name} is not in {MEDIA}; set VLFRAME_TEST_MEDIA to the folder that has it")
    data = conversations(MEDIA / name)
    assert len(data) == 3
    for index in range(3):
        sample = data[index]
        assert {item.kind for item in sample.media} == kinds
        assert all(item.path.is_file() and not item.track for item in sample.media)
        assert [turn.role for turn in sample.turns] == ["user", "assistant"]
