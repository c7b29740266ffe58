"""How errors are put into messages: in one line, by the functions of ``vlframe.errors``."""

import re
from pathlib import Path

import pytest
from helpers.sources import CORE, PLUGINS, ROOT

from vlframe.errors import did_you_mean, named_line, one_line

BY_HAND = re.compile(r"str\(error\)\.split\(\)|type\(error\)\.__name__\}: \{error\}")


class Mute(RuntimeError):
    """An error of somebody else whose message fails."""

    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize("path", [*CORE, *PLUGINS], ids=lambda path: str(path.relative_to(ROOT)))
def test_messages_are_put_in_one_line_in_one_place(path: Path) -> None:
    if path != ROOT / "vlframe" / "errors.py":
        assert not BY_HAND.search(path.read_text())


def test_what_is_written_by_hand_is_seen() -> None:
    assert BY_HAND.search('text = " ".join(str(error).split())')
    assert BY_HAND.search('f"{type(error).__name__}: {error}; try again"')


@pytest.mark.parametrize(
    ("error", "line", "named"),
    [
        (ValueError("two\n  lines "), "two lines", "ValueError: two lines"),
        (ValueError(), "ValueError", "ValueError"),
        (ValueError(" \n"), "ValueError", "ValueError"),
        (Mute(), "Mute", "Mute"),
        (KeyError("a"), "'a'", "KeyError: 'a'"),
    ],
)
def test_an_error_is_one_line(error: Exception, line: str, named: str) -> None:
    assert (one_line(error), named_line(error)) == (line, named)


@pytest.mark.parametrize(
    ("word", "options", "meant"),
    [
        ("tarin", ["train", "plan"], ". Did you mean 'train'?"),
        ("sys", ["sys/finetune", "sys/pretrain", "other"], ". Did you mean 'sys/finetune' or 'sys/pretrain'?"),
        ("two", ["system/one", "system/two"], ". Did you mean 'system/two'?"),
        ("nothing", ["train", "system/one"], ""),
    ],
)
def test_what_was_meant(word: str, options: list[str], meant: str) -> None:
    assert did_you_mean(word, options) == meant
