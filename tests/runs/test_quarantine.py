"""What is quarantined, and when it is too much."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from vlframe import DataError
from vlframe.contracts.batch import Quarantined
from vlframe.data.collate import Collate
from vlframe.data.prepare import PreparedSample
from vlframe.runs.quarantine import QuarantineLimit, QuarantineLog, met_and_bad, sha256


def bad(number: int, why: str = "media", path: str | None = None) -> Quarantined:
    return Quarantined(f"row{number}", why, f"file {number}: damaged", path, "pyav")


def test_a_row_says_which_file_it_was_and_what_read_it(tmp_path: Path) -> None:
    clip = tmp_path / "a clip é.mp4"
    clip.write_bytes(b"damaged")
    os.mkfifo(tmp_path / "pipe.mp4")
    quarantine = QuarantineLog(tmp_path / "quarantine.jsonl")
    quarantine.add([bad(1, path=str(clip)), bad(1, path=str(clip)), bad(2, path=str(tmp_path / "gone.mp4"))])
    quarantine.add([bad(1, path=str(clip)), bad(3, path=str(tmp_path)), bad(4, path=str(tmp_path / "pipe.mp4"))])
    quarantine.add([Quarantined("row5", "too_long", "900 tokens")])
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
    batch = Collate()([PreparedSample(name, [5, 6], [False, True], ()) for name in "abc"])
    assert met_and_bad(batch) == (3, 0)
    assert met_and_bad(replace(batch, quarantined=(bad(1), bad(2, "missing_audio"), bad(3, "too_long")))) == (6, 3)


def test_ten_bad_samples_stop_nothing_and_eleven_do() -> None:
    share, quarantine = QuarantineLimit(0.1), QuarantineLog(Path("quarantine.jsonl"))
    quarantine.seen = {(f"row{number}", "media"): bad(number) for number in range(11)}
    share.count(10, 10, quarantine)
    share.count(99, 0, quarantine)
    share.count(1, 1, quarantine)  # 11 of 110: not above a tenth
    words = (
        r"12 of 111 samples met so far had to be quarantined \(media\), more than media.max_bad_share=0.1 allows. "
        r"The first: file 0: damaged; file 1: damaged; file 2: damaged; all are listed in quarantine.jsonl. To do: look"
    )
    with pytest.raises(DataError, match=words):
        share.count(1, 1, quarantine)


def test_the_same_few_samples_stop_nothing_however_often_they_are_met() -> None:
    share, quarantine = QuarantineLimit(0.1), QuarantineLog()
    for _ in range(50):  # epochs of six samples
        share.count(6, 2, quarantine, share.new([bad(1), bad(2)]))
    assert (share.met, share.bad, share.distinct) == (300, 100, 2)
    with pytest.raises(DataError, match="109 of 309 samples"):
        share.count(9, 9, quarantine, share.new([bad(number) for number in range(3, 12)]))


def test_samples_count_whatever_they_are_quarantined_for() -> None:
    share, quarantine = QuarantineLimit(0.5), QuarantineLog()
    quarantine.add([bad(1, "too_long"), bad(2, "missing_audio")])
    words = r"\(missing_audio, too_long\).*text.too_long=trim_text; take media.missing_audio=silence"
    with pytest.raises(DataError, match=words):
        share.count(20, 11, quarantine)


def test_an_order_that_is_not_random_is_measured_by_all_of_it() -> None:
    share = QuarantineLimit(0.1, total=200)
    share.count(20, 20, QuarantineLog())
    with pytest.raises(DataError, match=r"21 of 200 samples \(21 met so far\)"):
        share.count(1, 1, QuarantineLog())


def test_no_limit_and_a_limit_of_all() -> None:
    for share in (None, 1.0):
        limit = QuarantineLimit(share)
        limit.count(1000, 1000, QuarantineLog())
        assert (limit.met, limit.bad) == (1000, 1000)
