"""Commands that plugins add (the hook ``vlframe_commands``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from vlframe.commands import MODULES, OF_PLUGINS
from vlframe.errors import ConfigError, PluginError, UserError, did_you_mean, named_line
from vlframe.registry.imported import imported
from vlframe.registry.registry import Registry

if TYPE_CHECKING:
    from vlframe.composer.command_line import CommandLine


def run_plugin_command(name: str, words: Sequence[str]) -> int:
    """Run a plugin's command and return its exit code, or 0 for any other return value."""
    registry, rest = opened(words, Registry.of_commands)
    _refuse_taken(registry)
    if name not in registry.commands:
        there = [*(known for known in MODULES if not known.startswith("_")), *registry.commands]
        raise ConfigError(f"there is no command {name!r}; there are {', '.join(there)}{did_you_mean(name, there)}")
    command, plugin = registry.commands[name]
    function = imported(command.path, f"the command {name!r} of plugin {plugin.name}")
    try:
        value = function(rest)
    except (UserError, BrokenPipeError):  # it explains itself; `| head` closed the pipe
        raise
    except Exception as error:
        raise PluginError(
            f"the command {name!r} of plugin {plugin.name} failed: {named_line(error)}; --traceback shows where"
        ) from error
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def plugin_usage(of_plugins: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return the lines of ``vlframe --help`` about plugins' commands, those of files named in ``of_plugins`` included;
    for a name clash, or a file that cannot be used, its error message.
    """
    try:
        registry, _ = opened(of_plugins, Registry.of_commands)
        _refuse_taken(registry)
    except UserError as error:
        return [("…", f"no command of a plugin can be used: {error}")]
    lines = [
        (f"{name} …", f"{command.summary} ({plugin.distribution})".strip())
        for name, (command, plugin) in registry.commands.items()
    ]
    return lines + [("…", f"no command of {plugin.name}: {plugin.reason}") for plugin in registry.broken]


def _refuse_taken(registry: Registry) -> None:
    for name, (_, plugin) in registry.commands.items():
        if name in MODULES:
            raise PluginError(
                f"{plugin.origin} offers the command {name!r}, which is vlframe's own; rename its command, or "
                f"{plugin.way_out}"
            )


def opened(words: Sequence[str], registry: Callable[..., Registry] = Registry.installed) -> tuple[Registry, list[str]]:
    """Open the plugins, including those in ``plugins.paths``, for a command that composes no config; return them with
    the other arguments.
    """
    of_plugins = [word for word in words if word.startswith(OF_PLUGINS)]
    rest = [word for word in words if word not in of_plugins]
    if not of_plugins:
        return registry(), rest
    line = parsed(of_plugins)
    return registry(line.plugin_paths, line.strict), rest


def parsed(words: Sequence[str]) -> CommandLine:
    """Parse the words that name plugins. ConfigError: a key that they do not have."""
    from vlframe.composer.command_line import parse  # imports Hydra, so only when needed
    from vlframe.config.schema import PluginsConfig

    line = parse("", words)
    known = [f"{OF_PLUGINS}{item.name}" for item in fields(PluginsConfig)]
    for key in line.keys:
        if key not in known:
            raise ConfigError(f"there is no key {key!r}; plugins are named by {' and '.join(known)}"
                              f"{did_you_mean(key, known)}")  # fmt: skip
    return line
