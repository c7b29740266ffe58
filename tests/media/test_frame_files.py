"""Clips that are folders or lists of pictures, on their whole way: manifest, check, loader, killable process."""

import json

import numpy as np
import pytest
import torch
from helpers.clips import ClipSpec, picture, write_clip
from helpers.loading import media_loader
from PIL import Image

from vlframe import FrameList, Media, MediaError, SquarePixels
from vlframe.cli import main
from vlframe.media.frame_files import file_states, frame_files
from vlframe.media.process import ReaderProcess

PIXELS = SquarePixels(size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def folder(tmp_path):
    where = tmp_path / "frames"
    where.mkdir()
    for index in range(6):
        Image.fromarray(picture(index * 9, 24, 32)).save(where / f"{index:03d}.png")
    return where


@pytest.fixture
def reader(registry):
    return registry.build("reader", {"name": "auto"})


def listed(folder, *numbers: int) -> FrameList:
    return FrameList(folder / f"{number:03d}.png" for number in numbers)


def test_numbers_in_names_count_as_numbers(tmp_path):
    for name in ("frame10.png", "frame9.PNG", "frame1.jpg", "a.webp", "frame_2b.png", "other.txt"):
        (tmp_path / name).write_bytes(b"")
    names = [file.name for file in frame_files(tmp_path)]
    assert names == ["a.webp", "frame1.jpg", "frame9.PNG", "frame10.png", "frame_2b.png"]


def test_a_list_says_what_it_is(folder):
    assert str(listed(folder, 0, 1, 2)) == f"{folder / '000.png'} to 002.png (3 pictures)"
    assert frame_files(folder / "000.png") is None


def test_what_is_loaded_of_a_folder_of_a_list_and_of_the_process_is_the_same(reader, folder):
    here, there = media_loader(reader, PIXELS, frames=4), media_loader(reader, PIXELS, frames=4, timeout=60)
    whole = listed(folder, *range(6))
    loaded = [load.load(Media("video", path)) for load in (here, there) for path in (folder, whole)]
    for other in loaded[1:]:
        assert torch.equal(loaded[0].tensor, other.tensor)
    assert loaded[0].tensor.shape == (4, 3, 16, 16)
    backwards = here.load(Media("video", listed(folder, *reversed(range(6))))).tensor
    assert not torch.equal(backwards, loaded[0].tensor)
    assert here.timeline(Media("video", whole)).seconds == (1.0, 2.0, 3.0, 4.0)
    assert torch.equal(
        here.load(Media("video", whole, start=2.0, end=3.0)).tensor[0], here.load(Media("video", whole)).tensor[1]
    )
    there.reader.close()


def test_the_process_carries_times_and_spans(reader, tmp_path):
    path = write_clip(tmp_path, ClipSpec("uneven.mkv", frames=4, frame_times=(0.0, 0.1, 0.9, 1.0), sound="pcm_s16le"))
    process = ReaderProcess(reader, 60, "auto")
    assert process.info(path) == reader.info(path)
    assert process.info(path).times == pytest.approx((0.0, 0.1, 0.9, 1.0), abs=0.001)
    np.testing.assert_array_equal(process.audio(path, 8000, 0.05, 9.0), reader.audio(path, 8000, 0.05, 9.0))
    process.close()


def test_a_picture_that_changed_is_read_again(reader, folder):
    load = media_loader(reader, PIXELS, frames=6, cache_mb=1).load
    before = load(Media("video", folder))
    assert load(Media("video", folder)).key == before.key
    Image.fromarray(picture(200, 24, 32)).save(folder / "003.png")
    after = load(Media("video", folder))
    assert after.key != before.key and not torch.equal(after.tensor[3], before.tensor[3])
    (folder / "003.png").unlink()
    assert len(file_states(folder)) == 5
    with pytest.raises(MediaError, match=r"003\.png: there is no such file"):
        load(Media("video", listed(folder, 0, 3)))


def test_rows_name_clips_by_a_folder_or_a_list(folder, tmp_path, capsys):
    names = [f"frames/{index:03d}.png" for index in range(6)]
    turns = [{"from": "human", "value": "<video>what?"}, {"from": "gpt", "value": "a word"}]
    messages = [{"role": "user", "content": "<video>what?"}, {"role": "assistant", "content": "a word"}]
    rows = [
        {"id": "list", "video": names, "conversations": turns},
        {"id": "folder", "video": "frames", "conversations": turns},
        {"id": "nested", "videos": [names], "messages": messages},
        {"id": "part", "videos": [{"path": names, "start": 1, "end": 3}], "messages": messages},
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    check = ["data", "check", str(tmp_path / "rows.json"), "encoder=vit_tiny", "connector=stc_tiny", "llm=tiny"]
    assert main(check) in (0, None)
    assert "counted for 4 of 4 samples" in capsys.readouterr().out
    assert main(check) in (0, None)  # from what is remembered
    assert "counted for 4 of 4 samples" in capsys.readouterr().out
    rows[0]["video"] = [*names[:5], "frames/gone.png"]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    assert main(check) == 1
    assert "gone.png" in capsys.readouterr().out
