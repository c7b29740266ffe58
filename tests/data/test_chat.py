"""Conversations to tokens: against what the official VideoLLaMA 2 code makes of them, and by properties."""

import json
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from vlframe import ConfigError, DataError, Media, Sample, Turn
from vlframe.contracts.modalities import IMAGE, PLACEHOLDERS, TAGS, VIDEO
from vlframe.contracts.sample import tags_in, written
from vlframe.data.chat import encode, encode_prompt
from vlframe.data.text import Encoded, Slot

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "tests" / "recordings" / "text"
PLUGIN = ROOT / "plugins" / "vlframe_causal_lm"
MISTRAL = ROOT.parent / "shared" / "goldens" / "videollama2" / "tokenizers" / "mistral"
RECORDED = json.loads((RECORDINGS / "videollama2.json").read_text(encoding="utf-8"))
CASES = list(RECORDED["conversations"])
NEWLINE, IM_END = 198, 1000  # in the recorded ChatML tokenizer


@cache
def tokenizer(name: str, template: str | None = None) -> PreTrainedTokenizerFast:
    folders = {"qwenlike": RECORDINGS / "qwenlike", "mistral": MISTRAL, "tiny": PLUGIN / "tiny_tokenizer"}
    if not folders[name].is_dir():
        pytest.skip(f"the Mistral tokenizer (1.8 MB) is not shipped, and there is none in {MISTRAL}")
    loaded = AutoTokenizer.from_pretrained(folders[name])
    if template:
        loaded.chat_template = (PLUGIN / "templates" / f"{template}.jinja").read_text(encoding="utf-8")
    return loaded


def conversation(*turns: tuple[str, str] | list[str], name: str = "sample 7") -> Sample:
    """A sample with a medium for each tag."""
    media = tuple(Media(kind, Path("clip.mp4")) for role, text in turns if role == "user" for _, kind in tags_in(text))
    return Sample(name, tuple(Turn(role, text) for role, text in turns), media)


def learnt(encoded: Encoded, using: PreTrainedTokenizerFast) -> str:
    return using.decode([token for token, is_learnt in zip(encoded.ids, encoded.supervised, strict=True) if is_learnt])


# -- against the recordings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["mistral", "qwenlike"])
def test_training_tokens_are_the_official_ones(name: str, case: str) -> None:
    recorded = RECORDED["training"][name][case]
    encoded = encode(conversation(*RECORDED["conversations"][case]), tokenizer(name))
    assert encoded.ids == recorded["ids"]
    ours = set(at for at, is_learnt in enumerate(encoded.supervised) if is_learnt)
    theirs = set(at for at, label in enumerate(recorded["labels"]) if label != -100)
    if name == "qwenlike":
        # the official mask teaches the newline after <|im_end|>, which is never generated
        after_end = {at for at in theirs if recorded["ids"][at] == NEWLINE and recorded["ids"][at - 1] == IM_END}
        assert ours == theirs - after_end and len(after_end) == len(RECORDED["conversations"][case]) // 2
    else:
        # the official mask loses an answer that begins with a bracket: "]" + ")" is one token, across the border
        lost = {15} if case == "answer_punct_first" else set()
        assert ours == theirs | lost and not theirs & lost


@pytest.mark.parametrize("index", range(len(RECORDED["prompts"])))
def test_inference_prompts_are_the_official_ones(index: int) -> None:
    recorded = RECORDED["prompts"][index]
    using = tokenizer(recorded["tokenizer"])
    turns = [["system", RECORDED["system"]]] if recorded["system"] else []
    if recorded["system"] and recorded["tokenizer"] == "mistral":
        using = AutoTokenizer.from_pretrained(MISTRAL, chat_template=RECORDED["templates"]["mistral"])
    encoded = encode_prompt(conversation(*turns, *recorded["turns"]), using)
    assert encoded.ids == recorded["ids"]
    assert not any(encoded.supervised)


# -- properties ------------------------------------------------------------------------------------------------------

# '<' would begin a tag or a special token now and then; an answer's first letter keeps it apart from the template
plain = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="<"), max_size=20)
questions = st.lists(st.one_of(plain, st.sampled_from(["<video>", "<image>", "<audio>"])), max_size=5).map("".join)
answers = plain.map(lambda text: ("x" + text).strip())
rounds = st.lists(st.tuples(questions, answers), min_size=1, max_size=3)

# How each template opens and ends an answer.
FORMATS = [
    ("qwenlike", None, "{}<|im_end|>"),
    ("qwenlike", "chatml", "{}<|im_end|>"),
    ("tiny", None, " {}</s>"),
    ("tiny", "vicuna", " {}</s>"),
    ("tiny", "plain", "{}</s>"),
]


@pytest.mark.parametrize(("name", "template", "form"), FORMATS, ids=lambda value: str(value))
@given(rounds)
@settings(max_examples=40, deadline=None)
def test_the_answers_and_their_ends_are_learnt_and_nothing_else(
    name: str, template: str | None, form: str, turns: list[tuple[str, str]]
) -> None:
    using = tokenizer(name, template)
    sample = conversation(*(turn for q, a in turns for turn in (("user", q), ("assistant", a))))
    encoded = encode(sample, using)
    expected = "".join(form.format(answer) for _, answer in turns)
    assert learnt(encoded, using) == (unicodedata.normalize("NFC", expected) if name == "qwenlike" else expected)
    assert [slot.kind for slot in encoded.slots] == [item.kind for item in sample.media]
    assert [encoded.ids[slot.position] for slot in encoded.slots] == [PLACEHOLDERS[s.kind] for s in encoded.slots]
    assert sum(token < 0 for token in encoded.ids) == len(sample.media)


@given(rounds)
@settings(max_examples=30, deadline=None)
def test_a_prompt_is_what_precedes_the_last_answer(turns: list[tuple[str, str]]) -> None:
    using = tokenizer("tiny")
    sample = conversation(*(turn for q, a in turns for turn in (("user", q), ("assistant", a))))
    whole, prompt = encode(sample, using), encode_prompt(sample, using)
    assert whole.ids[: len(prompt)] == prompt.ids
    assert whole.supervised[len(prompt) :] == [True] * (len(whole) - len(prompt))
    assert prompt.slots == whole.slots


@given(questions)
@example("\\<video>")
@settings(max_examples=40, deadline=None)
def test_words_are_what_the_user_wrote(question: str) -> None:
    using = tokenizer("tiny")
    encoded = encode(conversation(("user", question), ("assistant", "yes")), using)
    words = using.decode([token for token, is_word in zip(encoded.ids, encoded.trimmable, strict=True) if is_word])
    text = written(Turn("user", question), dict.fromkeys(TAGS, ""))  # an escaped tag is a word
    assert set(words) <= {*text, "\ufffd"}
    assert not any(
        is_word and is_learnt for is_word, is_learnt in zip(encoded.trimmable, encoded.supervised, strict=True)
    )


def test_words_in_an_ordinary_conversation() -> None:
    using = tokenizer("tiny")
    encoded = encode(conversation(("user", "<video>\nWhich way did it move?"), ("assistant", "left")), using)
    marked = [token for token, is_word in zip(encoded.ids, encoded.trimmable, strict=True) if is_word]
    assert using.decode(marked) == "Which way did it move?"


# -- tokenizers ------------------------------------------------------------------------------------------------------


def made(pre_tokenizer: Any, post_processor: Any = None) -> PreTrainedTokenizerFast:
    """A tokenizer of a few whole words."""
    words = ["<unk>", "</s>", "▁a", "▁", "b", "▁b", "Ġ", "a", "Ġb", "<img>"]
    raw = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizer
    if post_processor:
        raw.post_processor = post_processor
    template = (
        "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", eos_token="</s>", chat_template=template)


@pytest.mark.parametrize(
    ("scheme", "after_tag"), [("first", "b"), ("always", "▁b")], ids=["prefix at the start only", "prefix everywhere"]
)
def test_text_after_a_tag_gets_the_space_that_it_gets_after_any_special_token(scheme: str, after_tag: str) -> None:
    using = made(pre_tokenizers.Metaspace(prepend_scheme=scheme, split=True))
    encoded = encode_prompt(conversation(("user", "a<image>b")), using)
    assert encoded.ids[1] == IMAGE.placeholder
    assert [using.convert_ids_to_tokens(encoded.ids[at]) for at in (0, 2)] == ["▁a", after_tag]
    with_special = using.convert_ids_to_tokens(using.encode("a</s>b", add_special_tokens=False))
    assert with_special[2] == after_tag


def test_a_space_that_the_offsets_leave_out_belongs_where_it_stands() -> None:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    using = made(byte_level, processors.ByteLevel(trim_offsets=True))
    encoded = encode(conversation(("user", "a"), ("assistant", " b")), using)
    assert [token for token, yes in zip(encoded.ids, encoded.supervised, strict=True) if yes] == [8, 1]
    encoded = encode(conversation(("user", "a "), ("assistant", "b")), using)  # the last space stands alone
    assert encoded.supervised == [token in (4, 1, 8) for token in encoded.ids]


def test_the_tokenizer_itself_does_not_learn_the_tags() -> None:
    using = AutoTokenizer.from_pretrained(RECORDINGS / "qwenlike")
    size, before = len(using), using("<video> a").input_ids
    encode_prompt(conversation(("user", "<video> a")), using)
    assert len(using) == size and using("<video> a").input_ids == before


def test_truncation_and_padding_that_someone_set_do_not_reach_us() -> None:
    using = AutoTokenizer.from_pretrained(RECORDINGS / "qwenlike")
    sample = conversation(("user", "<video>\nWhat is it?"))
    expected = encode_prompt(sample, using).ids
    other = AutoTokenizer.from_pretrained(RECORDINGS / "qwenlike")
    other(["a", "b c d e f g h"], padding="max_length", max_length=4, truncation=True)
    assert encode_prompt(sample, other).ids == expected


def test_bos_is_written_once() -> None:
    using = AutoTokenizer.from_pretrained(PLUGIN / "tiny_tokenizer")
    using.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", using.bos_token_id)]
    )
    encoded = encode(conversation(("user", "Hello!"), ("assistant", "yes")), using)
    assert encoded.ids.count(using.bos_token_id) == 1 and encoded.ids[0] == using.bos_token_id


def test_a_token_across_the_border_is_learnt() -> None:
    """The template ends in a space, which the tokenizer joins to the answer's first word."""
    user, assistant = "{{ 'Q: ' + m.content + ' A: ' }}", "{{ m.content + eos_token }}"
    template = (
        f"{{% for m in messages %}}{{% if m.role == 'user' %}}{user}{{% else %}}{assistant}{{% endif %}}{{% endfor %}}"
    )
    using = AutoTokenizer.from_pretrained(PLUGIN / "tiny_tokenizer", chat_template=template)
    encoded = encode(conversation(("user", "Which way?"), ("assistant", "left")), using)
    assert using.convert_ids_to_tokens(encoded.ids)[-4:] == ["ĠA", ":", "Ġleft", "</s>"]
    assert encoded.supervised[-4:] == [False, False, True, True]


def test_a_typed_special_token_is_what_the_tokenizer_makes_of_it() -> None:
    using = tokenizer("tiny")
    encoded = encode(conversation(("user", "What does </s> mean?"), ("assistant", "the end")), using)
    assert encoded.ids.count(using.eos_token_id) == 2
    assert learnt(encoded, using) == " the end</s>"


# -- templates -------------------------------------------------------------------------------------------------------

FORGETFUL = (  # rewrites what is no longer the last answer, as templates that drop old thoughts do
    "{% for m in messages %}{% if m.role == 'user' %}Q {{ m.content }} A:{% else %}"
    "OPEN{{ m.content if loop.last else m.content[:1] }}{{ eos_token }}CLOSE{% endif %}{% endfor %}"
)
TALK = conversation(("user", "one?"), ("assistant", "two"), ("user", "three?"), ("assistant", "four"))


def test_a_template_that_marks_answers_itself_is_taken_at_its_word() -> None:
    using = AutoTokenizer.from_pretrained(
        PLUGIN / "tiny_tokenizer",
        chat_template=FORGETFUL.replace("OPEN", "{% generation %}").replace("CLOSE", "{% endgeneration %}"),
    )
    assert learnt(encode(TALK, using), using) == "t</s>four</s>"


def test_a_template_that_rewrites_its_past_is_refused() -> None:
    template = FORGETFUL.replace("OPEN", "").replace("CLOSE", "")
    using = AutoTokenizer.from_pretrained(PLUGIN / "tiny_tokenizer", chat_template=template)
    with pytest.raises(ConfigError, match=r"rewrites earlier turns of sample 'sample 7'.*generation"):
        encode(TALK, using)
    assert encode_prompt(TALK, using).ids  # to answer, nothing need be told apart


def test_no_template() -> None:
    using = AutoTokenizer.from_pretrained(RECORDINGS / "qwenlike")
    using.chat_template = None
    with pytest.raises(ConfigError, match=r"has no chat template.*llm\.chat_template"):
        encode(TALK, using)


# -- samples that are wrong ------------------------------------------------------------------------------------------

VIDEO_ITEM, IMAGE_ITEM = Media("video", Path("a.mp4")), Media("image", Path("a.png"))


@pytest.mark.parametrize(
    ("turns", "media", "message"),
    [
        ([("user", "<video>?"), ("assistant", "a")], [], r"tags video in its users' texts and the media \(none\)"),
        ([("user", "?"), ("assistant", "a")], [VIDEO_ITEM], r"tags \(none\) in its users' texts and the media video"),
        (
            [("user", "<video><image>?"), ("assistant", "a")],
            [IMAGE_ITEM, VIDEO_ITEM],
            "tags video, image in its users' texts and the media image, video",
        ),
        ([("assistant", "a"), ("user", "?")], [], "must begin with a user or system turn; it has assistant, user"),
        ([], [], "it has no turns"),
        ([("user", "?")], [], "has nothing to learn"),
    ],
)
def test_a_wrong_sample_is_named(turns: list[tuple[str, str]], media: list[Media], message: str) -> None:
    sample = Sample("clip 12", tuple(Turn(role, text) for role, text in turns), tuple(media))
    with pytest.raises(DataError, match="'clip 12'.*" + message):
        encode(sample, tokenizer("tiny"))


def test_an_empty_answer_teaches_to_stop_and_without_an_end_there_is_nothing() -> None:
    sample = conversation(("user", "?"), ("assistant", ""))
    using = tokenizer("qwenlike")
    assert learnt(encode(sample, using), using) == "<|im_end|>"
    endless = AutoTokenizer.from_pretrained(
        PLUGIN / "tiny_tokenizer", chat_template="{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    with pytest.raises(DataError, match="'sample 7' has nothing to learn"):
        encode(sample, endless)


def test_no_question_to_answer() -> None:
    with pytest.raises(DataError, match="'sample 7' has no user turn to answer, only system"):
        encode_prompt(conversation(("system", "Be brief.")), tokenizer("qwenlike"))


def test_the_refusal_of_a_template_is_passed_on() -> None:
    using = tokenizer("mistral")
    twice = conversation(("user", "a"), ("user", "b"), ("assistant", "c"))
    with pytest.raises(DataError, match=r"'sample 7': the chat template refuses .*user, user, assistant.*alternate"):
        encode(twice, using)


def test_a_template_that_loses_a_turn_is_found_out() -> None:
    last_only = "{{ messages[-1].content }}{{ eos_token }}"
    using = AutoTokenizer.from_pretrained(PLUGIN / "tiny_tokenizer", chat_template=last_only)
    with pytest.raises(ConfigError, match=r"cannot write a question and its answer.*loses one of them"):
        encode_prompt(conversation(("user", "<video>"), ("assistant", "a"), ("user", "b")), using)
    last_two = "{% for m in messages[-2:] %}{{ m.content }}{{ eos_token }}{% endfor %}"
    using = AutoTokenizer.from_pretrained(PLUGIN / "tiny_tokenizer", chat_template=last_two)
    with pytest.raises(DataError, match=r"wrote the media \(none\), and the sample has video"):
        encode_prompt(conversation(("user", "<video>"), ("assistant", "a"), ("user", "b")), using)


def test_media_in_several_turns() -> None:
    sample = conversation(("user", "<video> and <image>"), ("assistant", "a"), ("user", "<video>?"), ("assistant", "b"))
    encoded = encode(sample, tokenizer("tiny"))
    assert [slot.kind for slot in encoded.slots] == ["video", "image", "video"]
    assert encoded.slots[0] == Slot(encoded.ids.index(VIDEO.placeholder), "video")
