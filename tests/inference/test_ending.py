"""Where generated answers end, whole and in pieces."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlframe.errors import ConfigError
from vlframe.inference.ending import Ending


@pytest.mark.parametrize(
    ("ending", "text", "wanted"),
    [
        (Ending(), "red. ", "red. "),
        (Ending(("###",)), "red ### blue ### END", "red "),
        (Ending(closing="### END"), "red ### END", "red"),
        (Ending(closing="### END"), "red ### END \n", "red"),
        (Ending(closing="### END"), "red ### END of it", "red ### END of it"),
        (Ending(closing="### END"), "### END", ""),
        (Ending(("\n",), "."), "red.\nblue.", "red"),
    ],
)
def test_an_answer_is_cut_where_it_ends(ending: Ending, text: str, wanted: str) -> None:
    assert ending.cut(text) == wanted


@given(
    text=st.text("ab# \n", max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=6),
    stops=st.lists(st.text("ab#", min_size=1, max_size=3), max_size=2),
    closing=st.sampled_from(["", "#", "a#b", "## b"]),
)
def test_pieces_make_up_the_answer(text: str, cuts: list[int], stops: list[str], closing: str) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    ending = Ending(tuple(stops), closing)
    pieces = [text[start:end] for start, end in pairwise(places)]
    assert "".join(ending.pieces(pieces)).rstrip() == ending.cut(text).rstrip()


def test_stop_strings_of_a_call_are_texts() -> None:
    assert Ending(("a",), "c").asked("b") == Ending(("b", "a"), "c") == Ending(("a",), "c").asked(["b", "a"])
    assert Ending(("a",)).asked(None) == Ending(("a",)) == Ending(("a",)).asked([])
    for wrong in ("", [""], ["a", 3], 3, {"a": 1}):
        with pytest.raises(ConfigError, match=r"stop_strings is .*; it is a text that ends answers, or a list"):
            Ending().asked(wrong)
