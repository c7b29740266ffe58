"""``vlframe.load(folder).chat(...)``: asking about every kind of file, in every way."""

from pathlib import Path

import numpy as np
import pytest
from helpers.clips import ClipSpec, write_clip
from helpers.runs import save_as_run
from PIL import Image

import vlframe
from vlframe.app import compose, open_registry
from vlframe.chat import Chat
from vlframe.errors import ConfigError, UserError
from vlframe.runs.session import open_session

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
    registry = open_registry()
    config = compose(
        "train",
        ["model=videollama2_av_tiny", "audio_encoder.seconds=2", "+llm.architecture.initializer_range=0.5"],
        registry,
    )
    return vlframe.load(save_as_run(open_session(config, registry), folder / "run"), device="cpu")


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
    registry = open_registry()
    session = open_session(compose("train", ["model=videollama2_tiny"], registry), registry)
    deaf = vlframe.load(save_as_run(session, folder / "deaf"), device="cpu")
    with pytest.raises(ConfigError, match="no audio_encoder"):
        deaf.chat(files["clip"], QUESTION, sound=True)


def test_an_official_checkpoint_answers_like_the_model_it_was(tmp_path: Path, files: dict[str, str]) -> None:
    """Ours -> official folder with its tokenizer -> ours again: the same words about the same clip."""
    registry = open_registry()
    overrides = ["model=videollama2_tiny", "connector=stc"]
    session = open_session(compose("train", overrides, registry), registry)
    run = save_as_run(session, tmp_path / "run")
    vlframe.export(run, tmp_path / "official")
    session.model.llm.tokenizer.save_pretrained(tmp_path / "official")
    vlframe.convert(tmp_path / "official", tmp_path / "ours", vision=str(tmp_path / "official" / "vision_tower"))
    answers = [
        vlframe.load(place, device="cpu").chat(files["clip"], QUESTION, **SHORT) for place in (run, tmp_path / "ours")
    ]
    assert answers[0] == answers[1]
