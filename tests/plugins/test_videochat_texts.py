"""VideoChat's texts: what is asked and what is learnt."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from vlframe_causal_lm.text import BUNDLED
from vlframe_videochat import text
from vlframe_videochat.processor import Processor

import vlframe
from vlframe import PLACEHOLDERS, ConfigError, DataError, Media, Sample, Timeline, Turn


def sample(*turns: tuple[str, str], kinds: tuple[str, ...] = ("video",), category: str = "") -> Sample:
    files = tuple(Media(kind, Path(f"{number}.mp4")) for number, kind in enumerate(kinds))
    return Sample("s", tuple(Turn(role, words) for role, words in turns), files, category=category)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    """Of the sentencepiece family, as Llama's: a mark ahead of each piece of text, and ``▁###`` one token."""
    letters = [chr(number) for number in range(33, 127)] + ["\n"]
    vocabulary = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁###", -1.0), ("###", -2.0), ("▁", -3.0)]
    vocabulary += [(letter, -5.0) for letter in letters]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


PRIOR = Path(__file__).parents[1] / "recordings" / "prior"
SECONDS = (0.1, 1.04)
STAMPS = "The video contains 2 frames sampled at 0.1, 1.0 seconds."


def written(tokenizer: Any, item: Sample, *, training: bool, **settings: Any) -> vlframe.TokenizedSample:
    timelines = [Timeline(media, seconds=SECONDS if media.kind == "video" else ()) for media in item.media]
    found = Processor(**settings).write(item, timelines, tokenizer, None, training=training)
    assert found is not None and len(found.ids) == len(found.supervised)
    return found


def words(tokenizer: Any, ids: list[int]) -> str:
    """Ids as text; each piece of it begins with a blank of the tokenizer's own, and a medium is ``@``."""
    return "".join("@" if token < 0 else tokenizer.convert_ids_to_tokens(token) for token in ids).replace("▁", " ")


def question(item: Sample, **settings: Any) -> str:
    """The text that is tokenised, with the official mark for media."""
    with pytest.MonkeyPatch.context() as patch:
        seen: list[str] = []

        class Written(text.Tokeniser):
            def tokens(self, pieces: Any, kinds: Any, *, start: bool = True) -> text.Tokens:
                seen.append("".join(piece.text for piece in pieces))
                return super().tokens(pieces, kinds, start=start)

        patch.setattr("vlframe_videochat.text.Tokeniser", Written)
        written(AutoTokenizer.from_pretrained(BUNDLED["bundled:tiny"]), item, training=False, **settings)
    return seen[0].replace(text.MEDIUM, "<VideoHere>")


def test_prompts_are_those_of_the_official_code() -> None:
    recorded = json.loads((PRIOR / "prompts.json").read_text())["prompts"]["videochat1_video"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "stamped", lambda seconds: STAMPS.replace("2 frames", "8 frames"))
        assert question(sample(("user", "<video>\nWhat is happening?"))) == recorded
    assert text.stamped(SECONDS) == STAMPS


def test_questions_of_every_shape() -> None:
    image = sample(("user", "<image>\nWhat?"), kinds=("image",))
    assert question(image) == "###Human: <Image><VideoHere></Image>\n###Human: What?\n###Assistant:"
    talk = sample(("system", "Be short."), ("user", "<video>Why?"), ("assistant", "So."), ("user", "And?"))
    assert question(talk, time_stamps=False) == (
        "Be short.###Human: <Video><VideoHere></Video>\n###Human: Why?\n###Assistant: So.###Human: And?\n###Assistant:"
    )
    two = sample(("user", "<image><image>\nWhich?"), kinds=("image", "image"))
    medium = "###Human: <Image><VideoHere></Image>\n"
    assert question(two) == f"{medium}{medium}###Human: Which?\n###Assistant:"
    assert question(sample(("user", "Hello?"), kinds=())) == "###Human: Hello?\n###Assistant:"


def test_one_beginning_and_one_place_for_each_medium(tokenizer) -> None:
    found = written(tokenizer, sample(("user", "<video>\nWhat?")), training=False)
    assert found.ids[0] == 1 and found.ids.count(1) == 1 and found.first is None and not any(found.supervised)
    assert [token for token in found.ids if token < 0] == [PLACEHOLDERS["video"]]
    assert words(tokenizer, found.ids) == f"<s> ###Human: <Video>@ </Video> {STAMPS}\n###Human: What?\n###Assistant:"


def test_the_mark_ends_an_answer() -> None:
    assert list(Processor().stop_strings) == ["###"]


def official_labels(tokenizer: Any, after: str) -> list[bool]:
    """What is learnt of the text behind the medium, counted from lengths of pieces (videochat_it.py, forward)."""

    def length(piece: str) -> int:
        return len(vlframe.transformers4_tokenizer(tokenizer).encode(piece, add_special_tokens=False).ids)

    human, assistant = "###Human: ", "###Assistant: "
    labels = [True] * length(after)
    parts = after.split(assistant)
    parts = [parts[0], *(assistant + part for part in parts[1:])]
    system = length(parts[0].split(human)[0].rstrip())
    at = length(parts[0].rstrip())
    labels[:system] = [False] * system
    named = system + length(human.rstrip())
    labels[named:at] = [False] * (at - named)
    for part in parts[1:-1]:
        whole, kept = length(part.rstrip()), length((part.split(human)[0] + human).rstrip())
        labels[at + kept : at + whole] = [False] * (whole - kept)
        at += whole
    at += length(parts[-1].rstrip())
    assert at == len(labels), "the official code stops here"
    return labels


TALKS = [
    [("What is it?", "A dog.")],
    [("What is it?", "A dog."), ("Colour?", "Brown,\nI think: #3."), ("Sure?", "Yes.")],
    [("Why ## not", "Because # of 'this'."), ("?", "!")],
]


@pytest.mark.parametrize("kind", ["video", "image"])
@pytest.mark.parametrize("talk", TALKS)
def test_labels_are_those_of_the_official_code(tokenizer, kind: str, talk: list[tuple[str, str]]) -> None:
    turns = [(role, said) for pair in talk for role, said in zip(("user", "assistant"), pair, strict=True)]
    turns[0] = ("user", f"<{kind}>\n{turns[0][1]}")
    found = written(tokenizer, sample(*turns, kinds=(kind,)), training=True)
    mark = kind.title()
    shown = f" {STAMPS}" if kind == "video" else ""
    after = f"</{mark}>{shown} " + "".join(f"###Human: {q} ###Assistant: {a} " for q, a in talk) + "###"
    assert words(tokenizer, found.ids) == f"<s> ###Human: <{mark}>@ {after}"
    at = next(place for place, token in enumerate(found.ids) if token < 0) + 1
    assert found.supervised[:at] == [False] * at
    assert found.supervised[at:] == official_labels(tokenizer, after)
    assert found.first == 1.0  # the number of its id, in the place of the embedding of the beginning


def learnt(tokenizer: Any, found: vlframe.TokenizedSample) -> str:
    kept = [token if taken else -1 for token, taken in zip(found.ids, found.supervised, strict=True)]
    return words(tokenizer, kept).strip("@")


def test_names_need_not_be_learnt(tokenizer) -> None:
    item = sample(("user", "<video>\nWhat?"), ("assistant", "A dog."), ("user", "Why?"), ("assistant", "So."))
    found = written(tokenizer, item, training=True, learn_names=False, bos="embedding")
    assert [piece for piece in learnt(tokenizer, found).split("@") if piece] == [" A dog. ###", " So. ###"]
    assert found.first is None


def test_what_the_official_code_stops_at_is_learnt_all_the_same(tokenizer) -> None:
    """White space at the end of a text is tokens of its own, which lengths of pieces do not count."""
    item = sample(("system", "Look."), ("user", "<video>\nWhat?  "), ("assistant", "A dog.\n"))
    found = written(tokenizer, item, training=True)
    assert words(tokenizer, found.ids).startswith("<s> Look. ###Human: <Video>@")
    with pytest.raises(AssertionError, match="stops here"):
        official_labels(tokenizer, f"</Video> {STAMPS} ###Human: What?   ###Assistant: A dog.\n ###")
    assert learnt(tokenizer, found).split("@")[0] == " ###Human:" and learnt(tokenizer, found).endswith("A dog.\n ###")


def test_byte_level_tokenizers_learn_the_same_texts() -> None:
    tokens = AutoTokenizer.from_pretrained(BUNDLED["bundled:tiny"])
    item = sample(("user", "<video>\nWhat?"), ("assistant", "A dog."), ("user", "Why?"), ("assistant", "So."))
    found = written(tokens, item, training=True)
    kept = [token for token, taken in zip(found.ids, found.supervised, strict=True) if taken]
    assert tokens.decode(kept) == " ###Human: ###Assistant: A dog. ###Human: ###Assistant: So. ###"


def test_long_conversations_are_cut_and_media_never(tokenizer) -> None:
    item = sample(("user", "<video>\nWhat?"), ("assistant", "A dog."))
    whole = written(tokenizer, item, training=True)
    cut = written(tokenizer, item, training=True, text_tokens=len(whole.ids) - 4)
    assert cut.ids == whole.ids[:-3] and cut.supervised == whole.supervised[:-3]
    with pytest.raises(DataError, match="no answer to learn"):
        written(tokenizer, item, training=True, text_tokens=20)
    late = sample(("user", "What?"), ("assistant", "A dog."), ("user", "<video>\nAnd?"), ("assistant", "So."))
    with pytest.raises(DataError, match="media after"):
        written(tokenizer, late, training=True, text_tokens=30)
    with pytest.raises(DataError, match="no answer to learn"):
        written(tokenizer, sample(("user", "<video>\nWhat?")), training=True)
    with pytest.raises(DataError, match="no user turn"):
        written(tokenizer, sample(("system", "x"), kinds=()), training=False)


@pytest.mark.parametrize("kind", ["video", "image"])
def test_captions_are_learnt_with_their_ends(tokenizer, kind: str) -> None:
    item = sample(("user", f"<{kind}>"), ("assistant", "a dog barks"), kinds=(kind,), category="caption")
    found = written(tokenizer, item, training=True)
    assert learnt(tokenizer, found) == " a dog barks###" and found.first is None
    asked = words(tokenizer, found.ids[: found.supervised.index(True)])
    prompts = [f"<s> ###Human: <{kind.title()}>@ </{kind.title()}> {said} ###Assistant: " for said in
               text.CAPTION_PROMPTS[kind]]  # fmt: skip
    assert asked in prompts and len(set(prompts)) == 11
    short = written(tokenizer, item, training=True, caption_tokens=2)
    assert learnt(tokenizer, short) == " a"
    with pytest.raises(DataError, match="no caption"):
        written(tokenizer, sample(("user", "x"), ("assistant", "y"), kinds=(), category="caption"), training=True)


@pytest.mark.parametrize(
    ("changes", "piece"),
    [({"bos": "x"}, "number, embedding"), ({"images": "x"}, "squash"), ({"text_tokens": 0}, "at least 1")],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], piece: str) -> None:
    with pytest.raises(ConfigError, match=piece):
        Processor(**changes)
