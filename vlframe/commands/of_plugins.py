"""Commands that plugins add (the hook ``vlframe_commands``)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from vlframe.commands import MODULES, OF_PLUGINS
from vlframe.errors import ConfigError, PluginError, UserError, did_you_mean
from vlframe.registry.registry import Registry


def run_plugin_command(name: str, words: Sequence[str]) -> int:
    """Run a plugin's command and return its exit code, or 0 for any other return value."""
    registry, rest = _opened(words)
    _refuse_taken(registry)
    if name not in registry.commands:
        there = [*(known for known in MODULES if not known.startswith("_")), *registry.commands]
        raise ConfigError(f"there is no command {name!r}; there are {', '.join(there)}{did_you_mean(name, there)}")
    command, plugin = registry.commands[name]
    module_name, function_name = command.path.split(":")
    try:
        function = getattr(import_module(module_name), function_name)
    except Exception as error:  # third-party code: name its plugin
        raise PluginError(
            f"the command {name!r} of plugin {plugin.name} cannot be imported from {command.path}: "
            f"{type(error).__name__}: {error}"
        ) from error
    try:
        value = function(rest)
    except (UserError, BrokenPipeError):  # it explains itself; `| head` closed the pipe
        raise
    except Exception as error:
        raise PluginError(
            f"the command {name!r} of plugin {plugin.name} failed: {type(error).__name__}: {error}; --traceback shows "
            "where"
        ) from error
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def plugin_usage(of_plugins: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return the lines of ``vlframe --help`` about plugins' commands, those of files named in ``of_plugins`` included;
    for a name clash, or a file that cannot be used, its error message.
    """
    try:
        registry, _ = _opened(of_plugins)
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


def _opened(words: Sequence[str]) -> tuple[Registry, list[str]]:
    """Open the plugins, including those in ``plugins.paths``, and return them with the other arguments."""
    of_plugins = [word for word in words if word.startswith(OF_PLUGINS)]
    rest = [word for word in words if word not in of_plugins]
    if not of_plugins:
        return Registry.installed(), rest
    from vlframe.composer.command_line import parse  # imports Hydra, so only when needed

    line = parse("", of_plugins)
    return Registry.installed(line.plugin_paths, line.strict), rest
