"""A question as a benchmark puts it."""

from pathlib import Path

import pytest

from vlframe import Media, Sample, Turn
from vlframe.config.asking import AskingConfig
from vlframe.contracts.sample import media_tags
from vlframe.data.phrasing import phrased

VIDEO = (Media("video", Path("a.mp4")),)


@pytest.mark.parametrize(
    ("text", "media", "expected"),
    [
        ("Where?", (), "Look. Where? Be short."),
        ("<video>\nWhere?", VIDEO, "<video>\nLook. Where? Be short."),
        ("<video><video> Where?", VIDEO * 2, "<video><video> Look. Where? Be short."),
        ("Where in <video>?", VIDEO, "Look. Where in <video>? Be short."),
        (r"\<video> is a word", (), r"Look. \<video> is a word Be short."),
    ],
)
def test_words_before_and_behind(text: str, media: tuple[Media, ...], expected: str) -> None:
    asked = Sample("q", (Turn("user", "Hello"), Turn("assistant", "Hi"), Turn("user", text)), media)
    said = phrased(asked, AskingConfig(pre_prompt="Look. ", post_prompt=" Be short."))
    assert [turn.text for turn in said.turns] == ["Hello", "Hi", expected] and said.media == media


def test_the_system_turn_is_replaced_or_taken_out() -> None:
    asked = Sample("q", (Turn("system", "Old."), Turn("user", "Where?")))
    assert phrased(asked, AskingConfig()) is asked
    assert phrased(asked, AskingConfig(system="New.")).turns[0] == Turn("system", "New.")
    assert phrased(asked, AskingConfig(system="")).turns == (Turn("user", "Where?"),)


def test_a_tag_in_the_words_of_a_benchmark_is_a_word() -> None:
    said = phrased(Sample("q", (Turn("user", "Where?"),)), AskingConfig(post_prompt=" <video>"))
    assert media_tags(said.turns) == []
