"""Template text is not answer; rows in any spelling; tags that are words."""

import runpy
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.cases import MODEL, TINY, check, checked, one_sentence, predictions, runs_in, scores, train
from helpers.processes import vlframe

Case = Callable[[str], Path]


def make_tokenizer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    runpy.run_path(str(folder / "make_tokenizer.py"))


def test_thinking_template(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = case("thinking-template")
    make_tokenizer(folder, monkeypatch)
    done = train(
        folder, "dataset.path=words.json", "llm.tokenizer=./tokenizer", "stages.main.steps=150",
        "stages.main.batch_size=8", "stages.main.lr=3e-3", "benchmark=exact_match_file",
        "benchmark.dataset.path=words.json", "benchmark.max_new_tokens=24",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = runs_in(folder)
    assert (scores(run)["accuracy"], scores(run)["n"], scores(run)["unparsed"]) == (1.0, 8, 0)
    assert not any("<think>" in row["text"] for row in predictions(run))
    said = vlframe("predict", f"run={run}", "prompt=say word 3", "max_new_tokens=24", cwd=folder).stdout
    assert said.strip() == "left"


def test_content_parts(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = case("content-parts")
    make_tokenizer(folder, monkeypatch)
    assert check(folder, "words.json", *MODEL, "llm.tokenizer=./tokenizer").returncode == 0
    report = checked(folder, "parts.json", *MODEL)
    assert report["findings"] == [] and report["sources"][0]["video"] == 1


def test_tags_that_are_words(case: Case) -> None:
    folder = case("tags-that-are-words")
    done = check(folder, "rows.json", *MODEL)
    assert done.returncode == 1 and "1 error" in done.stdout, done.stdout
    assert "text_only_question" in done.stdout and r'"\\<image>" (in JSON)' in done.stdout
    assert "write one" not in done.stdout
    report = checked(folder, "rows.json", *MODEL, "dataset.stray_tags=word")
    assert report["findings"] == [] and report["sources"][0]["samples"] == 3 and report["sources"][0]["video"] == 1
    rows = folder / "rows.json"
    rows.write_text(rows.read_text().replace("does <image>", r"does \\<image>"))
    assert checked(folder, "rows.json", *MODEL)["findings"] == []


@pytest.mark.parametrize("rows", ["role_content.json", "from_value.json"])
def test_mixed_styles_of_rows(case: Case, rows: str) -> None:
    assert checked(case("mixed-styles-of-rows"), rows, *MODEL)["findings"] == []


def test_long_conversations(case: Case) -> None:
    folder = case("long-conversations")
    started = time.perf_counter()
    done = check(folder, "rows.json", *MODEL, "text.too_long=drop")
    assert time.perf_counter() - started < 8  # of a whole process; the rendering alone took ten
    assert done.returncode == 1 and "none of its 1 samples is left" in done.stdout, done.stdout


def test_a_template_without_system_turns_is_said_before_the_run(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = case("thinking-template")
    (folder / "template.jinja").write_text(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}</s>{% endfor %}"
    )
    make_tokenizer(folder, monkeypatch)
    rows = folder / "words.json"
    turn = '{\n    "from": "human",\n    "value": "say word 7"'
    assert turn in rows.read_text()
    rows.write_text(rows.read_text().replace(turn, '{"from": "system", "value": "Be brief."}, ' + turn))
    words = ["dataset.path=words.json", "llm.tokenizer=./tokenizer"]
    one_sentence(train(folder, *words), "refuses system turns (no system role)", "llm.chat_template")
    assert runs_in(folder) == []
    one_sentence(check(folder, "words.json", *MODEL, "llm.tokenizer=./tokenizer"), "refuses system turns")


def test_a_template_that_ends_no_answer_is_said_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = case("thinking-template")
    (folder / "template.jinja").write_text("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}")
    make_tokenizer(folder, monkeypatch)
    words, said = ["llm.tokenizer=./tokenizer"], "writes no end of turn after an answer"
    done = train(folder, "dataset.path=words.json", *words)
    (run,) = runs_in(folder)
    assert done.returncode == 0 and (run / "run.log").read_text().count(said) == 1
    for report in (check(folder, "words.json", *MODEL, *words), vlframe("plan", *TINY, *words, cwd=folder)):
        assert report.returncode == 0 and report.stdout.count(said) == 1, report.stderr
