"""vlframe on the command line: picks the command, and prints errors that users can fix without a traceback.

A command's module does its imports when it runs; ``--help`` and ``list`` load neither torch nor Hydra.
"""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from itertools import takewhile

from vlframe.commands import MODULES, OF_PLUGINS
from vlframe.errors import ConfigError, UserError, for_users
from vlframe.paths import word_at_home

PIPE_CLOSED = 141  # as a shell reports a process that SIGPIPE ended
STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}
MORE = """
  vlframe train --help                            every group, preset and key; --cfg job prints the composed config
  --traceback                                     show the Python traceback of an error
"""


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    traceback = "--traceback" in words or bool(os.environ.get("VLFRAME_TRACEBACK"))
    words = [word for word in words if word != "--traceback"]
    if words[:1] == ["help"]:  # vlframe help train
        words = [*words[1:], "--help"]
    words = [word_at_home(word) for word in _command_first(words)]
    _open_closed_streams()
    _show_what_can_be_shown()
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # vlframe reports an unreachable hub itself
    run = _whole if traceback else partial(_without_traceback, _whole)
    try:
        return run(words)
    except BrokenPipeError:  # `vlframe list | head -1`
        _write_no_more()
        return PIPE_CLOSED


def _command_first(words: list[str]) -> list[str]:
    """Move flags and names of plugins typed before the command to after it: ``vlframe -m train …``."""
    before = list(takewhile(lambda word: word.startswith(("-", OF_PLUGINS)), words))
    rest = words[len(before) :]
    return [rest[0], *before, *rest[1:]] if rest else words


def _open_closed_streams() -> None:
    """Open the streams that the caller has closed (``>&-``), so that no file of ours is given their numbers."""
    for name, mode in STREAMS.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (it stays open)


def _show_what_can_be_shown() -> None:
    """Escape characters that the output's encoding lacks, so that the rest is still shown."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            with suppress(OSError):  # a stream whose target Python can no longer reconfigure
                stream.reconfigure(errors="backslashreplace")


def _write_no_more() -> None:
    """Point the output to nowhere: the interpreter flushes once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _whole(words: list[str]) -> int:
    """Run the command, and write what it printed."""
    code = _run(words)
    sys.stdout.flush()
    return code


def _without_traceback(run: Callable[[list[str]], int], words: list[str]) -> int:
    try:
        return run(words)
    except (UserError, OSError) as error:
        from vlframe.config.secrets import redacted

        said = for_users(error)
        if said is None:
            raise
        try:
            sys.stdout.flush()
        except OSError:  # it is full
            _write_no_more()
        print(redacted(f"vlframe: {said}"), file=sys.stderr)
        return said.exit_code
    except KeyboardInterrupt:  # training handles it itself
        print("vlframe: stopped", file=sys.stderr)
        return 130


def _run(words: list[str]) -> int:
    of_plugins = [word for word in words if word.startswith(OF_PLUGINS)]
    first = next((word for word in words if word not in of_plugins), "--help")
    if first in ("-h", "--help"):
        print(usage(of_plugins), end="")
        return 0
    if "--version" in words:
        from vlframe import __version__

        print(f"vlframe {__version__}")
        return 0
    _check_folder()
    name, rest = words[0], words[1:]
    if name in COMMANDS:
        return COMMANDS[name](rest)
    from vlframe.commands.of_plugins import run_plugin_command

    return run_plugin_command(name, rest)


def _check_folder() -> None:
    """Raise ConfigError where the current folder is gone, which every relative path begins at."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise ConfigError("the current folder has been removed; change to one that exists (cd ~)") from error


def usage(of_plugins: Sequence[str] = ()) -> str:
    """Return the lines of all commands, those of plugins last; ``of_plugins`` are words that name further plugins."""
    from vlframe.commands.of_plugins import plugin_usage

    rows = [
        row
        for name, module in MODULES.items()
        if not name.startswith("_")
        for row in import_module(f"vlframe.commands.{module}").USAGE
    ]
    lines = [f"  vlframe {typed:<38}  {text}".rstrip() for typed, text in [*rows, *plugin_usage(of_plugins)]]
    return "\n".join(["vlframe: swappable parts for Video-LLMs", "", *lines]) + "\n" + MORE


def _command(module: str, words: list[str]) -> int:
    return import_module(f"vlframe.commands.{module}").main(words)


COMMANDS: dict[str, Callable[[list[str]], int]] = {name: partial(_command, module) for name, module in MODULES.items()}

if __name__ == "__main__":
    sys.exit(main())
