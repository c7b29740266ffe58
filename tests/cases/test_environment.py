"""A run means the same wherever and in whatever surroundings it is used."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.cases import MODEL, TINY, anew, one_sentence, runs_in, scores, train
from helpers.clips import ClipSpec, write_clip
from helpers.processes import vlframe
from vlframe_causal_lm.text import BUNDLED

from vlframe.runs.folder import RunFolder

Case = Callable[[str], Path]
QUESTIONS = ["benchmark=exact_match_file", "benchmark.dataset.path=val.json", "benchmark.max_new_tokens=4"]


def test_evaluate_from_another_folder(case: Case) -> None:
    folder = case("relative-paths-other-folder")
    one, two = folder / "one", folder / "two"
    assert train(one, "stages.main.steps=4", "dataset.path=train.json", *QUESTIONS, "name=a").returncode == 0
    (run,) = runs_in(one)
    before = scores(run)
    assert before["n"] == 8
    for place, named in ((two, f"../one/{run.relative_to(one)}"), (Path("/"), str(run))):
        done = vlframe("evaluate", f"run={named}", cwd=place, check=False)
        assert done.returncode == 0, done.stderr
        assert scores(run)["n"] == 8 and scores(run)["accuracy"] == before["accuracy"]
        assert not (run / "evaluations").exists()


def test_resume_from_another_folder(case: Case) -> None:
    folder = case("relative-paths-other-folder")
    one, two = folder / "one", folder / "two"
    words = ["dataset.path=train.json", "stages.main.steps=40"]
    assert train(one, *words, "name=undisturbed").returncode == 0
    assert train(one, *words, "name=cut", "trainer.max_time=00:00:00:01").returncode == 0
    (undisturbed,), (cut,) = one.glob("runs/undisturbed/[!.]*"), one.glob("runs/cut/[!.]*")
    resumed = f"resume=../one/{cut.relative_to(one)}"
    done = vlframe("train", resumed, "trainer.max_time=null", cwd=two, check=False)
    assert done.returncode == 0 and "dataset.path" not in done.stderr, done.stderr
    assert losses(cut) == losses(undisturbed) and len(losses(cut)) == 40
    assert runs_in(two) == []
    refused = vlframe("train", resumed, "dataset.path=train.json", cwd=two, check=False)
    one_sentence(refused, str(one / "train.json"), str(two / "train.json"), "resume_changes=allow")


def losses(run: Path) -> list[str]:
    return [row["train/loss"] for row in csv.DictReader((run / "metrics.csv").open()) if row.get("train/loss")]


def test_init_from_another_folder(case: Case) -> None:
    one = case("relative-paths-other-folder") / "one"
    assert train(one, "dataset.path=train.json", "name=a").returncode == 0
    (first,) = runs_in(one)
    done = train(one, "dataset.path=train.json", "name=b", f"init.run={first.relative_to(one)}", *QUESTIONS)
    assert done.returncode == 0, done.stderr
    (second,) = one.glob("runs/b/*")
    done = vlframe("predict", f"run={second}", "prompt=hello", "max_new_tokens=2", cwd=Path("/"), check=False)
    assert done.returncode == 0, done.stderr


ENCODINGS = [(words, encoding) for words in (MODEL, []) for encoding in ("cp1252", "latin-1", "ascii")]


@pytest.mark.parametrize(
    ("words", "encoding"),
    [pytest.param(*item, marks=[pytest.mark.slow] * (at % 5 != 0)) for at, item in enumerate(ENCODINGS)],
)
def test_output_encoding(case: Case, encoding: str, words: list[str]) -> None:
    folder = case("output-encoding")
    done = anew(folder, "data", "check", "rows.json", *words, PYTHONIOENCODING=encoding)
    said = done.stdout
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert r"\u30af\u30ea\u30c3\u30d7.mp4" in said


@pytest.mark.parametrize("home", [None, pytest.param("/proc/nowhere", marks=pytest.mark.slow)])
def test_no_home_and_no_cache(case: Case, home: str | None) -> None:
    folder = case("user-all-dropped")
    done = anew(
        folder, "data", "check", "train.jsonl", HOME=home, VLFRAME_CACHE="/proc/x", XDG_CACHE_HOME=None, TZ="Asia/Tokyo"
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert "the cache /proc/x cannot be written" in done.stderr and "VLFRAME_CACHE=" in done.stderr


def test_paths_on_the_command_line(case: Case) -> None:
    folder = case("paths-on-the-command-line")
    home = folder / "home"
    (home / "data").mkdir(parents=True)
    os.symlink(folder / "lr=1e-3, v2" / "train.json", home / "data" / "train.json")
    for clip in ("a=1.mp4", "b, c.mp4", "home/[1] (x).mp4"):
        os.symlink(folder / "clip.mp4", folder / clip)
    assert train(folder, "dataset.path=lr=1e-3, v2/train.json", "runs=out/lr=1e-3").returncode == 0
    (run,) = folder.glob("out/lr=1e-3/default/[!.]*")
    assert RunFolder(run).read_config().dataset["path"] == str(folder / "lr=1e-3, v2" / "train.json")
    os.symlink(run, home / "x=1")
    words = ["dataset.path=~/data/train.json", "init.run=~/x=1", "runs=~/runs"]
    done = anew(folder, "train", *TINY, *words, HOME=str(home))
    assert done.returncode == 0 and len(list(home.glob("runs/default/[!.]*"))) == 1, done.stderr
    for media in ("~/[1] (x).mp4", "[a=1.mp4,b, c.mp4]"):
        asked = ["run=~/x=1", f"media={media}", "prompt=what, (then)?", "max_new_tokens=2"]
        done = anew(folder, "predict", *asked, HOME=str(home))
        assert done.returncode == 0, done.stderr


def test_a_moved_data_folder(case: Case) -> None:
    """One key says where a folder is now: for what a run reads again, and for media that its rows name in full."""
    folder = case("relative-paths-other-folder")
    old, new = folder / "data", folder / "other disk" / "v=2"
    shutil.copytree(folder / "one", old)
    write_clip(old, ClipSpec("clip.mp4", frames=8))
    for name in ("train.json", "val.json"):
        rows = json.loads((old / name).read_text())
        for row in rows:
            row["video"] = str(old / "clip.mp4")
            row["conversations"][0]["value"] = "<video>\n" + row["conversations"][0]["value"]
        (old / name).write_text(json.dumps(rows))
    questions = ["benchmark=exact_match_file", f"benchmark.dataset.path={old}/val.json", "benchmark.max_new_tokens=4"]
    words = [f"dataset.path={old}/train.json", "stages.main.steps=4", *questions]
    assert train(folder, *words).returncode == 0
    (run,) = runs_in(folder)
    before = scores(run)
    new.parent.mkdir()
    old.rename(new)
    moved = f"moved={{{old}: {new}}}"

    for command in (["evaluate", f"run={run}"], ["train", f"resume={run}"]):
        one_sentence(vlframe(*command, cwd=folder, check=False), str(old), f"'moved={{{old}: <new folder>}}'")
    done = vlframe("evaluate", f"run={run}", moved, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    assert scores(run)["accuracy"] == before["accuracy"] and not (run / "evaluations").exists()
    asked = ["prompt=hello", f"media={new}/clip.mp4", "max_new_tokens=2"]
    assert vlframe("predict", f"run={run}", moved, *asked, cwd=folder, check=False).returncode == 0
    done = vlframe("train", f"resume={run}", moved, "+stage@stages.more=tune", "stages.more.steps=2", cwd=folder)
    config = RunFolder(run).read_config()
    assert config.dataset["path"] == f"{new}/train.json" and config.moved == {str(old): str(new)}
    done = vlframe("evaluate", f"run={run}", cwd=folder, check=False)  # the run knows it from now on
    assert done.returncode == 0, done.stderr


def test_a_moved_tokenizer_folder(case: Case) -> None:
    """A folder of which a library would only say what form the id of a hub has; in every command that opens the run."""
    folder = case("relative-paths-other-folder")
    old, new = folder / "tok", folder / "elsewhere"
    shutil.copytree(BUNDLED["bundled:tiny"], old)
    assert train(folder, f"dataset.path={folder}/one/train.json", f"llm.tokenizer={old}").returncode == 0
    (run,) = runs_in(folder)
    old.rename(new)
    questions = ["benchmark=exact_match_file", f"benchmark.dataset.path={folder}/one/val.json"]
    for command in (
        ["evaluate", f"run={run}", *questions], ["predict", f"run={run}", "prompt=hello"], ["train", f"resume={run}"],
    ):  # fmt: skip
        said = f"llm.tokenizer is {str(old)!r}, a path, and there is no such file or folder"
        one_sentence(vlframe(*command, cwd=folder, check=False), said, f"'moved={{{old}: <new folder>}}'")
    asked = ["prompt=hello", "max_new_tokens=2", f"moved={{{old}: {new}}}"]
    assert vlframe("predict", f"run={run}", *asked, cwd=folder, check=False).returncode == 0


def test_a_run_goes_on_with_data_that_moved(case: Case) -> None:
    """Folders alone are no change of what is computed: no permission is asked for."""
    folder = case("relative-paths-other-folder")
    data = folder / "one"
    words = [f"dataset.path={data}/train.json", "stages.main.steps=40"]
    assert train(folder, *words, "name=undisturbed").returncode == 0
    assert train(folder, *words, "name=cut", "trainer.max_time=00:00:00:01").returncode == 0
    (undisturbed,), (cut,) = folder.glob("runs/undisturbed/[!.]*"), folder.glob("runs/cut/[!.]*")
    data.rename(folder / "there")
    said = f"moved={{{data}: {folder}/there}}"
    done = vlframe("train", f"resume={cut}", said, "trainer.max_time=null", cwd=folder, check=False)
    assert done.returncode == 0 and "dataset.path" not in done.stderr, done.stderr
    assert losses(cut) == losses(undisturbed) and len(losses(cut)) == 40


@pytest.mark.parametrize("word", ["run={}", "resume={}", "init.run={}", "llm.tokenizer={}", "dataset.path={}"])
def test_a_name_that_no_file_can_have_is_one_sentence(case: Case, word: str) -> None:
    folder = case("user-all-dropped")
    command = ["predict", "prompt=x"] if word.startswith("run") else ["train"]
    more = TINY if word.startswith(("init", "llm", "dataset")) else []
    more = [*more, "dataset.path=train.jsonl"] if word.startswith(("init", "llm")) else more
    done = vlframe(*command, *more, word.format("/" + "n" * 300), cwd=folder, check=False)
    one_sentence(done, "n" * 70)
