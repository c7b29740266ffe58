"""VideoChat2's texts: what is asked, what is learnt, and what its connector reads."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from vlframe_videochat2 import text
from vlframe_videochat2.processor import Processor
from vlframe_videochat2.settings import ProcessorParams
from vlframe_videochat2.sizes import PROCESSORS

import vlframe
from vlframe import PLACEHOLDERS, ConfigError, DataError, Media, Sample, Timeline, Turn

SECONDS = (0.0, 1.25, 2.5, 3.75)
STAMPS = "The video contains 4 frames sampled at 0.0, 1.2, 2.5, 3.8 seconds."
OFFICIAL = {"vicuna": PROCESSORS["llama"], "mistral": PROCESSORS["mistral"], "phi3": PROCESSORS["phi"]}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """One token for each character, made like Llama's: a mark for a space, before every piece of text."""
    characters = [chr(number) for number in range(33, 127)]
    pieces = ["<unk>", "<s>", "</s>", "▁", "\n", *characters]
    made = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, [], unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    made.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    own = [AddedToken(name, special=True, normalized=False) for name in ("<unk>", "<s>", "</s>")]
    phi = [
        AddedToken(name, special=True, rstrip=True) for name in ("<|system|>", "<|user|>", "<|end|>", "<|assistant|>")
    ]
    made.add_special_tokens([*own, *phi])
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def sample(*turns: tuple[str, str], kinds: tuple[str, ...] = ("video",), category: str = "") -> Sample:
    files = tuple(Media(kind, Path(f"{number}.mp4")) for number, kind in enumerate(kinds))
    return Sample("s", tuple(Turn(role, words) for role, words in turns), files, category=category)


def written(tokenizer: Any, item: Sample, *, training: bool, **settings: Any) -> vlframe.TokenizedSample:
    timelines = [Timeline(media, seconds=SECONDS if media.kind == "video" else ()) for media in item.media]
    found = Processor(**settings).write(item, timelines, tokenizer, None, training=training)
    assert found is not None and len(found.ids) == len(found.supervised)
    return found


def pieces(item: Sample, **settings: Any) -> list[text.Piece]:
    timelines = [Timeline(media, seconds=SECONDS if media.kind == "video" else ()) for media in item.media]
    processor = Processor(**settings)
    talk = list(processor._said(item.turns, timelines, training=True))
    lead = next((turn.text for turn in item.turns if turn.role == "system"), "")
    return processor.template.taught(lead, talk)


def question(item: Sample, **settings: Any) -> str:
    timelines = [Timeline(media, seconds=SECONDS if media.kind == "video" else ()) for media in item.media]
    processor = Processor(**settings)
    talk = list(processor._said(item.turns, timelines, training=False))
    lead = next((turn.text for turn in item.turns if turn.role == "system"), "")
    return processor.template.question(lead, talk).replace(text.MEDIUM, "[96]")


ASKED = ("user", "<video>\nWhat is happening?")
PROMPTS = {
    "vicuna": "###Human: <Video>[96]</Video>\n###Human: What is happening?\n###Assistant:",
    "mistral": "[INST] <Video>[96]</Video> [/INST] [INST] What is happening? [/INST]",
    "phi3": f"<|user|>\n<Video>[96]</Video> {STAMPS}\nWhat is happening?<|end|>\n<|assistant|>",
}
TALKS = {
    "vicuna": "Look.\n###Human: <Image>[96]</Image>\n###Human: Why?\n###Assistant: So.###Human: And?\n###Assistant:",
    "mistral": "Look.\n[INST] <Image>[96]</Image> [/INST] [INST] Why? [/INST] So.</s> [INST] And? [/INST]",
    "phi3": "Look.\n<|user|>\n<Image>[96]</Image> Why?<|end|>\n<|assistant|>So.<|end|><|user|>\nAnd?<|end|>\n"
    "<|assistant|>",
}
TAUGHT = {
    "vicuna": f"Look. ###Human: <Video>[96]</Video> {STAMPS} ###Human: Why? ###Assistant: So. ###Human: And? "
    "###Assistant: Then. ###",
    "mistral": "Look. [INST] <Video>[96]</Video> [/INST] [INST] Why? [/INST] So. </s> [INST] And? [/INST] Then. </s>",
    "phi3": "<|system|>\nLook.<|end|>\n<|user|>\n<Video>[96]</Video>\nWhy?<|end|>\n<|assistant|>\nSo.<|end|>\n"
    "<|user|>\nAnd?<|end|>\n<|assistant|>\nThen.<|end|>",
}
LEARNT = {
    "vicuna": [" ###Human:", " ###Assistant: So.", " ###Human:", " ###Assistant: Then.", " ###"],
    "mistral": [" So. </s>", " Then. </s>"],
    "phi3": ["So.<|end|>\n", "Then.<|end|>"],
}
TALK = (("system", "Look."), ("user", "<video>\nWhy?"), ("assistant", "So."), ("user", "And?"), ("assistant", "Then."))


@pytest.mark.parametrize("template", list(OFFICIAL))
def test_questions_are_those_of_the_official_code(template: str) -> None:
    assert question(sample(ASKED), **OFFICIAL[template]) == PROMPTS[template]
    talk = (("system", "Look.\n"), ("user", "<image>\nWhy?"), ("assistant", "So."), ("user", "And?"))
    assert question(sample(*talk, kinds=("image",)), **OFFICIAL[template]) == TALKS[template]


@pytest.mark.parametrize("template", list(OFFICIAL))
def test_training_texts_are_those_of_the_official_code(template: str) -> None:
    found = pieces(sample(*TALK), **OFFICIAL[template])
    assert "".join(piece.text for piece in found).replace(text.MEDIUM, "[96]") == TAUGHT[template]
    assert [piece.text for piece in found if piece.learnt] == LEARNT[template]


def counted(tokenizer: Any, template: str, after: str) -> list[bool]:
    """The labels of what follows the medium, counted as the official code does (its three ``forward``)."""
    fast = vlframe.transformers4_tokenizer(tokenizer)

    def length(words: str) -> int:
        return len(fast.encode(words if template == "phi3" else words.rstrip(), add_special_tokens=False).ids)

    ask, answer = {
        "vicuna": ("###Human: ", "###Assistant: "), "mistral": ("[INST] ", " [/INST] "),
        "phi3": ("<|user|>\n", "<|end|>\n<|assistant|>\n"),
    }[template]  # fmt: skip
    learnt = [True] * len(fast.encode(after, add_special_tokens=False).ids)
    raw = after.split(answer)
    if template == "vicuna":
        raw = [raw[0], *(answer + words for words in raw[1:])]
        system = raw[0].split(ask)[0]
        begin, at = length(system), length(raw[0])
        learnt[:begin] = [False] * begin
        stop = begin + length(ask)
        learnt[stop:at] = [False] * (at - stop)
    else:
        raw = [*(words + answer for words in raw[:-1]), raw[-1]]
        at = length(raw[0])
        learnt[:at] = [False] * at
    for words in raw[1:-1]:
        total, own = length(words), length(words.split(ask)[0] + (ask if template == "vicuna" else ""))
        own = own if words.split(ask)[0] or template == "vicuna" else 0
        learnt[at + own : at + total] = [False] * max(0, total - own)
        at += total
    assert at + length(raw[-1]) == len(learnt), "the official code stops here"
    return learnt


@pytest.mark.parametrize("template", list(OFFICIAL))
@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_labels_are_those_that_the_official_code_counts(tokenizer, template: str, rounds: int) -> None:
    talk = [
        turn for number in range(rounds) for turn in (("user", f"Why {number}?"), ("assistant", f"So, {number} it is."))
    ]
    item = sample(("system", "Look here."), ("user", f"<video>\n{talk[0][1]}"), *talk[1:])
    found = written(tokenizer, item, training=True, **OFFICIAL[template])
    at = found.ids.index(PLACEHOLDERS["video"])
    whole = "".join(piece.text for piece in pieces(item, **OFFICIAL[template]))
    assert found.supervised[at + 1 :] == counted(tokenizer, template, whole.split(text.MEDIUM)[1])
    assert not any(found.supervised[: at + 1]) and found.ids[0] == tokenizer.bos_token_id and found.first == 1.0


@pytest.mark.parametrize("template", list(OFFICIAL))
def test_a_caption_among_instructions_has_no_question(template: str) -> None:
    item = sample(("system", "Tell."), ("user", "<image>\n"), ("assistant", "A dog."), kinds=("image",))
    whole = "".join(piece.text for piece in pieces(item, **OFFICIAL[template])).replace(text.MEDIUM, "[96]")
    assert (
        whole
        == {
            "vicuna": "Tell. ###Human: <Image>[96]</Image> ###Assistant: A dog. ###",
            "mistral": "Tell. [INST] <Image>[96]</Image> [/INST] A dog. </s>",
            "phi3": "<|system|>\nTell.<|end|>\n<|user|>\n<Image>[96]</Image>\n<|end|>\n<|assistant|>\nA dog.<|end|>",
        }[template]
    )


def test_what_the_connector_reads(tokenizer) -> None:
    def told(item: Sample, *, training: bool, **settings: Any) -> tuple[str, ...]:
        return written(tokenizer, item, training=training, **settings).instructions

    assert told(sample(*TALK), training=True) == ("Look. Why?",)
    assert told(sample(*TALK), training=True, **OFFICIAL["mistral"]) == ("Look.",)
    assert told(sample(*TALK[1:]), training=True) == ("",)
    assert told(sample(*TALK), training=False) == ("Look.",)
    assert told(sample(*TALK), training=False, instruct_question="always") == ("Look. Why?",)
    assert told(sample(ASKED), training=False) == (ProcessorParams.instruct_video,)
    both = sample(("user", "<video><image>\nWhich?"), kinds=("video", "image"))
    assert told(both, training=False) == (ProcessorParams.instruct_video, ProcessorParams.instruct_image)


def test_questions_begin_as_their_tokenizer_does(tokenizer) -> None:
    found = written(tokenizer, sample(ASKED), training=False)
    assert found.ids[0] != tokenizer.bos_token_id and found.first is None and not any(found.supervised)
    assert written(tokenizer, sample(*TALK), training=True, bos="embedding").first is None
    assert Processor().stop_strings == ("###",) and Processor(**OFFICIAL["mistral"]).stop_strings == ()


@pytest.mark.parametrize("template", list(OFFICIAL))
def test_captions_follow_one_of_eleven_questions(tokenizer, template: str) -> None:
    item = sample(("user", "<video>"), ("assistant", "a dog"), category="caption")
    found = written(tokenizer, item, training=True, **OFFICIAL[template])
    before, after, end = {
        "vicuna": ("###Human: <Video>", " ###Assistant: ", "###"), "mistral": ("[INST] <Video>", " [/INST]", "</s>"),
        "phi3": ("<|user|>\n<Video>", "<|end|>\n<|assistant|>\n", "<|end|>"),
    }[template]  # fmt: skip
    fast = vlframe.transformers4_tokenizer(tokenizer)

    def ids(words: str) -> list[int]:
        return list(fast.encode(words, add_special_tokens=False).ids)

    whole = [
        [
            tokenizer.bos_token_id,
            *ids(before),
            PLACEHOLDERS["video"],
            *ids(f"</Video> {prompt}{after}"),
            *ids(f"a dog{end}"),
        ]
        for prompt in text.CAPTION_PROMPTS["video"]
    ]
    assert found.ids in whole and found.first is None
    learnt = [number for number, kept in zip(found.ids, found.supervised, strict=True) if kept]
    assert learnt == ids("a dog" if template == "mistral" else f"a dog{end}")
    short = written(tokenizer, item, training=True, **(OFFICIAL[template] | {"caption_tokens": 2})).ids
    assert short == found.ids[: len(found.ids) - len(ids(f"a dog{end}")) + 2]
    with pytest.raises(DataError, match="not a caption"):
        written(tokenizer, sample(("user", "x"), ("assistant", "y"), kinds=(), category="caption"), training=True)


def test_long_conversations_are_cut_and_strange_ones_named(tokenizer) -> None:
    found = written(tokenizer, sample(*TALK), training=True, text_tokens=150)
    assert sum(token >= 0 for token in found.ids) == 150 and any(found.supervised)
    for tokens, piece in ((5, "no answer"), (50, "no answer to learn in its first 50")):
        with pytest.raises(DataError, match=piece):
            written(tokenizer, sample(*TALK), training=True, text_tokens=tokens, **OFFICIAL["mistral"])
    with pytest.raises(DataError, match="has audio"):
        written(tokenizer, sample(("user", "<audio>What?"), kinds=("audio",)), training=False)
    with pytest.raises(DataError, match="no user turn"):
        written(tokenizer, sample(("system", "x"), kinds=()), training=False)
    for settings, piece in (
        ({"template": "x"}, "phi3"),
        ({"text_tokens": 0}, "at least 1"),
        ({"time_stamps": "x"}, "never"),
    ):
        with pytest.raises(ConfigError, match=piece):
            Processor(**settings)
