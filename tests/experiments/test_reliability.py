"""The study of damaged files: it makes them, reads them and tells the outcomes apart."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from vlframe import MediaError

STUDY = Path(__file__).resolve().parents[2] / "experiments" / "reliability"
NAMES = {path.stem for path in STUDY.glob("*.py")}


@pytest.fixture
def fuzz():
    """The study's own modules, which no other study's must be taken for."""
    before = {name: sys.modules.pop(name) for name in NAMES & set(sys.modules)}
    sys.path.insert(0, str(STUDY))
    yield import_module("fuzz")
    sys.path.remove(str(STUDY))
    for name in NAMES:
        sys.modules.pop(name, None)
    sys.modules.update(before)


class Says:
    """Stands for a reader in its process."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def one_file(self):
        from contextlib import nullcontext

        return nullcontext()

    def load_image(self, path: Path) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (np.zeros((2, 3)), "same"),
        (np.ones((2, 3)), "different"),
        (np.zeros((1, 3)), "count"),
        (MediaError("x.png: it is truncated"), "refused"),
        (MediaError("x.png: took longer than 10 s by PIL (media.timeout)"), "hung"),
        (MediaError("x.png: the decoder crashed (signal 11, SIGSEGV) by PIL"), "crashed"),
        (RuntimeError("reading x.png failed: KeyError"), "fault"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_outcomes_are_told_apart(fuzz, answer, result) -> None:
    assert fuzz.result_of(Says(answer), Path("x.png"), "image", np.zeros((2, 3)))[0] == result


def test_the_study_of_one_file(fuzz, registry, tmp_path, monkeypatch) -> None:
    bases, files, odd = fuzz.make(tmp_path, 0, "i.png")
    assert [base.path.name for base in bases] == ["i.png"] and len(files) > 30 and len(odd) == 8
    process = fuzz.ReaderProcess(registry.build("reader", {"name": "pyav"}), 30, "pyav")
    outcomes = list(fuzz.study(process, "pyav", bases, files, odd))
    process.close()
    by_kind = {kind: {item.result for item in outcomes if item.kind == kind} for kind in {o.kind for o in outcomes}}
    assert by_kind["wrong extension"] == {"same"}
    assert by_kind["bits flipped"] <= {"refused", "same"}
    assert all(by_kind[name] == {"refused"} for name in odd)
    text = fuzz.tables(outcomes, {"pyav": (80, 81)}, {"pyav": 3.0}, [["an image", "1.0", "1.1"]], 0)
    assert f"| pyav | {len(outcomes)} |" in text and "| pyav | 80 | 81 | +1 | 3 |" in text
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- measured: begin -->\nstale\n<!-- measured: end -->\nafter\n")
    fuzz.write_between(readme, text)
    assert "stale" not in readme.read_text() and readme.read_text().endswith("<!-- measured: end -->\nafter\n")
