"""Manifests of conversations: what is read, and what is refused with the place named."""

import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from vlframe_conversations import vlframe_components
from vlframe_conversations.dataset import Conversations
from vlframe_conversations.manifest import Manifest

from vlframe import ConfigError, DataError, Entry, FrameList, Media, Sample, Subset, Turn
from vlframe.registry.discovery import Plugin
from vlframe.registry.registry import Registry

MEDIA = Path(os.environ.get("VLFRAME_TEST_MEDIA", Path(__file__).parents[3] / "shared" / "media"))
REGISTRY = Registry([Plugin("tests:conversations", "tests", "0", tuple(vlframe_components()))])
TAGS = ("<video>", "<image>", "<audio>")


def conversations(path: Path | None = None, **params: Any) -> Conversations:
    values = {**params, **({"path": str(path)} if path else {})}
    return REGISTRY.build("dataset", {"name": "conversations", **values})


def write(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    path = folder / name
    lines = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text(lines, encoding="utf-8")
    return path


def llava(text: str = "<video>\nWhy?", reply: str = "Because.", **fields: Any) -> dict[str, Any]:
    return {**fields, "conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": reply}]}


def messages(text: str = "<video>Why?", reply: str = "Because.", **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": reply}], **fields}


def refused(folder: Path, *rows: Any, **params: Any) -> str:
    """The message with which the last row is refused."""
    data = conversations(write(folder, *rows), **params)
    with pytest.raises(DataError) as caught:
        data[len(data) - 1]
    return str(caught.value)


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

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda text: not {*"<\\"} & {*text})
names = st.text("abcé語 .-_", min_size=1, max_size=8).map(lambda name: f"clips/{name}x.mp4")


@st.composite
def rows(draw: st.DrawFn) -> tuple[dict[str, Any], list[str]]:
    """A row in either style, and its media paths in the order of the text."""
    tags = draw(st.lists(st.sampled_from(TAGS), max_size=4))
    paths = [draw(names) for _ in tags]
    text = draw(texts) + "".join(tag + draw(texts) for tag in tags)
    style, plural = draw(st.sampled_from([(llava, ""), (messages, "s")]))
    files = {tag: [path for other, path in zip(tags, paths, strict=True) if other == tag] for tag in TAGS}
    fields = {tag.strip("<>") + plural: found for tag, found in files.items() if found}
    if files["<video>"] and not files["<audio>"] and draw(st.booleans()):
        fields["answer"] = draw(texts)
    return style(text, draw(texts), **fields), paths


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


# --- what is refused ---


def test_tags_and_files_must_agree(tmp_path: Path) -> None:
    message = refused(tmp_path, llava("Hi"), llava("Why?", id="q2", video="a.mp4"))
    assert "rows.jsonl, line 2, sample 'q2'" in message
    assert "0 <video> tag(s) and the row names 1 file(s)" in message
    assert "2 <image> tag(s) and the row names 1" in refused(tmp_path, messages("<image><image>", images=["a.png"]))
    assert "has the tag <audio>, and the row names no media file" in refused(tmp_path, llava("<audio>What?"))
    assert "1 <audio> tag(s) and the row names 2" in refused(tmp_path, llava("<video><video><audio>", video=["a", "b"]))


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "clips/../../x.mp4", ".", "clips/.."])
def test_paths_stay_inside_the_media_folder(tmp_path: Path, path: str) -> None:
    message = refused(tmp_path, llava(video=path))
    assert repr(path) in message and str(tmp_path) in message and "media_root" in message


def test_unknown_fields_are_named_with_the_way_out(tmp_path: Path) -> None:
    message = refused(tmp_path, llava("Hi", id="q", source="web", fps=2), ignore_fields=["old"])
    assert "line 1, sample 'q': unknown field(s) source, fps" in message
    assert "ignore_fields=[old,source,fps]" in message
    assert "turn 1: unknown field(s) loss" in refused(
        tmp_path, {"messages": [{"role": "user", "content": "Hi", "loss": False}]}
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "Hi"}, "either 'conversations' or 'messages'"),
        ({**llava("Hi"), **messages("Hi")}, "either 'conversations' or 'messages'"),
        ({"messages": []}, "a list of turns"),
        ({"messages": ["Hi"]}, "turn 1: expected a JSON object"),
        ({"messages": [{"role": "user", "content": ["Hi"]}]}, "a part is an object with a 'type'"),
        ({"messages": [{"role": "user", "content": 3}]}, "'content' is text, or a list of parts"),
        ({"messages": [{"role": "tool", "content": "Hi"}]}, "'role' is 'tool'; turns of tools are not read"),
        ({"messages": [{"role": "bot", "content": "Hi"}]}, "'role' is 'bot'; it is one of human, user"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "the user first"),
        ({"messages": [{"role": "user", "content": "Hi"}] * 2}, "take turns"),
        ({"messages": [{"role": "system", "content": "Hi"}]}, "take turns"),
        (llava(video=""), "the row names no media file"),
        (llava(video="https://x.org/a.mp4"), "is an address, and nothing is fetched"),
        (llava(video={"bytes": "AAAA", "path": None}), "holds the file itself ('bytes')"),
        (llava(video=[{"bytes": "AAAA", "path": "a.mp4"}]), "write the bytes into a file"),
        (llava("<image>", image={"bytes": "AAAA"}), "holds the file itself ('bytes')"),
        (llava(video="clips\\a.mp4"), "has backslashes, which are written /"),
        (llava("Hi", answer=["a", 3]), "'answer' is a text or a list of texts that are all right"),
        (llava("Hi", answer=[]), "'answer' is a text or a list of texts that are all right, not []"),
        (llava("Hi", answer=1, options=["a", "b"]), "write the letter, A to B, or the option's text"),
        (llava(video={"path": "a.mp4", "stop": 2}), "unknown field(s) stop"),
        (llava(video={"start": 2}), "named by a path, not None"),
        (llava(video={"path": "a.mp4", "start": 2, "end": 2}), "not after its start"),
        (llava(video="a.mp4", start=-1), "'start' is a number of seconds"),
        (llava(video="a.mp4", end="3"), "'end' is a number of seconds"),
        (llava("<image>", image={"path": "a.png", "start": 1}), "an image has no start"),
        (llava("<image>", image="a.png", start=1), "it has 0"),
        (llava("<video><video>", video=["a.mp4", "b.mp4"], start=1), "it has 2"),
        (llava("Hi", answer=3), "'answer' is text, not 3"),
        (llava("Hi", options="yes"), "'options' is a list of texts"),
        (llava("Hi", category=["x"]), "'category' is text"),
        (llava("Hi", id=["x"]), "'id' is text or a whole number"),
    ],
)
def test_rows_that_do_not_add_up(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    message = refused(tmp_path, row)
    assert "rows.jsonl, line 1" in message
    assert reason in message


def test_a_broken_line_is_named_when_it_is_read(tmp_path: Path) -> None:
    data = conversations(write(tmp_path, llava("Hi"), "", '{"messages": [}', llava("Ho")))
    assert (len(data), data[2].turns[0].text) == (3, "Ho")
    with pytest.raises(DataError, match=r"rows\.jsonl, line 3: not JSON \(Expecting value at column 15\)"):
        data[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no rows"),
        ("[]", "has no rows"),
        ('{"messages": [\n', "line 1: not a whole JSON object"),
        ('{"messages": []}\n{"messa', "line 2: not a whole JSON object"),
        ('[{},\n{"a": 1,}]', "line 2: not JSON"),
        ("[{},\n3]", "line 2: a row is a JSON object, not a int"),
        ("[{}\n", "line 2: not JSON (found the end of the file where ',' or ']' should be)"),
        ("[{}\n{}]", "line 2: not JSON (found '{' where ',' or ']' should be)"),
        ("[{}]\n[{}]", "line 2: not JSON (found '[' where the end of the file should be)"),
        ("[{},]", "line 1: not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_broken_files_are_refused_at_once(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        conversations(write(tmp_path, text))
    assert reason in str(caught.value)


ROWS = json.dumps([{"id": "a"}])
WIDE = ("utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0\0\0\x18ftypisom", "is an MP4 or MOV file, and manifests are JSON text that names such files"),
        (b"\x1aE\xdf\xa3", "is a Matroska or WebM file"), (b"\x89PNG\r\n\x1a\n", "is a PNG picture"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "is a JPEG picture"), (b"RIFF\0\0\0\0WAVE", "is an AVI or WAV file"),
        (b"PK\x03\x04", "is a zip archive"), (b"7z\xbc\xaf\x27\x1c", "is an archive"),
        (b"\0" * 257 + b"ustar", "is a tar archive"), (b"\x93NUMPY", "is an array file"),
        (b"\x7fELF\0\1", "is a program"), (b"\0\1\2\3", "is binary"),
        *((ROWS.encode(name), f"is {name.upper()} text.* iconv -f {name.upper()} ") for name in WIDE),
    ],
)  # fmt: skip
def test_a_file_that_is_no_text_is_called_what_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "yoga.mp4").write_bytes(content)
    with pytest.raises(DataError, match=f"the manifest .*yoga.mp4 {reason}"):
        conversations(tmp_path / "yoga.mp4")


ROW = llava("Hi")
READ = {"media_root": None, "mixture": (), "sound": False, "stray_tags": "error", "ignore_fields": ()}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (json.dumps({"data": [ROW]}), "one object with its rows in the list 'data'"),
        (json.dumps({"info": {}, "annotations": [ROW, ROW]}, indent=1), "jq -c '.[\"annotations\"][]' rows.json"),
        (json.dumps({"a": ROW, "b": ROW}), "one object whose values are rows"),
        (json.dumps(ROW, indent=1), "one row over several lines; write it on one line"),
        ("<!DOCTYPE html><html>404</html>", "is a web page"),
        ("<?xml version='1.0'?><Error>NoSuchKey</Error>", "is XML text"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n", "is a Git LFS pointer"),
        ("video,question,answer\na.mp4,What?,red\n", "is a table by its first line ('video,question,answer')"),
        ("\ufeffvideo\tquestion\na.mp4\tWhat?\n", "is a table by its first line"),
        ("id;video\n1;Größe.mp4\n".encode("latin-1"), "is a table by its first line"),
        ("<html>nicht verfügbar</html>".encode("latin-1"), "is a web page"),
        ("<!-- x -->\n<h1>Bad gateway</h1>\n<p>später</p>".encode("latin-1"), "is a web page"),
        ("Datei nicht verfügbar, bitte später".encode("latin-1"), "is text without any JSON object ('Datei"),
        ("upstream connect error", "is text without any JSON object"),
        ("a.mp4\nb.mp4\nc.mp4\n", "is text without any JSON object ('a.mp4')"),
        ("- id: a\n  conversations:\n  - from: human\n", "is YAML by its first lines ('- id: a')"),
        ("# mine\n---\nrows:\n  - {id: a}\n", "is YAML by its first lines ('---')"),
        ("[[rows]]\nid = 'a'\n", "is TOML by its first line"),
        (f"// mine\n{json.dumps([ROW])}", "is JSON with comments (line 1: '// mine')"),
        (f"{json.dumps(ROW)}\n# the second\n{json.dumps(ROW)}", "is JSON with comments (line 2: '# the second')"),
        (f"/* mine */\n{json.dumps([ROW], indent=1)}", "is JSON with comments (line 1"),
        (f"[\n{json.dumps(ROW)},\n  // b\n{json.dumps(ROW)}]", "is JSON with comments (line 3: '// b')"),
        (str([ROW]), "is text as Python prints objects, with single quotes"),
        (pickle.dumps([ROW]), "is a pickle"),
        (b"ARROW1\0\0", "is an Arrow file"),
        (b"PAR1\x15", "is a Parquet file"),
        (bytes(600), "begins with zeros"),
        (bytes(257) + b"ustar\0", "is a tar archive"),
    ],
)
def test_a_file_that_is_no_manifest_is_named(tmp_path: Path, content: str | bytes, reason: str) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        conversations(path)
    assert reason in str(caught.value)
    try:
        entries = list(Conversations.entries(path=str(path), **READ))
    except DataError as error:
        assert reason in str(error)
    else:  # a check, too, says it once
        assert [reason in item.problems[0].text for item in entries] == [True]


LONG = llava("Hi " * 30_000)  # more than what is read of a file to see what it is


@pytest.mark.parametrize("mark", ["// b", "# b", "/* b */"])
@pytest.mark.parametrize("before", ["", ","])
@pytest.mark.parametrize("rows", ["lines", "array"])
def test_a_comment_far_behind_the_beginning_is_named(tmp_path: Path, mark: str, before: str, rows: str) -> None:
    path, one = tmp_path / "rows.json", json.dumps(LONG)
    lines = {
        "lines": f"{one}\n{mark}\n{json.dumps(ROW)}",
        "array": f"[\n{one}{before}\n{mark}\n{'' if before else ','}{json.dumps(ROW)}]",
    }
    path.write_text(lines[rows])
    with pytest.raises(DataError, match=rf"line {2 if rows == 'lines' else 3}: a comment \('{re.escape(mark)}'\)"):
        conversations(path)


def test_a_comment_inside_a_row_far_behind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(f"[\n{json.dumps(LONG)},\n{{\n// the second\n{json.dumps(ROW)[1:]}]")
    with pytest.raises(DataError, match=r"line 4: a comment \('// the second'\), and JSON has none; take them out"):
        conversations(path)


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (
            {"role": "assistant", "content": None},
            r"turn 2: 'content' is null; it is text, or a list of parts; write \"\"",
        ),
        ({"from": "gpt", "value": None}, "turn 2: 'value' is null"),
        ({"role": None, "content": "Hi"}, "turn 2: 'role' is null; it is one of human"),
        ({"role": "assistant"}, "this one has neither"),
    ],
)
def test_a_null_is_called_a_null(tmp_path: Path, turn: dict, words: str) -> None:
    path = write(tmp_path, {"id": "a", "messages": [{"role": "user", "content": "Hi"}, turn]})
    with pytest.raises(DataError, match=words):
        conversations(path)[0]


def test_turns_that_are_null_are_called_null(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'messages' is a list of turns, and here it is null"):
        conversations(write(tmp_path, {"id": "a", "messages": None}))[0]
    both = {**llava("Hi"), "messages": None}
    assert conversations(write(tmp_path, both))[0].turns[0].text == "Hi"


@pytest.mark.parametrize("text", ["a # b", "// what?", "# of what", "{'a': 1}", "- id: 1\\n- id: 2", "[[x]]", "---"])
def test_texts_like_other_formats_are_texts(tmp_path: Path, text: str) -> None:
    for indent in (None, 1):
        path = tmp_path / "rows.json"
        path.write_text(json.dumps([llava(text), llava(text)], indent=indent))
        assert conversations(path)[1].turns[0].text == text


def test_one_row_alone_and_a_hub_row_with_its_path_are_read(tmp_path: Path) -> None:
    (sample,) = conversations(write(tmp_path, llava(video={"bytes": None, "path": "a.mp4"})))
    assert sample.media == (Media("video", tmp_path / "a.mp4"),)


def test_a_list_of_one_picture_is_a_clip_of_one_frame_and_of_an_animation_the_animation(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 6))
    for name in ("one.jpg", "one.png", "one.gif"):
        picture.save(tmp_path / name)
        (sample,) = conversations(write(tmp_path, llava(video=[name])))
        assert sample.media == (Media("video", FrameList([tmp_path / name])),)
        (sample,) = conversations(write(tmp_path, llava(video=name)))
        assert sample.media == (Media("video", tmp_path / name),)
    picture.save(tmp_path / "moves.gif", save_all=True, append_images=[Image.new("RGB", (8, 6), "red")])
    for name in ("moves.gif", "a.mp4"):
        (sample,) = conversations(write(tmp_path, llava(video=[name])))
        assert sample.media == (Media("video", tmp_path / name),)


def test_a_comma_behind_each_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(",\n".join([json.dumps(ROW)] * 3))
    with pytest.raises(DataError, match=r"line 1: a comma follows the object; .* JSON Lines: one object on each line"):
        conversations(tmp_path / "rows.jsonl")


@pytest.mark.parametrize("name", ["contents", "dialog"])
def test_one_row_with_its_turns_under_another_name_is_no_list_of_rows(tmp_path: Path, name: str) -> None:
    row = {name: [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": [{"text": "a"}]}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=f"either 'conversations' or 'messages', and this one has {name}"):
        list(conversations(tmp_path / "rows.jsonl"))


@pytest.mark.parametrize(
    ("video", "hint"),
    [
        ({"file": "a.mp4"}, "None of them names the file: write its path in 'path'"),
        ({"source": {"data": "AAAA"}, "start": 1}, "None of them names the file"),
        ({"path": "a.mp4", "fps": 3}, "To read the file without them: ignore_fields="),
    ],
)
@pytest.mark.parametrize("place", ["row", "part"])
def test_a_field_that_may_be_the_file_itself_is_not_to_be_ignored(
    tmp_path: Path, video: dict, hint: str, place: str
) -> None:
    if place == "row":
        row = llava("<video>Q") | {"video": video}
    else:
        said = [{"type": "video", **video}, {"type": "text", "text": "Q"}]
        row = {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": "A"}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=re.escape(hint)):
        list(conversations(tmp_path / "rows.jsonl"))


def test_a_name_may_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Editors call copies so; only ``~/`` is the home folder, also where there is none."""
    monkeypatch.chdir(tmp_path)
    for home in ("/nowhere", None):
        monkeypatch.setenv("HOME", home) if home else monkeypatch.delenv("HOME")
        Path("~rows.jsonl").write_text(json.dumps(ROW))
        assert len(conversations(Path("~rows.jsonl"))) == 1


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(json.dumps([llava("caf\u00e9")], ensure_ascii=False).encode("latin-1"))
    with pytest.raises(DataError, match="line 1: not UTF-8"):
        conversations(path)[0]


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        conversations(tmp_path / "none.json")
    with pytest.raises(DataError, match="is a folder"):
        conversations(tmp_path)


def test_path_or_mixture(tmp_path: Path) -> None:
    path = write(tmp_path, llava("Hi"))
    with pytest.raises(ConfigError, match="neither 'path' nor 'mixture'"):
        conversations()
    with pytest.raises(ConfigError, match="both 'path' and 'mixture'"):
        conversations(path, mixture=[{"path": str(path)}])
    with pytest.raises(ConfigError, match=r"the weight of .* is 0"):
        conversations(mixture=[{"path": str(path), "weight": 0}])
    with pytest.raises(ConfigError, match="wight"):
        conversations(mixture=[{"path": str(path), "wight": 2}])


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


# --- every row, the wrong ones too ---


def problems(folder: Path, text: str | bytes) -> list[tuple[str, str, str]]:
    """Line, kind and words of each problem; and nothing that is right is among them."""
    path = folder / "rows.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    entries = list(entries_of(path=str(path)))
    return [
        (entry.where.removeprefix(f"{path}, line "), problem.kind, problem.text)
        for entry in entries
        for problem in entry.problems
    ]


def entries_of(**params: Any) -> Iterator[Entry]:
    values = dict(REGISTRY.check("dataset", {"name": "conversations", **params}))
    del values["name"]
    return Conversations.entries(**values)


GOOD = json.dumps(llava("Hi"))


@pytest.mark.parametrize("layout", ["lines", "array"])
def test_entries_of_a_good_manifest_are_its_samples(tmp_path: Path, layout: str) -> None:
    rows = [llava("Hi"), llava("Ho", id="q"), messages("<video>Why?", videos=["a.mp4"])]
    path = write(tmp_path, *rows) if layout == "lines" else write(tmp_path, json.dumps(rows, indent=1))
    data = conversations(path)
    entries = list(entries_of(path=str(path)))
    assert [entry.sample for entry in entries] == [data[index] for index in range(3)]
    assert [entry.problems for entry in entries] == [()] * 3


def test_every_broken_line_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    lines = ["\ufeff" + GOOD, '{"messages": [', "", "[1]", '{"a": 1,}', GOOD, '{"a"', GOOD]
    found = problems(tmp_path, "\n".join(lines).encode() + b'\n{"caf\xe9": 1}')
    assert [(line, kind) for line, kind, _ in found] == [(line, "syntax") for line in "24579"]
    assert found[2][2].startswith("not JSON (") and found[4][2].startswith("not UTF-8")
    good = [entry for entry in entries_of(path=str(tmp_path / "rows.json")) if entry.sample]
    assert [entry.where.rpartition(" ")[2] for entry in good] == ["1", "6", "8"]


def test_all_that_is_wrong_with_a_row_is_told(tmp_path: Path) -> None:
    row = llava("<video>Why?", id="q", source="web", video={"path": "../a.mp4", "speed": 2})
    row["conversations"][1]["loss"] = 1
    other = llava("<video>Why?", source="web", video="a.mp4")
    path = write(tmp_path, row, other)
    first, second = entries_of(path=str(path))
    assert [problem.kind for problem in first.problems] == ["unknown_field"] * 3 + ["row"]
    words = ("field(s) source", "turn 2: unknown field(s) loss", "field(s) speed", "'../a.mp4' is not a file inside")
    for problem, said in zip(first.problems, words, strict=True):
        assert said in problem.text and problem.text.startswith("sample 'q'")
    assert first.sample is None
    assert second.sample is not None and second.sample.media[0].path == tmp_path / "a.mp4"
    assert [problem.kind for problem in second.problems] == ["unknown_field"]


@pytest.mark.parametrize(
    ("text", "lines", "read"),
    [
        (f"[{GOOD},\n3,\n{GOOD}]", ["2"], 2),
        (f'[{GOOD},\n{{"a": 1,}},\n{GOOD}]', ["2"], 2),
        (f'[{GOOD},\n{{"a": [1, {{"b": "] }}"}} 2]}},\n{GOOD}\n]', ["2"], 2),
        (f'[{GOOD},\n{{"a": "no end}},\n{{"b": 1}},\n{GOOD}]', ["2", "2"], 1),  # the brackets no longer say
        (f"[{GOOD}\n{GOOD}]", ["2"], 2),
        (f"[{GOOD},\n\n,{GOOD}]", ["3"], 2),
        (f"[{GOOD},\n]", ["2"], 1),
        (f"[{GOOD},\n{GOOD}", ["2"], 2),
        (f"[{GOOD}]\n[{GOOD}]", ["2"], 1),
        ("[" * 100_000, ["1", "1"], 0),
    ],
)
def test_broken_arrays_are_read_on(tmp_path: Path, text: str, lines: list[str], read: int) -> None:
    found = problems(tmp_path, text)
    assert [line for line, _, _ in found] == lines and {kind for _, kind, _ in found} == {"syntax"}
    assert sum(entry.sample is not None for entry in entries_of(path=str(tmp_path / "rows.json"))) == read


def test_where_reading_ends_too_early_that_is_said(tmp_path: Path) -> None:
    found = problems(tmp_path, f'[{GOOD},\n{{"a": "no end}},\n{GOOD}]')
    assert "from here to the end of the file" in found[-1][2]
    assert "what follows was not read" in problems(tmp_path, f"[{GOOD}]\n[{GOOD}]")[0][2]
    assert "has no rows" in next(entries_of(path=str(write(tmp_path, "")))).problems[0].text


def test_entries_of_a_mixture(tmp_path: Path) -> None:
    first = write(tmp_path, llava("<video>", video="v.mp4"), name="a.jsonl")
    sources = [{"path": str(first)}, {"path": str(first), "sound": True}]
    entries = list(entries_of(mixture=sources))
    assert [len(entry.sample.media) for entry in entries if entry.sample] == [1, 2]
    with pytest.raises(DataError, match="does not exist"):
        entries_of(mixture=[*sources, {"path": str(tmp_path / "gone.jsonl")}])
    with pytest.raises(ConfigError, match="neither 'path' nor 'mixture'"):
        entries_of()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    written=st.lists(rows(), min_size=1, max_size=4),
    cut=st.integers(0, 400),
    junk=st.text('{}[],:"\\n a', max_size=4),
    array=st.booleans(),
)
@example(written=[(ROW, [])], cut=0, junk=":", array=False)
@example(written=[(ROW, [])], cut=0, junk="[a]\n", array=False)
def test_no_damage_makes_entries_raise(
    tmp_path: Path, written: list[tuple[dict[str, Any], list[str]]], cut: int, junk: str, array: bool
) -> None:
    """Wherever a manifest is damaged, reading it tells of a problem, or gives what the strict reader gives."""
    plain = [row for row, _ in written]
    text = json.dumps(plain, indent=1) if array else "\n".join(map(json.dumps, plain))
    path = tmp_path / "rows.json"
    path.write_text(text[:cut] + junk + text[cut:], encoding="utf-8")
    entries = list(entries_of(path=str(path)))
    if not any(entry.problems for entry in entries):
        data = conversations(path)
        assert [entry.sample for entry in entries] == [data[index] for index in range(len(data))]
