"""A command line, parsed once: flags, overrides in Hydra's grammar, plugins, absent parts, free text."""

from __future__ import annotations

import re
from argparse import ArgumentError, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, OverrideType, Quote, QuotedString
from hydra.errors import OverrideParseException

from vlframe.composer.explain import unreadable_word
from vlframe.composer.path_words import path_word
from vlframe.config.secrets import FREE_WORDS, refuse_secret_words
from vlframe.contracts.kinds import first_party_kinds, kinds
from vlframe.errors import ConfigError, one_line

FLAGS_WITH_A_WORD = (
    "--cfg", "-c", "--package", "-p", "--info", "-i", "--config-dir", "-cd", "--config-name", "-cn",
    "--config-path", "-cp",
)  # fmt: skip
FLAGS = (
    "--help", "-h", "--multirun", "-m", "--run", "-r", "--resolve", "--hydra-help",
    *FLAGS_WITH_A_WORD,
)  # fmt: skip
CLOSING = {"[": "]", "{": "}", "(": ")"}
SIGNS = {OverrideType.ADD: "+", OverrideType.FORCE_ADD: "++", OverrideType.DEL: "~"}


@dataclass(frozen=True)
class Word:
    """One override. ``sign`` is its prefix (none, +, ++, ~); ``value`` is None for a sweep."""

    text: str
    key: str  # or the group, with its package: dataset@stages.main.data
    sign: str = ""
    value: Any = None
    sweep: tuple[str, ...] = ()  # the values of a sweep, as written
    varies: bool = False  # differs between jobs: a sweep, or an interval from which a sweeper chooses

    @property
    def written(self) -> str:
        """Return the value as written."""
        return self.text.partition("=")[2]

    def moved(self, key: str, sign: str) -> Word:
        """Return the same value under another key."""
        return replace(self, text=f"{sign}{key}={self.written}", key=key, sign=sign)


@dataclass(frozen=True)
class CommandLine:
    """The parsed arguments after the command's name."""

    command: str
    flags: Namespace
    overrides: tuple[Word, ...] = ()
    absent: tuple[str, ...] = ()  # parts to remove (audio_encoder=null); Hydra has no override for it
    plugin_paths: tuple[str, ...] = ()
    strict: bool = False
    free: dict[str, str] = field(default_factory=dict)  # free text and file names, by key

    @property
    def words(self) -> list[str]:
        """Return the overrides as Hydra reads them."""
        return [word.text for word in self.overrides]

    @property
    def keys(self) -> list[str]:
        return [word.key for word in self.overrides]

    def value(self, key: str) -> Any:
        """Return the last value of a key; None if it has none."""
        return next((word.value for word in reversed(self.overrides) if word.key == key), None)

    def without(self, keys: Sequence[str]) -> CommandLine:
        """Return the command line without the overrides of some keys."""
        return replace(self, overrides=tuple(word for word in self.overrides if word.key not in keys))


def parse(command: str, arguments: Sequence[str]) -> CommandLine:
    """Parse the arguments after a command's name. ConfigError: a secret, an unknown flag, or a word that is no
    override.
    """
    refuse_secret_words(arguments)
    flag_words, override_words = _split(arguments)
    flags = _flags(flag_words)
    free = {key: value for key, _, value in (word.partition("=") for word in override_words) if key in FREE_WORDS}
    several = flags.multirun or "hydra.mode=MULTIRUN" in override_words
    words = [_word(text, several) for text in override_words]
    line = CommandLine(
        command,
        flags,
        overrides=tuple(words),
        plugin_paths=_plugin_paths(_last(words, "plugins.paths")),
        strict=_last(words, "plugins.strict") is True,
        free=free,
    )
    return _without_absent(line)


def _flags(words: Sequence[str]) -> Namespace:
    """Parse flags with Hydra's own parser, whose usage would be that of another program. ConfigError: a value that a
    flag does not take, or a flag without the one that it belongs to.
    """
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        flags = parser.parse_args(list(words))
    except ArgumentError as error:
        raise ConfigError(f"{one_line(error)}; see --help") from error
    for name, typed in (("resolve", "--resolve"), ("package", "--package <key>")):
        if getattr(flags, name) and not flags.cfg:
            raise ConfigError(f"--{name} changes what --cfg shows; give both, like --cfg job {typed}")
    return flags


def with_plugins_kinds(line: CommandLine) -> CommandLine:
    """Read the words again that choose components of kinds which plugins add: the line names plugins itself, so that
    these kinds were not known when it was parsed.
    """
    several = line.flags.multirun or "hydra.mode=MULTIRUN" in line.words
    new = kinds().keys() - first_party_kinds()
    words = tuple(_word(word.text, several) if word.key.partition("@")[0] in new else word for word in line.overrides)
    return _without_absent(replace(line, overrides=words))


def _without_absent(line: CommandLine) -> CommandLine:
    """Take the words that take a component out of a run from the overrides."""
    absent = [name for name, kind in kinds().items() if not kind.many and _takes_out(name, line.overrides)]
    kept = tuple(word for word in line.overrides if word.key not in absent)
    return replace(line, overrides=kept, absent=(*line.absent, *absent))


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate flags (each with its argument) from overrides, in any order. ConfigError for unknown flags."""
    flags: list[str] = []
    overrides: list[str] = []
    before = ""
    for word in arguments:
        if word.startswith("-"):
            _check_flag(word)
            flags.append(word)
        elif before in FLAGS_WITH_A_WORD and (before not in ("--info", "-i") or "=" not in word):
            flags.append(word)
        elif _is_override(word):
            overrides.append(word)
        else:
            if (Path(word) / "config.yaml").is_file():
                raise ConfigError(f"{word!r} is not key=value; a run is named by a key, like run={word}")
            raise ConfigError(
                f"{word!r} is not key=value; write like seed=1, and quote what has spaces for the shell, like "
                f'prompt="What happens?"'
            )
        before = word
    if before in FLAGS_WITH_A_WORD and before not in ("--info", "-i"):
        raise ConfigError(f"{before} needs a word after it, like --cfg job or --config-dir <folder>")
    return flags, overrides


def _is_override(word: str) -> bool:
    return ("=" in word or word.startswith("~")) and not word.startswith(("/", "./", "../", "~/"))


def check_words_of_file(words: Sequence[str]) -> None:
    """Check overrides that stand in a file. ConfigError: a secret, a word that is no override, or one with several
    values.
    """
    refuse_secret_words(words)
    for text in words:
        if not _is_override(text):
            raise ConfigError(f"{text!r} is not key=value; write like media.frames=8")
        if _word(text, several=False, typed=False).varies:
            raise ConfigError(f"{text!r} has several values; give one, or a list in brackets")


def words_in_brackets(key: str, text: str) -> list[str]:
    """Return the overrides of ``key=[first.a=1,second.b=[2,3]]``: those between commas that stand in no bracket and in
    no quotes. ConfigError: a bracket or quote that is not closed.
    """
    inside = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    words, open_brackets, quote = [""], "", ""
    for sign in inside:
        if sign == "," and not open_brackets and not quote:
            words.append("")
            continue
        words[-1] += sign
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in CLOSING:
            open_brackets += sign
        elif open_brackets and sign == CLOSING[open_brackets[-1]]:
            open_brackets = open_brackets[:-1]
    if open_brackets or quote:
        raise ConfigError(
            f"{key}={text} cannot be read: {(quote or open_brackets[-1])!r} is not closed; write overrides in "
            f"brackets, like {key}=[connector=<name>,media.frames=4]"
        )
    return [word.strip() for word in words if word.strip()]


def _check_flag(word: str) -> None:
    flag = word.partition("=")[0]
    if flag not in FLAGS:
        raise ConfigError(
            f"there is no option {flag!r}; keys are given without dashes ({flag.lstrip('-')}=…), and the options are "
            f"--help, --cfg job, --config-dir, -m and --traceback; of predict, --show-timeline"
        )


def _word(text: str, several: bool, typed: bool = True) -> Word:
    key, _, value = text.partition("=")
    if key in FREE_WORDS and not _is_hydras_own(key, value):
        literal = value.replace("${", r"\${")  # no interpolation
        text = f"{key}={QuotedString(literal, Quote.single).with_quotes()}"
    else:
        text = path_word(text, several=several)
    try:
        (parsed,) = OverridesParser.create().parse_overrides([text])
    except OverrideParseException as error:
        raise unreadable_word(error, typed=typed) from error
    sweep = parsed.is_sweep_override()
    if not sweep and isinstance(parsed.value(), int | float) and parsed.key_or_group in _groups():
        raise ConfigError(f"{parsed.key_or_group} is {value}; it is chosen by name (`--help` has the names)")
    if isinstance(parsed._value, Glob):
        raise ConfigError(f"{text}: glob() is not taken; write the names, separated by commas ({key}=first,second)")
    values = tuple(parsed.sweep_string_iterator()) if sweep and parsed.is_discrete_sweep() else ()
    if _chooses_null(parsed, values):
        return _word(_with_nothing_chosen(text, values), several)
    return Word(text, _key(parsed), SIGNS.get(parsed.type, ""), None if sweep else parsed.value(), values, sweep)


def _chooses_null(parsed: Override, values: Sequence[str]) -> bool:
    """Return whether a word chooses null in a group, among the values of a sweep or alone; not the word that takes a
    component out of a run (``audio_encoder=null``), which is taken from the command line.
    """
    group = parsed.key_or_group
    if parsed.is_delete() or not (parsed.package is not None or "/" in group or group in {*_groups(), "stage"}):
        return False
    if values:
        return "null" in values
    of_one = group in kinds() and not kinds()[group].many
    takes_out = of_one and parsed.package is None and parsed.type == OverrideType.CHANGE
    return not parsed.is_sweep_override() and parsed.value() is None and not takes_out


def _with_nothing_chosen(text: str, values: Sequence[str]) -> str:
    """Write null as ``[]``, no preset: Hydra takes null for a group in its own configs only."""
    written = ",".join("[]" if value == "null" else value for value in values) if values else "[]"
    return f"{text.partition('=')[0]}={written}"


def _groups() -> set[str]:
    return {*(kind.group for kind in kinds().values() if "." not in kind.group), "experiment", "model", "debug"}


def _key(parsed: Override) -> str:
    return parsed.key_or_group if parsed.package is None else f"{parsed.key_or_group}@{parsed.package}"


def _is_hydras_own(key: str, value: str) -> bool:
    """Return whether a value is left as typed: a ``[list]`` of files, ``media=null``, or a quoted text."""
    listed = key == "media" and (value.startswith("[") or value == "null")
    return listed or bool(re.fullmatch(r"(['\"]).*\1", value, re.DOTALL))


def _takes_out(kind: str, words: Sequence[Word]) -> bool:
    chosen = [word for word in words if word.key == kind and not word.sign]
    return bool(chosen) and chosen[-1].text == f"{kind}=null"


def _plugin_paths(paths: Any) -> tuple[str, ...]:
    if isinstance(paths, dict):
        raise ConfigError(f"plugins.paths is {paths}; it is a list of files, like plugins.paths=[mine.py]")
    return tuple(str(path) for path in (paths if isinstance(paths, list) else [paths] if paths else []))


def _last(words: Sequence[Word], key: str) -> Any:
    return next((word.value for word in reversed(words) if word.key == key), None)
