"""Manifests of conversations: every row, the wrong ones too."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.conversations import REGISTRY, ROW, conversations, llava, messages, rows, write
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from vlframe_conversations.dataset import Conversations

from vlframe import ConfigError, DataError, Entry


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
