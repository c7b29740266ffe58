"""The lenient parser: what it reads beside the strict one, and that it never guesses."""

from string import ascii_uppercase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vlframe_benchmarks.choices import parse_choice
from vlframe_benchmarks.lenient import parse_leniently
from vlframe_benchmarks.reasoning import answer_of, check_marks

from vlframe import ConfigError

OPTIONS = ("a red ball", "a blue box", "a green cat", "nothing")

READ = [
    r"\boxed{B}",
    r"So we get $\boxed{\text{B}}$.",
    "<answer>B</answer>",
    "I looked at each frame. <answer>(B) a blue box</answer>",
    "```\nB\n```",
    "The box is blue in every frame. **B**",
    "The frames show a box that falls. Therefore, the answer is B.",
    "First it stands. Then it falls.\n\nFinal answer: B",
    "Looking at the colours, I see blue. The correct option is (B).",
    "The second option",
    "It is the second one.",
    "The answer is the second option.",
    "La respuesta correcta es B.",
    "La réponse est B.",
    "Die richtige Antwort ist B.",
    "A resposta correta é B.",
    "La risposta è B.",
    "Правильный ответ: B",
    "答案是B。",
    "正确答案是 B",
    "选B",
    "答えはBです。",
    "정답은 B입니다.",
    "Respuesta: a blue box",
    r"$\boxed{\mathbf{B}}$",
    r"The final answer is $B$",
    "<|begin_of_box|>B<|end_of_box|>",
    '{"answer": "B", "confidence": 0.3}',
    '```json\n{"reason": "it is square", "answer": "B"}\n```',
    "The box falls.\n#### B",
    "（B）",
    "Ｂ：a blue box",
    "「B」",
    "a blue box (B)",
    "B is correct.",
    "So, option B is the best answer.",
    "It falls in each frame. (B) is right.",
    "I would choose B.",
    "I'd go with option B",
    "The 2nd option",
    "第二个选项",
    "2番目の選択肢",
    "la segunda opción",
    "die zweite Option",
    "La respuesta correcta es la B.",
    "La opción correcta es B",
    "A resposta correta é a letra B.",
    "正确答案是（B）",
    "选项B",
    "Đáp án: B",
    "उत्तर: B",
    "Cevap: B",
    "Odpowiedź: B",
    "Het juiste antwoord is B.",
    "Svar: B",
]
UNREAD = [
    "The answer is not B.",
    "I don't think the answer is B.",
    "The answer is B or C.",
    "The answer could be B.",
    "The answer is B. Wait, actually it is C.",
    "The answer is B. However, (C) fits as well.",
    r"\boxed{B} or \boxed{C}",
    r"It is not \boxed{B}.",
    "<answer>B</answer> <answer>C</answer>",
    "If it rains, the answer is B.",
    "The answer is A. The answer is B.",
    "Is the answer B?",
    "The second frame shows a box.",
    "The ninth option",
    "La respuesta no es B.",
    "答案不是B",
    "Do not know",
    "A ball moves and a box stands.",
    r"\boxed{B} is wrong",
    '{"answer": "B"} is not right',
    '{"answer": "B", "second": "C"}, and C',
    "a blue box (C)",
    "B is not correct.",
    "B is correct. C is correct.",
    "I would choose B or C.",
    "If I had to, I'd choose B",
    "I would choose B. But C is right.",
    "第二帧",
    "选项B不对",
    "La segunda opción es incorrecta",
    "Nie sądzę, że odpowiedź to B",
    "Odpowiedź to nie B",
    "Ik denk niet dat het antwoord B is.",
    "#### B\nbut rather\n#### C",
    "",
]


@pytest.mark.parametrize("text", READ)
def test_clear_answers_are_read(text: str) -> None:
    assert parse_leniently(text, OPTIONS) == "B"


@pytest.mark.parametrize("text", UNREAD)
def test_what_is_not_clear_is_no_answer(text: str) -> None:
    assert parse_leniently(text, OPTIONS) is None


def test_ordinals_among_the_options_are_no_ordinals() -> None:
    assert parse_leniently("The second one.", ("the first one", "the last one")) is None


texts = st.lists(st.sampled_from([*READ, *UNREAD, "B", "(C)", "a red ball", "because", "."]), min_size=1, max_size=3)


@given(texts.map(" ".join))
@settings(max_examples=200, deadline=None)
def test_what_is_read_strictly_is_read_alike(text: str) -> None:
    strict = parse_choice(text, OPTIONS)
    assert strict is None or parse_leniently(text, OPTIONS) == strict


@given(st.sampled_from(READ), st.sampled_from("ACD"))
@settings(max_examples=100, deadline=None)
def test_an_answer_beside_another_is_none(text: str, other: str) -> None:
    assert parse_leniently(f"{text} Final answer: {other}", OPTIONS) in (None, other)


@given(st.integers(2, 6), st.data())
@settings(max_examples=60, deadline=None)
def test_any_option_is_read(count: int, data: st.DataObject) -> None:
    options = tuple(f"thing {number}" for number in range(count))
    letter = data.draw(st.sampled_from(ascii_uppercase[:count]))
    form = data.draw(st.sampled_from([text for text in READ if text.count("B") == 1 and "box" not in text]))
    assert parse_leniently(form.replace("B", letter), options) == letter


@given(thought=st.text("ab c", max_size=9), answer=st.text("ab c", max_size=9))
def test_a_thought_is_no_answer(thought: str, answer: str) -> None:
    marks = ("<think>", "</think>")
    assert answer_of(f"<think>{thought}</think>{answer}", marks) == answer
    assert answer_of(f"{thought}</think>{answer}", marks) == answer
    assert answer_of(f"<think>{thought}", marks) == ""
    assert answer_of(answer, marks) == answer
    assert answer_of(f"<think>{thought}", None) == f"<think>{thought}"


def test_marks_that_are_none() -> None:
    with pytest.raises(ConfigError, match="two marks around a thought"):
        check_marks("exact_match", ["<think>"])
