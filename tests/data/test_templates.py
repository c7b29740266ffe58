"""Chat templates in the formats of published models, written anew here: what is taught, what a prompt holds."""

import re
import time
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from vlframe import ConfigError, DataError, Sample, Turn
from vlframe.data.chat import check_shapes, encode, encode_prompt
from vlframe.data.template import ChatTemplate, EndOfTurn, no_end_of_turn
from vlframe.data.text import Encoded
from vlframe.errors import NothingToLearn

TINY = Path(__file__).resolve().parents[2] / "plugins" / "vlframe_causal_lm" / "tiny_tokenizer"
CHATML = "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
CHATML_OPEN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
LAST = (
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}"
)
TEMPLATES = {
    "qwen2.5": "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}"
    f"{{% endif %}}{{% for m in messages %}}{CHATML}{{% endfor %}}{CHATML_OPEN}",
    # thoughts of earlier answers are dropped, the last answer gets a thought, if an empty one
    "qwen3": LAST
    + "{% for m in messages %}{% if m.role == 'assistant' %}{% set text = m.content %}{% set thought = '' %}"
    "{% if '</think>' in text %}{% set thought = text.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}{{ '<|im_start|>assistant\n' }}"
    "{% if loop.index0 > ns.last %}{{ '<think>\n' + thought + '\n</think>\n\n' }}{% endif %}"
    f"{{{{ text + '<|im_end|>\n' }}}}{{% else %}}{CHATML}{{% endif %}}{{% endfor %}}{CHATML_OPEN}",
    "llama3": "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' "
    "+ m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    # always a system turn, with the date of the day
    "llama3.1": "{{ bos_token }}{% if messages[0].role == 'system' %}{% set system = messages[0].content | trim %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    "{% set today = strftime_now('%d %b %Y') if strftime_now is defined else '26 Jul 2024' %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + today + '\n\n' + system + '<|eot_id|>' }}"
    "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + "
    "'<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    # no system role; the assistant is called model
    "gemma2": "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + "
    "m.content | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}"
    "{% endif %}",
    # the system turn stands before the first question; contents are text or parts
    "gemma3": "{{ bos_token }}{% set ns = namespace(first='') %}{% if messages[0].role == 'system' %}"
    "{% set ns.first = messages[0].content + '\n\n' %}{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else 'user') + '\n' }}"
    "{% if loop.first %}{{ ns.first }}{% endif %}"
    "{% if m.content is string %}{{ m.content | trim }}{% else %}{% for part in m.content %}{{ part.text | trim }}"
    "{% endfor %}{% endif %}{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    "phi3": "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    # no line break behind the end of a turn, and a last token that ends nothing
    "phi4_mini": "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}",
    "phi4": "{% for m in messages %}{{ '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
    "deepseek_v2": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ 'User: ' + m.content + '\n\n' }}"
    "{% elif m.role == 'assistant' %}{{ 'Assistant: ' + m.content + eos_token }}{% else %}{{ m.content + '\n\n' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
    # opens a thought in every prompt, and writes answers without theirs
    "deepseek_r1": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '<|User|>' + m.content }}"
    "{% elif m.role == 'assistant' %}{{ '<|Assistant|>' + m.content.split('</think>')[-1] + '<|end|>' }}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}",
    # the system turn stands before the last question
    "mistral_v3": "{{ bos_token }}{% set system = '' %}{% if messages[0].role == 'system' %}"
    "{% set system = messages[0].content + '\n\n' %}{% set messages = messages[1:] %}{% endif %}"
    + LAST
    + "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + (system if loop.index0 == ns.last else '') + m.content + '[/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
    # an empty thought before every answer, and a system turn with the date
    "smollm3": "{{ '<|im_start|>system\nToday Date: ' + strftime_now('%d %B %Y') + '\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% set messages = messages[1:] %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}"
    "{{ '<|im_start|>assistant\n<think>\n\n</think>\n' + m.content.lstrip('\n') + '<|im_end|>\n' }}{% endgeneration %}"
    f"{{% else %}}{CHATML}{{% endif %}}{{% endfor %}}{CHATML_OPEN}",
    # an empty thought before every answer, none of the earlier thoughts, and no end of turn
    "glm4.6": "[gMASK]<sop>"
    + LAST
    + "{% for m in messages %}{% if m.role == 'assistant' %}{% set text = m.content %}{% set thought = '' %}"
    "{% if '</think>' in text %}{% set thought = text.split('</think>')[0].split('<think>')[-1].strip() %}"
    "{% set text = text.split('</think>')[-1] %}{% endif %}{{ '<|assistant|>\n<think>' }}"
    "{% if loop.index0 > ns.last %}{{ thought }}{% endif %}{{ '</think>' }}"
    "{% if text.strip() %}{{ '\n' + text.strip() }}{% endif %}{% else %}{{ '<|' + m.role + '|>\n' + m.content }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    # contents are lists of parts, and nothing else
    "parts": "{% for m in messages %}{{ '[' + m.role + ']' }}{% for part in m.content %}{% if part.type == 'text' %}"
    "{{ part.text }}{% else %}{{ '<' + part.type + '>' }}{% endif %}{% endfor %}{{ eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}",
    "parts_only_kept": "{% for m in messages %}{{ m.role + ':' }}{% for part in m.content if part.type == 'text' %}"
    "{{ part['text'] }}{% endfor %}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}",
}
CLOSING = {
    "qwen2.5": "<|im_end|>", "qwen3": "<|im_end|>", "llama3": "<|eot_id|>", "llama3.1": "<|eot_id|>",
    "gemma2": "<end_of_turn>", "gemma3": "<end_of_turn>", "phi3": "<|end|>", "phi4_mini": "<|end|>",
    "phi4": "<|im_end|>",
    "deepseek_v2": "</s>", "deepseek_r1": "<|end|>", "mistral_v3": "</s>", "smollm3": "<|im_end|>", "parts": "</s>",
    "parts_only_kept": "</s>", "glm4.6": "",
}  # fmt: skip
NO_SYSTEM = ("gemma2",)
THOUGHT = {"qwen3": "<think>\n\n</think>\n\n", "smollm3": "<think>\n\n</think>\n", "glm4.6": "\n<think></think>\n"}
OPENED = {"deepseek_r1": "<|Assistant|><think>\n", "glm4.6": "<|assistant|>"}  # where a model begins to think


@cache
def tokenizer(name: str) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(TINY, chat_template=TEMPLATES.get(name, name))


def talk(*texts: str, system: str | None = None, name: str = "s1") -> Sample:
    """Turns of user and assistant, in turn."""
    first = () if system is None else (Turn("system", system),)
    return Sample(name, (*first, *(Turn(("user", "assistant")[at % 2], text) for at, text in enumerate(texts))))


def learnt(encoded: Encoded, using: PreTrainedTokenizerFast) -> str:
    return using.decode([token for token, yes in zip(encoded.ids, encoded.supervised, strict=True) if yes])


def whole(encoded: Encoded, using: PreTrainedTokenizerFast) -> str:
    return using.decode(encoded.ids)


words = st.text("abcxyz .,\n", max_size=12).map(lambda text: f"x{text}y")
sizes = st.integers(1, 4)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("has_system", [False, True])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_answers_and_their_ends_are_taught_and_nothing_that_the_template_adds(
    name: str, has_system: bool, data: st.DataObject
) -> None:
    if has_system and name in NO_SYSTEM:
        return
    texts = data.draw(st.lists(words, min_size=2, max_size=8).filter(lambda found: len(found) % 2 == 0))
    using = tokenizer(name)
    encoded = encode(talk(*texts, system=data.draw(words) if has_system else None), using)
    blank = " " if name in ("mistral_v3", "deepseek_v2") else ""
    assert learnt(encoded, using) == "".join(blank + text + CLOSING[name] for text in texts[1::2])
    marked = [token for token, yes in zip(encoded.ids, encoded.trimmable, strict=True) if yes]
    assert using.decode(marked).replace("\n", "") == "".join(texts[::2]).replace("\n", "")


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("has_system", [False, True])
@given(texts=st.lists(words, min_size=2, max_size=6).filter(lambda found: len(found) % 2 == 0))
@settings(max_examples=10, deadline=None)
def test_a_prompt_is_the_training_text_up_to_its_last_answer(name: str, has_system: bool, texts: list[str]) -> None:
    if has_system and name in NO_SYSTEM:
        return
    using, sample = tokenizer(name), talk(*texts, system="xSy" if has_system else None)
    asked = encode_prompt(sample, using)
    taught = encode(sample, using)
    assert taught.ids[: len(asked)] == asked.ids and asked.trimmable == taught.trimmable[: len(asked)]
    rest = taught.supervised[len(asked) :]
    assert rest == sorted(rest, reverse=True) and rest[0] and not any(asked.supervised)
    if name in THOUGHT:
        assert whole(asked, using).endswith(THOUGHT[name])
    if name in THOUGHT | OPENED:
        left_open = whole(encode_prompt(sample, using, thinking=True), using)
        assert left_open.endswith(OPENED.get(name, "assistant\n"))


def test_a_thought_of_the_data_is_taught() -> None:
    using = tokenizer("qwen3")
    encoded = encode(talk("why?", "<think>\nsince\n</think>\n\nyes"), using)
    assert learnt(encoded, using) == "<think>\nsince\n</think>\n\nyes<|im_end|>"
    with pytest.raises(ConfigError, match="leaves out the thought in answer 1 of sample 's1'"):
        encode(talk("why?", "<think>a</think>yes", "so?", "no"), using)


@pytest.mark.parametrize(
    ("name", "answer", "taught"),
    [
        ("qwen3", "<think>\nhm\n</think>\n\nblue", "<think>\nhm\n</think>\n\nblue"),
        ("qwen3", "<think>hm</think>", "<think>\nhm\n</think>\n\n"),
        ("qwen3", "<think>\n\n</think>\n\nblue", "blue"),  # as the template itself would write it
        ("qwen3", "", ""),
        ("glm4.6", "<think>\nhm\n</think>\n\nblue", "\n<think>hm</think>\nblue"),
        ("glm4.6", "<think>hm</think>", "\n<think>hm</think>"),
        ("glm4.6", "<think></think>blue", "blue"),
        ("glm4.6", "", ""),
        ("qwen2.5", "<think>\n\n</think>\n\nblue", "<think>\n\n</think>\n\nblue"),
        ("phi4_mini", "<think>hm</think>blue", "<think>hm</think>blue"),
    ],
)
def test_a_thought_in_one_answer_is_taught_and_none_that_the_template_adds(name: str, answer: str, taught: str) -> None:
    using = tokenizer(name)
    encoded = encode(talk("Q1", "red", "Q2", answer), using)
    assert learnt(encoded, using) == f"red{CLOSING[name]}{taught}{CLOSING[name]}"


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_row_that_ends_in_a_question_teaches_the_ends_of_its_answers(name: str) -> None:
    using = tokenizer(name)
    blank = " " if name in ("mistral_v3", "deepseek_v2") else ""
    assert learnt(encode(talk("Q1", "red", "Thanks"), using), using) == f"{blank}red{CLOSING[name]}"


CHANNELS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|start|>assistant<|channel|>final<|message|>' + "
    "m.content + ('<|return|>' if loop.last else '<|end|>') }}{% else %}{{ '<|start|>' + m.role + '<|message|>' + "
    "m.content + '<|end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)


@pytest.mark.parametrize("thought", ["", "<think>hm</think>", "<think>\nhm\n</think>\n\n"])
def test_words_between_the_opening_and_an_answer_are_not_taught_beside_a_thought(thought: str) -> None:
    using = tokenizer(CHANNELS)
    assert learnt(encode(talk("why?", f"{thought}since"), using), using) == f"{thought}since<|return|>"
    assert learnt(encode(talk("a", f"{thought}b", "c", "d"), using), using) == f"{thought}bd<|return|>"
    assert whole(encode_prompt(talk("why?"), using), using).endswith("<|channel|>final<|message|>")


def test_a_thought_that_the_prompt_opens_is_taught_behind_its_opening() -> None:
    """Only answers with a thought have one, and every prompt begins one."""
    using = tokenizer(
        "{% for m in messages %}{{ ('<A>' if m.role == 'assistant' else '<U>') + m.content + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<A><think>\n{% endif %}"
    )
    row = talk("a", "<think>\nhm\n</think>b", "c", "d")
    assert learnt(encode(row, using), using) == "hm\n</think>b</s>d</s>"


LATE_SYSTEM = (  # Mistral v3
    "{{ bos_token }}{% set system = '' %}{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set messages = messages[1:] %}{% endif %}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + (system + '\n\n' if system and loop.last else '') + m.content + '[/INST]' }}{% else %}"
    "{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("texts", [("Q1",), ("Q1", "A1", "Q2")])
@pytest.mark.parametrize("thinking", [False, True])
def test_a_system_turn_of_a_question_is_not_lost_where_answers_leave_it_out(texts: tuple, thinking: bool) -> None:
    using = tokenizer(LATE_SYSTEM)
    asked = whole(encode_prompt(talk(*texts, system="xSy"), using, thinking=thinking), using)
    assert asked.endswith(f"[INST] xSy\n\n{texts[-1]}[/INST]")
    with pytest.raises(ConfigError, match="leaves system turns out"):
        encode(talk("a", "b", system="xSy"), using)


@pytest.mark.parametrize("switch", ["thinking", "enable_thinking"])
def test_a_template_that_has_to_be_asked_for_thoughts_is_asked(switch: str) -> None:
    """DeepSeek V3.1, and hybrids whose default is to answer at once."""
    using = tokenizer(
        "{% for m in messages %}{{ ('<A></think>' if m.role == 'assistant' else '<U>') + m.content + eos_token }}"
        "{% endfor %}{% if add_generation_prompt %}<A>{% if SWITCH is defined and SWITCH %}<think>{% else %}</think>"
        "{% endif %}{% endif %}".replace("SWITCH", switch)
    )
    question = talk("a", "b", "c", system="s")
    assert whole(encode_prompt(question, using), using).endswith("<U>c</s><A></think>")
    assert whole(encode_prompt(question, using, thinking=True), using).endswith("<U>c</s><A><think>")
    assert learnt(encode(talk("a", "b"), using), using) == "b</s>"


def test_a_template_for_one_question_is_taken_for_rows_of_one() -> None:
    using = tokenizer(
        "{% if messages | length > 2 %}{{ raise_exception('one question only') }}{% endif %}"
        "{% for m in messages %}{{ '<' + m.role + '>' + m.content + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    assert learnt(encode(talk("a", "b"), using), using) == "b</s>"
    assert whole(encode_prompt(talk("a", system="c"), using), using) == "<system>c</s><user>a</s><assistant>"
    with pytest.raises(DataError, match="refuses a conversation of user, assistant, user, assistant: one question"):
        encode(talk("a", "b", "c", "d"), using)


def test_several_templates_without_a_default_are_refused_by_their_names() -> None:
    using = AutoTokenizer.from_pretrained(TINY)
    using.chat_template = {"tool_use": "x", "rag": "y"}
    with pytest.raises(ConfigError, match=r"several chat templates \(rag, tool_use\), and none is called default"):
        encode(talk("a", "b"), using)


def test_an_answer_of_nothing_but_the_templates_own_thought_teaches_nothing() -> None:
    with pytest.raises(NothingToLearn):
        encode(talk("Q1", ""), tokenizer("glm4.6"))


def test_texts_that_a_template_changes_are_taught_without_what_it_adds() -> None:
    changed = TEMPLATES["glm4.6"].replace("'\n' + text.strip()", "'\n' + text.strip() | replace('e', 'E')")
    assert learnt(encode(talk("Q1", "red", "Q2", "blue"), tokenizer(changed)), tokenizer(changed)) == "rEdbluE"
    changed = TEMPLATES["phi4_mini"].replace("+ m.content", "+ m.content | replace('e', 'E')")
    using = tokenizer(changed)
    assert learnt(encode(talk("Q1", "red", "Q2", "blue"), using), using) == "rEd<|end|>bluE<|end|>"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (talk("a", "b", "c", "<think>d</think>e", "f", "g", name="odd"), "thought in answer 2 of sample 'odd'"),
        (talk("a", "x<think>d</think>e", name="odd"), "thought in answer 1 of sample 'odd'"),
    ],
)
def test_one_row_with_a_thought_that_the_template_drops_is_found_before_the_run(row: Sample, message: str) -> None:
    using = tokenizer("qwen3")
    check_shapes(using, [talk("a", "b"), talk("a", "b", "c", "<think>d</think>e")])
    with pytest.raises(ConfigError, match=message):
        check_shapes(using, [*[talk("a", "b"), talk("a", "b", "c", "d", "e", "f")] * 10, row])


def test_words_like_our_marks_are_words() -> None:
    using, sample = tokenizer("qwen3"), talk("Zq0Qz Zq1Qz", "Zq1Qz")
    assert learnt(encode(sample, using), using) == "Zq1Qz<|im_end|>"
    assert "Zq0Qz Zq1Qz<|im_end|>" in whole(encode_prompt(sample, using), using)


@pytest.mark.parametrize("name", ["llama3.1", "smollm3"])
def test_a_run_is_the_same_on_any_day(name: str) -> None:
    using = tokenizer(name)
    assert re.search("26 Jul[y]? 2024", whole(encode(talk("a", "b"), using), using))


def test_a_template_without_a_system_role_is_refused_once_and_by_name() -> None:
    with pytest.raises(ConfigError, match=r"refuses system turns \(System role not supported\).*'s1'.*chat_template"):
        encode(talk("a", "b", system="c"), tokenizer("gemma2"))
    silent = tokenizer("{% for m in messages if m.role != 'system' %}{{ m.role + m.content + eos_token }}{% endfor %}")
    with pytest.raises(ConfigError, match="leaves system turns out"):
        encode(talk("a", "b", system="c"), silent)
    with pytest.raises(ConfigError, match="leaves system turns out"):
        check_shapes(silent, [talk("a", "b"), talk("a", "b", system="c")])
    check_shapes(silent, [talk("a", "b"), talk("a", "b", "c", "d")])


def test_a_template_that_is_different_each_time_is_refused() -> None:
    chance = "{{ range(10000) | random }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
    with pytest.raises(ConfigError, match="differently each time"):
        encode(talk("a", "b"), tokenizer(chance))


def test_a_template_for_neither_text_nor_parts() -> None:
    odd = "{% for m in messages %}{{ m.content.words.first }}{% endfor %}"
    with pytest.raises(ConfigError, match=r"cannot write a question and its answer: given as text: .*list of parts: "):
        encode(talk("a", "b"), tokenizer(odd))


@pytest.mark.parametrize("name", ["parts", "qwen2.5", "tiny"])
@given(before=st.sampled_from(["", "say ", "<", "\\"]), tag=st.sampled_from(["video", "image", "audio"]))
@settings(max_examples=12, deadline=None)
def test_a_tag_in_an_answer_or_behind_a_backslash_is_a_word(name: str, before: str, tag: str) -> None:
    using = AutoTokenizer.from_pretrained(TINY) if name == "tiny" else tokenizer(name)
    sample = talk(f"x {before}\\<{tag}> y", f"{before}<{tag}> z", f"\\<{tag}>", "z", system=f"<{tag}>")
    encoded = encode(sample, using)
    assert encoded.slots == [] and min(encoded.ids) >= 0
    assert f"x {before}<{tag}> y" in whole(encoded, using) and f"{before}<{tag}> z" in learnt(encoded, using)
    assert whole(encoded, using).count(f"\\<{tag}>") == (2 if before == "\\" else 0)
    with pytest.raises(DataError, match=rf"A tag that is a word is written with a backslash: \\<{tag}>"):
        encode(talk(f"<{tag}>", "a"), using)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_that_ends_no_answer_is_told_from_the_others(name: str) -> None:
    assert ("writes no end of turn after an answer" in no_end_of_turn(tokenizer(name))) == (name == "glm4.6")


@pytest.mark.parametrize("end", ["", "\n", "  "])
def test_blanks_are_no_end_of_turn(end: str) -> None:
    plain = "{% for m in messages %}{{ '[' + m.role + ']' + m.content + '" + end + "' }}{% endfor %}"
    assert no_end_of_turn(tokenizer(plain)) and not no_end_of_turn(tokenizer(plain + "{{ eos_token }}"))


@pytest.mark.parametrize("name", TEMPLATES)
def test_time_grows_with_the_turns(name: str) -> None:
    using = tokenizer(name)
    texts = [text for number in range(800) for text in (f"question {number}", f"answer {number}")]
    started = time.process_time()
    encoded = encode(talk(*texts), using)
    assert time.process_time() - started < 3  # of a machine that is busy; a prefix for each answer took ten
    assert learnt(encoded, using).count("answer") == 800


CHANGING = [
    ("m.content | tojson", "changes the texts of user turns (writes \"It\" as \\\"It\\\")"),
    ("m.content | e", "changes the texts of user turns (writes \"It\" as &#34;It&#34;)"),
    ("m.content[:12]", "changes the texts of user turns (cuts one of"),
    ("(m.content[:200] if m.role == 'assistant' else m.content)", "changes the texts of assistant turns (cuts"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), CHANGING)
def test_a_template_that_cuts_or_escapes_texts_is_refused(content: str, reason: str) -> None:
    body = "{% for m in messages %}{{ '[' + m.role + ']' }}{{ CONTENT }}{{ eos_token }}{% endfor %}"
    with pytest.raises(ConfigError) as caught:
        encode(talk("Q", "A"), tokenizer(body.replace("CONTENT", content)))
    assert reason in str(caught.value) and "llm.chat_template" in str(caught.value)


ENDS = [
    ("' ### END' + eos_token", EndOfTurn("### END", "</s>")),
    ("eos_token + '\n'", EndOfTurn("", "</s>")),
    ("'<|over|>\n'", EndOfTurn("<|over|>", "")),
    ("'\n### '", EndOfTurn("###", "")),
    ("'.'", EndOfTurn(".", "")),
    ("'\n'", EndOfTurn("", "")),
]


@pytest.mark.parametrize(("end", "wanted"), ENDS)
def test_words_behind_an_answer_are_told_from_the_token_that_ends_it(end: str, wanted: EndOfTurn) -> None:
    using = tokenizer(f"{{% for m in messages %}}{{{{ '[' + m.role + ']' + m.content + {end} }}}}{{% endfor %}}")
    assert ChatTemplate(using).facts.end == wanted
    assert bool(no_end_of_turn(using)) == (not wanted.token and len(wanted.words) < 2)
