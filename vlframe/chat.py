"""A model to talk to: ``model = vlframe.load("folder"); model.chat(media="clip.mp4", prompt="What happens?")``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.data.sample import Sample, Turn

if TYPE_CHECKING:
    from vlframe.data.sample import Media
    from vlframe.model.video_llm import VideoLLM
    from vlframe.runs.session import Session

Files = str | Path | Sequence[str | Path] | None


def load(folder: str | Path, *, device: str | None = None, plugins: Sequence[str] = ()) -> Chat:
    """The model of a run, or of what ``vlframe convert`` wrote, with its newest weights, in eval mode.

    ``device``: cpu or cuda; None takes what the run's own config says. ``plugins``: single files that are plugins.
    """
    from vlframe.app import open_registry
    from vlframe.runs.session import load_run

    changes = {"trainer": {"accelerator": "gpu" if device.startswith("cuda") else device}} if device else {}
    session, _ = load_run(str(folder), open_registry(plugins), changes)
    return Chat(session)


class Chat:
    """Questions about files of any kind: images, videos, sounds, several at once, or none."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @property
    def model(self) -> VideoLLM:
        return self.session.model

    def chat(self, media: Files = None, prompt: str = "", *, sound: bool = False, **sampling: Any) -> str:
        """One answer. ``sound`` also hears a video's own track; ``sampling`` are transformers' generation settings."""
        return self.chat_batch([(media, prompt)], sound=sound, **sampling)[0]

    def chat_batch(self, questions: Sequence[tuple[Files, str]], *, sound: bool = False, **sampling: Any) -> list[str]:
        """An answer to each ``(media, prompt)``, generated together; a row gives what it gives alone."""
        from vlframe.evaluation.predict import answer

        return answer(self.session, [self._sample(media, prompt, sound) for media, prompt in questions], **sampling)

    def conversation(self, media: Files = None, *, sound: bool = False, system: str | None = None) -> Conversation:
        """Several turns about the same files."""
        return Conversation(self, self._sample(media, "", sound).media, system)

    def stream(self, media: Files = None, prompt: str = "", *, sound: bool = False, **sampling: Any) -> Iterator[str]:
        """The same answer as ``chat``, in pieces as they come."""
        from vlframe.evaluation.predict import stream

        return stream(self.session, self._sample(media, prompt, sound), **sampling)

    def _sample(self, media: Files, prompt: str, sound: bool) -> Sample:
        from vlframe.evaluation.predict import question

        paths = [media] if isinstance(media, str | Path) else list(media or [])
        return question([str(path) for path in paths], prompt, sound=sound)


@dataclass
class Conversation:
    """Turns so far; the media are in the first."""

    chat: Chat
    media: tuple[Media, ...]
    system: str | None = None
    turns: tuple[Turn, ...] = ()

    def ask(self, prompt: str, **sampling: Any) -> str:
        """The answer to the next question; it and the question join the conversation."""
        from vlframe.data.sample import TAGS
        from vlframe.evaluation.predict import answer

        first = not any(turn.role == "user" for turn in self.turns)
        tags = "".join(TAGS[item.kind] for item in self.media)
        text = f"{tags}\n{prompt}" if first and tags and not any(tag in prompt for tag in TAGS.values()) else prompt
        before = (Turn("system", self.system),) if self.system and first else ()
        sample = Sample("conversation", (*before, *self.turns, Turn("user", text)), self.media)
        reply = answer(self.chat.session, [sample], **sampling)[0]
        self.turns = (*sample.turns, Turn("assistant", reply))
        return reply

    def fork(self) -> Conversation:
        """The same conversation so far, to be continued differently."""
        return replace(self)
