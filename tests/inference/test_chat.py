"""``vlframe.load(folder).chat(...)``: asking about every kind of file, in every way."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from helpers.clips import ClipSpec, write_clip
from helpers.endings import Ends
from helpers.runs import save_as_run
from helpers.twins import open_with_twins
from PIL import Image

import vlframe
from vlframe.composer.compose import compose
from vlframe.errors import ConfigError, UserError
from vlframe.inference.chat import Chat
from vlframe.inference.ending import Ending, before_stop
from vlframe.inference.generate import answer, question, stream
from vlframe.inference.pipeline import build_pipeline

QUESTION = "what happens?"
SHORT = {"max_new_tokens": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chat")


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, str]:
    clips = {
        "clip": write_clip(folder, ClipSpec("clip.mp4", sound="aac")),
        "other": write_clip(folder, ClipSpec("other.mp4", frames=20)),
        "sound": write_clip(folder, ClipSpec("sound.mkv", sound="aac", frames=30)),
    }
    Image.fromarray(np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3)).save(folder / "picture.png")
    return {**{name: str(path) for name, path in clips.items()}, "picture": str(folder / "picture.png")}


@pytest.fixture(scope="module")
def model(folder: Path) -> Chat:
    registry = open_with_twins()
    config = compose(
        "train",
        ["model=videollama2_av_tiny", "audio_encoder.seconds=2", "+llm.architecture.initializer_range=0.5"],
        registry,
    )
    return vlframe.load(save_as_run(build_pipeline(config, registry), folder / "run"), device="cpu")


@pytest.mark.parametrize(
    ("names", "prompt", "sound", "kinds"),
    [
        (["clip"], "what?", False, ["video"]),
        (["clip"], "<audio> what is heard?", False, ["audio"]),
        (["clip", "sound"], "<video> and <audio>?", False, ["video", "audio"]),
        (["clip"], "<video> with its sound?", True, ["video", "audio"]),
        (["clip", "picture"], "<video><audio> and <image>?", True, ["video", "audio", "image"]),
        (["clip"], "<video> and <image>?", False, ["video"]),  # not a tag for each: refused later, by sample
    ],
)
def test_a_files_kind_is_that_of_its_tag(
    names: list[str], prompt: str, sound: bool, kinds: list[str], files: dict[str, str]
) -> None:
    asked = question([files[name] for name in names], prompt, sound=sound)
    assert [item.kind for item in asked.media] == kinds
    assert [item.track for item in asked.media] == [sound and kind == "audio" for kind in kinds]


def test_a_conversation_takes_the_kinds_of_its_first_question(model: Chat, files: dict[str, str]) -> None:
    conversation = model.conversation(files["clip"])
    conversation.ask(f"<audio> {QUESTION}", **SHORT)
    assert [item.kind for item in conversation.media] == ["audio"]
    conversation.ask("And then?", **SHORT)
    assert [turn.role for turn in conversation.turns] == ["user", "assistant"] * 2


def test_an_answer_depends_on_what_is_shown(model: Chat, files: dict[str, str]) -> None:
    asked = [
        model.chat(media=media, prompt=QUESTION, sound=sound, **SHORT)
        for media, sound in (
            (files["clip"], False), (files["clip"], True), (files["other"], False), (files["picture"], False),
            ([files["clip"], files["picture"]], False), (None, False),
        )
    ]  # fmt: skip
    assert all(isinstance(text, str) for text in asked)
    assert len(set(asked)) > 3  # random weights say nothing, but not the same


def test_a_batch_says_what_each_says_alone(model: Chat, files: dict[str, str]) -> None:
    questions = [(files["clip"], QUESTION), (None, "and without?"), ([files["picture"], files["other"]], "which one?")]
    together = model.chat_batch(questions, **SHORT)
    assert together == [model.chat(media=media, prompt=prompt, **SHORT) for media, prompt in questions]


def test_a_stream_is_the_answer_in_pieces(model: Chat, files: dict[str, str]) -> None:
    pieces = list(model.stream(files["clip"], QUESTION, max_new_tokens=12))
    assert "".join(pieces).strip() == model.chat(files["clip"], QUESTION, max_new_tokens=12)


def test_a_stream_passes_its_failure_on(model: Chat, files: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="no setting 'temprature'"):
        list(model.stream(files["clip"], QUESTION, temprature=1.0))


def test_a_conversation_remembers(model: Chat, files: dict[str, str]) -> None:
    conversation = model.conversation(files["clip"])
    first = conversation.ask(QUESTION, **SHORT)
    assert first == model.chat(files["clip"], QUESTION, **SHORT)
    fork = conversation.fork()
    conversation.ask("and then?", **SHORT)
    assert [turn.role for turn in conversation.turns] == ["user", "assistant"] * 2
    assert len(fork.turns) == 2
    assert "<video>" in conversation.turns[0].text and "<video>" not in conversation.turns[2].text


def test_what_cannot_be_asked(model: Chat, files: dict[str, str], folder: Path) -> None:
    with pytest.raises(UserError, match=r"[Nn]o such file"):
        model.chat(str(folder / "absent.mp4"), QUESTION)
    with pytest.raises(ConfigError, match=r"'https://a.b/c.mp4' is an address, and nothing is fetched"):
        model.chat("https://a.b/c.mp4", QUESTION)
    with pytest.raises(ConfigError, match=r"is an address, .*; write '/c.mp4'"):
        model.chat("file:///c.mp4", QUESTION)
    registry = open_with_twins()
    pipeline = build_pipeline(compose("train", ["model=videollama2_tiny"], registry), registry)
    deaf = vlframe.load(save_as_run(pipeline, folder / "deaf"), device="cpu")
    with pytest.raises(ConfigError, match="no audio_encoder"):
        deaf.chat(files["clip"], QUESTION, sound=True)


def test_an_official_checkpoint_answers_like_the_model_it_was(tmp_path: Path, files: dict[str, str]) -> None:
    """ExportRequest -> official folder with its tokenizer -> ours again: the same words about the same clip."""
    registry = open_with_twins()
    overrides = ["model=videollama2_tiny", "connector=stc"]
    pipeline = build_pipeline(compose("train", overrides, registry), registry)
    run = save_as_run(pipeline, tmp_path / "run")
    vlframe.export(run, tmp_path / "official", format="videollama2")
    pipeline.model.llm.tokenizer.save_pretrained(tmp_path / "official")
    vlframe.convert(
        tmp_path / "official", tmp_path / "ours", sources={"vision": tmp_path / "official" / "vision_tower"}
    )
    answers = [
        vlframe.load(place, device="cpu").chat(files["clip"], QUESTION, **SHORT) for place in (run, tmp_path / "ours")
    ]
    assert answers[0] == answers[1]


def test_answers_end_with_the_texts_of_the_processor(model: Chat, files: dict[str, str]) -> None:
    asked = [question([files["clip"]], QUESTION)]
    (whole,) = answer(model.pipeline, asked, **SHORT)
    stop = whole[len(whole) // 2 :][:2]
    ended = replace(model.pipeline, processor=cast(Any, Ends("never said", stop)))
    wanted = before_stop(whole, [stop]).strip()
    assert 0 < len(wanted) < len(whole) and answer(ended, asked, **SHORT) == [wanted]
    assert "".join(stream(ended, asked[0], **SHORT)).strip() == wanted
    first = wanted[1:2]
    assert answer(ended, asked, stop_strings=first, **SHORT) == [before_stop(wanted, [first]).strip()]


def test_words_that_the_template_writes_behind_answers_are_no_part_of_them(
    model: Chat, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = model.model.llm.tokenizer
    template = "{% for m in messages %}{{ '[' + m.role + ']' + m.content + ' ### END' + eos_token }}{% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", template)
    assert model.pipeline.ending == Ending(closing="### END")
    ids_BG = tokenizer("a red square ### END" + tokenizer.eos_token, return_tensors="pt").input_ids
    monkeypatch.setattr(model.model, "generate", lambda batch, *more, **settings: ids_BG)
    assert model.chat(files["picture"], QUESTION) == "a red square"


@pytest.mark.parametrize("stops", ["", [""], 3, ["a", None]])
def test_stop_strings_that_are_no_texts_are_refused(model: Chat, files: dict[str, str], stops: Any) -> None:
    with pytest.raises(ConfigError, match=r"stop_strings is .*it is a text that ends answers"):
        model.chat(files["picture"], QUESTION, stop_strings=stops)
    with pytest.raises(ConfigError, match=r"stop_strings is .*it is a text that ends answers"):
        list(stream(model.pipeline, question([files["picture"]], QUESTION), stop_strings=stops))
