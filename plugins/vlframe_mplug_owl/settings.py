"""Parameters of the components, one field for each choice that changes the model's input."""

from dataclasses import dataclass, field

from vlframe import ConfigError


@dataclass
class TowerParams:
    """Sizes of ViT-L/14. Released checkpoints are loaded whole (``vlframe convert``); other weights are random."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    image_size: int = 224
    patch_size: int = 14
    layer_norm_eps: float = 1e-6
    temporal: bool = (
        True  # the temporal modules; without them (the checkpoints for images) frames do not see each other
    )
    select: str = "cls_patch"  # cls_patch: class token and patches as a sequence | patch: the patches as a plane
    resize: str = "squash"  # crop | squash | pad: how frames are made square


@dataclass
class AbstractorParams:
    queries: int = 64  # spatial ones, and as many temporal ones for more than one frame
    depth: int = 6
    heads: int = 16
    width: int | None = None  # null: that of the features; others add a linear map before, which is not official
    intermediate_size: int = 2816  # 2816 unchanged; of another number two thirds, rounded up to a multiple of 256
    layer_norm_eps: float = 1e-6  # of the norm inside the MLPs; the others have 1e-5
    dropout: float = 0.1  # of attention weights
    temporal: bool = True  # temporal queries; false: the spatial ones read all frames


@dataclass
class ProcessorParams:
    """The defaults are the official behaviour; docs/systems/mplug_owl.md says where it is in that code."""

    # The first line of a question; a system turn replaces it
    system: str = (
        "The following is a conversation between a curious human and AI assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions."
    )


@dataclass
class JsonLinesParams:
    path: str | None = None  # one file of JSON Lines
    media_root: str | None = None  # paths of images start here; None: the file's own folder
    ignore_fields: list[str] = field(
        default_factory=lambda: ["task_type", "prompt"]
    )  # the official code reads no prompt


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ConfigError for a value that is not allowed."""
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; it can be {', '.join(allowed)}")
