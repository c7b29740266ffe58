"""``vlframe compare`` on run folders as runs leave them, made up here: rows, seeds, pairs, what cannot be compared."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest
from helpers.made_runs import DONE, QUESTIONS, run, share

from vlframe.cli import main
from vlframe.commands.compare import compare, written
from vlframe.config.schema import SweepConfig
from vlframe.errors import ConfigError
from vlframe.evaluation.crossed import crossed_difference, crossed_share
from vlframe.evaluation.statistics import wilson
from vlframe.runs.folder import RunFolder
from vlframe.runs.outcome import Outcome
from vlframe.runs.sweep import note_run, record_job
from vlframe.studies.comparison import shown_rows


def test_runs_are_rows_with_differences_to_the_first(tmp_path: Path) -> None:
    """Keys that compute nothing do not part runs; a clip's questions count as one; media may lie elsewhere."""
    a, b = share(10), share(24)
    run(tmp_path, "1", a, per_clip=2, logger={"wandb": {}})
    run(tmp_path, "2", b, per_clip=2, connector="stc")
    run(tmp_path, "3", b, per_clip=2, connector="stc", encoder={"name": "vit", "depth": 3})
    first, second, third = compare([tmp_path]).rows
    assert [row.label for row in (first, second, third)] == [
        "connector=pool", "connector=stc", "connector=stc encoder.depth=3",
    ]  # fmt: skip
    clips = [number // 2 for number in range(QUESTIONS)]
    assert first.score == crossed_share([a], clips) != wilson(10, QUESTIONS)
    assert (first.difference, first.common) == (None, None)
    assert second.difference == crossed_difference([a], [b], clips).interval and second.common == QUESTIONS
    assert second.difference.value == pytest.approx(0.35) and second.difference.low > 0
    assert (second.tokens, second.parameters, second.trained, second.seconds) == (16, 120, 10, 2.0)
    assert second.blind == pytest.approx(0.1) and second.state == "done"


def test_seeds_of_a_choice_are_one_row(tmp_path: Path) -> None:
    a, b = [share(10), share(14)], [share(20), share(24)]
    for seed in (1, 2):
        run(tmp_path, f"a{seed}", a[seed - 1], seed=seed)
        run(tmp_path, f"b{seed}", b[seed - 1], seed=seed, connector="stc")
    run(tmp_path, "b9", b[1], seed=2, connector="stc")  # once more, later
    comparison = compare([tmp_path])
    first, second = comparison.rows
    clips = list(range(QUESTIONS))
    assert (first.seeds, second.seeds) == ((1, 2), (1, 2))
    assert first.score == crossed_share(a, clips) and first.score.value == pytest.approx(0.3)
    assert second.difference == crossed_difference(a, b, clips).interval and second.seconds == 2.5
    assert second.runs == (str(tmp_path / "b1"), str(tmp_path / "b9"))
    notes = " ".join(comparison.notes)
    assert "1 more run(s) of the same seed" in notes and "over clips and seeds" in notes


@pytest.mark.parametrize(
    ("other", "common", "why"),
    [
        ({"first": 10}, 30, ""),
        ({"first": 100}, None, "no question in common"),
        ({"texts": {7: "who?"}}, None, "question 'q7' is not the same in both ('what 7?' and 'who?')"),
        ({"benchmark": {"name": "exact", "normalise": False}}, None, "benchmark.normalise is True and False"),
        ({"benchmark": {"name": "exact", "normalise": True, "dataset": {"path": "/b.json"}}}, QUESTIONS, ""),
    ],
    ids=["some left out", "other ids", "another question", "judged otherwise", "a copy of the file"],
)
def test_pairs_are_of_the_same_questions(tmp_path: Path, other: dict, common: int | None, why: str) -> None:
    run(tmp_path, "1", share(10))
    run(tmp_path, "2", share(20), connector="stc", **other)
    comparison = compare([tmp_path])
    row = comparison.rows[1]
    assert row.common == common and (row.difference is None) == (common is None)
    assert row.score is not None and row.score.value == 0.5, "its own score stands"
    assert why in " ".join(comparison.notes)
    assert ("no difference to the first is shown" in " ".join(comparison.notes)) == bool(why)


def test_what_did_not_come_to_its_end_is_a_row_that_says_why(tmp_path: Path) -> None:
    """Jobs of a sweep: refused, failed in training, killed, stopped, without a benchmark, one whose run is gone."""
    sweep, runs = tmp_path / "sweep", tmp_path / "runs"
    made = [
        run(runs, "0", share(10)),
        run(runs, "1", None, connector="b", outcome=Outcome("failed", "it broke", 2, 6, 2)),
        run(runs, "2", None, connector="c", outcome=Outcome("running", "", 2, 6)),
        run(runs, "3", share(30), connector="d", outcome=Outcome("stopped", "the time was up", 3, 6, 0)),
        run(runs, "4", None, connector="e", benchmark=None),
        tmp_path / "gone",
    ]
    for number, folder in enumerate(made, 1):
        note_run(SweepConfig(str(sweep), number), RunFolder(folder)) if folder.name != "gone" else None
        record_job(sweep, number, [f"connector={number}", "seed=1"])
    (sweep / "jobs" / "0006.run").write_text(str(tmp_path / "gone"))
    record_job(sweep, 7, ["connector=7", "seed=3"], error="there is no 7", exit_code=2)
    (made[4] / "scores.json").write_text("{")
    comparison = compare([sweep])
    told = {row.label: row.state for row in comparison.rows}
    assert list(told.values())[:4] == ["done", "failed", "is running, or was killed", "stopped"]
    notes = "\n".join(comparison.notes)
    for piece in (
        "connector=b benchmark=exact, seed 1: failed at 2 of 6 steps: it broke",
        "is running, or was killed: its checkpoints are at 2 of 6 steps", "stopped at 3 of 6 steps: the time was up",
        "4 cannot be read: JSONDecodeError", "gone is gone", "connector=7, seed 3: failed: there is no 7",
    ):  # fmt: skip
        assert piece in notes, (piece, notes)
    assert comparison.rows[3].score is not None and comparison.rows[6].seeds == (3,)
    table = written(comparison, "table")
    assert "failed" in table and "–" in table
    (made[0] / "predictions.jsonl").write_text("no JSON\n")
    broken = compare([sweep]).rows[0]
    assert broken.score == wilson(10, QUESTIONS), "the scores alone"


def test_graded_scores_are_compared_question_by_question(tmp_path: Path) -> None:
    """A mean of grades from 1 to 5 has its recorded interval, and a difference over clips; another metric has none."""
    grades = [float(1 + number % 5) for number in range(QUESTIONS)]
    made = [
        graded(tmp_path, "a", grades), graded(tmp_path, "b", [grade + 0.5 for grade in grades], connector="stc"),
        graded(tmp_path, "c", grades, connector="linear", metric="other"),
    ]  # fmt: skip
    first, second, third = compare(made).rows
    assert first.metric == "grade" and first.score and first.score.value == fmean(grades)
    assert second.difference and second.difference.value == pytest.approx(0.5) and second.common == QUESTIONS
    assert third.difference is None
    comparison = compare(made)
    assert any("different metrics ('grade' and 'other')" in note for note in comparison.notes)
    assert "score" in shown_rows(comparison)[0] and "grade" in shown_rows(compare(made[:2]))[0]


def graded(runs: Path, name: str, grades: list[float], *, metric: str = "grade", connector: str = "pool") -> Path:
    return run(runs, name, grades, metric=metric, connector=connector)


@pytest.mark.parametrize("form", ["table", "markdown"])
@pytest.mark.parametrize(
    ("made", "column", "metrics"),
    [
        ([("accuracy", 10), ("accuracy", 24), ("accuracy", 30)], "accuracy", None),
        ([(None, None), ("accuracy", 24), ("accuracy", 30)], "accuracy", None),
        ([("accuracy", 10), ("f1", 24), ("accuracy", 30)], "score", ["accuracy", "f1", "accuracy"]),
        ([(None, None), ("accuracy", 24), ("f1", 30)], "score", [None, "accuracy", "f1"]),
        ([(None, None), (None, None)], None, None),
    ],
    ids=["several", "first failed", "different metrics", "first failed, different metrics", "none scored"],
)
def test_every_row_of_the_table_has_its_score(
    tmp_path: Path, made: list, column: str | None, metrics: list | None, form: str
) -> None:
    for number, (metric, right) in enumerate(made):
        outcome = DONE if metric else Outcome("failed", "it broke", 2, 6, 2)
        answers = None if metric is None else share(right)
        run(tmp_path, str(number), answers, connector=f"c{number}", outcome=outcome, metric=metric or "accuracy")
    comparison = compare([tmp_path])
    rows = shown_rows(comparison)
    assert {tuple(row) for row in rows} == {tuple(rows[0])}, "every row has the same columns"
    scores = [None if right is None else f"{right / QUESTIONS:.3f}" for _, right in made]
    assert [row.get(column) for row in rows] == scores
    assert [row.get("metric") for row in rows] == (metrics or [None] * len(made))
    lines = written(comparison, form).splitlines()[2 : 2 + len(made)]
    assert all((score or "failed") in line for score, line in zip(scores, lines, strict=True)), lines


def test_scores_that_were_not_made_are_said(tmp_path: Path) -> None:
    run(tmp_path, "1", None)
    run(tmp_path, "2", None, benchmark=None, connector="stc")
    notes = compare([tmp_path]).notes
    assert notes == [
        "connector=pool benchmark=exact, seed 1: no scores: vlframe evaluate run=… makes them",
        "connector=stc benchmark=null, seed 1: no scores: it has no benchmark",
    ]


def test_a_run_and_its_evaluations(tmp_path: Path) -> None:
    whole = run(tmp_path, "1", share(30))
    run(whole / "evaluations", "later", share(12), outcome=None, media={"withhold": ["video"]})
    assert len(compare([tmp_path]).rows) == 1, "what is inside of a run is no other"
    rows = compare([whole, whole / "evaluations", whole]).rows
    assert [(row.label, row.state) for row in rows] == [("made_up", "done"), ("media.withhold=[video]", "done")]
    assert rows[1].difference is not None and rows[1].difference.high < 0


def test_formats(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run(tmp_path, "1", share(10))
    run(tmp_path, "2", share(24), connector="s|c")
    assert main(["compare", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert "connector=s|c" in table and "0.600" in table and "+0.350" in table and "question by question" in table
    assert main(["compare", str(tmp_path), "format=json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["rows"]
    assert first["difference"] is None and second["difference"]["value"] == pytest.approx(0.35)
    assert main(["compare", str(tmp_path), "format=csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert float(rows[1]["difference_low"]) > 0 and rows[0]["difference"] == "" and rows[1]["seeds"] == "1"
    assert main(["compare", str(tmp_path), "format=markdown"]) == 0
    assert "| connector=s\\|c |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "piece"),
    [
        ([], "needs run folders"),
        (["nowhere"], "'nowhere' is no run folder"),
        (["runs", "format=xml"], "format is 'xml'; it can be table, markdown, csv, json"),
        (["runs", "formt=csv"], "knows the key format, not 'formt'. Did you mean 'format'?"),
        (["runs", "--json"], "does not know --json; format=json gives JSON"),
        (["runs/1/checkpoints/a"], "is a checkpoint of the run"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, words: list[str], piece: str
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = run(tmp_path / "runs", "1", share(3)) / "checkpoints" / "a"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.json").write_text("{}")
    assert main(["compare", *words]) == 2
    assert piece in capsys.readouterr().err
    with pytest.raises(ConfigError):
        compare([tmp_path / "nowhere"])


def test_it_needs_no_torch_and_no_hydra(tmp_path: Path) -> None:
    run(tmp_path, "1", share(10))
    run(tmp_path, "2", share(20), seed=2)
    code = (
        "import sys; from vlframe.cli import main; main(sys.argv[1:]); "
        "print([name for name in ('torch', 'lightning', 'transformers', 'hydra') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "compare", str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout.endswith("[]\n") and "made_up" in done.stdout, done.stdout + done.stderr
