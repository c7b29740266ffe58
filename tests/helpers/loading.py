"""A media loader with the samplers that are installed."""

from typing import Any

from vlframe.config.schema import MediaConfig
from vlframe.media.loader import MediaLoader
from vlframe.registry.registry import Registry


def media_loader(reader: Any, pixels: Any, audio: Any = None, *, sampler: Any = None, **config: Any) -> MediaLoader:
    """As a run with these ``media`` settings has it; ``audio`` None for a model that takes no sound."""
    chosen = {"name": "uniform", **(sampler or {})}
    settings = MediaConfig(sampler=chosen, **config)
    front_ends = {"video": pixels, "image": pixels, **({} if audio is None else {"audio": audio})}
    return MediaLoader(reader, settings, front_ends, build_sampler(chosen, settings.frames))


def build_sampler(chosen: dict[str, Any], frames: int) -> Any:
    return Registry.installed().build("sampler", chosen, frames=frames)
