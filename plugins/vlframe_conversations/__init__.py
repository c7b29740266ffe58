"""Conversations about media files, from JSON and JSON Lines manifests."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import vlframe

vlframe_api = 1


@dataclass
class Source:
    """One manifest of a mixture."""

    path: str
    weight: float = 1.0  # how often its samples are drawn, relative to the weights of the other manifests
    media_root: str | None = None  # None: that of the data set
    sound: bool | None = None  # None: that of the data set


@dataclass
class ConversationsParams:
    path: str | None = None  # one manifest: a JSON array, or JSON Lines, recognised by content
    media_root: str | None = None  # media paths start here; None: the manifest's own folder
    mixture: list[Source] = field(default_factory=list)  # several manifests, instead of `path`
    sound: bool = False  # also hear each video's own track: an <audio> tag is added right after every <video> tag
    stray_tags: str = "error"  # error | word: for a tag such as <image> in a user's turn of a row without media
    ignore_fields: list[str] = field(default_factory=list)  # fields of rows and turns that are allowed but not read


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "dataset",
        "conversations",
        "vlframe_conversations.dataset:Conversations",
        ConversationsParams,
        "conversations about videos, images and sounds from JSON / JSONL files (LLaVA or messages style), or a mixture",
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return the preset of a manifest whose path must be given."""
    return Path(__file__).parent / "conf"
