"""Turn a row of a manifest into a Sample. Nothing is guessed: an inconsistent row is a DataError that names its place.

Two styles, whose names for things may be mixed::

    {"id": …, "video" | "image" | "audio": FILES, "conversations": [{"from": "human", "value": "<video>Why?"}, …],
     "start": 1.5, "end": 4}
    {"id": …, "videos" | "images" | "audios": FILES, "messages": [{"role": "user", "content": "<video>Why?"}, …]}

``FILES`` is a path, an object ``{"path": …, "start": …, "end": …}`` in seconds, or a list of those. The path of a video
may be a folder of pictures, or a list of pictures (``"videos": [["1.png", "2.png"]]``; a list of pictures for a row's
only ``<video>`` also forms one clip). The n-th ``<video>`` of the users' texts is the n-th video, and likewise for
images and sounds; ``\\<video>`` is plain text, and so is a tag in an assistant or system turn. The content of a message
may be a list of parts (``vlframe_conversations.turns``). In a row with videos and no sound file, ``<audio>``, once for
each video, means the videos' sound tracks. Either style may have ``answer``, ``options`` and ``category`` for
benchmarks; an ``answer`` may be a list of texts that are all right. A ``null`` field counts as absent, and so does an
empty name of a media file.
"""

import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlframe import (
    PICTURE_SUFFIXES,
    TAGS,
    ClipPath,
    DataError,
    FrameList,
    Media,
    Sample,
    Turn,
    address_hint,
    as_words,
    media_tags,
    moved_path,
    picture_count,
    tag_after,
)
from vlframe_conversations.answers import read_answers, read_category, read_options
from vlframe_conversations.turns import read_turns
from vlframe_conversations.unknown import advice

TURNS = ("conversations", "messages")
SPAN = ("start", "end")
COMMON = ("id", "answer", "options", "category")


def media_names() -> list[str]:
    """Return the fields that name files in rows: each kind of media of vlframe and the plugins, and its plural."""
    return [name for kind in TAGS for name in (kind, f"{kind}s")]


def refuse(message: str) -> None:
    raise DataError(message)


@dataclass(frozen=True)
class RowReader:
    """Reads the rows of one manifest. ``root`` is absolute; no media path may leave it.

    ``stray_tags`` decides about a user's tag in a row without media: an error, or plain text. ``unknown`` is called
    with unknown fields; if it does not raise, the row is read without them.
    """

    root: Path
    sound: bool
    ignored: Collection[str]
    stray_tags: str = "error"
    unknown: Callable[[str], None] = refuse
    moved: Mapping[str, str] = field(default_factory=dict)  # folders that have moved since the manifest was written

    def sample(self, row: Mapping[str, Any], where: str, unnamed: str) -> Sample:
        """Read a row. ``where`` is its place, for messages; ``unnamed`` the id of a row without one."""
        given, row = row, self._known(row, where)
        name = row.get("id", unnamed)
        if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
            raise DataError(f"{where}: 'id' is text or a whole number, not {name!r}")
        place, where = where, f"{where}, sample {str(name)!r}"
        name_of_turns = _name_of_turns(row, given, where)
        self._check_fields(row, (*TURNS, *media_names(), *SPAN, *COMMON), where)
        turns, among_parts = read_turns(row[name_of_turns], name_of_turns, where, self._fields)
        if (
            self.stray_tags == "word"
            and not any(row.get(key) for key in media_names())
            and not any(among_parts.values())
        ):
            turns = tuple(replace(turn, text=as_words(turn.text)) if turn.role == "user" else turn for turn in turns)
        media = _in_text_order(turns, self._files(row, among_parts, turns, where), where)
        if self.sound:
            turns, media = _with_sound(turns, media)
        first, *others = read_answers(row, where) or (None,)
        options, category = read_options(row, where), read_category(row, where)
        try:
            return Sample(str(name), turns, media, first, options, category, tuple(others))
        except DataError as error:
            raise DataError(f"{place}, {error}") from error

    def _known(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        if not isinstance(row, Mapping):
            raise DataError(f"{where}: expected a JSON object, found {row!r}")
        return {key: value for key, value in row.items() if value is not None and key not in self.ignored}

    def _check_fields(self, row: Mapping[str, Any], known: Collection[str], where: str) -> None:
        unknown = [key for key in row if key not in known]
        if unknown:
            hint = advice({name: row[name] for name in unknown}, known, [*self.ignored])
            if "path" in known and not any(key in row for key in known if key not in ("type", *SPAN)):
                hint = "None of them names the file: write its path in 'path'"  # one that is ignored may be the file
            self.unknown(f"{where}: unknown field(s) {', '.join(unknown)}; known here are {', '.join(known)}. {hint}")

    def _fields(self, item: Any, known: Collection[str], where: str) -> dict[str, Any]:
        """Return the known fields that an object has."""
        item = self._known(item, where)
        self._check_fields(item, known, where)
        return item

    def _files(
        self, row: Mapping[str, Any], among_parts: Mapping[str, list[Any]], turns: tuple[Turn, ...], where: str
    ) -> dict[str, list[Media]]:
        files: dict[str, list[Media]] = {}
        for kind in TAGS:
            key = _media_name(row, kind, where)
            items = row.get(key, [])
            items = [item for item in (items if isinstance(items, list) else [items]) if item != ""]
            if kind == "video" and isinstance(row.get(key), list) and self._is_one_clip(items, turns):
                items = [items]
            if items and among_parts[kind]:
                raise DataError(f"{where}: it names files in {key!r} and among the parts of its turns; name each once")
            files[kind] = [self._media(kind, item, f"{where}, {key!r}") for item in items or among_parts[kind]]
        start, end = _span(row, where)
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

    def _is_one_clip(self, items: list[Any], turns: tuple[Turn, ...]) -> bool:
        """Return whether a list of files for the only ``<video>`` of the texts holds the pictures of one clip.

        A single file that is an animation is a clip itself.
        """
        pictures = [isinstance(item, str) and item.lower().endswith(PICTURE_SUFFIXES) for item in items]
        if media_tags(turns).count("video") != 1 or not all(pictures):
            return False
        return len(items) > 1 or (len(items) == 1 and picture_count(self.root / items[0]) == 1)

    def _media(self, kind: Any, item: Any, where: str) -> Media:
        if isinstance(item, Mapping):
            if item.get("bytes") is not None:
                raise DataError(
                    f"{where}: it holds the file itself ('bytes'), as data sets of the Hugging Face hub do, and rows "
                    'name files; write the bytes into a file, and name that: {"path": …}'
                )
            item = self._fields(item, ("path", *SPAN), where)
            start, end = _span(item, where)
            if kind == "image" and (start, end) != (None, None):
                raise DataError(f"{where}: an image has no start and end")
            return Media(kind, self._clip(kind, item.get("path"), where), start, end)
        return Media(kind, self._clip(kind, item, where))

    def _clip(self, kind: str, path: Any, where: str) -> ClipPath:
        """Return the path of a file, or the paths of the pictures of a clip."""
        if kind == "video" and isinstance(path, list) and path:
            return FrameList(self._path(item, where) for item in path)
        return self._path(path, where)

    def _path(self, path: Any, where: str) -> Path:
        """Return ``path`` under the root. Only its text is checked: a link inside the root may point anywhere."""
        if not isinstance(path, str) or not path:
            raise DataError(f"{where}: a media file is named by a path, not {path!r}")
        if hint := address_hint(path):
            raise DataError(f"{where}: {hint}")
        full = Path(os.path.normpath(self.root / moved_path(path, self.moved)))
        if full == self.root or not full.is_relative_to(self.root):
            raise DataError(
                f"{where}: {path!r} is not a file inside the media folder {self.root}; paths start there and may not "
                "leave it. Set media_root to the folder that holds the media"
            )
        if "\\" in path and os.sep == "/" and not full.exists():
            raise DataError(
                f"{where}: {path!r} has backslashes, which are written / here; there is no file of that name"
            )
        return full


def _name_of_turns(row: Mapping[str, Any], given: Mapping[str, Any], where: str) -> str:
    names = [name for name in TURNS if name in row]
    nulls = [name for name in TURNS if name in given and given[name] is None]
    if nulls and not names:
        raise DataError(f"{where}: {nulls[0]!r} is a list of turns, and here it is null; leave such rows out")
    if len(names) != 1:
        raise DataError(f"{where}: a row has either 'conversations' or 'messages', and this one has {', '.join(row)}")
    return names[0]


def _media_name(row: Mapping[str, Any], kind: str, where: str) -> str:
    """Return the row's name for its files of this kind."""
    names = [name for name in (kind, f"{kind}s") if name in row]
    if len(names) > 1:
        raise DataError(f"{where}: it has both {kind!r} and '{kind}s'; name all files of a kind in one of them")
    return names[0] if names else kind


def _in_text_order(turns: tuple[Turn, ...], files: dict[str, list[Media]], where: str) -> tuple[Media, ...]:
    """Return the media in the order of their tags."""
    tags = media_tags(turns)
    if tags and not any(files.values()):
        tag = f"<{tags[0]}>"
        raise DataError(
            f"{where}: a user's text has the tag {tag}, and the row names no media file. If it is a word, write "
            f'"\\\\{tag}" (in JSON), or read the tags of all such rows as words with stray_tags=word; if not, name the '
            f"file in {tags[0]!r}"
        )
    if "audio" in tags and files["video"] and not files["audio"]:
        files = {**files, "audio": [replace(video, kind="audio", track=True) for video in files["video"]]}
    for kind in TAGS:
        if tags.count(kind) != len(files[kind]):
            raise DataError(
                f"{where}: the users' texts hold {tags.count(kind)} <{kind}> tag(s) and the row names "
                f"{len(files[kind])} file(s) of that kind; write one <{kind}> for each, where it is to be seen or heard"
            )
    rest = {kind: iter(files[kind]) for kind in TAGS}
    return tuple(next(rest[tag]) for tag in tags)


def _with_sound(turns: tuple[Turn, ...], media: tuple[Media, ...]) -> tuple[tuple[Turn, ...], tuple[Media, ...]]:
    """Insert each video's own track after it; a row that already has its tracks is unchanged."""
    if any(item.track for item in media):
        return turns, media
    heard: list[Media] = []
    for item in media:
        heard += [item, replace(item, kind="audio", track=True)] if item.kind == "video" else [item]
    said = [
        replace(turn, text=tag_after(turn.text, "video", "audio")) if turn.role == "user" else turn for turn in turns
    ]
    return tuple(said), tuple(heard)


def _span(row: Mapping[str, Any], where: str) -> tuple[float | None, float | None]:
    for key in SPAN:
        value = row.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise DataError(f"{where}: {key!r} is a number of seconds from 0 on, not {value!r}")
    start, end = (float(row[key]) if key in row else None for key in SPAN)
    if end is not None and end <= (start or 0.0):
        raise DataError(f"{where}: it ends at {end:g} s, which is not after its start at {start or 0.0:g} s")
    return start, end
