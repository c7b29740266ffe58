"""What the official data path does, one field for each thing that changes what the model reads."""

from dataclasses import dataclass, fields

from vlframe import ConfigError


@dataclass
class OfficialDataParams:
    """The defaults are the official behaviour; docs/videollama2-protocol.md says where each stands in that code."""

    branch: str = "main"  # main | audio_visual: the two official branches; they differ in pretraining texts and sound
    # Whole parts of it: official | vlframe
    text: str = "official"
    frames: str = "official"
    sound: str = "official"
    # Texts
    pretraining: bool = False  # texts as when only the projector is trained: no questions, one answer
    tags: str = "head"  # head: one tag, ahead of the text it stood in | keep: where the text has it
    system_prompt: str = "auto"  # in inference. auto: where the chat template writes [INST] | always | never
    model_max_length: int | None = 2048  # tokens in training, with one for each medium; the rest is cut. null: no limit
    hide_padding_token: bool = True  # attention does not see a token that equals the padding's (or unknown) token
    # Frames
    bounds: str = "official"  # official: int(seconds * fps) - 1, swapped where reversed | shown: the frames on show
    max_frames: int | None = 32  # the first so many of those sampled; null: all
    gif: str = "black"  # black: 25 frames a second, repeated frames become black ones | clip: like any other clip
    training_fit: str = "pad"  # pad: to a square with the mean colour | encoder: as the encoder says ('square', None)
    inference_fit: str = "encoder"
    upright: bool = False  # turn images as their EXIF says
    # Sound (audio_visual)
    crop: str = "random"  # of a longer sound, each time anew | seeded: a place of its own for each file | start
    seed: int = 0  # of `seeded`
    channel: str = "first"  # of a sound file: first | mixed
    round_to_bf16: bool = True  # the features
    missing_track: str = "silence"  # silence: a whole window of it | policy: as media.missing_audio says
    track_clips: int = 8  # of a video's track, evenly spread and joined; 0: the track as it is
    track_clip_seconds: float = 2.0
    track_bounds: bool = False  # a video's start and end hold for its track


CHOICES = {
    "branch": ("main", "audio_visual"),
    "text": ("official", "vlframe"),
    "frames": ("official", "vlframe"),
    "sound": ("official", "vlframe"),
    "tags": ("head", "keep"),
    "system_prompt": ("auto", "always", "never"),
    "bounds": ("official", "shown"),
    "gif": ("black", "clip"),
    "training_fit": ("pad", "encoder"),
    "inference_fit": ("pad", "encoder"),
    "crop": ("random", "seeded", "start"),
    "channel": ("first", "mixed"),
    "missing_track": ("silence", "policy"),
}
AT_LEAST = {"model_max_length": 1, "max_frames": 1, "track_clips": 0}


def check(settings: OfficialDataParams) -> None:
    """Refuse what types cannot refuse."""
    for item in fields(settings):
        value = getattr(settings, item.name)
        if item.name in CHOICES and value not in CHOICES[item.name]:
            raise ConfigError(f"protocol.{item.name} is {value!r}; it can be {', '.join(CHOICES[item.name])}")
        least = AT_LEAST.get(item.name)
        if least is not None and value is not None and value < least:
            raise ConfigError(f"protocol.{item.name} is {value}; it must be at least {least}")
    if not settings.track_clip_seconds > 0:
        raise ConfigError(f"protocol.track_clip_seconds is {settings.track_clip_seconds}; it must be more than 0")
