"""Parameters of the components, one field for each thing that changes what the model reads."""

from dataclasses import dataclass, field
from typing import Any

from vlframe import ConfigError

CAPTION = "caption"  # the category of samples that are a caption, and no conversation


@dataclass
class SamplerParams:
    skip_last: bool = True  # in training, the last frame of each part is never drawn: a range without its end


@dataclass
class ProcessorParams:
    """The defaults are those of the Vicuna model; docs/systems/videochat2.md lists those of each."""

    template: str = "vicuna"  # vicuna | mistral | phi3
    system: str = ""  # text before a question; a system turn replaces it
    # What the connector reads with a clip or an image of a question; a system turn replaces it
    instruct_video: str = "Watch the video and answer the question."
    instruct_image: str = "Observe the image and answer the question."
    instruct_question: str = "training"  # never | training | always: whether the first question follows it there
    time_stamps: str = "training"  # never | training | questions | always: "The video contains 8 frames sampled at …"
    # The embedding of BOS in training conversations. number: filled with the token's id | embedding: its own
    bos: str = "number"
    text_tokens: int = 512  # of a training conversation, without media; the rest is cut
    caption_tokens: int = 512  # of a caption and its end; the rest is cut
    learn_caption_end: bool = True  # false: the end of a caption has no label, being the padding token, too
    images: str = "squash"  # squash: images are squashed, not cropped, in inference | encoder: as clips


@dataclass
class InstructionsParams:
    path: str | None = None  # [{"video" or "image": file, "QA": [{"i", "q", "a"}], "start", "end"}]; or only "QA"
    media_root: str | None = None  # None: the file's own folder
    shuffle: bool = True  # the order of a row's questions is random, but the same in every pass


@dataclass
class CaptionsParams:
    path: str | None = None  # [{"video" or "image": file, "caption"}]
    media_root: str | None = None  # None: the file's own folder


@dataclass
class MixtureParams:
    # {layout: videochat2_qa | videochat2_captions, path, media_root, weight}; without weights, each row once
    parts: list[dict[str, Any]] = field(default_factory=list)


WHEN = ("never", "training", "questions", "always")
CHOICES = {
    "template": ("vicuna", "mistral", "phi3"),
    "instruct_question": ("never", "training", "always"),
    "time_stamps": WHEN,
    "bos": ("number", "embedding"),
    "images": ("squash", "encoder"),
}


def check(settings: ProcessorParams) -> None:
    """Raise ConfigError for what types cannot refuse."""
    for name, allowed in CHOICES.items():
        if getattr(settings, name) not in allowed:
            raise ConfigError(f"processor.{name} is {getattr(settings, name)!r}; it can be {', '.join(allowed)}")
    for name in ("text_tokens", "caption_tokens"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"processor.{name} is {getattr(settings, name)}; it must be at least 1")


def applies(when: str, *, training: bool) -> bool:
    """Return whether one of ``WHEN`` is now."""
    return when == "always" or when == ("training" if training else "questions")
