"""Every part beside every neighbour: what composes trains, what does not says why, and the page says the same."""

import json
from pathlib import Path

import pytest

from vlframe.cli import main
from vlframe.commands.plugin import parts_of_models, text, tried
from vlframe.registry.registry import Registry
from vlframe.testing.matrix import Pair, neighbours

pytestmark = pytest.mark.timeout(1200)  # some 250 pairs are composed, and some trained for a step
PAGE = Path(__file__).resolve().parents[2] / "docs" / "parts.md"
MARK = "<!-- vlframe plugin matrix format=markdown -->\n"
FORGETFUL = '''
from dataclasses import dataclass

import torch

import vlframe


@dataclass
class Nothing:
    """No parameters."""


class Still(torch.nn.Module):
    """A connector whose weights take no part."""

    instruction = None
    expands_images = False

    def __init__(self, *, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.out_dim = out_dim
        self.weight = torch.nn.Parameter(torch.zeros(in_dim, out_dim))

    def tokens(self, grid):
        return 1

    def forward(self, features, *others):
        return (features.mean(dim=(1, 2, 3))[:, None] @ self.weight).detach()


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("connector", "still", __name__ + ":Still", Nothing, "learns nothing", example={})
'''


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return tried(Registry.installed())


def first_of_each(pairs: list[Pair]) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    """Pairs that fit, as few as contain every part that fits any: kinds and names."""
    seen: set[tuple[tuple[str, str], int, str]] = set()
    chosen = set()
    for pair in pairs:
        mine = {(pair.kinds, at, name) for at, name in enumerate(pair.names)}
        if pair.takes and not mine <= seen:
            seen |= mine
            chosen.add((pair.kinds, pair.names))
    return chosen


def test_every_pair_fits_or_says_why(pairs: list[Pair]) -> None:
    assert {pair.kinds for pair in pairs} == {*neighbours()}
    for pair in pairs:
        assert pair.takes or pair.reasons[""], pair
        assert {*pair.takes}.isdisjoint(pair.reasons)


def test_every_part_trains_with_a_neighbour(pairs: list[Pair]) -> None:
    chosen = first_of_each(pairs)
    trained = tried(Registry.installed(), train=True, only=lambda kinds, names: (kinds, names) in chosen)
    assert {(pair.kinds, pair.names) for pair in trained} == chosen and len(chosen) > 40
    for pair in trained:
        assert pair.trained is True, pair


@pytest.mark.slow
def test_every_pair_that_fits_trains() -> None:
    for pair in tried(Registry.installed(), train=True):
        assert pair.trained is (True if pair.takes else None), pair


def test_what_must_not_fit_does_not(pairs: list[Pair]) -> None:
    found = {pair.names: pair for pair in pairs}
    assert "plane of patches" in found["eva_vit_g", "stc"].reasons[""]
    assert "fixed square size" in found["tiles", "siglip2_naflex"].reasons[""]
    joint = found["vit_joint_tiny", "stc"]
    assert joint.takes == ("video",) and "clip of equal frames" in joint.reasons["image"]
    assert found["clip", "video_qformer"].takes == ("video", "image")


def test_the_page_is_what_the_command_prints(pairs: list[Pair]) -> None:
    page = PAGE.read_text(encoding="utf-8").partition(MARK)[2]
    assert page == text(parts_of_models(Registry.installed()), pairs, "markdown") + "\n", (
        "write docs/parts.md anew: vlframe plugin matrix format=markdown"
    )


def test_a_part_that_learns_nothing_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "still.py").write_text(FORGETFUL)
    words = ["plugin", "matrix", "connector", "llm", "--train", "format=json", f"plugins.paths=[{tmp_path}/still.py]"]
    assert main(words) == 1
    trained = {tuple(pair["names"]): pair["trained"] for pair in json.loads(capsys.readouterr().out)["pairs"]}
    assert trained == {("still", "causal_lm"): False}, "pairs without a part of the file are not tried"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["encoder", "llm"], "is no pair of neighbouring kinds; there are pixels encoder"),
        (["--fast"], "has no --fast"),
        (["format=xml"], "it can be table, markdown, json"),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "matrix", *words]) == 2
    assert said in capsys.readouterr().err
    assert main(["plugin", "matrx"]) == 2 and "did you mean" in capsys.readouterr().err.lower()
