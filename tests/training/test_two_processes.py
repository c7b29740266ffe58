"""One run in two processes: secrets in the environment of one of them, which also logs to W&B; otherwise equal."""

import csv
import json
import subprocess
from pathlib import Path

import pytest
from helpers.processes import vlframe_anew
from helpers.runs import manifest, only_run, training

from vlframe.training.prove_resume import MEASURED

SECRETS = {
    "WANDB_API_KEY": "0badc0de" * 5,
    "HF_TOKEN": "hf_0123456789distinctivehubtoken",
    "HUGGING_FACE_HUB_TOKEN": "hf_9876543210distinctivehubtoken",
    "OPENAI_API_KEY": "sk-proj-distinctive0123456789openai",
    "ANTHROPIC_API_KEY": "sk-ant-distinctive0123456789anthropic",
    "SOME_PASSWORD": "correcthorsebatterystaple",
}
REMOTE = "glpat-distinctive-remote-0123"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both runs' folder: a git repository whose remote has a token in its address."""
    folder = tmp_path_factory.mktemp("two")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "remote", "add", "origin", f"https://me:{REMOTE}@example.org/x.git"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def words(place: Path) -> list[str]:
    file = manifest(place, answer="red")
    return training(file, "benchmark=exact_match_file", f"benchmark.dataset.path={file}")


@pytest.fixture(scope="module")
def with_secrets(place: Path, words: list[str]) -> tuple[Path, str]:
    """The run and what it printed."""
    pytest.importorskip("wandb")
    folders = {f"WANDB_{name}_DIR": str(place / "wandb" / name) for name in ("DATA", "CACHE", "CONFIG")}
    done = vlframe_anew(
        "train", *words, "logger=wandb", "name=secrets", cwd=place, WANDB_MODE="offline", PYTHONHASHSEED="1",
        **folders, **SECRETS,
    )  # fmt: skip
    return only_run(place, "secrets"), done.stdout + done.stderr


def test_secrets_of_the_environment_are_nowhere(place: Path, with_secrets: tuple[Path, str]) -> None:
    run, printed = with_secrets
    (record,) = run.glob("wandb/offline-run-*/*.wandb")
    assert b"vit_tiny" in record.read_bytes(), "the record is not plain, and nothing could be found in it"
    files = [path for path in place.rglob("*") if path.is_file() and ".git" not in path.relative_to(place).parts]
    assert len(files) > 15
    for name, secret in {**SECRETS, "remote": REMOTE}.items():
        assert secret not in printed, name
        assert not [path for path in files if secret.encode() in path.read_bytes()], name


def test_two_processes_of_one_seed_give_equal_files(
    place: Path, words: list[str], with_secrets: tuple[Path, str]
) -> None:
    """Metrics of every step, scores and answers; only what the clock measures differs."""
    vlframe_anew("train", *words, "name=plain", cwd=place, PYTHONHASHSEED="2")
    one, two = with_secrets[0], only_run(place, "plain")
    rows = [list(csv.DictReader((run / "metrics.csv").read_text().splitlines())) for run in (one, two)]
    assert len(rows[0]) == 6 and any(key.endswith(MEASURED) for key in rows[0][0])
    scores = [json.loads((run / "metrics.json").read_text()) for run in (one, two)]
    for first, second in zip([*rows[0], scores[0]], [*rows[1], scores[1]], strict=True):
        assert first.keys() == second.keys()
        assert {key: value for key, value in first.items() if not key.endswith(MEASURED)} == {
            key: value for key, value in second.items() if not key.endswith(MEASURED)
        }
    assert (one / "predictions.jsonl").read_bytes() == (two / "predictions.jsonl").read_bytes()
