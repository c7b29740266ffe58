"""Manifests of conversations: what is refused, with the place named."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.conversations import ROW, conversations, llava, messages, write
from PIL import Image
from vlframe_conversations.dataset import Conversations

from vlframe import ConfigError, DataError, FrameList, Media


def refused(folder: Path, *rows: Any, **params: Any) -> str:
    """The message with which the last row is refused."""
    data = conversations(write(folder, *rows), **params)
    with pytest.raises(DataError) as caught:
        data[len(data) - 1]
    return str(caught.value)


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
    ("turn", "advice"),
    [
        ({"reasoning_content": "hm"}, "<think>…</think> before it"),
        ({"loss": False}, "All answers of a row are taught alike"),
        ({"weight": 0}, "All answers of a row are taught alike"),
        ({"tool_calls": [{"id": "1"}]}, "Calls of tools are not read; leave out rows with some"),
        ({"tool_calls": [], "tool_call_id": ""}, "ignore_fields=[tool_calls,tool_call_id]"),
        ({"train": True, "note": "x"}, "taught alike; leave out rows in which one is not to be. To read the file"),
    ],
)
def test_no_advice_is_to_pass_over_what_is_taught(tmp_path: Path, turn: dict[str, Any], advice: str) -> None:
    answer = {"role": "assistant", "content": "red"} | turn
    message = refused(tmp_path, {"messages": [{"role": "user", "content": "Hi"}, answer]})
    assert advice in message and ("ignore_fields" in advice or "note" in turn or "ignore_fields" not in message)


@pytest.mark.parametrize(
    ("more", "advice"),
    [
        ({"system": "Be short."}, "A system text is the first turn"),
        ({"video_start": 2, "video_end": 3}, "begins is 'start'; the second at which a film or sound ends is 'end'"),
        ({"video_path": "a.mp4"}, "A file is named in 'video'"),
        (
            {"image_file": "a.png", "license": "x"},
            "named in 'image'. To read the file without them: ignore_fields=[lic",
        ),
    ],
)
def test_fields_of_other_tools_are_told_by_our_names(tmp_path: Path, more: dict[str, Any], advice: str) -> None:
    assert advice in refused(tmp_path, llava("Hi", id="q", **more))


@pytest.mark.parametrize(
    ("answer", "options", "advice"),
    [
        (3, None, 'write it in quotes: "3"'),
        (True, None, 'write the words, as in "yes"'),
        (True, ["yes", "no"], "write the option's letter or text"),
        (float("nan"), None, "is null, or left out"),
        ({"text": "red"}, None, 'write its text alone: "red"'),
        ({"text": "red", "type": "colour"}, None, "write one text"),
        ("A", {"A": "red", "B": "blue"}, 'write them alone, in order: ["red", "blue"]'),
    ],
)
def test_what_is_no_text_is_told_how_it_is_written(tmp_path: Path, answer: Any, options: Any, advice: str) -> None:
    assert advice in refused(tmp_path, llava("Hi", id="q", answer=answer, options=options))


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
        (llava(video="file:///a%20b.mp4"), "nothing is fetched; write '/a b.mp4'"),
        (llava(video="file://localhost/a.mp4"), "nothing is fetched; write '/a.mp4'"),
        (llava(video="file://host/a.mp4"), "nothing is fetched; store the file"),
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


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        (" // the first", r"a comment \('// the first'\), and JSON has none; take them out"),
        ("  # é", r"a comment \('# .*'\), and JSON has none"),
        (" ;", r"the object ends at column \d+, and more follows; .* JSON Lines"),
        (" [1]", r"the object ends at column \d+, and more follows"),
    ],
)
def test_what_follows_a_row_on_its_line_is_named(tmp_path: Path, behind: str, said: str) -> None:
    rows = [json.dumps(ROW), json.dumps(ROW) + behind, json.dumps(ROW)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(DataError, match=f"line 2: {said}"):
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
