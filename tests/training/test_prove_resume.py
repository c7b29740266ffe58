"""``vlframe prove-resume`` on small runs of every kind, and that it sees a difference."""

import json
from pathlib import Path

import pytest
from helpers.runs import manifest, training

from vlframe.cli import main
from vlframe.training import prove_resume as prove

LORA = ["stages.main.llm.train=lora", "stages.main.llm.lora.dropout=0.2", "stages.main.llm.lora.rank=2"]


@pytest.mark.parametrize(
    ("words", "steps", "cut"),
    [
        (["stages.main.batch_size=4"], 6, "4"),  # in the middle of an epoch: 6 samples, 4 at a time
        (
            ["stages.main.accumulate_grad_batches=4", "loader.workers=2"],
            5,
            "2.5",
        ),  # killed inside an accumulation window
        ([*LORA, "loader.workers=2"], 5, "3"),
        (["+stage@stages.second=tune", "stages.second.steps=1", "stages.second.batch_size=2"], 6, "3"),  # at a border
    ],
    ids=["epoch", "window", "lora and dropout", "border"],
)
def test_cut_and_resumed_is_straight(
    words: list[str], steps: int, cut: str, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    code = main(["prove-resume", *training(manifest(tmp_path), *words), f"steps={steps}", f"cut={cut}"])
    printed = capfd.readouterr()
    assert code == 0, printed.out + printed.err
    assert "equal, bit for bit" in printed.out and "batches: order and content" in printed.out


def test_a_weighted_mixture(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    paths = [manifest(one), manifest(two, rows=4)]
    mixture = ",".join(f"{{path: {path}, weight: {weight}}}" for path, weight in zip(paths, (3, 1), strict=True))
    words = [*training(paths[0]), "dataset.path=null", f"dataset.mixture=[{mixture}]", "stages.main.batch_size=3"]
    assert main(["prove-resume", *words, "steps=6", "cut=4"]) == 0, capfd.readouterr().err


def test_a_difference_is_seen(tmp_path: Path) -> None:
    same = {"a": 1, "b": 2}
    assert prove._row("x", same, dict(same))["different"] == 0
    assert prove._row("x", same, {"a": 1, "b": 3}) == {"what": "x", "compared": 2, "different": 1, "first": "b"}
    assert prove._row("x", same, {"a": 1})["different"] == 1
    rows = [{"stage": "s", "batch": 0, "samples": ["a"], "sha256": digest} for digest in ("1", "2")]
    (tmp_path / "config.yaml").write_text("{}\n")
    (tmp_path / "batches.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = prove._batches(prove.RunFolder.open(tmp_path))
    assert found == {"s/0": ("drawn differently", "s/0")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["steps=5", "cut=5"], "cut is 5 and steps is 5"),
        (["steps=5", "cut=0"], "cut is 0"),
        (["steps=many"], "steps is many"),
        (["steps=5.5"], "steps is 5.5"),
        (["cut=[1]"], "cut is [1]"),
        (["cut=true"], "cut is True"),
        (["-m", "seed=1,2"], "has no option -m"),
        (["--cfg", "job"], "has no option --cfg"),
        (["+stage@stages.more=tune", "stages.more.steps=1", "steps=1", "cut=0.5"], "to be shared among 2 stages"),
    ],
)
def test_a_proof_that_cannot_be_made(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["prove-resume", *training(manifest(tmp_path)), *words]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "runs").exists()
