"""Parameters of the components, one field for each choice that changes the model's input."""

from dataclasses import dataclass

from vlframe import ConfigError

START, PATCH, END = "<vid_start>", "<vid_patch>", "<vid_end>"
ADDED_TOKENS = (PATCH, START, END)  # in the official code's order


@dataclass
class MeanPoolsParams:
    temporal: int = 100  # frame tokens; a shorter clip is padded with zeros, which the linear map still reads


@dataclass
class ProcessorParams:
    """The defaults are the official behaviour; docs/systems/videochatgpt.md says where it is in that code."""

    # The conversation template: video-chatgpt_v1 | vicuna_v1_1 | default
    inference_prompt: str = "video-chatgpt_v1"
    training_prompt: str = "vicuna_v1_1"
    tags: str = "end"  # in inference. end: the medium after the first question's text | keep: in the tag's place
    # transformers 4.28, with which the released model was trained, drops white space on either side of an added token.
    strip_beside_tokens: bool = True


@dataclass
class VideoInstructParams:
    path: str | None = None  # a JSON array of {"video_id", "q", "a"}
    media_root: str | None = None  # the folder of the clips, named <video_id>.<any suffix>; None: the file's own folder
    order: str = "alternate"  # alternate: the medium after the question in rows 0, 2, 4, …, before it in others
    # after | before: the same in every row


CHOICES = {
    "inference_prompt": ("video-chatgpt_v1", "vicuna_v1_1", "default"),
    "training_prompt": ("vicuna_v1_1", "video-chatgpt_v1"),
    "tags": ("end", "keep"),
}


def check(settings: ProcessorParams) -> None:
    """Raise ConfigError for values that the types allow but the code does not."""
    for name, allowed in CHOICES.items():
        if getattr(settings, name) not in allowed:
            raise ConfigError(f"processor.{name} is {getattr(settings, name)!r}; it can be {', '.join(allowed)}")
