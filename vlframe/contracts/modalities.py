"""The table of modalities and kinds of media. A plugin adds a modality with the hook ``vlframe_modalities``."""

from __future__ import annotations

from dataclasses import dataclass

from vlframe.errors import PluginError


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


def add_modality(modality: Modality) -> None:
    """Put a plugin's modality into the table. PluginError if its name, media or placeholders are taken, or it lacks a
    decoder or branch.
    """
    if MODALITIES.get(modality.name) == modality:
        return
    names = [kind.name for kind in media_kinds()]
    ids = [kind.placeholder for kind in media_kinds()]
    taken = [kind.name for kind in modality.media if kind.name in names]
    if modality.name in MODALITIES or taken:
        raise PluginError(f"the modality {modality.name!r} or its media {', '.join(taken) or '-'} already exist")
    wrong = [kind.placeholder for kind in modality.media if kind.placeholder >= 0 or kind.placeholder in ids]
    if wrong:
        raise PluginError(
            f"the modality {modality.name!r} has the placeholders {wrong}; they are negative numbers that no other "
            f"kind of media has (taken: {', '.join(map(str, ids))})"
        )
    if modality.branch is None or not all(kind.decoder for kind in modality.media):
        raise PluginError(
            f"the modality {modality.name!r} names no branch, or no decoder for one of its media; both are classes of "
            "its plugin, by path (module:Class)"
        )
    MODALITIES[modality.name] = modality
    _fill()


def forget_plugins_modalities() -> None:
    """Keep only the first-party modalities, before plugins are looked up again."""
    for name in [name for name in MODALITIES if name not in FIRST_PARTY]:
        del MODALITIES[name]
    _fill()


def _fill() -> None:
    TAGS.clear()
    TAGS.update({kind.name: kind.tag for kind in media_kinds()})
    PLACEHOLDERS.clear()
    PLACEHOLDERS.update({kind.name: kind.placeholder for kind in media_kinds()})


_fill()
