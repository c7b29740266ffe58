"""Errors the user can fix. The command line prints them as one clear message, without a traceback, and exits with their
``exit_code``: 2 for all but ``OutputError``.

Each message is a short conversation: what was asked, what was found, what is allowed, what to do next.
"""

import difflib
import errno
from collections.abc import Iterable, Sequence

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the options it may have been meant for. Of options in folders
    (``system/finetune``), a folder or a last word is meant for all that have it.
    """
    options = list(options)
    near = difflib.get_close_matches(word, options, n=3) or [item for item in options if word in item.split("/")]
    return f". Did you mean {' or '.join(map(repr, near))}?" if near else ""


def some_of(items: Sequence[str], shown: int = 8, between: str = ", ") -> str:
    """List the first ``shown`` items for a message, and how many more there are."""
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return between.join(items[:shown]) + more


def one_line(error: BaseException) -> str:
    """Return an error's message in one line; the name of its class if it has none, or cannot give it."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # others' code: its __str__ fails
        text = ""
    return text or type(error).__name__


def named_line(error: BaseException) -> str:
    """Return an error's class and message in one line; only the class if there is no message."""
    name, text = type(error).__name__, one_line(error)
    return name if text == name else f"{name}: {text}"


class UserError(Exception):
    """Base of all errors below; any other exception that escapes is a bug in vlframe or in a plugin."""

    exit_code = 2  # of the process


class ConfigError(UserError, ValueError):
    """A configuration that cannot work: a wrong key, a wrong type, parts that do not fit."""


class NoArchitecture(ConfigError):
    """A part that is to be built and has no sizes: neither spelled out nor in a folder of weights."""


class UnknownName(UserError, LookupError):
    """A name that no installed plugin offers."""


class PluginError(UserError, RuntimeError):
    """A plugin that cannot be used: it does not import, or its names clash with another's."""


class DataError(UserError, ValueError):
    """A manifest or a sample with impossible content."""


class NothingToLearn(DataError):
    """A training sample without any supervised token."""


class MediaError(UserError, ValueError):
    """A media file that cannot be read as requested.

    ``path`` and ``reader`` are filled in by the code that knows which file was being read, and with what.
    """

    path: str | None = None
    reader: str | None = None


class NoAudioTrack(MediaError):
    """A media file without sound where sound was requested; ``media.missing_audio`` decides what happens."""


class WeightsError(UserError, ValueError):
    """Weights that are missing, unexpected or of the wrong shape."""


class TrainingError(UserError, RuntimeError):
    """A step that cannot be taken: a non-finite loss, or out of memory."""


class OutOfMemory(TrainingError):
    """A step that needs more memory than there is."""

    def __init__(self, message: str, stage: str) -> None:
        super().__init__(message)
        self.stage = stage  # of the run


class OutputError(UserError, RuntimeError):
    """The work is done, but some of its results could not be written or logged."""

    exit_code = 3


def for_users(error: BaseException) -> UserError | None:
    """Return an error as one that a user can do something about: itself, or what a refusal of the operating system
    that no part of vlframe explained comes to. None for a bug.
    """
    if isinstance(error, UserError):
        return error
    if not isinstance(error, OSError):
        return None
    if error.errno == errno.ENAMETOOLONG and isinstance(error.filename, str):
        return ConfigError(
            f"there can be no file or folder {error.filename[:80]}…: the name has {len(error.filename)} characters, "
            "and the system takes no names as long; is it a text in the place of a path?"
        )
    if error.errno in NO_ROOM:
        where = error.filename or "to a file, or as output"
        return OutputError(
            f"there is no room for what was to be written ({where}): {error.strerror}; make room, and give the command "
            "again"
        )
    return None
