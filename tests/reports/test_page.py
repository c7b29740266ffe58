"""The page's browser of answers in a real web browser, for a study of more cells than it shows at once."""

import json
from pathlib import Path

import pytest
from helpers.browsers import need_browser, opened
from helpers.clips import ClipSpec, write_clip
from helpers.studies import pretended, study_file

import vlframe.training.run as training_run
from vlframe.cli import main
from vlframe.studies.ledger import entries
from vlframe.studies.study import read_study

SHARES = {"a": 0.0, "b": 0.25, "c": 0.5, "d": 0.75, "e": 1.0}  # of 40 questions, the first ones right
RATES = {label: f"{number}e-3" for number, label in enumerate(SHARES, 1)}


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five cells whose answers differ, about one clip."""
    need_browser()
    by_rate = {float(rate): SHARES[label] for label, rate in RATES.items()}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training_run, "train", pretended(lambda config, call: by_rate[config.stages["main"].lr]))
    file = study_file(tmp_path, {"lr": {label: f"stages.main.lr={rate}" for label, rate in RATES.items()}})
    assert main(["study", "run", str(file)]) == 0
    write_clip(tmp_path, ClipSpec("clip.mp4"))
    for entry in entries(read_study(file).folder):
        answers = entry.run / "predictions.jsonl"
        rows = [json.loads(line) for line in answers.read_text().splitlines()]
        answers.write_text("".join(f"{json.dumps({**row, 'media': [str(tmp_path / 'clip.mp4')]})}\n" for row in rows))
    assert main(["study", "report", str(file)]) == 0
    return read_study(file).folder / "report" / "index.html"


def test_four_cells_stand_beside_a_clip_and_the_filter_leaves_what_they_answer_differently(page: Path) -> None:
    with opened(page) as (shown, said):
        chosen = shown.locator("#cells select")
        assert chosen.count() == 4 and shown.locator(".given > div").count() == 4
        assert shown.inner_text("#place") == "1 of 40"
        shown.check("#differ")
        assert shown.inner_text("#place") == "1 of 30", "a is never right, d is for 30"
        assert shown.locator(".given > div.right").count() in (1, 2, 3)
        for number in (2, 3):
            chosen.nth(number).select_option("-1")
        assert shown.inner_text("#place") == "1 of 10", "a and b"
        chosen.nth(1).select_option("4")
        assert shown.inner_text("#place") == "1 of 40", "a and e"
        assert shown.locator(".given > div").all_inner_texts()[1].startswith("e")
        shown.locator("#question").scroll_into_view_if_needed()
        shown.wait_for_function("document.querySelector('video').currentTime > 0.05")
        chosen.nth(1).select_option("0")
        assert shown.inner_text("#place") == "none", "a cell does not differ from itself"
        assert not said, said
