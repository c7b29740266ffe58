"""Names to a model: check on the meta device that the parts fit, count tokens, then build for real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from vlframe.config import PARTS
from vlframe.contracts import PixelSpec, plan
from vlframe.data.sample import MediaKind
from vlframe.errors import ConfigError
from vlframe.model.branch import audio_tokens, image_tokens, video_tokens
from vlframe.model.video_llm import VideoLLM
from vlframe.registry import Registry

LEAST_TEXT = 16  # tokens that a question and an answer need beside the media, at the very least


@dataclass(frozen=True)
class Plan:
    """A composition on the meta device: everything about it that can be known without weights.

    Small enough to travel to data workers, where it counts media tokens.
    """

    model: VideoLLM
    frames: int
    context: int

    @property
    def pixels(self) -> PixelSpec:
        return self.model.encoder.pixels

    @property
    def audio(self) -> Any:
        return self.model.audio_encoder.audio if self.model.audio_encoder is not None else None

    def tokens(self, kind: MediaKind, length: int) -> int:
        """N for a clip of ``length`` frames, an image, or a sound of ``length`` front-end frames."""
        if kind == "audio":
            return audio_tokens(self.model.audio_encoder, self.model.audio_connector, length)
        if kind == "image":
            return image_tokens(self.model.encoder, self.model.connector, self.frames)
        return video_tokens(self.model.encoder, self.model.connector, length)

    @property
    def parameters(self) -> dict[str, int]:
        """Parameters of each part."""
        return {name: sum(p.numel() for p in part.parameters()) for name, part in self.model.parts.items()}


def make_plan(config: Mapping[str, Any], registry: Registry) -> Plan:
    """Build on the meta device and ask the parts whether they fit. Reads no weights; ConfigError says what does not."""
    with plan():
        model = _build(config, registry)
    if config["media"]["frames"] < 1:
        raise ConfigError(f"media.frames is {config['media']['frames']}; a clip has at least one frame")
    context = _context(config, model.llm.context)
    result = Plan(model, config["media"]["frames"], context)
    _check_room(result, config)
    return result


def build(config: Mapping[str, Any], registry: Registry) -> VideoLLM:
    """The composition with its weights: pretrained where a part names a ``source``, random elsewhere."""
    _check_machine(config, registry)
    return _build(config, registry)


def _check_machine(config: Mapping[str, Any], registry: Registry) -> None:
    """Ask the parts that need a GPU, or some such, before the weights of any are loaded. A plan needs none."""
    for kind in PARTS:
        if config[kind] is not None:
            check = getattr(registry.row(kind, config[kind]["name"]).load_class(), "check_machine", None)
            if check is not None:
                check(registry.check(kind, config[kind]))


def _build(config: Mapping[str, Any], registry: Registry) -> VideoLLM:
    for kind in ("encoder", "connector", "llm"):
        if config[kind] is None:
            raise ConfigError(f"there is no {kind}; choose one of {', '.join(registry.names(kind))}")
    encoder = registry.build("encoder", config["encoder"])
    llm = registry.build("llm", config["llm"])
    parts: dict[str, nn.Module] = {
        "encoder": encoder,
        "connector": registry.build("connector", config["connector"], in_dim=encoder.dim, out_dim=llm.dim),
        "llm": llm,
    }
    if config["audio_encoder"] is not None:
        parts |= _audio(config, registry, llm.dim)
    return VideoLLM(**parts, frames=config["media"]["frames"])


def _audio(config: Mapping[str, Any], registry: Registry, out_dim: int) -> dict[str, nn.Module]:
    if config["audio_connector"] is None:
        names = ", ".join(registry.names("audio_connector"))
        raise ConfigError(f"there is an audio_encoder and no audio_connector; choose one of {names}")
    encoder = registry.build("audio_encoder", config["audio_encoder"])
    connector = registry.build("audio_connector", config["audio_connector"], in_dim=encoder.dim, out_dim=out_dim)
    return {"audio_encoder": encoder, "audio_connector": connector}


def _context(config: Mapping[str, Any], limit: int) -> int:
    asked = config["text"]["context"]
    if asked is not None and asked > limit:
        raise ConfigError(f"text.context is {asked}, and the language model was made for {limit} tokens")
    return asked or limit


def _check_room(result: Plan, config: Mapping[str, Any]) -> None:
    name = config["connector"]["name"]
    grid = result.model.encoder.grid(result.frames)
    try:
        tokens = result.tokens("video", result.frames)
        result.tokens("image", 1)
    except ValueError as error:
        raise ConfigError(
            f"connector {name!r} does not fit encoder {config['encoder']['name']!r}: {error} "
            f"(the encoder gives {grid} features of {result.model.encoder.dim} for {result.frames} frames)"
        ) from error
    if tokens + LEAST_TEXT > result.context:
        raise ConfigError(
            f"{result.frames} frames become {tokens} media tokens (connector {name!r} on a {grid} grid), which leaves "
            f"no room for text in a context of {result.context}; use fewer media.frames, a connector that gives fewer "
            f"tokens, or a larger text.context"
        )


__all__ = ["PARTS", "Plan", "build", "make_plan"]
