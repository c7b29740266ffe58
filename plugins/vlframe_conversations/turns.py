"""Read the turns of a row: roles, and texts, which may be lists of parts.

A turn has ``from`` and ``value``, or ``role`` and ``content``, whatever the row calls its list of turns. A content may
be a list of parts, as in chat APIs::

    [{"type": "video", "video": "a.mp4"}, {"type": "text", "text": "What moves?"}]

A media part becomes a tag in its place, and its file the next of its kind. One without a file means the next file of
the row. In a row with media among its parts, a tag in the texts is plain text.
"""

from collections.abc import Callable, Mapping
from typing import Any

from vlframe import TAGS, DataError, Turn, as_words

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
TOOLS = ("tool", "function", "function_call", "function_response", "observation", "ipython")
SPEAKER, SAID = ("from", "role"), ("value", "content")
TEXTS = ("text", "input_text", "output_text")  # types of text parts

Fields = Callable[[Any, tuple[str, ...], str], dict[str, Any]]  # checks an object and returns the fields it has


def read_turns(found: Any, name: str, where: str, fields: Fields) -> tuple[tuple[Turn, ...], dict[str, list[Any]]]:
    """Return the turns, and the files among their parts, by kind. ``name`` is the row's name for the list."""
    if not isinstance(found, list) or not found:
        raise DataError(f"{where}: {name!r} is a list of turns, not {found!r}")
    items = [fields(item, (*SPEAKER, *SAID), f"{where}, turn {at}") for at, item in enumerate(found, start=1)]
    has_media = any(_is_medium(part) for item in items for part in _parts(item))
    files: dict[str, list[Any]] = {kind: [] for kind in TAGS}
    turns = []
    for number, item in enumerate(items, start=1):
        here = f"{where}, turn {number}"
        _refuse_nulls(found[number - 1], item, here)
        role = _role(item, here)
        said = _one_of(SAID, item, here)
        text = item[said]
        if isinstance(text, list):
            text = "".join(_part(part, role, has_media, files, f"{here}, {said!r}", fields) for part in text)
        if not isinstance(text, str):
            raise DataError(f"{here}: {said!r} is text, or a list of parts, not {text!r}")
        turns.append(Turn(role, text))
    _check_order([turn.role for turn in turns], where)
    return tuple(turns), files


def _role(item: Mapping[str, Any], where: str) -> Any:
    key = _one_of(SPEAKER, item, where)
    role = item[key]
    if role in TOOLS if isinstance(role, str) else False:
        raise DataError(f"{where}: {key!r} is {role!r}; turns of tools are not read. Leave such rows out")
    if not isinstance(role, str) or role not in ROLES:
        raise DataError(f"{where}: {key!r} is {role!r}; it is one of {', '.join(ROLES)}")
    return ROLES[role]


def _refuse_nulls(given: Mapping[str, Any], kept: Mapping[str, Any], where: str) -> None:
    """Refuse a turn that says who speaks, or what, with null only: a null field counts as absent."""
    for pair in (SPEAKER, SAID):
        nulls = [key for key in pair if key in given and given[key] is None]
        if nulls and not any(key in kept for key in pair):
            speaker = f"one of {', '.join(ROLES)}"
            said = 'text, or a list of parts; write "" where nothing is said, and leave out rows with calls of tools'
            raise DataError(f"{where}: {nulls[0]!r} is null; it is {speaker if pair is SPEAKER else said}")


def _one_of(keys: tuple[str, str], item: Mapping[str, Any], where: str) -> str:
    found = [key for key in keys if key in item]
    if len(found) != 1:
        has = f"both {' and '.join(map(repr, found))}" if found else f"neither ({', '.join(item) or 'nothing'})"
        raise DataError(
            f"{where}: a turn has {keys[0]!r} or {keys[1]!r}, and this one has {has}; it says who speaks in 'from' or "
            "'role', and what in 'value' or 'content'. Rename its fields"
        )
    return found[0]


def _parts(item: Mapping[str, Any]) -> list[Any]:
    said = item.get("content", item.get("value"))
    return said if isinstance(said, list) else []


def _is_medium(part: Any) -> bool:
    return isinstance(part, Mapping) and _kind(part) in TAGS


def _kind(part: Mapping[str, Any]) -> str:
    return str(part.get("type")).removeprefix("input_").removesuffix("_url")


def _part(part: Any, role: str, has_media: bool, files: dict[str, list[Any]], where: str, fields: Fields) -> str:
    """Return the text of a part, or a tag for its medium, whose file is added to ``files``."""
    if not isinstance(part, Mapping):
        raise DataError(f"{where}: a part is an object with a 'type', not {part!r}")
    if part.get("type") in TEXTS:
        text = fields(part, ("type", "text"), where).get("text")
        if not isinstance(text, str):
            raise DataError(f"{where}: 'text' of a part is text, not {text!r}")
        return as_words(text) if has_media and role == "user" else text
    kind = _kind(part)
    if kind not in TAGS:
        raise DataError(f"{where}: a part is of the type {part.get('type')!r}; there are text, {', '.join(TAGS)}")
    if role != "user":
        raise DataError(f"{where}: there is {kind} in a turn of the {role}; media belong in users' turns")
    keys = (kind, f"{kind}_url", "path", "url")
    part = fields(part, ("type", *keys, "start", "end"), where)
    named = [part[key] for key in keys if part.get(key)]
    if len(named) > 1:
        raise DataError(
            f"{where}: a part names one file, and this one has {', '.join(key for key in keys if key in part)}"
        )
    if named:
        files[kind].append(_file(named[0], part))
    return f"<{kind}>"


def _file(named: Any, part: Mapping[str, Any]) -> Any:
    """Return the file as a row's own media field would have it."""
    if isinstance(named, Mapping) and set(named) <= {"url", "detail"}:
        named = named.get("url")
    span = {key: part[key] for key in ("start", "end") if key in part}
    return {"path": named, **span} if span else named


def _check_order(roles: list[str], where: str) -> None:
    talk = roles[1:] if roles[0] == "system" else roles
    expected = [("user", "assistant")[index % 2] for index in range(len(talk))]
    if not talk or talk != expected:
        raise DataError(
            f"{where}: the turns are {', '.join(roles)}; user and assistant take turns, the user first, after at most "
            "one system turn"
        )
