"""What a person types after ``prompt=`` and ``media=`` arrives as typed, whatever Hydra's grammar thinks of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlframe.composer.compose import compose


@pytest.mark.parametrize(
    "text",
    [
        "<video><audio>What's that, a cat?",
        "(a) or [b]?",
        'Say "hi" = {now} #1',
        "它在做什么？",
        "null",
        "12",
        "${x}",
        "a\\",
    ],
)
def test_a_question_is_taken_word_for_word(text: str, registry) -> None:
    assert compose("predict", ["run=x", f"prompt={text}"], registry).prompt == text


@settings(max_examples=25, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\'\""), max_size=12))
def test_any_text_is_taken_word_for_word(text: str, registry) -> None:
    assert compose("predict", ["run=x", f"prompt={text}"], registry).prompt == text


def test_hydras_own_quotes_and_lists_still_work(registry) -> None:
    config = compose("predict", ["run=x", "prompt='a, b'", "media=[a.mp4,b.wav]"], registry)
    assert config.prompt == "a, b" and list(config.media) == ["a.mp4", "b.wav"]
    assert compose("predict", ["run=x", "prompt=a", "media=null"], registry).media is None
    assert compose("predict", ["run=x", "prompt=a", "media=my clip (1), cut's.mp4"], registry).media == (
        "my clip (1), cut's.mp4"
    )
