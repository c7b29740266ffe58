"""A file that is not there is told from one that has nearly its name."""

import unicodedata
from pathlib import Path

import pytest

from vlframe import MediaError
from vlframe.media.file_kind import media_kind
from vlframe.media.missing import no_such_file

CAFE = "caf\u00e9.mp4"


@pytest.mark.parametrize(
    ("asked", "there", "how"),
    [
        ("Clip.MP4", "clip.mp4", "with another case of letters"),
        ("clip.mp4", "clip.MP4", "with another case of letters"),
        ("clip.mp4 ", "clip.mp4", "without the blanks around it"),
        ("my%20clip.mp4", "my clip.mp4", "without the % codes"),
        (CAFE, unicodedata.normalize("NFD", CAFE), r"whose letters are written in another form \(NFD\)"),
        (unicodedata.normalize("NFD", CAFE), CAFE, r"whose letters are written in another form \(NFC\)"),
    ],
)
def test_a_file_of_nearly_the_name_is_named(tmp_path: Path, asked: str, there: str, how: str) -> None:
    (tmp_path / there).write_bytes(b"x")
    with pytest.raises(MediaError, match=f"there is no such file; there is .*, {how}"):
        media_kind(tmp_path / asked)


@pytest.mark.parametrize("name", ["other.mp4", "n" * 300 + ".mp4", "a\0b.mp4"])
def test_nothing_is_made_up(tmp_path: Path, name: str) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"x")
    assert no_such_file(tmp_path / name) == "there is no such file"


@pytest.mark.parametrize("name", ["n" * 300 + ".mp4", "x/" * 2100 + "a.mp4"])
def test_a_name_that_no_file_can_have_is_a_fault_of_the_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaError, match="File name too long"):
        media_kind(tmp_path / name)
