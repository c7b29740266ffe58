"""A stage that moves no weight says so; the fingerprints by which it is told."""

import json
from pathlib import Path

import pytest
import torch
from helpers.runs import manifest, only_run, training, weights

from vlframe.composer.compose import compose, open_registry
from vlframe.runs.folder import RunFolder
from vlframe.training.run import train
from vlframe.training.stopping import Stop
from vlframe.training.unchanged import UnchangedParts, fingerprints

SAID = "every weight of llm is what it was before, bit for bit"


def run(folder: Path, *words: str, stop: Stop | None = None) -> RunFolder:
    registry = open_registry()
    typed = [*training(manifest(folder), "stages.main.steps=3", *words), f"runs={folder / 'runs'}"]
    return train(compose("train", typed, registry), registry, stop)


def group(name: str, *tensors: torch.Tensor) -> dict:
    return {"name": name, "params": list(tensors), "initial_lr": 0.1, "eps": 1e-8}


def test_a_rate_that_moves_nothing_is_said_and_stands_in_the_outcome(tmp_path: Path) -> None:
    """Also in a run that was stopped between: what counts is what the stage began with."""
    still = ["stages.main.llm.train=full", "stages.main.weight_decay=0"]
    registry = open_registry()
    folder = run(tmp_path, *still, "stages.main.lr=1e-30", stop=Stop(step=1))
    assert SAID not in folder.log.read_text() and json.loads(folder.outcome.read_text())["state"] == "stopped"
    train(compose("train", [f"resume={folder.path}"], registry), registry)
    assert folder.log.read_text().count(SAID) == 1 and "learning rate is 1e-30" in folder.log.read_text()
    said = json.loads(folder.outcome.read_text())
    assert said["state"] == "done" and "stage main changed no weight of" in said["why"] and "llm" in said["why"]


def test_gradients_that_are_clipped_to_nothing_are_not_blamed_on_the_rate(tmp_path: Path) -> None:
    folder = run(
        tmp_path, "stages.main.llm.train=full", "stages.main.weight_decay=0", "stages.main.max_grad_norm=1e-30"
    )
    said = folder.log.read_text()
    assert SAID in said and "clipped to max_grad_norm=1e-30" in said and "learning rate is" not in said


def test_a_run_that_moved_before_it_was_stopped_has_learned(tmp_path: Path) -> None:
    folder = run(tmp_path, "stages.main.llm.train=full", "stages.main.lr=1e-3", stop=Stop(step=1))
    changed = weights(folder)
    registry = open_registry()
    words = [f"resume={folder.path}", "stages.main.lr=1e-30", "resume_changes=allow", "stages.main.weight_decay=0"]
    train(compose("train", words, registry), registry)
    after = weights(RunFolder.open(only_run(tmp_path)))
    assert all(torch.equal(changed[name], after[name]) for name in changed), "the second half moves nothing"
    assert SAID not in folder.log.read_text() and "llm" not in json.loads(folder.outcome.read_text())["why"]


def test_what_a_finished_stage_left_is_not_forgotten_by_a_resumed_run(tmp_path: Path) -> None:
    """Its end is known from its checkpoint, in a process that does not run it again."""
    more = ["+stage@stages.second=tune", "stages.second.steps=3", "stages.second.batch_size=2"]
    still = ["stages.main.llm.train=full", "stages.main.weight_decay=0", "stages.main.lr=1e-30"]
    folder = run(tmp_path, *still, *more, stop=Stop(step=4))
    assert folder.log.read_text().count(SAID) == 1 and json.loads(folder.outcome.read_text())["state"] == "stopped"
    registry = open_registry()
    for _ in range(2):  # the second time, nothing is left to train
        train(compose("train", [f"resume={folder.path}"], registry), registry)
        said = json.loads(folder.outcome.read_text())
        assert said["state"] == "done" and "stage main changed no weight of" in said["why"] and "llm" in said["why"]
        assert "stage second changed" not in said["why"] or "llm" not in said["why"].split("stage second")[1]
    assert folder.log.read_text().count(SAID) == 1


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_one_bit_of_one_element_is_seen(kind: torch.dtype) -> None:
    """And two that would cancel in a sum."""
    weight = torch.linspace(-1, 1, 6, dtype=kind).reshape(2, 3).T
    before = fingerprints([group("llm/weights", weight), group("llm/norms and biases", torch.ones(2, dtype=kind))])
    assert before == fingerprints([group("llm/weights", weight), group("llm/norms and biases", torch.ones(2).to(kind))])
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    for places in [(0,), (5,), (1, 4)]:
        other = weight.clone()
        for sign, at in enumerate(places):
            row, column = divmod(at, 2)
            other.view(bits)[row, column] += 1 - 2 * sign
        assert other.ne(weight).sum() == len(places)
        assert fingerprints([group("llm/weights", other)]) != fingerprints([group("llm/weights", weight)])


def test_a_fingerprint_of_many_pieces_sees_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlframe.training.unchanged.CHUNK", 4)
    one, other = torch.arange(10.0), torch.arange(10.0)
    other[9] = 8.5
    swapped = torch.cat([one[4:8], one[:4], one[8:]])
    found = [fingerprints([group("llm/weights", item)])["llm"] for item in (one, other, swapped)]
    assert len(set(found)) == 3


def test_what_a_stage_began_with_is_unknown_for_other_ranks_and_older_checkpoints() -> None:
    parts, groups = UnchangedParts("main"), [group("llm/weights", torch.ones(3))]
    for state, names in (([], []), ([{"llm": 1}] * 2, []), ([fingerprints(groups)], ["llm"])):
        parts.restore(state)
        parts.begin(groups)
        parts.end(groups, 3, ["llm"], 1.0)
        assert parts.names == names
