"""``vlframe evaluate`` and ``vlframe predict`` on a run that was saved: what can be changed, and how they refuse."""

import json
from pathlib import Path

import pytest
from helpers.clips import ClipSpec, write_clip, write_sound
from helpers.compositions import SOUND, TINY
from helpers.runs import save_as_run
from PIL import Image

from vlframe.cli import main
from vlframe.composer.compose import compose
from vlframe.config.typed import read_yaml
from vlframe.inference.pipeline import build_pipeline


def question(number: int, **more: object) -> dict[str, object]:
    turns = [{"from": "human", "value": "<video>\nwhat?"}, {"from": "gpt", "value": "red"}]
    return {"id": f"q{number}", "video": "ü & [a], b=c's/a clip.mp4", "conversations": turns, **more}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, registry) -> Path:
    """A run with a multiple-choice benchmark, beside some media."""
    folder = tmp_path_factory.mktemp("evaluated")
    odd = folder / "ü & [a], b=c's"
    odd.mkdir()
    write_clip(odd, ClipSpec("a clip.mp4", sound="aac"))
    write_sound(folder / "a.wav", "pcm_s16le")
    Image.new("RGB", (32, 32)).save(folder / "a.png")
    rows = [question(number, options=["red", "blue"], answer="red") for number in range(2)]
    (folder / "choices.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "free.jsonl").write_text(json.dumps(question(7)))
    choices = ["benchmark=multiple_choice_file", f"benchmark.dataset.path={folder}/choices.jsonl"]
    config = compose("train", [*TINY, *SOUND, *choices, "benchmark.max_new_tokens=2"], registry)
    return save_as_run(build_pipeline(config, registry), folder / "run")


def evaluated(run: Path, *changes: str) -> Path:
    """The folder that the scores were written to."""
    before = set(run.glob("evaluations/*"))
    assert main(["evaluate", f"run={run}", *changes]) == 0
    (folder,) = set(run.glob("evaluations/*")) - before or {run}
    return folder


def scores(run: Path, *changes: str) -> dict[str, float]:
    return json.loads((evaluated(run, *changes) / "metrics.json").read_text())


def test_a_benchmark_chosen_by_name_replaces_the_runs_own(run: Path) -> None:
    """The keys of the old one (``prompt``, its data set's) are gone with it."""
    assert scores(run)["n"] == 2
    assert scores(run, "benchmark=exact_match_file", f"benchmark.dataset.path={run.parent}/free.jsonl")["n"] == 1
    assert scores(run, "benchmark=motionqa", "benchmark.dataset.clips=2")["n_asked"] > 0


def test_scores_under_another_config_leave_the_runs_own_alone(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert evaluated(run, "benchmark.max_new_tokens=2") == run  # as it is already
    own = {name: (run / name).read_bytes() for name in ("metrics.json", "predictions.jsonl", "config.yaml")}
    capsys.readouterr()
    other = evaluated(run, "benchmark=exact_match_file", f"benchmark.dataset.path={run.parent}/free.jsonl")
    assert other.parent == run / "evaluations" and str(other / "metrics.json") in capsys.readouterr().err
    assert {path.name for path in other.iterdir()} == {
        "config.yaml", "versions.json", "metrics.json", "scores.json", "predictions.jsonl", "run.log"
    }  # fmt: skip
    config = read_yaml(other / "config.yaml")
    benchmark = config["benchmark"]
    assert benchmark["name"] == "exact_match" and benchmark["dataset"]["path"].endswith("free.jsonl")
    assert own == {name: (run / name).read_bytes() for name in own}


def test_a_benchmark_without_questions_asks_the_runs_own(run: Path) -> None:
    assert scores(run, "benchmark=exact_match")["n"] == 2


def test_keys_of_the_runs_own_are_changed_without_ceremony(run: Path, capsys: pytest.CaptureFixture) -> None:
    changed = evaluated(run, "media.withhold=[video]", "benchmark.prompt=question", "trainer.precision=bf16")
    assert json.loads((changed / "metrics.json").read_text())["n"] == 2
    assert "Options" not in (changed / "predictions.jsonl").read_text()
    for wrong in ("media.framez=4", "benchmark.promt=question", "trainer.precison=bf16"):
        capsys.readouterr()
        assert main(["evaluate", f"run={run}", wrong]) == 2
        message = capsys.readouterr().err
        assert wrong.partition("=")[0].rpartition(".")[2] in message and "Traceback" not in message


@pytest.mark.parametrize("precision", ["16", "32", "bf16"])
def test_every_precision_is_taken_as_it_is_typed(run: Path, precision: str) -> None:
    changed = evaluated(run, f"trainer.precision={precision}", "benchmark.max_new_tokens=3")
    assert read_yaml(changed / "config.yaml")["trainer"]["precision"] == precision
    assert json.loads((changed / "metrics.json").read_text())["n"] == 2


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trainer.precision=8", "trainer.precision is '8'; it can be 32, bf16, 16"),
        ("trainer.threads=2.5", "trainer.threads is 2.5; it must be a whole number"),
        ("media.frames=[4]", "media.frames is [4]; it must be a whole number"),
        ("evaluation.controls=blind", "evaluation.controls is a list; write it in brackets"),
    ],
)
def test_changed_keys_have_the_types_of_the_runs(run: Path, word: str, said: str, capsys) -> None:
    assert main(["evaluate", f"run={run}", word]) == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize("media", ["ü & [a], b=c's/a clip.mp4", "a.wav", "a.png"])
@pytest.mark.parametrize("prompt", ['it\'s <odd> [a,b], x=1 "q" {c} ${HOME} 100% 日本?', "-m", "a\nb\\"])
def test_any_file_and_any_words(run: Path, media: str, prompt: str, capsys: pytest.CaptureFixture) -> None:
    arguments = [f"run={run}", f"media={run.parent}/{media}", f"prompt={prompt}", "max_new_tokens=1"]
    assert main(["predict", *arguments]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    "media, words",
    [
        ("", ["media= names no file"]),
        ("nothing", ["the folder", "name files in it"]),
        ("gone.mp4", ["gone.mp4", "no such file"]),
        ("n" * 300 + ".mp4", ["File name too long"]),
        ("a.wav,a.png", ["no file", "in brackets"]),
    ],
)
def test_a_file_that_is_none(run: Path, media: str, words: list[str], capsys, monkeypatch) -> None:
    monkeypatch.chdir(run.parent)
    (run.parent / "nothing").mkdir(exist_ok=True)
    assert main(["predict", f"run={run}", f"media={media}", "prompt=hello"]) == 2
    message = capsys.readouterr().err
    assert len(message.strip().splitlines()) == 1
    for word in words:
        assert word in message
