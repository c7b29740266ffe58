"""Parameters of the components, one field for each choice that changes the model's input."""

from dataclasses import dataclass, field
from typing import Any

from vlframe import ConfigError

CAPTION = "caption"  # the category of samples that are captions, not conversations


@dataclass
class ProcessorParams:
    """The defaults are the official behaviour; docs/systems/videollama.md says where it is in that code."""

    template: str = "vicuna"  # vicuna | llama_2
    system: str = ""  # system text of questions; a system turn replaces it
    time_stamps: bool = True  # "The video contains 8 frames sampled at … seconds."
    line_breaks: bool = False  # vicuna: give questions the line breaks before ### that the training texts have
    learnt_of_questions: int = 2  # vicuna: tokens at the beginning of each question that are learnt like answers
    # Captions. bare: the medium, the caption, a line break | prompted: one of four questions, the caption, the end
    captions: str = "prompted"
    caption_tokens: int = 320  # of a caption and its end; the rest is cut
    sound: str = "official"  # official: the first channel, resampled as torchaudio does | vlframe: mixed, by the reader


@dataclass
class WebvidParams:
    path: str | None = None  # a csv file with videoid, page_dir, name, or a folder of such files
    media_root: str | None = None  # clips are <page_dir>/<videoid>.mp4 in it; None: the file's own folder
    plain_captions: bool = True  # lower case, no punctuation, at most 50 words, as in the official code


@dataclass
class FilterCapParams:
    path: str | None = None  # filter_cap.json: {"annotations": [{"image_id", "caption"}]}
    media_root: str | None = None  # pictures are <image_id>.jpg in it; None: the folder `image` beside the file


@dataclass
class LlavaInstructParams:
    path: str | None = None  # llava_instruct_150k.json: [{"image", "conversations"}]
    media_root: str | None = None  # None: the file's own folder
    prefix: str = "COCO_train2014_"  # of the pictures' names in it


@dataclass
class VideoQAParams:
    path: str | None = None  # videochat_instruct_11k.json: [{"video", "QA": [{"q", "a"}]}]
    media_root: str | None = None  # None: the file's own folder


@dataclass
class MixtureParams:
    # {layout: webvid | filter_cap | llava_instruct | video_qa, path, weight, and that layout's other parameters}
    parts: list[dict[str, Any]] = field(default_factory=list)


CHOICES = {
    "template": ("vicuna", "llama_2"),
    "captions": ("prompted", "bare"),
    "sound": ("official", "vlframe"),
}


def check(settings: ProcessorParams) -> None:
    """Raise ConfigError for values that the types allow but the code does not."""
    for name, allowed in CHOICES.items():
        if getattr(settings, name) not in allowed:
            raise ConfigError(f"processor.{name} is {getattr(settings, name)!r}; it can be {', '.join(allowed)}")
    for name, least in (("learnt_of_questions", 0), ("caption_tokens", 1)):
        if getattr(settings, name) < least:
            raise ConfigError(f"processor.{name} is {getattr(settings, name)}; it is at least {least}")
