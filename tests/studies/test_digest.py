"""What makes two runs the same, and what does not."""

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.runs import manifest, training

from vlframe.composer.compose import compose
from vlframe.config.schema import RunConfig
from vlframe.studies.digest import changes, counts, digest, identity


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    return training(manifest(tmp_path))


def of(words: list[str], registry) -> str:
    config: RunConfig = compose("train", words, registry)
    return digest(identity(config, registry))


def test_where_it_runs_and_what_it_writes_do_not_count(words: list[str], registry) -> None:
    more = [
        "trainer.accelerator=cpu", "trainer.devices=2", "trainer.log_every=7", "logger=tensorboard", "loader.workers=2",
        "runs=elsewhere", "name=x", "evaluation.batch_size=3",
    ]  # fmt: skip
    assert of([*words, *more], registry) == of(words, registry)


@pytest.mark.parametrize(
    "word", ["seed=1", "stages.main.lr=2e-3", "connector=pool_tiny", "media.frames=2", "trainer.precision=bf16",
             "evaluation.blind=true", "llm.architecture.hidden_size=64"],
)  # fmt: skip
def test_what_is_computed_counts(words: list[str], registry, word: str) -> None:
    assert of([*words, word], registry) != of(words, registry)


def test_a_path_is_its_name_and_its_content(tmp_path: Path, registry) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    here, there = training(manifest(tmp_path / "one")), training(manifest(tmp_path / "two"))
    assert of(here, registry) == of(there, registry), "the same file on another machine"
    manifest(tmp_path / "two", rows=5)
    assert of(here, registry) != of(there, registry), "another file of that name"


def test_versions_of_the_plugins_that_take_part(words: list[str], registry) -> None:
    config = compose("train", words, registry)
    found = identity(config, registry)
    assert "vlframe" in found["versions"]
    newer = {**found, "versions": {**found["versions"], "vlframe": "9"}}
    assert digest(newer) != digest(found) and str(changes(found, newer)[0]).startswith("versions.vlframe: ")
    other = identity(replace(config, seed=5), registry)
    assert [str(item) for item in changes(found, other)] == ["seed: 0 -> 5"]
    assert counts("trainer.precision") and not counts("trainer.devices") and not counts("logger.wandb.project")
