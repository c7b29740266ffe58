"""Parameters of the components, one field for each choice that changes the model's input."""

from dataclasses import dataclass, field
from typing import Any

from vlframe import ConfigError

CAPTION = "caption"  # the category of samples that are captions, not conversations


@dataclass
class SamplerParams:
    inference: str = "distances"  # distances: equal rounded distances, as in the demo | middle: of each equal part
    skip_last: bool = True  # in training, never draw the last frame of a part (the official range excludes its end)


@dataclass
class ProcessorParams:
    """The defaults are the official behaviour; docs/systems/videochat.md says where it is in that code."""

    system: str = ""  # system text of conversations; a system turn replaces it
    time_stamps: bool = True  # "The video contains 8 frames sampled at … seconds."
    # The first embedding of conversations in training. number: filled with the id of BOS | embedding: that of BOS, as
    # in questions and captions
    bos: str = "number"
    learn_names: bool = True  # "###Human:" and "###Assistant:" are learnt like answers
    text_tokens: int = 512  # of a training conversation, including BOS and without media; the rest is cut
    caption_tokens: int = 32  # of a caption and its end; the rest is cut
    images: str = "squash"  # in inference. squash: to a square, where clips are cropped | encoder: like clips


@dataclass
class QAParams:
    path: str | None = None  # [{"video" or "image", "QA": [{"q", "a"}]}]
    media_root: str | None = None  # None: the file's own folder
    kind: str = "video"  # video | image: the medium of the rows


@dataclass
class CaptionsParams:
    path: str | None = None  # [{"video" or "image", "caption"}]
    media_root: str | None = None  # None: the file's own folder
    kind: str = "video"  # video | image: the medium of the rows


@dataclass
class MixtureParams:
    # {layout: videochat_qa | videochat_captions, path, media_root, kind, weight}; default weight: the number of rows
    parts: list[dict[str, Any]] = field(default_factory=list)


CHOICES = {
    "bos": ("number", "embedding"),
    "images": ("squash", "encoder"),
}


def check(settings: ProcessorParams) -> None:
    """Raise ConfigError for values that the types allow but the code does not."""
    for name, allowed in CHOICES.items():
        if getattr(settings, name) not in allowed:
            raise ConfigError(f"processor.{name} is {getattr(settings, name)!r}; it can be {', '.join(allowed)}")
    for name in ("text_tokens", "caption_tokens"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"processor.{name} is {getattr(settings, name)}; it is at least 1")
