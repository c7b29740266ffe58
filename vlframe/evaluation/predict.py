"""``vlframe predict``: ask a run one question about some files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from vlframe.data.batch import Batch
from vlframe.data.collate import Collate
from vlframe.data.prepare import Row
from vlframe.data.sample import TAGS, Media, Sample, Turn
from vlframe.errors import ConfigError, DataError
from vlframe.media.kind import media_kind
from vlframe.runs.session import Session, inference, load_run, pick_device

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig

    from vlframe.registry import Registry


def predict_command(config: DictConfig, registry: Registry) -> str:
    session, _ = load_run(config.run, registry)
    paths = [config.media] if isinstance(config.media, str) else list(config.media or [])
    sample = question(paths, config.prompt, sound=config.sound)
    sampling: dict[str, Any] = {"max_new_tokens": config.max_new_tokens}
    if config.temperature > 0:
        sampling |= {"do_sample": True, "temperature": config.temperature}
    text = answer(session, [sample], **sampling)[0]
    print(text)
    return text


def question(paths: Sequence[str], prompt: str, *, sound: bool = False) -> Sample:
    """A user's turn about files of any kind. Tags stand before the prompt, unless it has tags of its own."""
    media: list[Media] = []
    for path in paths:
        _check_path(path)
        kind = media_kind(Path(path))
        media.append(Media(kind, Path(path)))
        if kind == "video" and sound:
            media.append(Media("audio", Path(path), track=True))
    tagged = any(tag in prompt for tag in TAGS.values())
    text = prompt if tagged or not media else "".join(TAGS[item.kind] for item in media) + "\n" + prompt
    return Sample("question", (Turn("user", text),), tuple(media))


def _check_path(path: str) -> None:
    """The mistakes that are of the command line rather than of a file."""
    if not path:
        raise ConfigError("media= names no file; give a path, media=[a.mp4,b.jpg] for several, or leave it out")
    if Path(path).is_dir():
        raise ConfigError(f"media is the folder {path}; name files in it, like media=[{path}/a.mp4,{path}/b.mp4]")
    if "," in path and not Path(path).exists():
        raise ConfigError(f"there is no file {path!r}; several are written in brackets, media=[{path}]")


def answer(session: Session, samples: Sequence[Sample], **sampling: Any) -> list[str]:
    """The answers to one batch of questions, in order. Every question is answered, or an error says why not."""
    batch, device = _batch(session, samples)
    with inference(session.config, device):
        ids_BG = session.model.generate(batch, **sampling)
    texts = session.model.llm.tokenizer.batch_decode(ids_BG, skip_special_tokens=True)
    return [text.strip() for text in texts]  # many chat templates put a space before an answer


def stream(session: Session, sample: Sample, **sampling: Any) -> Iterator[str]:
    """The answer to one question in pieces, while it is generated (in a thread of its own)."""
    from transformers import TextIteratorStreamer

    batch, device = _batch(session, [sample])
    streamer = TextIteratorStreamer(session.model.llm.tokenizer, skip_prompt=False, skip_special_tokens=True)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with inference(session.config, device):
                session.model.generate(batch, streamer=streamer, **sampling)
        except BaseException as error:
            failures.append(error)
            streamer.end()

    thread = Thread(target=run, daemon=True)
    thread.start()
    begun = False
    for piece in streamer:
        piece = piece if begun else piece.lstrip()
        begun = begun or bool(piece)
        if piece:
            yield piece
    thread.join()
    if failures:
        raise failures[0]


def _batch(session: Session, samples: Sequence[Sample]) -> tuple[Batch, torch.device]:
    rows = session.rows(samples, answers=False)
    items = [rows[index] for index in range(len(rows))]
    for item in items:
        if not isinstance(item, Row):
            raise DataError(f"{item.id!r} cannot be asked: {item.reason}")
    device = pick_device(session.config)
    session.model.to(device).eval()
    return Collate(left=True)(items).to(device), device
