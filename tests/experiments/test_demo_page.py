"""The demo's page shows each category's clips beside what was answered, and both losses."""

import json
import runpy
from pathlib import Path

PAGE = runpy.run_path(str(Path(__file__).resolve().parents[2] / "experiments" / "quickstart" / "page.py"))


def run(folder: Path, losses: list[float], answers: list[tuple[str, str]] | None = None) -> Path:
    folder.mkdir(parents=True)
    rows = "".join(f"{step},{loss}\n" for step, loss in enumerate(losses, 1))
    (folder / "metrics.csv").write_text(f"step,train/loss\n{rows}{len(losses)},\n")  # the last: of an evaluation
    lines = [
        {"category": category, "question": "<video>\nWhich way <now>?", "answers": ["left"], "text": f" {text}",
         "scores": {"accuracy": text.casefold() == "left"}, "media": [str(folder / f"{number} a.mp4")] * 2}
        for number, (category, text) in enumerate(answers or [])
    ]  # fmt: skip
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_clips_answers_and_losses_are_on_the_page(tmp_path: Path) -> None:
    answers = [("direction", "Left"), ("direction", "right")] + [("colour", "left")] * 5
    seeing = run(tmp_path / "quickstart" / "a", [4.0, 2.0, 1.0], answers)
    lacking = run(tmp_path / "blind" / "b", [4.0, 3.0])
    page = PAGE["write_page"](seeing, lacking, "blind", "all | 0.99", seeing / "demo.html").read_text()
    assert page.count("<video ") == 2 + PAGE["PER_CATEGORY"] and "src='0%20a.mp4'" in page
    assert page.count("class='right'") == 1 + PAGE["PER_CATEGORY"] and page.count("(right: left)") == 1
    assert "Which way &lt;now&gt;?" in page and "all | 0.99" in page
    assert page.count("<polyline") == 2 and ">trained blind</text>" in page and "step 3</text>" in page
