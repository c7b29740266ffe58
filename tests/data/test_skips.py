"""What was left out, and when it is too much."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vlframe import ConfigError, DataError
from vlframe.data.batch import Batch, Skipped
from vlframe.data.skips import BadShare, SkipLog, met_and_bad, sha256


def bad(number: int, why: str = "media", path: str | None = None) -> Skipped:
    return Skipped(f"row{number}", why, f"file {number}: damaged", path, "pyav")


def test_a_row_says_which_file_it_was_and_what_read_it(tmp_path: Path) -> None:
    clip = tmp_path / "a clip é.mp4"
    clip.write_bytes(b"damaged")
    os.mkfifo(tmp_path / "pipe.mp4")
    skips = SkipLog(tmp_path / "quarantine.jsonl")
    skips.add([bad(1, path=str(clip)), bad(1, path=str(clip)), bad(2, path=str(tmp_path / "gone.mp4"))])
    skips.add([bad(1, path=str(clip)), bad(3, path=str(tmp_path)), bad(4, path=str(tmp_path / "pipe.mp4"))])
    skips.add([Skipped("row5", "too_long", "900 tokens")])
    rows = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["row1", "row2", "row3", "row4", "row5"]
    assert rows[0] == {
        "id": "row1", "why": "media", "reason": "file 1: damaged", "path": str(clip),
        "sha256": hashlib.sha256(b"damaged").hexdigest(), "reader": "pyav",
    }  # fmt: skip
    assert [row["sha256"] for row in rows[1:]] == [None] * 4
    assert (rows[4]["path"], rows[4]["reader"]) == (None, None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_has_no_hash(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "secret").chmod(0)
    assert sha256(str(tmp_path / "secret")) is None


def test_a_batch_tells_what_it_should_have_been() -> None:
    empty = torch.zeros(3, 5)
    batch = Batch(empty, empty, empty, samples=("a", "b", "c"))
    assert met_and_bad(batch) == (3, 0)
    assert met_and_bad(replace(batch, skipped=(bad(1), bad(2, "missing_audio"), bad(3, "too_long")))) == (6, 1)


def test_ten_bad_samples_stop_nothing_and_eleven_do() -> None:
    share, skips = BadShare(0.1), SkipLog(Path("quarantine.jsonl"))
    skips.seen = {(f"row{number}", "media"): bad(number) for number in range(11)}
    share.count(10, 10, skips)
    share.count(99, 0, skips)
    share.count(1, 1, skips)  # 11 of 110: not above a tenth
    words = (
        r"12 of 111 samples met so far .* media.max_bad_share=0.1 allows. The first: file 0: damaged; file 1: damaged; "
        r"file 2: damaged; all are listed in quarantine.jsonl"
    )
    with pytest.raises(DataError, match=words):
        share.count(1, 1, skips)


def test_an_order_that_is_not_random_is_measured_by_all_of_it() -> None:
    share = BadShare(0.1, total=200)
    share.count(20, 20, SkipLog())
    with pytest.raises(DataError, match=r"21 of 200 samples \(21 met so far\)"):
        share.count(1, 1, SkipLog())


def test_no_limit_and_impossible_limits() -> None:
    BadShare(None).count(1000, 1000, SkipLog())
    BadShare(1.0).count(1000, 1000, SkipLog())
    for limit in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match=r"media.max_bad_share is .* null"):
            BadShare(limit)
