"""Several benchmarks of one run, each asked its own way, and what ``vlframe evaluate`` makes of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.clips import ClipSpec, write_clip
from helpers.compositions import TINY
from helpers.runs import save_as_run, training

from vlframe.cli import main
from vlframe.composer.compose import compose
from vlframe.config.asking import asking_of, benchmarks_of
from vlframe.errors import ConfigError, DataError, PluginError
from vlframe.evaluation.questions import media_groups, open_benchmarks
from vlframe.inference.pipeline import build_pipeline
from vlframe.training.preflight import open_data

GRADED = """
from dataclasses import dataclass
from typing import Any

import vlframe


@dataclass
class Params:
    dataset: Any = None
    says: float = 0.5
    max_new_tokens: int = 2


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("benchmark", "floats", "graded:Floats", Params, "says floats where it may not")


class Floats:
    def __init__(self, *, dataset, says, max_new_tokens):
        self.samples = [dataset[at] for at in range(len(dataset))]
        self.says, self.max_new_tokens = says, max_new_tokens

    def parse(self, text, sample):
        return text

    def correct(self, answer, sample):
        return self.says
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("several")
    write_clip(path, ClipSpec("a.mp4"))
    rows = [
        {
            "id": f"q{number}", "video": "a.mp4", "options": ["red", "blue"], "answer": "red", "category": f"c{number}",
            "conversations": [{"from": "human", "value": "<video>\nwhat?"}],
        }
        for number in range(2)
    ]  # fmt: skip
    (path / "choices.jsonl").write_text("\n".join(map(json.dumps, rows)))
    turns = [{"from": "human", "value": "say it"}]
    (path / "free.jsonl").write_text(json.dumps({"id": "f", "answer": ["red", "crimson"], "conversations": turns}))
    return path


@pytest.fixture(scope="module")
def run(folder: Path, registry) -> Path:
    """A run with a main benchmark, and two others: with fewer frames, and with references for free text."""
    words = [
        "benchmark=multiple_choice_file", f"benchmark.dataset.path={folder}/choices.jsonl",
        "benchmark.max_new_tokens=2", "benchmarks.few=exact_match_file",
        f"benchmarks.few.dataset.path={folder}/choices.jsonl", "benchmarks.few.frames=2",
        "benchmarks.few.max_new_tokens=2", "benchmarks.few.system=Be brief.", 'benchmarks.few.post_prompt=" Now!"',
        "benchmarks.open=free_text_file", f"benchmarks.open.dataset.path={folder}/free.jsonl",
        "benchmarks.open.max_new_tokens=2",
    ]  # fmt: skip
    config = compose("train", [*TINY, *words], registry)
    return save_as_run(build_pipeline(config, registry), folder / "run")


def evaluated(run: Path, *changes: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The flat scores and the predictions."""
    before = set(run.glob("evaluations/*"))
    assert main(["evaluate", f"run={run}", *changes]) == 0
    (out,) = set(run.glob("evaluations/*")) - before or {run}
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    return json.loads((out / "metrics.json").read_text()), rows


def asked(rows: list[dict[str, Any]]) -> dict[str, int]:
    names = [row["benchmark"] for row in rows]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def test_each_benchmark_is_asked_its_own_way(run: Path, capsys: pytest.CaptureFixture) -> None:
    flat, rows = evaluated(run, "evaluation.blind=true")
    assert asked(rows) == {"multiple_choice": 2, "few": 2, "open": 1}
    assert (flat["n"], flat["few/n"], flat["open/n"]) == (2, 2, 1)
    for key in (
        "accuracy", "few/accuracy", "few/accuracy_low/c0", "few/accuracy_high/c1", "blind_accuracy", "open/token_f1",
        "open/token_f1_low", "open/bleu", "open/rouge_l_high", "open/blind_exact_match",
    ):  # fmt: skip
        assert 0 <= flat[key] <= 1, key
    assert flat["few/tokens_per_clip"] < flat["tokens_per_clip"]
    table = capsys.readouterr().err
    assert "few\ncategory" in table and "exact_match 95 %" in table
    by_name = {row["benchmark"]: row for row in rows}
    assert by_name["open"]["answers"] == ["red", "crimson"] and by_name["open"]["group"] == "f"
    assert set(by_name["open"]["scores"]) == {"token_f1", "exact_match", "rouge_l", "bleu"}
    assert by_name["few"]["scores"] == {"accuracy": False} and by_name["few"]["group"] == "a.mp4"
    said = {"role": "system", "text": "Be brief."}, {"role": "user", "text": "<video>\nwhat? Now!"}
    assert by_name["few"]["asked"] == list(said) and by_name["few"]["question"] == "<video>\nwhat?"
    (choice,) = by_name["multiple_choice"]["asked"]
    assert "(A) " in choice["text"], "the options are in what is asked"


def test_what_a_model_is_asked_is_not_what_the_benchmark_judges(run: Path, registry) -> None:
    from vlframe.inference.pipeline import load_run

    pipeline, _ = load_run(str(run), registry)
    opened = {questions.name: questions for questions in open_benchmarks(pipeline)}
    question = opened["few"].all[0]
    assert [(turn.role, turn.text) for turn in question.asked.turns] == [
        ("system", "Be brief."), ("user", "<video>\nwhat? Now!"),
    ]  # fmt: skip
    assert [turn.text for turn in question.sample.turns] == ["<video>\nwhat?"]
    assert [item.primary_metric for item in opened.values()] == ["accuracy", "few/accuracy", "open/token_f1"]
    assert opened["few"].pipeline.model is pipeline.model and opened["open"].pipeline is pipeline
    timeline = opened["few"].pipeline.prepared([question.asked], answers=False).timelines(question.asked)[0]
    assert timeline.shape is not None and timeline.shape[0] == 2


def test_keys_change_one_of_them_and_a_name_is_asked_alone(run: Path, folder: Path) -> None:
    flat, rows = evaluated(run, "benchmarks.few.choice=likelihood")
    assert asked(rows) == {"multiple_choice": 2, "few": 2, "open": 1}
    assert [len(row["candidates"]) for row in rows] == [0, 0, 2, 2, 0] and "blind_n" not in flat
    assert asked(evaluated(run, "benchmarks.few=null", "benchmarks.open=null")[1]) == {"multiple_choice": 2}
    anew = ["benchmark=free_text_file", f"benchmark.dataset.path={folder}/free.jsonl"]
    assert asked(evaluated(run, *anew)[1]) == {"free_text": 1}
    assert asked(evaluated(run, "benchmarks.letters=multiple_choice")[1]) == {"letters": 2}  # the run's own questions


def test_several_names_in_brackets(run: Path, folder: Path, registry) -> None:
    files = [
        f"benchmarks.exact_match_file.dataset.path={folder}/choices.jsonl",
        f"benchmarks.free_text_file.dataset.path={folder}/free.jsonl",
    ]
    words = ["benchmark=[exact_match_file,free_text_file]", *files]
    assert asked(evaluated(run, *words)[1]) == {"exact_match_file": 2, "free_text_file": 1}
    config = compose("train", [*TINY, "experiment=quickstart", *words], registry)
    assert config.benchmark is None and list(benchmarks_of(config)) == ["exact_match_file", "free_text_file"]
    assert asking_of(config.benchmarks["free_text_file"]).choice == "generate"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["benchmarks.multiple_choice=exact_match"], "benchmark and benchmarks.multiple_choice would have one name"),
        (["benchmarks._x=exact_match"], "benchmarks._x is no name for a benchmark"),
        (["benchmark.frames=0"], "benchmark 'multiple_choice': frames is 0; it must be at least 1"),
        (["benchmarks.x=multiple_choise"], "no benchmark named 'multiple_choise'"),
        (["benchmarks.x=exact_match"], r"benchmark 'x' has no questions; .*\(benchmarks.x.dataset=…"),
        (["benchmark.frames=4000"], "benchmark 'multiple_choice' asks with frames=4000: "),
        (["benchmark.frame=4"], "frame"),
    ],
)
def test_what_cannot_be_asked_is_said_before_training(folder: Path, registry, words: list[str], message: str) -> None:
    own = ["benchmark=multiple_choice_file", f"benchmark.dataset.path={folder}/choices.jsonl"]
    with pytest.raises((ConfigError, LookupError), match=message):
        open_benchmarks(build_pipeline(compose("train", [*TINY, *own, *words], registry), registry))


def test_a_float_where_true_or_false_should_be_is_refused_before_training(folder: Path, tmp_path: Path) -> None:
    from vlframe.composer.compose import open_registry

    (tmp_path / "graded.py").write_text(GRADED)
    registry = open_registry([str(tmp_path / "graded.py")])
    data = ["+dataset@benchmark.dataset=conversations", f"benchmark.dataset.path={folder}/free.jsonl",
            f"plugins.paths=[{tmp_path}/graded.py]"]  # fmt: skip
    words = training(folder / "free.jsonl", *data)
    config = compose("train", [*words, "benchmark=floats"], registry)
    with pytest.raises(
        PluginError, match=r"benchmark 'floats': correct\('red'\) of question 'f' is 0\.5; it must be True"
    ):
        open_data(build_pipeline(config, registry))


def test_questions_of_one_name_are_told(folder: Path, tmp_path: Path, registry) -> None:
    (tmp_path / "twins.jsonl").write_text(
        (folder / "free.jsonl").read_text() + "\n" + (folder / "free.jsonl").read_text()
    )
    words = ["benchmark=free_text_file", f"benchmark.dataset.path={tmp_path}/twins.jsonl"]
    with pytest.raises(DataError, match=r"1 id\(s\) of the benchmark's questions are not unique \(f\)"):
        open_benchmarks(build_pipeline(compose("train", [*TINY, *words], registry), registry))


def test_groups_are_the_same_wherever_the_files_lie() -> None:
    from vlframe import Media, Sample, Turn

    def samples(root: str) -> list[Sample]:
        turn = (Turn("user", "?"),)
        media = [(), ("x/a.mp4",), ("x/a.mp4", "y/b.wav"), ("y/b.wav",)]
        return [
            Sample(f"q{number}", turn, tuple(Media("video", Path(root) / name) for name in names))
            for number, names in enumerate(media)
        ]

    assert media_groups(samples("/data")) == media_groups(samples("/other/place"))
    assert media_groups(samples("/data")) == ["q0", "x/a.mp4", "x/a.mp4 y/b.wav", "y/b.wav"]
