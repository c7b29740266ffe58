"""What a run asks for is checked before torch is imported, by the data sets themselves."""

import subprocess
import sys
from pathlib import Path

import pytest

from vlframe.composer.compose import compose
from vlframe.errors import UserError
from vlframe.registry.registry import Registry
from vlframe.training.asked import check_asked

QUICK = ["experiment=quickstart"]
MISTAKES = [
    (["dataset=conversations", "dataset.path=gone.jsonl"], "gone.jsonl does not exist"),
    (["dataset=conversations"], "give dataset.path=file.json"),
    (["dataset=conversations", "dataset.path=here.jsonl", "dataset.stray_tags=no"], "dataset.stray_tags is 'no'"),
    (["dataset=conversations", "dataset.mixture=[{path: gone.json, weight: 1}]"], "gone.json does not exist"),
    (["dataset=llava_instruct", "dataset.path=gone.json"], "gone.json"),
    (["dataset=mplug_owl"], "give dataset.path="),
    (["dataset=video_instruct", "dataset.path=here.jsonl", "dataset.media_root=gone"], "gone, and there is no such"),
    (["dataset=webvid", "dataset.path=gone.csv"], "dataset.path is"),
    (["dataset=videochat2", "dataset.parts=[{layout: videochat2_qa, path: gone.json}]"], "gone.json"),
    (["dataset.split=other"], "split is 'other'"),
    (["dataset.clips=0"], "clips is 0"),
    (["stages.main.data=conversations", "stages.main.data.path=gone.jsonl"], "gone.jsonl does not exist"),
    (["stages.main.data=webvid"], "give stages.main.data.path=<file>"),
    (["validation.dataset=webvid"], "give validation.dataset.path=<file>"),
    (["benchmark=exact_match_file", "benchmark.dataset.path=gone.jsonl"], "gone.jsonl does not exist"),
    (["benchmarks.more=exact_match_file", "benchmarks.more.dataset.path=gone.jsonl"], "gone.jsonl does not exist"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.jsonl").write_text("[]")
    return tmp_path


@pytest.mark.parametrize(("words", "said"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_in_data_is_found_without_building(
    words: list[str], said: str, folder: Path, registry: Registry
) -> None:
    with pytest.raises(UserError) as caught:
        check_asked(compose("train", [*QUICK, *words], registry), registry)
    assert said in str(caught.value)


def test_a_data_set_that_no_stage_reads_is_not_asked_for(folder: Path, registry: Registry) -> None:
    words = ["dataset=conversations", "dataset.path=gone.jsonl", "stages.main.data=motionqa"]
    check_asked(compose("train", [*QUICK, *words], registry), registry)


def test_processes_of_one_launch_leave_the_report_to_the_first(
    folder: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose("train", [*QUICK, "dataset.split=other"], registry)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    check_asked(config, registry)


@pytest.mark.parametrize(
    "words",
    [
        ["experiment=quickstart", "dataset=conversations", "dataset.path=gone.jsonl"],
        ["experiment=quickstart", "dataset.split=other"],
        ["experiment=quickstart", "evaluation.best_by=loss"],
        ["encoder=vit_tiny"],
    ],
)
def test_torch_is_not_imported_for_it(words: list[str], folder: Path) -> None:
    code = "import sys\nfrom vlframe.cli import main\ncode = main(sys.argv[1:])\nprint(code, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "train", *words], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["2", "False"], done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
