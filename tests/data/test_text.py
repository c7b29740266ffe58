"""Encoded conversations: expanding slots, and the three policies for those that do not fit the context."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlframe import DataError
from vlframe.contracts.modalities import PLACEHOLDERS
from vlframe.data.text import Encoded, Slot, expand, fit

IMAGE, VIDEO, AUDIO = (PLACEHOLDERS[kind] for kind in ("image", "video", "audio"))

WORD, TEMPLATE, ANSWER = "w", "t", "a"
KIND = {"v": "video", "i": "image", "s": "audio"}


def encoded(pattern: str) -> Encoded:
    """From letters: w user's word, t template, a answer, v i s a slot. Text ids are their positions."""
    slots = [Slot(at, KIND[letter]) for at, letter in enumerate(pattern) if letter in KIND]
    ids = [PLACEHOLDERS[KIND[letter]] if letter in KIND else at for at, letter in enumerate(pattern)]
    return Encoded(ids, [letter == ANSWER for letter in pattern], [letter == WORD for letter in pattern], slots)


def check(result: Encoded) -> None:
    """What holds for every Encoded: parallel lists, and slots that stand on their placeholders and on nothing else."""
    assert len(result.ids) == len(result.supervised) == len(result.trimmable) == len(result)
    covered = set()
    for slot in result.slots:
        span = range(slot.position, slot.position + slot.tokens)
        assert [result.ids[at] for at in span] == [PLACEHOLDERS[slot.kind]] * slot.tokens
        assert not any(result.supervised[at] or result.trimmable[at] for at in span)
        covered |= set(span)
    assert covered == {at for at, token in enumerate(result.ids) if token < 0}
    assert result.media_tokens + result.text_tokens == len(result)


patterns = st.text(alphabet="wtavis", max_size=40)


@given(patterns, st.data())
@settings(max_examples=60, deadline=None)
def test_expand_repeats_each_slot_and_changes_nothing_else(pattern: str, data: st.DataObject) -> None:
    short = encoded(pattern)
    counts = data.draw(st.lists(st.integers(1, 9), min_size=len(short.slots), max_size=len(short.slots)))
    long = expand(short, counts)
    check(long)
    assert [slot.tokens for slot in long.slots] == counts
    assert len(long) == len(short) - len(counts) + sum(counts)
    text = [at for at, token in enumerate(long.ids) if token >= 0]
    kept = [at for at, token in enumerate(short.ids) if token >= 0]
    for name in ("ids", "supervised", "trimmable"):
        assert [getattr(long, name)[at] for at in text] == [getattr(short, name)[at] for at in kept]


def test_expand_by_hand() -> None:
    result = expand(encoded("tvwsa"), [2, 3])
    assert result.ids == [0, VIDEO, VIDEO, 2, AUDIO, AUDIO, AUDIO, 4]
    assert result.slots == [Slot(1, "video", 2), Slot(4, "audio", 3)]
    assert result.supervised == [False] * 7 + [True]
    assert (IMAGE, VIDEO, AUDIO) == (-200, -201, -202)


@pytest.mark.parametrize("counts", [[], [2, 3], [0]])
def test_expand_wants_one_count_of_at_least_one_for_each_slot(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="1 media slots"):
        expand(encoded("tva"), counts)


@pytest.mark.parametrize("policy", ["error", "drop", "trim_text"])
def test_what_fits_is_left_alone(policy: str) -> None:
    sample = encoded("tvwta")
    assert fit(sample, 5, policy, "s") is sample


def test_error_and_drop() -> None:
    sample = expand(encoded("tvwta"), [6])
    with pytest.raises(DataError, match=re.escape("'clip 7'")) as caught:
        fit(sample, 9, "error", "clip 7")
    assert "6 media tokens + 4 text tokens = 10, and the context is 9" in str(caught.value)
    assert fit(sample, 9, "drop", "clip 7") is None


def test_trim_text_cuts_the_end_first() -> None:
    result = fit(encoded("tvwwtaaaatwta"), 7, "trim_text", "s")
    assert result is not None and result.ids == [0, VIDEO, 2, 3, 4, 5, 6]
    assert sum(result.supervised) == 2


def test_trim_text_keeps_a_later_medium_and_the_answer_by_cutting_the_earliest_words() -> None:
    result = fit(encoded("tvwwwwtatwitaa"), 10, "trim_text", "s")
    assert result is not None
    check(result)
    assert result.ids == [0, VIDEO, 6, 7, 8, 9, IMAGE, 11, 12, 13]


def test_trim_text_of_a_prompt_cuts_words_only() -> None:
    result = fit(encoded("tvwwwwt"), 5, "trim_text", "s")
    assert result is not None and result.ids == [0, VIDEO, 4, 5, 6]


def test_trim_text_cannot_make_room_for_media_alone() -> None:
    sample = expand(encoded("tvwwta"), [20])
    with pytest.raises(DataError, match="20 media tokens") as caught:
        fit(sample, 16, "trim_text", "s")
    assert "+ 5 text tokens = 25, and the context is 16; only 2 text tokens may be cut" in str(caught.value)


@given(patterns, st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_trim_text_never_cuts_media_nor_all_there_is_to_learn(pattern: str, context: int) -> None:
    sample = encoded(pattern)
    try:
        result = fit(sample, context, "trim_text", "s")
    except DataError:
        # even without a single word the media, the template and what must be learnt are too much
        assert len(sample) - sum(sample.trimmable) > context
        return
    assert result is not None and len(result) <= context
    check(result)
    assert [slot.kind for slot in result.slots] == [slot.kind for slot in sample.slots]
    assert any(result.supervised) == any(sample.supervised)
    text = [token for token in result.ids if token >= 0]
    assert all(first < second for first, second in pairwise(text))
