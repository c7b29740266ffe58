"""The chat interface: ``model = vlframe.load("folder"); model.chat(media="clip.mp4", prompt="What happens?")``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.contracts.sample import Sample, Turn

if TYPE_CHECKING:
    from vlframe.contracts.sample import Media
    from vlframe.inference.pipeline import Pipeline
    from vlframe.model.video_llm import VideoLLM

Files = str | Path | Sequence[str | Path] | None


def load(
    folder: str | Path, *, device: str | None = None, plugins: Sequence[str] = (), checkpoint: str = "newest"
) -> Chat:
    """Load the model of a run, or of a converted checkpoint, in eval mode.

    ``device``: cpu, cuda, cuda:1, mps; None uses the run's own config. ``plugins``: single-file plugins.
    ``checkpoint``: newest, best, or the name of one of the run's.
    """
    from vlframe.inference.pipeline import load_run, named_device
    from vlframe.registry.registry import Registry

    place = named_device(device) if device else None
    pipeline, _ = load_run(str(folder), Registry.installed(plugins), checkpoint=checkpoint)
    pipeline.device = place
    return Chat(pipeline)


class Chat:
    """Answers questions about files of any kind: images, videos, sounds, several at once, or none."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    @property
    def model(self) -> VideoLLM:
        return self.pipeline.model

    def chat(self, media: Files = None, prompt: str = "", *, sound: bool = False, **sampling: Any) -> str:
        """Return one answer. ``sound`` also uses a video's own track; ``sampling`` are transformers' generation
        settings.
        """
        return self.chat_batch([(media, prompt)], sound=sound, **sampling)[0]

    def chat_batch(self, questions: Sequence[tuple[Files, str]], *, sound: bool = False, **sampling: Any) -> list[str]:
        """Answer each ``(media, prompt)``, generated together; each answer is the same as if asked singly."""
        from vlframe.inference.generate import answer

        return answer(self.pipeline, [self._sample(media, prompt, sound) for media, prompt in questions], **sampling)

    def conversation(self, media: Files = None, *, sound: bool = False, system: str | None = None) -> Conversation:
        """Start a conversation of several turns about the same files."""
        return Conversation(self, _paths(media), sound, system)

    def stream(self, media: Files = None, prompt: str = "", *, sound: bool = False, **sampling: Any) -> Iterator[str]:
        """Yield the same answer as ``chat``, in pieces as they are generated."""
        from vlframe.inference.generate import stream

        return stream(self.pipeline, self._sample(media, prompt, sound), **sampling)

    def _sample(self, media: Files, prompt: str, sound: bool) -> Sample:
        from vlframe.inference.generate import question

        return question(_paths(media), prompt, sound=sound)


def _paths(media: Files) -> list[str]:
    return [str(path) for path in ([media] if isinstance(media, str | Path) else media or [])]


@dataclass
class Conversation:
    """The turns so far; the media are in the first question, whose tags (if it has some) say their kinds."""

    chat: Chat
    paths: Sequence[str]
    sound: bool = False
    system: str | None = None
    turns: tuple[Turn, ...] = ()
    media: tuple[Media, ...] = ()

    def ask(self, prompt: str, **sampling: Any) -> str:
        """Answer the next question; both join the conversation."""
        from vlframe.inference.generate import answer, question

        before, asked = self.turns, Turn("user", prompt)
        if not any(turn.role == "user" for turn in self.turns):
            first = question(self.paths, prompt, sound=self.sound)
            (asked,), self.media = first.turns, first.media
            before = (Turn("system", self.system),) if self.system else ()
        sample = Sample("conversation", (*before, asked), self.media)
        reply = answer(self.chat.pipeline, [sample], **sampling)[0]
        self.turns = (*sample.turns, Turn("assistant", reply))
        return reply

    def fork(self) -> Conversation:
        """Return a copy of the conversation so far, to be continued differently."""
        return replace(self)
