"""Media tags in texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlframe import Turn, media_tags, split_tags


@pytest.mark.parametrize(
    ("text", "texts", "kinds"),
    [
        ("", [""], []),
        ("<video>", ["", ""], ["video"]),
        ("a <video>\n<image> b", ["a ", "\n", " b"], ["video", "image"]),
        ("the \\<video> tag", ["the <video> tag"], []),
        ("\\<video><video>", ["<video>", ""], ["video"]),
        ("<film>", ["<film>"], []),
    ],
)
def test_a_users_text_is_split_at_its_tags(text: str, texts: list[str], kinds: list[str]) -> None:
    assert split_tags(Turn("user", text)) == (texts, kinds)


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_a_tag_of_another_turn_is_a_word(role: str) -> None:
    assert split_tags(Turn(role, "a <video> b")) == (["a <video> b"], [])


@given(st.lists(st.sampled_from(["<video>", "<image>", "\\<audio>", "<", "video>", "\\", " ", "é\n"])).map("".join))
def test_the_pieces_are_the_text(text: str) -> None:
    texts, kinds = split_tags(Turn("user", text))
    assert kinds == media_tags([Turn("user", text)]) and len(texts) == len(kinds) + 1
    whole = texts[0] + "".join(f"<{kind}>{rest}" for kind, rest in zip(kinds, texts[1:], strict=True))
    assert whole == text.replace("\\<audio>", "<audio>").replace("\\<video>", "<video>").replace("\\<image>", "<image>")
