"""Data sets wherever they are now."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from helpers.runs import manifest

from vlframe import FrameList, Media, Sample, Subset, Turn
from vlframe.data.opened import Moved, open_samples
from vlframe.errors import UserError


class Rows:
    subsets = (Subset(0, 1, 1.0),)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        media = (Media("video", Path("/old/a.mp4")), Media("video", FrameList((Path("/old/1.png"), Path("/x/2.png")))))
        return Sample("a", (Turn("user", "q"),), media)


def test_media_that_moved_are_found_and_the_rest_is_the_data_sets_own() -> None:
    moved = pickle.loads(pickle.dumps(Moved(Rows(), {"/old": "/new"})))  # as a data worker has it
    clip, pictures = moved[0].media
    assert clip.path == Path("/new/a.mp4") and pictures.path == (Path("/new/1.png"), Path("/x/2.png"))
    assert isinstance(pictures.path, FrameList) and len(moved) == 1 and moved.subsets == Rows.subsets
    with pytest.raises(AttributeError):
        _ = moved.nothing


def test_only_a_folder_that_is_gone_may_have_moved(registry: Any, tmp_path: Path) -> None:
    there = manifest(tmp_path, rows=2)
    settings = {"name": "conversations", "path": str(there)}
    assert len(open_samples(registry, settings, {})) == 2
    with pytest.raises(UserError) as typo:
        open_samples(registry, settings | {"path": f"{there}x"}, {})
    assert "moved=" not in str(typo.value)
    with pytest.raises(UserError, match=r"'moved=\{/gone/data: <new folder>\}'"):
        open_samples(registry, settings | {"path": "/gone/data/t.json"}, {})


def test_an_error_names_the_place_of_the_data_set(registry: Any, tmp_path: Path) -> None:
    settings = {"name": "video_instruct", "path": str(tmp_path / "x.json"), "media_root": str(tmp_path)}
    with pytest.raises(UserError, match=r"^stages\.main\.data\.path is .*x\.json, and there is no such file$"):
        open_samples(registry, settings, {}, "stages.main.data")
    with pytest.raises(UserError, match=r"^dataset\.path is "):
        open_samples(registry, settings, {})
    with pytest.raises(
        UserError, match=r"^benchmark\.dataset\.path .*no folder /gone on this machine: put what is named there"
    ):
        open_samples(registry, settings | {"path": "/gone/x.json"}, {}, "benchmark.dataset")
