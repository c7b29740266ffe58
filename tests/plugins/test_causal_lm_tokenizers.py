"""The causal_lm plugin: tokenizers, named templates, the small tokenizer."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.causal_lm import QWENLIKE, REGISTRY, build, preset
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer
from vlframe_causal_lm import train_tiny_tokenizer
from vlframe_causal_lm.text import TEMPLATES, load_tokenizer

from vlframe import ConfigError
from vlframe.contracts.meta import meta_build


def test_the_tokenizer_is_read_at_its_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = build(preset("tiny"))
    assert "tokenizer" not in vars(llm)
    assert llm.tokenizer is llm.tokenizer
    assert llm.tokenizer.chat_template == TEMPLATES["mistral_instruct"].read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chat_template": "alpaca"}, "the named templates are chatml, llama3, mistral_instruct, plain, vicuna"),
        ({"tokenizer": "bundled:huge"}, "the plugin brings bundled:tiny"),
    ],
)
def test_names_are_checked_when_the_model_is_built(changes: dict[str, Any], message: str) -> None:
    with meta_build(), pytest.raises(ConfigError, match=message):
        REGISTRY.build("llm", {**preset("tiny"), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer": None}, "no tokenizer: set llm.tokenizer"),
        ({"tokenizer": "/nowhere/at/all"}, "tokenizer '/nowhere/at/all' is a path, and there is no such folder"),
        ({"tokenizer": str(QWENLIKE)}, "has 1003 tokens and the llm has embeddings for 704"),
        ({"chat_template": "chatml"}, r"writes <\|im_start\|>, <\|im_end\|>, and tokenizer 'bundled:tiny' has no such"),
    ],
)
def test_tokenizers_that_cannot_work(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _ = build(preset("tiny"), **changes).tokenizer


def test_a_tokenizer_without_a_template_needs_a_named_one(tmp_path: Path) -> None:
    train_tiny_tokenizer.save(train_tiny_tokenizer.train(train_tiny_tokenizer.FOLDER / "corpus.txt"), tmp_path)
    settings_file = tmp_path / "tokenizer_config.json"
    values = json.loads(settings_file.read_text())
    del values["chat_template"]
    settings_file.write_text(json.dumps(values))
    with pytest.raises(
        ConfigError, match=r"no chat template; set llm\.chat_template to one of chatml, llama3, mistral"
    ):
        load_tokenizer(str(tmp_path), None, None)
    assert load_tokenizer(str(tmp_path), "vicuna", None).chat_template == TEMPLATES["vicuna"].read_text()


TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "Three?"},
    {"role": "assistant", "content": "Four."},
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mistral_instruct", "<s>[INST] Be brief.\n\nOne? [/INST] Two.</s>[INST] Three? [/INST] Four.</s>"),
        ("vicuna", "<s>Be brief. USER: One? ASSISTANT: Two.</s>USER: Three? ASSISTANT: Four.</s>"),
        ("plain", "<s>Be brief.\nOne?\nTwo.</s>Three?\nFour.</s>"),
        (
            "chatml",
            "<|im_start|>system\nBe brief.<|im_end|>\n"
            "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\nTwo.<|im_end|>\n"
            "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\nFour.<|im_end|>\n",
        ),
        (
            "llama3",
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nOne?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nTwo.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nThree?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nFour.<|eot_id|>",
        ),
    ],
)
def test_named_templates(name: str, expected: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(train_tiny_tokenizer.FOLDER, chat_template=TEMPLATES[name].read_text())
    whole = tokenizer.apply_chat_template(TALK, tokenize=False)
    assert whole == expected
    for answer in (2, 4):  # what a model is asked to continue is what it was trained on
        prompt = tokenizer.apply_chat_template(TALK[:answer], tokenize=False, add_generation_prompt=True)
        assert whole.startswith(prompt) and whole[len(prompt) :].lstrip().startswith(TALK[answer]["content"])


def test_vicuna_has_its_own_system_text() -> None:
    tokenizer = load_tokenizer("bundled:tiny", "vicuna", None)
    text = tokenizer.apply_chat_template(TALK[1:2], tokenize=False, add_generation_prompt=True)
    assert text.startswith("<s>A chat between a curious user and an artificial intelligence assistant. ")
    assert text.endswith("polite answers to the user's questions. USER: One? ASSISTANT:")


TINY = load_tokenizer("bundled:tiny", None, None)


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="<")))
@settings(max_examples=200, deadline=None)
def test_the_small_tokenizer_writes_any_text(text: str) -> None:
    assert TINY.decode(TINY.encode(text, add_special_tokens=False)) == text


def test_the_small_tokenizer_is_made_by_its_script(tmp_path: Path) -> None:
    train_tiny_tokenizer.save(train_tiny_tokenizer.train(train_tiny_tokenizer.FOLDER / "corpus.txt"), tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (train_tiny_tokenizer.FOLDER / name).read_bytes()


def test_the_small_tokenizer_knows_the_words_of_its_questions() -> None:
    assert len(TINY) == 704
    assert (TINY.pad_token_id, TINY.bos_token_id, TINY.eos_token_id) == (0, 1, 2)
    words = "left right up down red green blue yellow square circle triangle one two three four before after beep flash"
    for word in words.split():
        assert len(TINY.encode(" " + word, add_special_tokens=False)) == 1, word
