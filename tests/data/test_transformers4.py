"""Texts in parts, as tokenizers of transformers 4 read them."""

from copy import deepcopy
from typing import Any

import pytest
from transformers import AutoTokenizer

from vlframe import MEDIUM, PLACEHOLDERS, DataError, Sample, TextParts, Turn, transformers4_tokenizer
from vlframe.composer.compose import compose
from vlframe.inference.pipeline import build_pipeline


@pytest.fixture(scope="module")
def tokenizer(registry: Any) -> Any:
    config = compose("train", ["encoder=vit_tiny", "connector=mlp", "llm=tiny_llama"], registry)
    return build_pipeline(config, registry).model.llm.tokenizer


def test_pieces_between_borders_are_read_one_by_one(tokenizer: AutoTokenizer) -> None:
    end = tokenizer.eos_token
    text = f"one two{MEDIUM} three{end}four"
    parts = list(TextParts(tokenizer).parts(text, ["image"]))
    fast = transformers4_tokenizer(tokenizer)
    words = [fast.encode(piece, add_special_tokens=False).ids for piece in ("one two", " three", "four")]
    assert [part.ids for part in parts] == [
        words[0], [PLACEHOLDERS["image"]], words[1], [tokenizer.eos_token_id], words[2]
    ]  # fmt: skip
    assert [text[part.at :][:1] for part in parts] == ["o", MEDIUM, " ", end[0], "f"]
    assert [part.is_medium for part in parts] == [False, True, False, False, False]
    for part in parts:
        assert len(part.spans) == len(part.ids) and part.spans[0][0] >= part.at
        assert part.spans[-1][1] == part.at + len(text[part.at : part.spans[-1][1]])
    assert parts[-1].spans[-1][1] == len(text)


def test_special_tokens_may_be_left_to_the_tokenizer(tokenizer: AutoTokenizer) -> None:
    parts = list(TextParts(tokenizer, special=False).parts(f"a{tokenizer.eos_token}b", []))
    assert len(parts) == 1 and tokenizer.eos_token_id in parts[0].ids


def test_the_character_of_a_medium_in_a_text_is_refused(tokenizer: AutoTokenizer) -> None:
    """Web pages have it, from fonts of icons."""
    with pytest.raises(DataError, match=r"U\+E000 is in the text 1 time\(s\).*take it out"):
        list(TextParts(tokenizer).parts(f"{MEDIUM} an icon: {MEDIUM}", ["video"]))


@pytest.mark.parametrize("name", ["mplug_owl", "videochat", "videochat2", "videochatgpt", "videollama"])
def test_each_processor_refuses_it(name: str, tokenizer: AutoTokenizer, registry: Any) -> None:
    turns = (Turn("user", f"What is {MEDIUM}?"), Turn("assistant", "An icon."))
    processor = registry.build("processor", registry.check("processor", {"name": name}))
    tokenizer = deepcopy(tokenizer)
    tokenizer.add_tokens(["<vid_patch>", "<vid_start>", "<vid_end>"])  # which one of them writes around a medium
    with pytest.raises(DataError, match=r"U\+E000"):
        processor.write(Sample("a", turns), [], tokenizer, None, training=True)
