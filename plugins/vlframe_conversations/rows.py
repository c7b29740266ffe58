"""A row of a manifest to a Sample. Nothing is guessed: what does not add up is a DataError that names the place.

Two styles, recognised by their fields::

    {"id": …, "video" | "image" | "audio": FILES, "conversations": [{"from": "human", "value": "<video>Why?"}, …],
     "start": 1.5, "end": 4}
    {"id": …, "videos" | "images" | "audios": FILES, "messages": [{"role": "user", "content": "<video>Why?"}, …]}

``FILES`` is a path, an object ``{"path": …, "start": …, "end": …}`` in seconds, or a list of those. The n-th
``<video>`` of the texts is the n-th video, and so for images and sounds. A row whose texts say ``<audio>`` and which
names videos and no sound file means the sound tracks of those videos, and says it once for each. Either style may have
``answer``, ``options`` and ``category`` for benchmarks. A field that is ``null`` counts as absent.
"""

import math
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlframe import DataError, Media, Sample, Turn

TAG = re.compile(r"<(video|image|audio)>")
KINDS = ("video", "image", "audio")
ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
SPAN = ("start", "end")
COMMON = ("id", "answer", "options", "category")


@dataclass(frozen=True)
class Style:
    """How a style of rows calls its fields. ``media`` follows the order of ``KINDS``."""

    turns: str
    role: str
    text: str
    media: tuple[str, str, str]
    more: tuple[str, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.turns, *self.media, *self.more)


LLAVA = Style("conversations", "from", "value", ("video", "image", "audio"), (*SPAN, *COMMON))
MESSAGES = Style("messages", "role", "content", ("videos", "images", "audios"), COMMON)


def refuse(message: str) -> None:
    raise DataError(message)


@dataclass(frozen=True)
class RowReader:
    """Reads the rows of one manifest. ``root`` is absolute; no media path leads out of it.

    ``unknown`` is told of fields that are not known; a row is read on without them where it does not raise.
    """

    root: Path
    sound: bool
    ignored: Collection[str]
    unknown: Callable[[str], None] = refuse

    def sample(self, row: Mapping[str, Any], where: str, unnamed: str) -> Sample:
        """``where`` is the place of the row, for messages; ``unnamed`` the id of a row without one."""
        row = self._known(row, where)
        name = row.get("id", unnamed)
        if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
            raise DataError(f"{where}: 'id' is text or a whole number, not {name!r}")
        where = f"{where}, sample {str(name)!r}"
        style = _style(row, where)
        self._check_fields(row, style.fields, where)
        turns = self._turns(row[style.turns], style, where)
        media = _in_text_order(turns, self._files(row, style, where), style, where)
        if self.sound:
            turns, media = _with_sound(turns, media)
        return Sample(str(name), turns, media, _text(row, "answer", where), _options(row, where), _category(row, where))

    def _known(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        if not isinstance(row, Mapping):
            raise DataError(f"{where}: expected a JSON object, found {row!r}")
        return {key: value for key, value in row.items() if value is not None and key not in self.ignored}

    def _check_fields(self, row: Mapping[str, Any], known: Collection[str], where: str) -> None:
        unknown = [key for key in row if key not in known]
        if unknown:
            self.unknown(
                f"{where}: unknown field(s) {', '.join(unknown)}; known here are {', '.join(known)}. To read the file "
                f"without them: ignore_fields=[{','.join([*self.ignored, *unknown])}]"
            )

    def _turns(self, found: Any, style: Style, where: str) -> tuple[Turn, ...]:
        if not isinstance(found, list) or not found:
            raise DataError(f"{where}: {style.turns!r} is a list of turns, not {found!r}")
        turns = []
        for number, item in enumerate(found, start=1):
            here = f"{where}, turn {number}"
            item = self._known(item, here)
            self._check_fields(item, (style.role, style.text), here)
            text, role = item.get(style.text), item.get(style.role)
            if not isinstance(text, str):
                raise DataError(f"{here}: {style.text!r} is text, not {text!r}")
            if not isinstance(role, str) or role not in ROLES:
                raise DataError(f"{here}: {style.role!r} is {role!r}; it is one of {', '.join(ROLES)}")
            turns.append(Turn(ROLES[role], text))
        _check_order([turn.role for turn in turns], where)
        return tuple(turns)

    def _files(self, row: Mapping[str, Any], style: Style, where: str) -> dict[str, list[Media]]:
        files: dict[str, list[Media]] = {}
        for kind, key in zip(KINDS, style.media, strict=True):
            items = row.get(key, [])
            items = items if isinstance(items, list) else [items]
            files[kind] = [self._media(kind, item, f"{where}, {key!r}") for item in items]
        start, end = _span(row, where) if style is LLAVA else (None, None)
        if (start, end) != (None, None):
            timed = [(kind, at) for kind in ("video", "audio") for at in range(len(files[kind]))]
            if len(timed) != 1:
                raise DataError(
                    f"{where}: 'start' and 'end' of a row belong to its one video or sound, and it has {len(timed)}; "
                    'write {"path": …, "start": …, "end": …} for each'
                )
            kind, at = timed[0]
            files[kind][at] = replace(files[kind][at], start=start, end=end)
        return files

    def _media(self, kind: Any, item: Any, where: str) -> Media:
        if isinstance(item, Mapping):
            item = self._known(item, where)
            self._check_fields(item, ("path", *SPAN), where)
            start, end = _span(item, where)
            if kind == "image" and (start, end) != (None, None):
                raise DataError(f"{where}: an image has no start and end")
            return Media(kind, self._path(item.get("path"), where), start, end)
        return Media(kind, self._path(item, where))

    def _path(self, path: Any, where: str) -> Path:
        """``path`` under the root. Judged by its letters: a link inside the root may lead anywhere its owner wants."""
        if not isinstance(path, str) or not path:
            raise DataError(f"{where}: a media file is named by a path, not {path!r}")
        full = Path(os.path.normpath(self.root / path))
        if full == self.root or not full.is_relative_to(self.root):
            raise DataError(
                f"{where}: {path!r} is not a file inside the media folder {self.root}; paths start there and may not "
                "leave it. Set media_root to the folder that holds the media"
            )
        return full


def _style(row: Mapping[str, Any], where: str) -> Style:
    styles = [style for style in (LLAVA, MESSAGES) if style.turns in row]
    if len(styles) != 1:
        raise DataError(f"{where}: a row has either 'conversations' or 'messages', and this one has {', '.join(row)}")
    return styles[0]


def _check_order(roles: list[str], where: str) -> None:
    talk = roles[1:] if roles[0] == "system" else roles
    expected = [("user", "assistant")[index % 2] for index in range(len(talk))]
    if not talk or talk != expected:
        raise DataError(
            f"{where}: the turns are {', '.join(roles)}; user and assistant take turns, the user first, after at most "
            "one system turn"
        )


def _in_text_order(
    turns: tuple[Turn, ...], files: dict[str, list[Media]], style: Style, where: str
) -> tuple[Media, ...]:
    """The media in the order of their tags."""
    tags = [tag for turn in turns for tag in TAG.findall(turn.text)]
    if "audio" in tags and files["video"] and not files["audio"]:
        files = {**files, "audio": [replace(video, kind="audio", track=True) for video in files["video"]]}
    for kind, key in zip(KINDS, style.media, strict=True):
        if tags.count(kind) != len(files[kind]):
            raise DataError(
                f"{where}: the texts hold {tags.count(kind)} <{kind}> tag(s) and {key!r} names {len(files[kind])} "
                f"file(s); write one <{kind}> for each, where it is to be seen or heard"
            )
    rest = {kind: iter(files[kind]) for kind in KINDS}
    return tuple(next(rest[tag]) for tag in tags)


def _with_sound(turns: tuple[Turn, ...], media: tuple[Media, ...]) -> tuple[tuple[Turn, ...], tuple[Media, ...]]:
    """Each video followed by its own track; a row that asks for its tracks itself stays as it is."""
    if any(item.track for item in media):
        return turns, media
    heard: list[Media] = []
    for item in media:
        heard += [item, replace(item, kind="audio", track=True)] if item.kind == "video" else [item]
    return tuple(replace(turn, text=turn.text.replace("<video>", "<video><audio>")) for turn in turns), tuple(heard)


def _span(row: Mapping[str, Any], where: str) -> tuple[float | None, float | None]:
    for key in SPAN:
        value = row.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise DataError(f"{where}: {key!r} is a number of seconds from 0 on, not {value!r}")
    start, end = (float(row[key]) if key in row else None for key in SPAN)
    if end is not None and end <= (start or 0.0):
        raise DataError(f"{where}: it ends at {end:g} s, which is not after its start at {start or 0.0:g} s")
    return start, end


def _text(row: Mapping[str, Any], key: str, where: str) -> str | None:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise DataError(f'{where}: {key!r} is text, not {value!r}; write it in quotes: "{value}"')
    return value


def _category(row: Mapping[str, Any], where: str) -> str:
    return _text(row, "category", where) or ""


def _options(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    options = row.get("options", [])
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise DataError(f"{where}: 'options' is a list of texts, not {options!r}")
    return tuple(options)
