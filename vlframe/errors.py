"""Errors a user can mend. The command line prints them as one clear message, without a traceback, and exits with 2.

Each message is a short conversation: what was asked, what was found, what is allowed, what to do next.
"""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """The end of a message about a word that is not among the options: those it may have been meant for."""
    near = difflib.get_close_matches(word, list(options), n=3)
    return f". Did you mean {' or '.join(map(repr, near))}?" if near else ""


class UserError(Exception):
    """Base of everything below; anything else that escapes is a bug in vlframe or in a plugin."""

    exit_code = 2  # of the process that it ends


class ConfigError(UserError, ValueError):
    """A configuration that cannot work: a wrong key, a wrong type, parts that do not fit."""


class UnknownName(UserError, LookupError):
    """A name that no installed plugin offers."""


class PluginError(UserError, RuntimeError):
    """A plugin that cannot be used: it does not import, or its names clash with another's."""


class DataError(UserError, ValueError):
    """A manifest or a sample that says something impossible."""


class NothingToLearn(DataError):
    """A sample that is to be trained on and has no token that the model is to produce."""


class MediaError(UserError, ValueError):
    """A media file that cannot be read as what it was asked for.

    ``path`` and ``reader`` are filled in by whoever knows which file was being read, and with what.
    """

    path: str | None = None
    reader: str | None = None


class NoAudioTrack(MediaError):
    """A media file without sound whose sound was asked for; ``media.missing_audio`` says what happens then."""


class WeightsError(UserError, ValueError):
    """Weights that are missing, unexpected or of the wrong shape."""


class TrainingError(UserError, RuntimeError):
    """A step that cannot be taken: a loss that is no number, memory that ran out."""
