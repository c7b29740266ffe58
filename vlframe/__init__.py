"""vlframe: swappable parts for Video-LLMs.

This module is the public door. Plugins import from here and from nowhere deeper; importing it loads neither torch
nor Hydra, because every name below is fetched from its module the first time it is used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_DOOR = {
    "Component": "hooks",
    "hookimpl": "hooks",
    "AudioConnector": "contracts",
    "AudioEncoder": "contracts",
    "AudioSpec": "contracts",
    "Benchmark": "contracts",
    "Comparison": "contracts",
    "Connector": "contracts",
    "DataProtocol": "contracts",
    "Encoder": "contracts",
    "Foreign": "contracts",
    "LanguageModel": "contracts",
    "Layout": "contracts",
    "Ours": "contracts",
    "MediaSource": "contracts",
    "PixelSpec": "contracts",
    "Reader": "contracts",
    "VideoGrid": "contracts",
    "VideoInfo": "contracts",
    "Written": "contracts",
    "planning": "contracts",
    "ConfigError": "errors",
    "DataError": "errors",
    "MediaError": "errors",
    "NoAudioTrack": "errors",
    "WeightsError": "errors",
    "PLACEHOLDERS": "data.placeholders",
    "Entry": "data.sample",
    "Media": "data.sample",
    "Part": "data.sample",
    "Problem": "data.sample",
    "Sample": "data.sample",
    "TAGS": "data.sample",
    "Turn": "data.sample",
    "cache_folder": "folders",
    "load_strict": "weights.strict",
    "preset_of_source": "presets",
    "convert": "weights.convert",
    "export": "weights.export",
    "load": "chat",
    "Batch": "data.batch",
    "MediaInput": "data.batch",
}

__all__ = [*_DOOR, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _DOOR:
        raise AttributeError(f"module 'vlframe' has no attribute {name!r}")
    return getattr(import_module(f"vlframe.{_DOOR[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
