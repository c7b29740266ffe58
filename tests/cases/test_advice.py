"""The hint of an error fits what was found."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.cases import MODEL, check, one_sentence, runs_in, train
from helpers.processes import vlframe

Case = Callable[[str], Path]


def test_a_checkpoint_in_the_place_of_a_run(case: Case) -> None:
    folder = case("advice-that-misleads")
    assert train(folder, "dataset.path=words.json").returncode == 0
    (run,) = runs_in(folder)
    (checkpoint,) = run.glob("checkpoints/*")
    one_sentence(
        vlframe("predict", f"run={checkpoint}", "prompt=x", cwd=folder, check=False),
        "is a checkpoint of the run", f"of the run {run}; name the run",
    )  # fmt: skip
    for part in (run / "config.yaml", run / "checkpoints"):
        done = vlframe("predict", f"run={part}", "prompt=x", cwd=folder, check=False)
        one_sentence(done, f"is a part of the run {run}; name the run")
    words = [f"run={run}", "benchmark=multiple_choice_file", "benchmark.dataset.path=index_answer.json"]
    one_sentence(vlframe("evaluate", *words, cwd=folder, check=False), "an index is not read", "A to B")
    words = [f"run={run}", "benchmark=exact_match_file", "benchmark.dataset.path=list_answer.json"]
    assert vlframe("evaluate", *words, cwd=folder, check=False).returncode == 0  # any of the list is right


@pytest.mark.parametrize(
    ("file", "pieces", "exit_code"),
    [
        ("heap.jsonl", ["one object after the other, each over several lines"], 1),
        ("web.json", ["is an address, and nothing is fetched", "backslashes, which are written /"], 1),
        ("empty_names.json", [], 0),
        ("utf16.json", ["UTF-16", "UTF-8"], 2),
        ("packed.jsonl.gz", ["packed with gzip", "gunzip"], 2),
    ],
)
def test_files_of_another_kind(case: Case, file: str, pieces: list[str], exit_code: int) -> None:
    done = check(case("advice-that-misleads"), file, *MODEL)
    assert done.returncode == exit_code, done.stdout + done.stderr
    for piece in pieces:
        assert piece in done.stdout + done.stderr
    assert (done.stdout.count("syntax") <= 2) and "Traceback" not in done.stderr
