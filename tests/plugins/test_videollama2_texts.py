"""The processor `videollama2`: ids and labels against the official code."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.videollama2_processor import RECORDINGS, processor, shown, tokenizer
from vlframe_videollama2 import text
from vlframe_videollama2.processor import OfficialProcessor

from vlframe import (
    PLACEHOLDERS,
    DataError,
    Media,
    Sample,
    Timeline,
    Turn,
)
from vlframe.config.schema import MediaConfig, TextConfig
from vlframe.contracts.batch import MediaFile, Quarantined
from vlframe.data.collate import Collate
from vlframe.data.prepare import PreparedSamples

TEXTS = json.loads((RECORDINGS / "texts.json").read_text(encoding="utf-8"))
ROLES = {"human": "user", "gpt": "assistant"}
KINDS = {"<video>": "video", "<image>": "image", "<audio>": "audio", None: None}
TOKENIZERS = ("mistral", "qwenlike")
BRANCHES = ("main", "audio_visual")


def turns_of(recorded: list[list[str]]) -> tuple[Turn, ...]:
    return tuple(Turn(ROLES[role], words) for role, words in recorded)


def conversation(case: str) -> Sample:
    """The raw conversation with one file for its tags, as a row of the official data has."""
    recorded = TEXTS["conversations"][case]
    media = () if recorded["tag"] is None else (Media(KINDS[recorded["tag"]], Path("file")),)
    return Sample(case, turns_of(recorded["raw"]), media)


def labels(ids: list[int], supervised: list[bool]) -> list[int]:
    return [token if learnt else -100 for token, learnt in zip(ids, supervised, strict=True)]


@pytest.mark.parametrize("index", range(len(TEXTS["multimodal_token"])))
def test_texts_with_tags_become_the_official_ids(index: int) -> None:
    case = TEXTS["multimodal_token"][index]
    assert text.multimodal_ids(case["prompt"], tokenizer(case["tokenizer"]), case["tag"]) == case["ids"]


@pytest.mark.parametrize("case", TEXTS["conversations"])
def test_tags_go_to_the_head(case: str) -> None:
    recorded = TEXTS["conversations"][case]
    assert text.tags_at_head(turns_of(recorded["raw"]), recorded["tag"]) == list(turns_of(recorded["tags_at_head"]))


@pytest.mark.parametrize("case", TEXTS["conversations"])
@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("branch", BRANCHES)
def test_training_ids_and_labels(branch: str, name: str, case: str) -> None:
    if branch == "main" and case == "audio":
        pytest.skip("the main branch opens no sound; refused below")
    recorded = TEXTS["preprocess"][name][case]
    written = processor(branch=branch).wrote(conversation(case), tokenizer(name), training=True)
    assert written.ids == recorded["ids"]
    assert labels(written.ids, written.supervised) == recorded["labels"]


@pytest.mark.parametrize("case", TEXTS["preprocess_plain"]["main"]["qwenlike"])
@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("branch", BRANCHES)
def test_pretraining_ids_and_labels(branch: str, name: str, case: str) -> None:
    recorded = TEXTS["preprocess_plain"][branch][name][case]
    using, tag = tokenizer(name), TEXTS["conversations"][case]["tag"]
    turns = text.tags_at_head(conversation(case).turns, tag)
    template = branch == "audio_visual"
    if "error" in recorded:
        with pytest.raises(DataError, match="cannot be used in pretraining"):
            text.caption(turns, using, tag, case, template=template)
        return
    ids, supervised = text.caption(turns, using, tag, case, template=template)
    assert ids == recorded["ids"] and labels(ids, supervised) == recorded["labels"]
    if branch == "audio_visual" or case != "audio":
        written = processor(branch=branch, pretraining=True).wrote(conversation(case), using, training=True)
        assert (written.ids, labels(written.ids, written.supervised)) == (recorded["ids"], recorded["labels"])


@pytest.mark.parametrize("index", range(len(TEXTS["mm_infer"])))
def test_prompts(index: int) -> None:
    case = TEXTS["mm_infer"][index]
    with_system = case["model_type"] == "videollama2_mistral"
    template = TEXTS["template_with_system"] if case["tokenizer"] == "mistral" else None
    using = tokenizer(case["tokenizer"], template)
    given = case["instruct"]
    turns = [["human", given]] if isinstance(given, str) else [[_from(m), m["content"]] for m in given]
    media = ()
    if case["modal"] != "text":
        turns[0][1] = f"<{case['modal']}>\n{turns[0][1]}"
        media = (Media(case["modal"], Path("file")),)
    automatic = with_system == (case["tokenizer"] == "mistral")  # the model that belongs to the tokenizer
    wanted = "auto" if automatic else "always" if with_system else "never"
    ours = processor(branch="audio_visual", system_prompt=wanted)
    written = ours.wrote(Sample("question", turns_of(turns), media), using, training=False)
    assert written.ids == case["ids"]
    assert not any(written.supervised) and written.media == media
    hidden = written.hidden
    assert hidden == (using.unk_token_id if case["tokenizer"] == "mistral" else using.pad_token_id)


def _from(message: dict[str, str]) -> str:
    return {"user": "human", "assistant": "gpt"}[message["role"]]


class OneFrame:
    """A budget and a loader in which every medium is one token, as before the official code expands them."""

    max_length = 4096
    branches = {name: SimpleNamespace(instruction=None, reads_seconds=False) for name in ("video", "audio")}  # noqa: RUF012

    def has(self, kind: str) -> bool:
        return True

    def tokens(self, kind: str, shape: tuple[int, ...], tiles: int = 1) -> int:
        return 1

    def timeline(self, media: Media, seed: tuple[int, ...]) -> Timeline:
        return Timeline(media, shape=(1,))

    def decode(self, timeline: Timeline) -> Any:
        return MediaFile(timeline.media.kind, torch.zeros(1), str(timeline.media))


def prepare(samples: list[Sample], using: Any, ours: OfficialProcessor | None, **more: Any) -> PreparedSamples:
    settings = {"media": MediaConfig(), "text": TextConfig(), "answers": True} | more
    return PreparedSamples(samples, budget=OneFrame(), loader=OneFrame(), tokenizer=using, processor=ours, **settings)


@pytest.mark.parametrize("limit", ["2048", "24"])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_batches(name: str, limit: str) -> None:
    recorded = TEXTS["collator"][name][limit]
    using = tokenizer(name)
    rows = prepare([conversation(c) for c in recorded["samples"]], using, processor(model_max_length=int(limit)))
    pad = using.unk_token_id if using.pad_token_id is None else using.pad_token_id
    batch = Collate(pad_id=pad)([rows[index] for index in range(len(rows))])
    assert shown(batch) == (recorded["ids"], recorded["labels"])
    assert batch.layout.mask_BS.int().tolist() == [[int(bit) for bit in row] for row in recorded["mask"]]


def test_the_padding_token_is_hidden_within_a_text_too() -> None:
    using = tokenizer("qwenlike")
    sample = Sample("x", (Turn("user", "what is <|endoftext|> ?"), Turn("assistant", "an end")))
    row = prepare([sample], using, processor())[0]
    mask_S = Collate()([row]).layout.mask_BS[0]
    assert [row.ids[at] for at in (~mask_S).nonzero()[:, 0]] == [using.pad_token_id]
    assert Collate()([prepare([sample], using, processor(hide_padding_token=False))[0]]).layout.mask_BS.all()
    assert Collate()([prepare([sample], using, None)[0]]).layout.mask_BS.all()


def test_truncation_can_take_all_answers_and_the_medium_itself() -> None:
    using = tokenizer("qwenlike")
    sample = conversation("single_video")
    row = prepare([sample], using, processor(model_max_length=24))[0]
    assert not any(row.supervised) and len(row.media) == 1
    row = prepare([sample], using, processor(model_max_length=20))[0]
    assert row.media == () and len(row.ids) == 20  # upstream, the next row would be given these features
    long = prepare([sample], using, processor(model_max_length=24), answers=False)[0]
    assert len(long.ids) > 24  # prompts are never cut
    assert len(prepare([sample], using, processor(model_max_length=None))[0].ids) == 59


def test_a_video_with_its_sound_is_one_place_for_two() -> None:
    using = tokenizer("qwenlike")
    clip = Path("clip.mp4")
    pair = (Media("video", clip), Media("audio", clip, track=True))
    words = (Turn("user", "<video><audio>\nWhat is the woman doing?"), *conversation("single_video").turns[1:])
    alone = processor().wrote(conversation("single_video"), using, training=True)
    both = processor(branch="audio_visual").wrote(Sample("x", words, pair), using, training=True)
    at = alone.ids.index(PLACEHOLDERS["video"])
    assert (
        both.ids == [*alone.ids[:at], PLACEHOLDERS["video"], PLACEHOLDERS["audio"], *alone.ids[at + 1 :]]
        and both.media == pair
    )
    assert both.supervised == [*alone.supervised[:at], False, *alone.supervised[at:]]
    cut = processor(branch="audio_visual", model_max_length=len(alone.ids)).wrote(
        Sample("x", words, pair), using, training=True
    )
    assert cut.ids == both.ids  # the limit counts one
    asked = processor(branch="audio_visual").wrote(Sample("x", words[:1], pair), using, training=False)
    assert asked.ids.count(PLACEHOLDERS["video"]) == asked.ids.count(PLACEHOLDERS["audio"]) == 1


def test_tags_can_stay_where_they_are() -> None:
    using = tokenizer("qwenlike")
    sample = conversation("token_in_middle")
    for training_ in (True, False):
        kept = processor(tags="keep").wrote(sample, using, training=training_)
        before = using.decode(kept.ids[: kept.ids.index(PLACEHOLDERS["video"])])
        assert before.endswith("Look at ")


def test_system_turns() -> None:
    using = tokenizer("qwenlike")
    talk = (Turn("system", "Be brief."), Turn("user", "Why?"), Turn("assistant", "So."))
    learnt = processor().wrote(Sample("x", talk), using, training=True)
    assert using.decode(labels_only(learnt)) == "So.<|im_end|>\n"
    assert "Be brief." in using.decode(learnt.ids)
    asked = using.decode(processor(system_prompt="always").wrote(Sample("x", talk), using, training=False).ids)
    assert "Be brief." in asked and "<<SYS>>" not in asked and asked.count("<|im_start|>system") == 1
    assert "user\n\nWhy?" in asked  # the newline after a medium is there without one


def labels_only(written: Any) -> list[int]:
    return [token for token, learnt in zip(written.ids, written.supervised, strict=True) if learnt]


def test_a_template_that_refuses_the_system_prompt_says_what_to_do() -> None:
    sample = Sample("x", (Turn("user", "Why?"),))
    with pytest.raises(DataError, match=r"chat template refuses system, user.*processor\.system_prompt=never"):
        processor().wrote(sample, tokenizer("mistral"), training=False)
    assert processor(system_prompt="never").wrote(sample, tokenizer("mistral"), training=False).ids


def test_a_leading_space_after_a_tag_keeps_its_own_mark() -> None:
    """transformers 5 leaves the mark out that transformers 4 puts ahead of every piece."""
    using = tokenizer("mistral")
    assert using(" what?", add_special_tokens=False).input_ids == [767, 28804]
    assert text.multimodal_ids("<audio> what?", using, "<audio>") == [PLACEHOLDERS["audio"], 28705, 767, 28804]


CLIP, STILL = Media("video", Path("a.mp4")), Media("image", Path("a.png"))
EAR, TRACK = Media("audio", Path("a.wav")), Media("audio", Path("b.mp4"), track=True)


@pytest.mark.parametrize(
    ("words", "media", "settings", "message"),
    [
        (["<audio>?", "a"], [EAR], {}, "has sound, which the main branch does not know"),
        (["?", "a"], [CLIP], {}, "has a medium and 0 places"),
        (["<video>?", "a", "<video>?", "b"], [CLIP], {}, "has a medium and 2 places"),
        (["<video>?", "see <video>"], [CLIP], {}, "has a medium and 2 places"),
        (["<video>?"], [CLIP], {}, "1 turns from the first question on"),
        ([], [], {}, "0 turns from the first question on"),
        (["?", "a"], [], {"pretraining": True}, "2 turns and no medium"),
        (["<video>?", "a", "?", "b"], [CLIP], {"pretraining": True}, "4 turns and <video>"),
    ],
)
def test_samples_that_the_official_code_fails_on(words: list, media: list, settings: dict, message: str) -> None:
    turns = tuple(Turn(("user", "assistant")[at % 2], item) for at, item in enumerate(words))
    with pytest.raises(DataError, match=message):
        processor(**settings).wrote(Sample("x", turns, tuple(media)), tokenizer("qwenlike"), training=True)


@pytest.mark.parametrize("media", [[STILL, STILL], [CLIP, EAR], [CLIP, TRACK], [STILL, CLIP]])
def test_more_than_one_file_follows_the_policy_for_media(media: list[Media]) -> None:
    """The official code cannot open a list, and takes another sample at random."""
    sample = Sample("x", (Turn("user", "<image><video>?"), Turn("assistant", "a")), tuple(media))
    ours = processor(branch="audio_visual")
    with pytest.raises(DataError, match=r"'x': it has the media .* opens one file for a sample"):
        prepare([sample], tokenizer("qwenlike"), ours)[0]
    left_out = prepare([sample], tokenizer("qwenlike"), ours, media=MediaConfig(on_error="skip"))[0]
    assert isinstance(left_out, Quarantined) and left_out.why == "media"


def test_without_a_question_there_is_nothing_to_answer() -> None:
    with pytest.raises(DataError, match="has no user turn to answer"):
        processor().wrote(Sample("x", (Turn("system", "hm"),)), tokenizer("qwenlike"), training=False)


def test_text_can_be_left_to_vlframe() -> None:
    using = tokenizer("qwenlike")
    samples = [conversation("single_video")]
    assert prepare(samples, using, processor(text="vlframe"))[0] == prepare(samples, using, None)[0]


def test_the_context_of_the_model_still_holds() -> None:
    rows = prepare([conversation("single_video")], tokenizer("qwenlike"), processor())
    rows.budget.max_length = 40
    with pytest.raises(DataError, match="does not fit the context"):
        rows[0]
    rows.text = TextConfig(too_long="drop")
    assert rows[0].why == "too_long"
