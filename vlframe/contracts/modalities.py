"""The table of modalities and kinds of media. A plugin adds a modality with the hook ``vlframe_modalities``."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection
from dataclasses import dataclass

from vlframe.errors import PluginError

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")  # a key of a config, a column of a manifest, <name> in text
PATH = re.compile(r"\w+(\.\w+)*:\w+")  # of what is imported when it is used


@dataclass(frozen=True)
class MediaKind:
    """A kind of file that a conversation can refer to.

    ``name`` is used in manifests and tags (``<name>``). ``placeholder`` is the negative id that stands for it in token
    ids. ``decoder`` is the class, by path, that finds its timeline and decodes it (``vlframe.contracts.decoder``); None
    only for first-party media, which the room ``media`` decodes.
    """

    name: str
    placeholder: int
    decoder: str | None

    @property
    def tag(self) -> str:
        return f"<{self.name}>"


@dataclass(frozen=True)
class Modality:
    """A branch of a model: the media it takes, and the two kinds of component that it consists of.

    ``encoder`` and ``connector`` are kinds, and the names of the parts in a config and in a checkpoint. ``branch`` is
    the class, by path, that joins them; None only for first-party modalities, which the room ``model`` joins.
    """

    name: str
    media: tuple[MediaKind, ...]
    encoder: str
    connector: str
    branch: str | None


VIDEO, IMAGE, AUDIO = MediaKind("video", -201, None), MediaKind("image", -200, None), MediaKind("audio", -202, None)

MODALITIES: dict[str, Modality] = {
    "video": Modality("video", (VIDEO, IMAGE), "encoder", "connector", None),
    "audio": Modality("audio", (AUDIO,), "audio_encoder", "audio_connector", None),
}
FIRST_PARTY = tuple(MODALITIES)

TAGS: dict[str, str] = {}  # media kind -> tag; filled from the table
PLACEHOLDERS: dict[str, int] = {}  # media kind -> its placeholder id; negative, so that it is never a token's id


def media_kind(name: str) -> MediaKind:
    """Return the kind of media of that name. KeyError if there is none."""
    return next(kind for kind in media_kinds() if kind.name == name)


def media_kinds() -> list[MediaKind]:
    return [kind for modality in MODALITIES.values() for kind in modality.media]


def modality_of(kind: str) -> Modality:
    """Return the modality that takes media of this kind."""
    for modality in MODALITIES.values():
        if any(item.name == kind for item in modality.media):
            return modality
    raise KeyError(f"no modality takes media of the kind {kind!r}; there are {', '.join(TAGS)}")


def parts() -> tuple[str, ...]:
    """Return the names of the parts that a model may have, in the order of tables and optimizer groups."""
    return (*(name for item in MODALITIES.values() for name in (item.encoder, item.connector)), "llm")


def add_modality(modality: Modality, reserved: Collection[str] = ()) -> None:
    """Put a plugin's modality into the table. PluginError says what of it cannot be.

    ``reserved`` are names that its kinds of component may not have: those of other kinds, and of keys of a run.
    """
    if MODALITIES.get(modality.name) == modality:
        return
    if problem := _problem(modality, reserved):
        raise PluginError(f"the modality {modality.name!r} {problem}")
    MODALITIES[modality.name] = modality
    _fill()


def _problem(modality: Modality, reserved: Collection[str]) -> str:
    """Return what is wrong with a new modality; "" = nothing."""
    media = modality.media
    if not isinstance(media, tuple) or not media or not all(isinstance(item, MediaKind) for item in media):
        return f"has the media {media!r}; they are a tuple of vlframe.MediaKind, at least one"
    return (
        _problem_of_names(modality, reserved)
        or _problem_of_placeholders([kind.placeholder for kind in modality.media])
        or _problem_of_paths(modality)
    )


def _problem_of_names(modality: Modality, reserved: Collection[str]) -> str:
    """Return what is wrong with the names: each is a key of configs or manifests, so each is new, and can be typed."""
    media, parts_of_it = [kind.name for kind in modality.media], [modality.encoder, modality.connector]
    for name in (modality.name, *media, *parts_of_it):
        if not isinstance(name, str) or not NAME.fullmatch(name) or keyword.iskeyword(name):
            return (
                f"has the name {name!r}; a name takes small letters, digits and single _ between them, like depth_map"
            )
    taken = [name for name in media if name in TAGS or media.count(name) > 1]
    if modality.name in MODALITIES or taken:
        return f"or its media {', '.join(taken) or '-'} already exist; rename it"
    known = {*reserved, *parts(), *(parts_of_it[:1] if len(set(parts_of_it)) == 1 else ())}
    if taken := [name for name in parts_of_it if name in known]:
        return (
            f"has an encoder of the kind {modality.encoder!r} and a connector of the kind {modality.connector!r}; both "
            f"are kinds of its own, and {taken[0]!r} is taken"
        )
    return ""


def _problem_of_placeholders(placeholders: list[int]) -> str:
    ids = [kind.placeholder for kind in media_kinds()]
    wrong = [
        item for item in placeholders if type(item) is not int or item >= 0 or [*ids, *placeholders].count(item) > 1
    ]
    if not wrong:
        return ""
    return (
        f"has the placeholders {wrong}; they are negative numbers that no other kind of media has (taken: "
        f"{', '.join(map(str, ids))})"
    )


def _problem_of_paths(modality: Modality) -> str:
    paths = [modality.branch, *(kind.decoder for kind in modality.media)]
    if None in paths:
        return "names no branch, or no decoder for one of its media; both are classes by path (module:Class)"
    wrong = [path for path in paths if not PATH.fullmatch(str(path))]
    return f"has the path {wrong[0]!r}; branch and decoders are classes by path, 'module:Class'" if wrong else ""


def forget_modalities(names: Collection[str]) -> None:
    """Take modalities of a plugin that cannot be used out of the table."""
    for name in names:
        MODALITIES.pop(name, None)
    _fill()


def forget_plugins_modalities() -> None:
    """Keep only the first-party modalities, before plugins are looked up again."""
    forget_modalities([name for name in MODALITIES if name not in FIRST_PARTY])


def _fill() -> None:
    TAGS.clear()
    TAGS.update({kind.name: kind.tag for kind in media_kinds()})
    PLACEHOLDERS.clear()
    PLACEHOLDERS.update({kind.name: kind.placeholder for kind in media_kinds()})


_fill()
