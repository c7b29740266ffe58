"""``vlframe study report`` of a small study with real runs: every file says what the results say."""

import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import plotly.graph_objects as go
import pytest
from helpers.browsers import opened
from PIL import Image

from vlframe.cli import main
from vlframe.config.typed import to_yaml
from vlframe.evaluation.crossed import over_items
from vlframe.registry.registry import Registry
from vlframe.reports.report import Limits, write_report
from vlframe.studies.resolved import resolved
from vlframe.studies.study import read_study

CLIPS = 8
STUDY = {
    "base": [
        "experiment=quickstart", "dataset.clips=8", f"benchmark.dataset.clips={CLIPS}",
        "stages.motion.data.clips=8", "stages.motion.steps=2", "stages.main.steps=4", "stages.main.batch_size=4",
        "stages.motion.batch_size=4", "trainer.log_every=1", "trainer.progress=false", "trainer.accelerator=cpu",
        "loader.workers=0",
    ],
    "axes": {"connector": {
        "stc": "connector=stc_tiny", "pool <16>": "connector=pool_tiny",
        "odd": ["connector=stc_tiny", "encoder.dim=33"],
    }},
    "seeds": [0, 1],
    "margin": 0.05,
    "metrics": ["accuracy", "accuracy/shape"],
}  # fmt: skip
FILES = {
    "README.md", "table.csv", "table.tex", "index.html", "front.png", "front.pdf", "differences.png", "differences.pdf",
    "curves.png", "curves.pdf",
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a study that was run, one cell of which cannot be."""
    folder = tmp_path_factory.mktemp("report")
    file = folder / "study.yaml"
    file.write_text(to_yaml({**STUDY, "name": "connectors & more", "folder": str(folder / "made")}))
    assert main(["study", "run", str(file)]) == 2
    return file


@pytest.fixture(scope="module")
def report(study: Path) -> Path:
    assert main(["study", "report", str(study)]) == 0
    return study.parent / "made" / "report"


@pytest.fixture(scope="module")
def again(study: Path, registry: Registry) -> Callable[..., Path]:
    """Write the report once more."""
    read = read_study(study)
    planned = resolved(read, registry)
    return lambda **limits: write_report(read, planned, Limits(**limits))


@pytest.fixture(scope="module")
def results(study: Path) -> dict:
    """What ``vlframe study run`` wrote."""
    return json.loads((study.parent / "made" / "results.json").read_text())


class Page(HTMLParser):
    """The cells of a page's tables, and its data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.data, self.place = "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.place = "data" if ("id", "data") in attrs else tag
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.place = ""

    def handle_data(self, data: str) -> None:
        if self.place in ("td", "th"):
            self.tables[-1][-1][-1] += data
        elif self.place == "data":
            self.data += data


def number(text: str) -> float:
    return float(text.replace("$-$", "-").split(" ")[0].replace(",", ""))


def rows_of_markdown(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_every_file_is_there_and_the_same_results_give_the_same_bytes(again: Callable[..., Path], report: Path) -> None:
    assert {item.name for item in report.iterdir()} == FILES
    before = {item.name: item.read_bytes() for item in report.iterdir()}
    assert again() == report
    assert {item.name: item.read_bytes() for item in report.iterdir()} == before
    for name in ("front", "differences", "curves"):
        with Image.open(report / f"{name}.png") as picture:
            assert min(picture.size) > 200 and len(picture.convert("RGB").getcolors(10**6) or []) > 20
        assert (report / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_the_csv_has_the_results_unrounded(report: Path, results: dict) -> None:
    lines = list(csv.DictReader(io.StringIO((report / "table.csv").read_text())))
    done = [line for line in lines if line["state"] == "done"]
    assert [line["cell"] for line in done] == ["stc", "stc", "pool <16>", "pool <16>"]
    cells = {cell["label"]: cell for cell in results["cells"]}
    for line in done:
        cell = cells[line["cell"]]
        item = cell["compared"][line["metric"]]
        assert float(line["score"]) == item["score"]["value"] and int(line["n"]) == item["n"]
        assert float(line["peak_memory_gib"]) == cell["peak_memory"] > 0
        assert (int(line["tokens"]), int(line["trained"])) == (cell["tokens"], cell["trained"])
        if item["difference"]:
            assert float(line["difference"]) == item["difference"]["value"]
            assert float(line["p_holm"]) == item["verdict"]["p"] and line["verdict"] == item["verdict"]["word"]
    (odd,) = [line for line in lines if line["cell"] == "odd" and line["metric"] == ""] or [
        line for line in lines if line["cell"] == "odd"][:1]  # fmt: skip
    assert odd["state"] == "failed" and "dim=33" in odd["why"] and odd["score"] == ""


def test_markdown_latex_and_the_page_have_one_table(report: Path, results: dict) -> None:
    markdown = rows_of_markdown((report / "README.md").read_text())
    latex = [
        [cell.strip() for cell in line.removesuffix(r" \\").split(" & ")]
        for line in (report / "table.tex").read_text().splitlines() if line.endswith(r" \\")
    ]  # fmt: skip
    page = Page((report / "index.html").read_text())
    names = markdown[0]
    assert names[:5] == ["cell", "seeds", "score", "difference", "verdict"]
    for wanted in ("asked", "unparsed", "tokens", "trained", "training s", "samples/s", "peak GiB"):
        assert wanted in names
    read = {"README.md": markdown[2:5], "table.tex": latex[1:4], "index.html": page.tables[0][1:4]}
    for place, (stc, pool, odd) in read.items():
        first, second, third = (dict(zip(names, row, strict=False)) for row in (stc, pool, odd))
        for row, cell in ((first, results["cells"][0]), (second, results["cells"][1])):
            score = cell["compared"]["accuracy"]["score"]
            assert number(row["score"]) == pytest.approx(score["value"], abs=6e-4), place
            assert row["asked"] == f"{cell['n']}/{cell['asked']}" and number(row["tokens"]) == cell["tokens"], place
            assert number(row["trained"]) == cell["trained"], place
            assert number(row["unparsed"].rstrip("\\%")) == pytest.approx(100 * cell["unparsed"], abs=0.06), place
            assert number(row["peak GiB"]) == pytest.approx(cell["peak_memory"], abs=0.006), place
        gain = results["cells"][1]["compared"]["accuracy"]["difference"]
        assert number(second["difference"]) == pytest.approx(gain["value"], abs=6e-4), place
        word = results["cells"][1]["compared"]["accuracy"]["verdict"]["word"]
        assert second["verdict"].startswith(word) and third["verdict"] == "failed", place
        assert first["cell"] == "stc (baseline)", place
    assert "dim=33 cannot be shared" in markdown[4][-1] and "dim=33 cannot be shared" in page.tables[0][4][0]
    assert r"\toprule" in (report / "table.tex").read_text() and r"pool \textless{}16\textgreater{}" in latex[2][0]


def test_the_pages_charts_are_valid_and_show_the_results(report: Path, results: dict) -> None:
    text = (report / "index.html").read_text()
    page = Page(text)
    data = json.loads(page.data)
    assert set(data["charts"]) == {"front", "differences-0", "differences-1", "categories", "curves"}
    for chart in data["charts"].values():
        go.Figure(chart)  # raises for what plotly.js does not know
    curves = data["charts"]["curves"]["data"]
    assert [(trace["name"], len(trace["x"])) for trace in curves] == [("stc", 6)] * 2 + [("pool <16>", 6)] * 2
    (heat,) = data["charts"]["categories"]["data"]
    at = heat["y"].index("shape"), heat["x"].index("pool <16>")
    shape = results["cells"][1]["compared"]["accuracy/shape"]["score"]["value"]
    assert heat["z"][at[0]][at[1]] == pytest.approx(shape)
    dots = {trace["name"]: trace for trace in data["charts"]["front"]["data"] if "name" in trace}
    assert dots["stc"]["x"] == [results["cells"][0]["tokens"]]
    assert "connector.name: &#39;stc&#39; -&gt; &#39;pool&#39;" in text and "encoder.dim: 128 -&gt; 33" in text
    assert text.count("plotly.js v") == 1 and not re.search(
        r'(src|href)="(https?:)?//', text.partition("plotly.js v")[0]
    )


def test_the_panel_says_what_every_score_uses(study: Path, report: Path, results: dict) -> None:
    """Of a study, without being asked for: everything that its questions have."""
    page = Page((report / "index.html").read_text())
    panel = page.tables[-1]
    assert panel[0] == ["cell", "blind", "one_frame", "shuffled", "reversed"], (
        "there is no sound, and no option has a place"
    )
    for row, cell in zip(panel[1:], results["cells"], strict=False):
        assert row[0] == cell["label"]
        for shown, name in zip(row[1:], panel[0][1:], strict=True):
            control = cell["controls"][name]
            assert number(shown) == pytest.approx(control["score"], abs=6e-4) and control["n"] > 0
            assert f"({control['score'] - control['plain']:+.3f}" in shown.replace("-0.000", "+0.000")
    stc = results["cells"][0]["controls"]
    (plain, shuffled) = ([], [])
    for file in sorted((study.parent / "made" / "cells").glob("stc-seed*/*/predictions.jsonl")):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        plain.append([float(row["scores"]["accuracy"]) for row in rows])
        shuffled.append([float(row["controls"]["shuffled"]["scores"]["accuracy"]) for row in rows])
        clips = [row["group"] for row in rows]
    wanted = over_items(plain, shuffled, clips)
    assert (stc["shuffled"]["low"], stc["shuffled"]["high"]) == pytest.approx((wanted.low, wanted.high))
    for text in ((report / "README.md").read_text(), (report / "index.html").read_text()):
        assert "when the frames are shuffled (" in text and "it uses" in text
    line = next(csv.DictReader(io.StringIO((report / "table.csv").read_text())))
    assert float(line["control_shuffled_score"]) == stc["shuffled"]["score"]


def test_answers_are_those_of_the_runs_with_their_clips(study: Path, report: Path) -> None:
    browsed = json.loads(Page((report / "index.html").read_text()).data)["browsed"]
    assert browsed["cells"] == ["stc", "pool <16>"] and browsed["seeds"] == [0, 0] and browsed["media_left_out"] == 0
    runs = sorted((study.parent / "made" / "cells").glob("stc-seed0-*/*/predictions.jsonl"))
    rows = {row["id"]: row for row in map(json.loads, runs[0].read_text().splitlines())}
    assert browsed["total"] == len(rows) == len(browsed["questions"])
    for question in browsed["questions"]:
        row = rows[question["id"]]
        assert (
            question["given"][0]["text"] == row["text"] and question["given"][0]["value"] == row["scores"]["accuracy"]
        )
        assert question["question"] and "<video>" not in question["question"]
        assert all(item["src"].startswith("data:video/mp4;base64,") for item in question["media"])


def test_the_page_takes_no_more_along_than_it_may(again: Callable[..., Path], report: Path) -> None:
    again(questions=3, media_mb=0)
    browsed = json.loads(Page((report / "index.html").read_text()).data)["browsed"]
    assert len(browsed["questions"]) == 3 and browsed["media_left_out"] == 3
    assert all("media_mb is spent" in item["why"] for question in browsed["questions"] for item in question["media"])
    again()


def test_a_browser_opens_the_page_from_the_disk(report: Path) -> None:
    with opened(report / "index.html") as (page, said):
        assert page.inner_text("h1") == "connectors & more"
        page.wait_for_selector('[data-chart="curves"] .main-svg')
        assert page.locator(".chart .main-svg").count() >= 5
        whole = page.inner_text("#place")
        total = json.loads(page.inner_text("#data") or page.evaluate("document.getElementById('data').textContent"))
        questions = total["browsed"]["questions"]
        assert whole == f"1 of {len(questions)}"
        page.locator("#question").scroll_into_view_if_needed()
        page.wait_for_function("document.querySelector('video').currentTime > 0.1")
        assert page.evaluate("document.querySelector('video').videoWidth") == 64
        differing = [item for item in questions if item["given"][0]["judged"] != item["given"][1]["judged"]]
        page.check("#differ")
        assert page.inner_text("#place") == (f"1 of {len(differing)}" if differing else "none")
        page.uncheck("#differ")
        page.select_option("#category", "shape")
        shapes = [item for item in questions if item["category"] == "shape"]
        assert page.inner_text("#place") == f"1 of {len(shapes)}"
        page.click("#next")
        assert page.inner_text("#place") == f"2 of {len(shapes)}"
        assert shapes[1]["id"] in page.inner_text("#question .id")
        page.locator("#cells select").nth(1).select_option("-1")
        assert page.locator(".given > div").count() == 1
        assert not said, said


def test_what_is_missing_is_one_sentence(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vlframe.reports.needs.find_spec", lambda name: None if name == "plotly" else object())
    assert main(["study", "report", str(study)]) == 2
    assert "and plotly is not installed: pip install 'vlframe[report]'" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(["study", "report", str(study), "questions=few"]) == 2
    assert "questions is 'few'; it is a number, like questions=200" in capsys.readouterr().err


def test_a_study_without_a_run_has_nothing_to_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(to_yaml({**STUDY, "axes": {}, "folder": str(tmp_path / "made")}))
    assert main(["study", "report", str(file)]) == 2
    assert "is done, so there is nothing to report; vlframe study run" in capsys.readouterr().err
    assert not (tmp_path / "made" / "report").exists()
