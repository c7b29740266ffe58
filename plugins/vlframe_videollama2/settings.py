"""Parameters of the official data path, one field for each choice that changes the model's input."""

from dataclasses import dataclass, fields

from vlframe import ConfigError


@dataclass
class OfficialProcessorParams:
    """The defaults are the official behaviour; docs/videollama2-processor.md says where it is in that code."""

    branch: str = "main"  # main | audio_visual: the two official branches; they differ in pretraining texts and sound
    # Whole parts: official | vlframe
    text: str = "official"
    frames: str = "official"
    sound: str = "official"
    # Texts
    pretraining: bool = False  # texts for training only the projector: no questions, one answer
    tags: str = "head"  # head: one tag, before the text that had it | keep: in the tag's place
    system_prompt: str = "auto"  # in inference. auto: if the chat template writes [INST] | always | never
    model_max_length: int | None = 2048  # tokens in training, with one for each medium; the rest is cut. null: no limit
    hide_padding_token: bool = True  # mask every token that equals the padding (or unknown) token
    # Frames
    bounds: str = "official"  # official: int(seconds * fps) - 1, swapped if reversed | shown: the frames on display
    max_frames: int | None = 32  # the first of the sampled frames, at most this many; null: all
    gif: str = "black"  # black: 25 frames a second, repeated frames become black ones | clip: like any other clip
    training_resize: str = (
        "pad"  # pad: to a square with the mean colour | encoder: as the encoder says ('square', None)
    )
    inference_resize: str = "encoder"
    upright: bool = False  # rotate images by their EXIF orientation
    # Sound (audio_visual)
    crop: str = "random"  # of a longer sound, anew each time | seeded: a fixed position for each file | start
    seed: int = 0  # of `seeded`
    channel: str = "first"  # of a sound file: first | mixed
    round_to_bf16: bool = True  # the features
    missing_track: str = "silence"  # silence: a whole window of it | policy: follow media.missing_audio
    track_clips: int = 8  # clips of a video's track, evenly spread and joined; 0: the whole track
    track_clip_seconds: float = 2.0
    track_bounds: bool = False  # apply a video's start and end to its track


CHOICES = {
    "branch": ("main", "audio_visual"),
    "text": ("official", "vlframe"),
    "frames": ("official", "vlframe"),
    "sound": ("official", "vlframe"),
    "tags": ("head", "keep"),
    "system_prompt": ("auto", "always", "never"),
    "bounds": ("official", "shown"),
    "gif": ("black", "clip"),
    "training_resize": ("pad", "encoder"),
    "inference_resize": ("pad", "encoder"),
    "crop": ("random", "seeded", "start"),
    "channel": ("first", "mixed"),
    "missing_track": ("silence", "policy"),
}
AT_LEAST = {"model_max_length": 1, "max_frames": 1, "track_clips": 0}


def check(settings: OfficialProcessorParams) -> None:
    """Raise ConfigError for values that the types allow but the code does not."""
    for item in fields(settings):
        value = getattr(settings, item.name)
        if item.name in CHOICES and value not in CHOICES[item.name]:
            raise ConfigError(f"processor.{item.name} is {value!r}; it can be {', '.join(CHOICES[item.name])}")
        least = AT_LEAST.get(item.name)
        if least is not None and value is not None and value < least:
            raise ConfigError(f"processor.{item.name} is {value}; it must be at least {least}")
    if not settings.track_clip_seconds > 0:
        raise ConfigError(f"processor.track_clip_seconds is {settings.track_clip_seconds}; it must be more than 0")
