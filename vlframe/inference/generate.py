"""Generates answers to questions about files, whole or as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from vlframe.contracts.batch import Batch, Quarantined
from vlframe.contracts.modalities import TAGS
from vlframe.contracts.sample import Media, Sample, Turn, tags_in
from vlframe.data.collate import Collate
from vlframe.errors import ConfigError, DataError, MediaError
from vlframe.inference.pipeline import Pipeline, inference, pick_device
from vlframe.media.file_kind import media_kind
from vlframe.media.frame_files import frame_files
from vlframe.media.missing import no_such_file
from vlframe.paths import address_hint, at_home

if TYPE_CHECKING:
    import torch

    from vlframe.data.prepare import PreparedSample


def question(paths: Sequence[str], prompt: str, *, sound: bool = False) -> Sample:
    """Build a user's turn about files of any kind.

    A file's kind is that of its tag, if the prompt has tags; otherwise its content tells, and tags precede the prompt.
    """
    given = [at_home(path) for path in paths]
    for path in given:
        _check_path(path)
    tags = [kind for _, kind in tags_in(prompt)]
    kinds = _kinds(given, tags, sound)
    media: list[Media] = []
    for kind, path in zip(kinds, given, strict=True):
        media.append(Media(kind, Path(path)))
        if kind == "video" and sound:
            media.append(Media("audio", Path(path), track=True))
    text = prompt if tags or not media else "".join(TAGS[item.kind] for item in media) + "\n" + prompt
    return Sample("question", (Turn("user", text),), tuple(media))


def _kinds(paths: Sequence[str], tags: Sequence[str], sound: bool) -> list[str]:
    """Return the kind of each file: that of its tag, if there is one for each, otherwise by its content.

    With ``sound``, an audio tag after a video's is that of the video's own track.
    """
    of_files = [
        kind
        for number, kind in enumerate(tags)
        if not (sound and kind == "audio" and number and tags[number - 1] == "video")
    ]
    return of_files if len(of_files) == len(paths) else [media_kind(Path(path)) for path in paths]


def _check_path(path: str) -> None:
    """Check for mistakes of the command line, rather than of a file."""
    if not path:
        raise ConfigError("media= names no file; give a path, media=[a.mp4,b.jpg] for several, or leave it out")
    if hint := address_hint(path):
        raise ConfigError(f"media= names a file, and {hint}")
    try:
        _check_there(path)
    except OSError as error:  # a name that no file can have
        raise MediaError(f"{path[:80]}…: {error.strerror}") from error


def _check_there(path: str) -> None:
    if Path(path).is_dir() and not _holds_pictures(Path(path)):
        raise ConfigError(f"media is the folder {path}; name files in it, like media=[{path}/a.mp4,{path}/b.mp4]")
    if "," in path and not Path(path).exists():
        raise ConfigError(f"there is no file {path!r}; several are written in brackets, media=[{path}]")
    if not Path(path).exists():
        raise MediaError(f"{path}: {no_such_file(Path(path))}")


def _holds_pictures(folder: Path) -> bool:
    """Return whether a folder is read as a clip."""
    try:
        return frame_files(folder) is not None
    except MediaError:
        return False


def answer(pipeline: Pipeline, samples: Sequence[Sample], **sampling: Any) -> list[str]:
    """Answer one batch of questions, in order. Every question is answered, or an error says why not."""
    return answer_prepared(pipeline, prepared(pipeline, samples), **sampling)


def answer_prepared(pipeline: Pipeline, items: Sequence[PreparedSample], **sampling: Any) -> list[str]:
    """Answer questions whose media are already decoded."""
    batch, device = _batch(pipeline, items)
    ending = pipeline.ending.asked(sampling.get("stop_strings"))
    with inference(pipeline, device):
        ids_BG = pipeline.model.generate(batch, **ending.settings(sampling))
    texts = pipeline.model.llm.tokenizer.batch_decode(ids_BG, skip_special_tokens=True)
    return [ending.cut(text).strip() for text in texts]  # many chat templates put a space before an answer


def stream(pipeline: Pipeline, sample: Sample, **sampling: Any) -> Iterator[str]:
    """Yield the answer to one question in pieces, while it is generated (in a separate thread)."""
    from transformers import TextIteratorStreamer

    batch, device = _batch(pipeline, prepared(pipeline, [sample]))
    ending = pipeline.ending.asked(sampling.get("stop_strings"))
    streamer = TextIteratorStreamer(pipeline.model.llm.tokenizer, skip_prompt=False, skip_special_tokens=True)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with inference(pipeline, device):
                pipeline.model.generate(batch, streamer=streamer, **ending.settings(sampling))
        except BaseException as error:
            failures.append(error)
            streamer.end()

    thread = Thread(target=run, daemon=True)
    thread.start()
    begun = False
    for piece in ending.pieces(streamer):
        piece = piece if begun else piece.lstrip()
        begun = begun or bool(piece)
        if piece:
            yield piece
    thread.join()
    if failures:
        raise failures[0]


def prepared(pipeline: Pipeline, samples: Sequence[Sample]) -> list[PreparedSample]:
    """Tokenise questions and decode their media. DataError: one of them cannot be asked."""
    rows = pipeline.prepared(samples, answers=False)
    items: list[PreparedSample] = []
    for item in (rows[index] for index in range(len(rows))):
        if isinstance(item, Quarantined):
            raise DataError(f"{item.id!r} cannot be asked: {item.reason}")
        items.append(item)
    return items


def _batch(pipeline: Pipeline, items: Sequence[PreparedSample]) -> tuple[Batch, torch.device]:
    device = pick_device(pipeline)
    pipeline.model.to(device).eval()
    return Collate(left=True)(items).to(device), device
