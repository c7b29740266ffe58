"""What a study found, from runs with known answers: scores, differences, verdicts, and what cannot be compared."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.studies import CONNECTORS, pretended, study_file

import vlframe.training.run as training_run
from vlframe.cli import main
from vlframe.evaluation.crossed import crossed_difference, crossed_share, over_items
from vlframe.evaluation.statistics import mcnemar
from vlframe.evaluation.verdicts import verdicts
from vlframe.studies.ledger import entries
from vlframe.studies.study import read_study

QUESTIONS = 40
SHARES = {"stc": (0.5, 0.55, 0.6), "pool": (0.9, 0.95, 0.85), "mlp": (0.55, 0.5, 0.6)}
AXES = {"connector": {**CONNECTORS, "mlp": "connector=mlp"}}


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Run a study whose cells have these shares right, by connector and seed."""
    monkeypatch.chdir(tmp_path)

    def run(**more: Any) -> Path:
        share = pretended(lambda config, call: SHARES[config.connector["name"]][config.seed])
        monkeypatch.setattr(training_run, "train", share)
        file = study_file(tmp_path, AXES, **more)
        main(["study", "run", str(file)])
        return file

    return run


def rows(name: str, seeds: int) -> list[list[float]]:
    return [[float(at < round(share * QUESTIONS)) for at in range(QUESTIONS)] for share in SHARES[name][:seeds]]


def results(file: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["study", "show", str(file), "format=json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_seeds_and_clips_holm_and_equivalence(ran: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    file = ran(seeds=[0, 1, 2], margin=0.2)
    found = results(file, capsys)
    stc, pool, mlp = ({**cell, **cell["compared"]["accuracy"]} for cell in found["cells"])
    clips = [f"clip{number}" for number in range(QUESTIONS)]
    share = crossed_share(rows("stc", 3), clips)
    assert (found["metrics"], found["baseline"], stc["n"]) == (["accuracy"], "stc", QUESTIONS)
    assert stc["score"] == pytest.approx(share.__dict__) and stc["by_seed"] == {"0": 0.5, "1": 0.55, "2": 0.6}
    assert stc["difference"] is None and stc["verdict"] is None
    gains = [crossed_difference(rows("stc", 3), rows(name, 3), clips) for name in ("pool", "mlp")]
    judged = verdicts(gains, 0.2)
    for cell, gain, verdict in zip((pool, mlp), gains, judged, strict=True):
        assert cell["difference"] == pytest.approx(gain.__dict__) and cell["difference"]["value"] == pytest.approx(
            gain.value
        )
        assert cell["verdict"]["p"] == pytest.approx(verdict.p) and cell["verdict"]["word"] == verdict.word
    weights = over_items(rows("stc", 3), rows("pool", 3), clips)
    assert pool["over_items"]["low"] == pytest.approx(weights.low) != pool["difference"]["low"]
    assert (pool["verdict"]["word"], mlp["verdict"]["word"]) == ("better", "equal")
    assert (pool["tokens"], pool["parameters"], pool["train_seconds"]) == (16, 100, 2.0) and pool["discordant"] is None
    assert main(["study", "show", str(file)]) == 0
    said = capsys.readouterr().out
    assert "better" in said and "equal within 0.2" in said and "+0.350" in said
    assert main(["study", "show", str(file), "format=csv"]) == 0
    first, second, _ = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert first["difference"] == "" and float(second["p_holm"]) < 0.05 and second["axis_connector"] == "pool"


def test_one_seed_has_mcnemars_test_and_an_open_one_says_what_it_would_take(
    ran: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = ran(baseline="mlp", margin=0.02)
    stc, pool, mlp = (cell["compared"]["accuracy"] for cell in results(file, capsys)["cells"])
    first, second = ([value == 1 for value in rows(name, 1)[0]] for name in ("mlp", "pool"))
    assert pool["discordant"] == pytest.approx(mcnemar(first, second).__dict__) and mlp["discordant"] is None
    assert stc["verdict"]["word"] == "undecided" and stc["verdict"]["needed"] > QUESTIONS
    assert stc["verdict"]["detectable"] > 0.02
    assert main(["study", "show", str(file)]) == 0
    assert f"undecided (would have seen {stc['verdict']['detectable']:.3f}, needs " in capsys.readouterr().out


def test_questions_that_are_not_shared_give_no_difference(
    ran: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = ran()
    pool, mlp = (
        next(item.run for item in entries(read_study(file).folder) if item.label == name) for name in ("pool", "mlp")
    )
    assert pool is not None and mlp is not None
    other = (pool / "predictions.jsonl").read_text()
    (pool / "predictions.jsonl").write_text(other.replace('"id": "q', '"id": "other'))
    (mlp / "predictions.jsonl").write_text(other.replace('"question": "', '"question": "not '))
    found = results(file, capsys)
    assert [cell["compared"]["accuracy"]["difference"] for cell in found["cells"]] == [None, None, None]
    assert any("pool, accuracy: no difference to the baseline: they have no question in common" in note
               for note in found["notes"])  # fmt: skip
    assert any("mlp, accuracy: no difference" in note and "is not the question of that name" in note
               for note in found["notes"])  # fmt: skip
    (mlp / "predictions.jsonl").write_text('{"benchmark": ')
    found = results(file, capsys)
    assert found["cells"][2]["compared"]["accuracy"]["score"]["value"] == SHARES["mlp"][0]
    assert any("predictions.jsonl cannot be read" in note for note in found["notes"])
