"""Where the paths of a config are once a folder has moved."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlframe.config.moved import advising_if_moved, moved_path, relocated
from vlframe.errors import ConfigError, OutOfMemory, WeightsError

names = st.text("ab=, é", min_size=1, max_size=6).filter(lambda name: name.strip() == name)


@given(st.lists(names, max_size=3), names, names)
def test_what_lies_in_the_old_folder_lies_in_the_new_one(rest: list[str], old: str, new: str) -> None:
    moved = {f"/{old}/data/": f"/{new}x/disk"}
    path = "/".join([f"/{old}/data", *rest])
    found = moved_path(path, moved)
    assert found == "/".join([f"/{new}x/disk", *rest])
    assert moved_path(found, moved) == found  # said again, nothing happens
    assert moved_path(f"/{old}/data2/x", moved) == f"/{old}/data2/x"


def test_the_longest_folder_wins_and_a_new_one_inside_an_old_one_stays() -> None:
    moved = {"/a": "/b", "/a/films": "/disk/films"}
    assert moved_path("/a/films/x.mp4", moved) == "/disk/films/x.mp4" and moved_path("/a/t.json", moved) == "/b/t.json"
    inside = {"/data": "/data/v2"}
    once = moved_path("/data/t.json", inside)
    assert once == "/data/v2/t.json" and moved_path(once, inside) == once


def test_only_keys_that_are_paths_move() -> None:
    config = {
        "moved": {"/a": "/b"}, "name": "/a/x", "llm": {"source": "/a/llm", "name": "tiny"}, "init": {"run": "/a/run"},
        "stages": {"main": {"data": {"mixture": [{"path": "/a/1.json", "media_root": "/a", "weight": 1}]}}},
    }  # fmt: skip
    assert relocated(config) == {
        "moved": {"/a": "/b"}, "name": "/a/x", "llm": {"source": "/b/llm", "name": "tiny"}, "init": {"run": "/b/run"},
        "stages": {"main": {"data": {"mixture": [{"path": "/b/1.json", "media_root": "/b", "weight": 1}]}}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "named", "folder"),
    [
        ({"llm": {"tokenizer": "{here}/tok"}}, "{here}/tok", "{here}/tok"),
        ({"llm": {"tokenizer": "{here}/models/tok"}}, "{here}/models/tok", "{here}/models"),
        ({"encoder": {"source": "{here}/clip/w.pt"}}, "{here}/clip/w.pt", "{here}/clip"),
        ({"init": {"run": "{here}/run"}}, "{here}/run", "{here}/run"),
        ({"stages": {"main": {"data": {"mixture": [{"path": "{here}/d/1.json"}]}}}}, "{here}/d/1.json", "{here}/d"),
        ({"dataset": {"media_root": "{here}/films"}}, "{here}/films", "{here}/films"),
        # no folder is gone: a file that is not there, one that is, a hub id, and what the error does not name
        ({"dataset": {"path": "{here}/gone.json"}}, "{here}/gone.json", None),
        ({"dataset": {"path": "{here}/there.json"}}, "{here}/there.json", None),
        ({"llm": {"source": "org/model"}}, "org/model", None),
        ({"llm": {"source": "{here}/llm"}}, "memory", None),
        ({"moved": {"path": "{here}/x/y"}}, "{here}/x/y", None),
    ],
)
def test_an_error_about_what_is_gone_says_what_to_do(
    tmp_path: Path, settings: dict, named: str, folder: str | None
) -> None:
    (tmp_path / "there.json").touch()
    filled = json.loads(json.dumps(settings).replace("{here}", str(tmp_path)))
    told = f"{named} cannot be read".replace("{here}", str(tmp_path))
    way = "put what is named there or name another, or, if its folder has moved, say where to: "
    hint = f"; there is no folder {folder} on this machine: {way}'moved={{{folder}: <new folder>}}'" if folder else ""
    for error in (ConfigError(told), WeightsError(told), OutOfMemory(told, "main")):
        with pytest.raises(type(error)) as caught, advising_if_moved(filled), advising_if_moved(filled):
            raise error
        assert str(caught.value) == told + hint.replace("{here}", str(tmp_path))
