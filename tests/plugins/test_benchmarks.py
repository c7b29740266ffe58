"""Questions, and how answers to them are read."""

import json
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vlframe_benchmarks import THOUGHT
from vlframe_benchmarks.choices import match_text, parse_choice, plain
from vlframe_benchmarks.exact_match import ExactMatch
from vlframe_benchmarks.multiple_choice import MultipleChoice

from vlframe import ConfigError, DataError, Media, Sample, Turn
from vlframe.composer.compose import compose
from vlframe.evaluation.judge import Judge
from vlframe.registry.registry import Registry

RECORDING = json.loads((Path(__file__).parents[1] / "recordings" / "eval" / "parsers.json").read_text())
OPTIONS = ("left", "right", "up", "A dog")


def sample(text: str = "<video>Where to?", reply: str | None = None, **fields: Any) -> Sample:
    turns = (Turn("user", text),) + ((Turn("assistant", reply),) if reply is not None else ())
    return Sample("q1", turns, (Media("video", Path("a.mp4")),), **{"answer": "B", "options": OPTIONS, **fields})


def choice(*samples: Sample, prompt: str = "letters", max_new_tokens: int = 8) -> MultipleChoice:
    return MultipleChoice(
        dataset=samples, prompt=prompt, parser="strict", reasoning=THOUGHT, max_new_tokens=max_new_tokens
    )


def exact(*samples: Sample) -> ExactMatch:
    return ExactMatch(dataset=samples, reasoning=THOUGHT, max_new_tokens=8)


# --- the parser, against the official ones ---


@pytest.mark.parametrize(("output", "which", "intended", "official"), RECORDING["rows"])
def test_recorded_outputs(output: str, which: int, intended: str | None, official: str) -> None:
    assert parse_choice(output, RECORDING["options"][which]) == intended
    assert len(official) == len(RECORDING["parsers"])


def test_the_official_parsers_answer_where_there_is_no_answer() -> None:
    unanswered = [official for _, _, intended, official in RECORDING["rows"] if intended is None]
    misread = [official for _, _, intended, official in RECORDING["rows"] if intended and set(official) != {intended}]
    assert (len(RECORDING["rows"]), len(unanswered), len(misread)) == (160, 69, 27)
    assert all(letter in ascii_uppercase for official in unanswered for letter in official)


# --- the parser, by form ---


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        *[(form, "B") for form in ("B", "b", "B.", "(B)", "[b]", "**B**", '"B"', "B)", "(B).", "B:", "((B))", "B\n")],
        *[(form, "B") for form in ("B) right", "(b) right", "B: right", "B. Right!", "B.\tright", "**B**) right")],
        *[(form, "B") for form in ("B, because it moves.", "B\nThe ball moves.", "B. A ball moves there.")],
        *[
            (form, "B")
            for form in ("Answer: B", "answer B", "Option B", "The answer is (B).", "The answer is option B")
        ],
        *[(form, "B") for form in ("The best answer is: B", "I think it is B.", "So, the correct choice would be b")],
        *[
            (form, "B")
            for form in ("right", " RIGHT. ", "'right'", "The answer is right.", "It's right!", "Answer: right")
        ],
        *[(form, "D") for form in ("a dog", "A dog.", "It is a dog", "D. a dog", "(D) A dog")],
        ("A", "A"),
        ("a", "A"),
        ("a.", "A"),
        ("The answer is A", "A"),
        ("Answer: a", "A"),
        ("option a", "A"),
        ("The answer is (a)", "A"),
    ],
)
def test_read(text: str, letter: str) -> None:
    assert parse_choice(text, OPTIONS) == letter


@pytest.mark.parametrize(
    "text",
    [
        *["", " ", ".", "()", "?", "left or right", "left, right", "to the right", "not right", "rightly"],
        *["A or B", "A and C", "A/B", "A, B", "A. B.", "(A) (B)", "(a) or (b)", "B) or C)", "b. c.", "B, not A"],
        *["Both A and B", "Answers: A and C", "E", "(E)", "E. right", "Answer: Z", "É", "Ｂ", "ß", "ı"],
        *["DNA", "Do not know", "Both", "Car", "A ball", "A right turn", "I", "B because", "A.M.", "none of them"],
        *["B. left", "(A) right", "The answer is C: a dog", "It is a", "The answer is a", "The answer is a ball"],
    ],
)
def test_refused(text: str) -> None:
    assert parse_choice(text, OPTIONS) is None


def test_signs_that_change_a_value_tell_options_apart() -> None:
    options = ["-1", "1", "1.5", "15", "C++", "C", "1:30", "left-to-right"]
    for index, option in enumerate(options):
        expected = None if option == "C" else ascii_uppercase[index]  # "C" is the letter of "1.5" as well
        assert parse_choice(option, options) == expected
        assert match_text(f"{option}.", options) == ascii_uppercase[index]
    assert parse_choice("Left to right.", options) == "H"
    assert parse_choice("130", options) is None


def test_options_that_differ_in_punctuation_only() -> None:
    assert parse_choice("Stop!", ["Stop!", "Stop?"]) == "A"
    assert parse_choice("stop", ["Stop!", "Stop?"]) is None


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text(
    "ABCDEab ()[].,:;*\"'\n\t-answer is option or", max_size=30
)
option_lists = st.lists(words, min_size=2, max_size=8)


@settings(max_examples=300, deadline=None)
@given(text=words, options=option_lists)
def test_a_letter_among_the_options_or_none(text: str, options: list[str]) -> None:
    read = parse_choice(text, options)
    assert read is None or read in ascii_uppercase[: len(options)]
    assert parse_choice(f"\n {text} ", options) == read


@settings(max_examples=100, deadline=None)
@given(options=st.lists(st.sampled_from(["red", "green", "blue", "cat", "dog"]), min_size=2, max_size=5, unique=True))
def test_letters_and_texts_read_as_themselves(options: list[str]) -> None:
    for letter, option in zip(ascii_uppercase, options, strict=False):
        assert parse_choice(letter, options) == letter
        for text in (option, f"({letter}) {option}", f"{letter}. {option}", f"The answer is {option}."):
            assert parse_choice(text, options) == letter
    for letter in ascii_uppercase[len(options) :]:
        assert parse_choice(letter, options) is None


@settings(max_examples=100, deadline=None)
@given(text=words)
def test_plain_texts_stay_as_they_are(text: str) -> None:
    assert plain(plain(plain(text))) == plain(plain(text))


def test_long_outputs_are_read_quickly() -> None:
    for text in ("A" + ")" * 20_000 + "x", "(" * 20_000, "(A) " + "A" * 20_000, "the " * 5_000, "answer " * 5_000):
        assert parse_choice(text, OPTIONS) in (None, "A")


# --- multiple choice ---


def test_options_are_listed_below_the_question() -> None:
    benchmark = choice(sample())
    assert benchmark.samples[0].turns == (
        Turn(
            "user",
            "<video>Where to?\nOptions:\n(A) left\n(B) right\n(C) up\n(D) A dog\n"
            "Answer with the option's letter from the given choices directly.",
        ),
    )
    assert benchmark.samples[0].media == sample().media
    assert benchmark.max_new_tokens == 8


@pytest.mark.parametrize("listed", ["(A) left (B) right", "A. left\nB. right", "A: left, B: right", "A)left B)right"])
def test_options_the_question_lists_are_not_listed_again(listed: str) -> None:
    asked = sample(f"<video>Where to? {listed}", options=("left", "right"))
    assert choice(asked).samples[0].turns == asked.turns


def test_a_question_that_lists_other_options_gets_its_own() -> None:
    asked = sample("Where to? (A) left (B) down", options=("left", "right"))
    assert "(B) right" in choice(asked).samples[0].turns[0].text


def test_prompt_question_asks_as_is() -> None:
    assert choice(sample(), prompt="question").samples[0].turns == sample().turns


@pytest.mark.parametrize("answer", ["B", "b", "(B)", "right", "Right.", "B. right"])
def test_the_answer_is_kept_as_a_letter(answer: str) -> None:
    benchmark = choice(sample(answer=answer))
    asked = benchmark.samples[0]
    assert asked.answer == "B"
    assert benchmark.correct("B", asked) and not benchmark.correct("A", asked)
    assert benchmark.parse("to the right", asked) is None
    assert benchmark.parse("(B) right", asked) == "B"


def test_the_reply_is_not_asked_and_may_be_the_answer() -> None:
    asked = choice(sample(reply="right", answer=None), prompt="question").samples[0]
    assert asked.turns == sample().turns
    assert asked.answer == "B"
    assert choice(sample(reply="It goes right.", answer="B")).samples[0].answer == "B"


def test_labels_in_the_options_are_taken_off() -> None:
    asked = choice(sample(options=("A. left", "B. right"), answer="B. right")).samples[0]
    assert (asked.options, asked.answer) == (("left", "right"), "B")
    assert choice(sample(options=("A. left", "right"), answer="right")).samples[0].options == ("A. left", "right")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (sample(options=()), "has 0 options"),
        (sample(options=tuple(map(str, range(27)))), "has 27 options"),
        (sample(options=("left", " ")), "an option without text"),
        (sample(answer=None), "no answer to compare with"),
        (sample(answer="E"), "the answer 'E' is none of them"),
        (sample(answer="down"), r"options are left, right, up, A dog.* a letter from ABCD"),
        (sample(options=("B", "A"), answer="A"), "one by letter and one by text"),
        (Sample("q1", (Turn("system", "Hi"),), answer="B", options=OPTIONS), "no user turn"),
    ],
)
def test_bad_questions_stop_the_benchmark(bad: Sample, reason: str) -> None:
    with pytest.raises(DataError, match=f"sample 'q1'.*{reason}"):
        choice(sample(), bad)


def test_bad_parameters() -> None:
    with pytest.raises(ConfigError, match="no prompt 'mvbench'; it is 'letters'"):
        choice(sample(), prompt="mvbench")
    with pytest.raises(ConfigError, match="max_new_tokens is 0"):
        choice(sample(), max_new_tokens=0)
    with pytest.raises(DataError, match="no questions"):
        choice()


# --- exact match ---


def test_exact_match() -> None:
    benchmark = exact(sample(reply="She is cooking.", answer=None, options=()))
    asked = benchmark.samples[0]
    assert asked.turns == sample().turns
    assert benchmark.parse("  She is\n cooking ", asked) == "She is\n cooking"
    for right in ("She is cooking.", "she is  COOKING", "She is cooking .\n"):
        assert benchmark.correct(right, asked)
    for wrong in ("She is cooking!", "She cooks.", "She is cooking..", "cooking"):
        assert not benchmark.correct(wrong, asked)
    assert [benchmark.parse(text, asked) for text in ("", " \n", ".")] == [None, None, None]


def test_exact_match_with_options() -> None:
    benchmark = exact(sample(answer="Right"))
    asked = benchmark.samples[0]
    assert benchmark.parse("RIGHT.", asked) == "right"
    assert benchmark.correct("right", asked) and not benchmark.correct("left", asked)
    assert benchmark.parse("to the right", asked) is None
    with pytest.raises(DataError, match="'down' is not among the options left, right"):
        exact(sample(answer="down"))


# --- rows and presets ---


@pytest.mark.parametrize("preset", ["multiple_choice_file", "exact_match_file", "free_text_file"])
def test_presets_ask_the_questions_of_a_file(tmp_path: Path, preset: str, registry: Registry) -> None:
    path = tmp_path / "questions.json"
    turns = [{"role": "user", "content": "Where to?"}]
    path.write_text(json.dumps([{"messages": turns, "options": ["left", "right"], "answer": "left"}]))
    overrides = [f"benchmark={preset}", f"benchmark.dataset.path={path}"]
    config = compose("train", overrides, registry)
    questions = registry.build("dataset", config.benchmark["dataset"])
    benchmark = registry.build("benchmark", config.benchmark, dataset=questions)
    asked = benchmark.samples[0]
    judge = Judge(preset, benchmark)
    assert judge("Left.", asked).values[judge.primary.name] == 1
