"""Finds the installed plugins, and names the one at fault when one fails.

Entry points are loaded here rather than by pluggy, whose own loader silently drops a second entry point of the same
name: plugins are called ``distribution:entry``. A plugin that does not import is set aside with its reason; the others
work, and the error about an unknown name lists the plugins that might have it.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib.metadata import Distribution, EntryPoint, entry_points, version
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pluggy

from vlframe.config.asking import keys_of_every
from vlframe.contracts.kinds import kinds
from vlframe.contracts.modalities import Modality, add_modality, forget_modalities, forget_plugins_modalities
from vlframe.errors import PluginError, named_line, one_line
from vlframe.registry import hooks
from vlframe.registry.hooks import Command, Component

GROUP = "vlframe"
BESIDES_COMPONENTS = (
    b"vlframe_commands",
    b"vlframe_modalities",
    b"import *",
)  # in the file of a plugin with more hooks
OF_A_FILE = "file"  # in place of a version
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")  # what can be typed as connector=<name>


@dataclass(frozen=True)
class Plugin:
    """A plugin that was found. ``reason`` is empty if it works."""

    name: str  # distribution:entry, or the file's path
    distribution: str
    version: str
    components: tuple[Component, ...] = ()
    conf: Path | None = None
    reason: str = ""
    commands: tuple[Command, ...] = ()
    api: int | None = None  # the version of the plugin API that it is written for; None: it does not say
    modalities: tuple[str, ...] = ()  # those it adds, by name

    @property
    def works(self) -> bool:
        return not self.reason

    @property
    def is_file(self) -> bool:
        """Return whether a user named it in ``plugins.paths``."""
        return self.version == OF_A_FILE

    @property
    def origin(self) -> str:
        """Return the plugin's name and where it comes from."""
        return self.name if self.is_file else f"{self.name} (from {self.distribution} {self.version})"

    @property
    def way_out(self) -> str:
        """Return how a user does without it."""
        return f"leave {self.name} out of plugins.paths" if self.is_file else f"uninstall {self.distribution}"

    def without_all(self, reason: str) -> Plugin:
        """Return the plugin as a broken one, which offers nothing; its modalities leave the table."""
        forget_modalities(self.modalities)
        return Plugin(self.name, self.distribution, self.version, reason=reason)


@dataclass(frozen=True)
class _Source:
    """Where a plugin comes from, and what loads its module."""

    name: str
    distribution: str
    version: str
    load: Callable[[], Any]


def find_plugins(paths: Sequence[str] = (), strict: bool = False) -> list[Plugin]:
    """Find every installed plugin, then those of ``paths`` (single files).

    PluginError: a file cannot be used, or, with ``strict``, any plugin.
    """
    return _found(_offered(entry_points(group=GROUP)), paths, strict)


def find_commands(paths: Sequence[str] = (), strict: bool = False) -> list[Plugin]:
    """Find the plugins that may add commands, as ``find_plugins`` does, so that help does not import all the others: an
    installed plugin is left out if its file names neither the hook of commands nor that of modalities, of which those
    with commands may have components.
    """
    offered = _offered(entry_points(group=GROUP))
    return _found([item for item in offered if _may_matter(item[-1])], paths, strict)


def _may_matter(point: EntryPoint) -> bool:
    """Return whether the file of a plugin names one of the hooks, or may have one from elsewhere."""
    package, _, inner = point.module.partition(".")
    spec = None if inner else importlib.util.find_spec(package)  # a name inside a package would import the package
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return True
    text = Path(spec.origin).read_bytes()
    return any(name in text for name in BESIDES_COMPONENTS)


def _found(offered: Iterable[tuple[str, str, EntryPoint]], paths: Sequence[str], strict: bool) -> list[Plugin]:
    forget_plugins_modalities()
    sources = [*(_of_entry(*item) for item in offered), *(_of_file(Path(path)) for path in paths)]
    plugins = without_orphans(list(_described(sources)))
    for plugin in plugins:
        refuse_file(plugin)
    if strict:
        refuse_broken(plugins)
    return plugins


def refuse_file(plugin: Plugin) -> None:
    """Raise PluginError if a plugin that the user named is broken. One that is only installed is set aside instead."""
    if plugin.is_file and not plugin.works:
        raise PluginError(
            f"the plugin {plugin.name} cannot be used: {plugin.reason}; correct it, or leave it out of plugins.paths"
        )


def refuse_broken(plugins: Iterable[Plugin]) -> None:
    """Raise PluginError if a plugin is broken, as ``plugins.strict`` demands."""
    reasons = [f"{plugin.name}: {plugin.reason}" for plugin in plugins if not plugin.works]
    if reasons:
        raise PluginError(f"plugins.strict is on and {len(reasons)} plugin(s) do not load: {'; '.join(reasons)}")


def _offered(points: Iterable[EntryPoint]) -> list[tuple[str, str, EntryPoint]]:
    """Return distribution, version and entry point, in order, without the duplicates that two sys.path entries of one
    editable install cause.

    A distribution is asked for its name and version once: that parses its metadata, which takes longer than to import a
    plugin.
    """
    points = list(points)
    distributions = {id(point.dist): point.dist for point in points}
    sources = {key: _name_and_version(distribution) for key, distribution in distributions.items()}
    found = {(*sources[id(point.dist)], point.name, point.value): point for point in points}
    return [(*key[:2], found[key]) for key in sorted(found)]


def _name_and_version(distribution: Distribution | None) -> tuple[str, str]:
    if distribution is None:
        return "unknown", "unknown"
    metadata = distribution.metadata
    return metadata["Name"], metadata["Version"]


def _of_entry(distribution: str, version: str, point: EntryPoint) -> _Source:
    return _Source(f"{distribution}:{point.name}", distribution, version, point.load)


def load_file(path: Path) -> Plugin:
    """Return the plugin in a single file."""
    (plugin,) = _described([_of_file(path)])
    return plugin


def _of_file(path: Path) -> _Source:
    def load() -> ModuleType:
        if not path.is_file():
            raise PluginError(f"there is no such file (looked for in {Path.cwd()})")
        module_name = path.stem
        loaded = sys.modules.get(module_name)
        if loaded is not None and getattr(loaded, "__file__", None) == str(path.resolve()):
            return loaded
        if loaded is not None or _is_installed(module_name, path):
            raise PluginError(f"there is another module named {module_name!r} already; give {path} another name")
        spec = importlib.util.spec_from_file_location(module_name, path.resolve())
        if spec is None or spec.loader is None:
            raise PluginError(f"{path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # so that the class path "my_connector:Mine" finds it
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
        return module

    return _Source(str(path), str(path), OF_A_FILE, load)


def _described(sources: Sequence[_Source]) -> Iterator[Plugin]:
    """Yield the plugin of each source, in order. All modalities come first, whatever the order: any plugin may offer
    components of their kinds.
    """
    found = {source: _with_modalities(source) for source in sources}
    # Those with modalities are asked first: if one fails, the kinds that it adds are gone for all others.
    for source in sorted(found, key=lambda source: not found[source][0].modalities):
        plugin, manager = found[source]
        if manager is not None:
            found[source] = _asked(plugin, manager), None
    yield from (plugin for plugin, _ in found.values())


def _with_modalities(source: _Source) -> tuple[Plugin, pluggy.PluginManager | None]:
    """Load a plugin and add its modalities; return it with what its other hooks are asked through, if it works."""
    plugin = Plugin(source.name, source.distribution, source.version)
    added: list[str] = []
    try:
        module = source.load()
        plugin = replace(plugin, api=_api(module))
        manager = _manager(source.name, module)
        for modality in (item for answer in manager.hook.vlframe_modalities() for item in answer):
            _add_modality(modality, added)
    except (Exception, SystemExit) as error:  # third-party code: its failure must not stop the others
        return replace(plugin, modalities=tuple(added)).without_all(_reason(error)), None
    return replace(plugin, modalities=tuple(added)), manager


def _add_modality(modality: Any, added: list[str]) -> None:
    if not isinstance(modality, Modality):
        raise PluginError(
            f"vlframe_modalities yields {type(modality).__name__} {modality!r}; it must yield vlframe.Modality"
        )
    from vlframe.config.schema import RunConfig, StageConfig  # most plugins have no modality

    keys = {item.name for schema in (RunConfig, StageConfig) for item in fields(schema)}
    add_modality(modality, {*kinds(), *keys})
    added.append(modality.name)


def _asked(plugin: Plugin, manager: pluggy.PluginManager) -> Plugin:
    try:
        rows, conf, commands = _answers(manager)
    except (Exception, SystemExit) as error:
        return plugin.without_all(_reason(error))
    return replace(plugin, components=rows, conf=conf, commands=commands)


def without_orphans(plugins: Sequence[Plugin]) -> list[Plugin]:
    """Return the plugins, those without all that have components of a kind that went with another plugin's modality."""
    left = list(plugins)
    while orphans := [plugin for plugin in left if any(row.kind not in kinds() for row in plugin.components)]:
        for plugin in orphans:
            row = next(row for row in plugin.components if row.kind not in kinds())
            left[left.index(plugin)] = plugin.without_all(
                f"its component {row.name!r} has the kind {row.kind!r}, which a plugin adds that does not load"
            )
    return left


def _reason(error: BaseException) -> str:
    """Return the reason in one line. The location is added for errors in third-party code, not for vlframe's
    own checks.
    """
    if isinstance(error, PluginError):
        return one_line(error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    where = "" if isinstance(error, SyntaxError) else f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})"
    return f"{named_line(error)}{where}"


def _is_installed(module_name: str, path: Path) -> bool:
    """Return whether ``import`` of this name finds something that is not ``path`` itself."""
    found = importlib.util.find_spec(module_name)
    return found is not None and found.origin != str(path.resolve())


def _api(module: Any) -> int | None:
    """Return the version of the plugin API that a module is written for; None if it does not say. PluginError: it is
    another one than vlframe's.
    """
    stated = getattr(module, "vlframe_api", None)
    if stated is None:
        return None
    if type(stated) is not int:
        raise PluginError(
            f"vlframe_api is {stated!r}; it is the version of the plugin API that a plugin is written for, a whole "
            f"number (now {hooks.API})"
        )
    if stated != hooks.API:
        way_out = "upgrade vlframe" if stated > hooks.API else "upgrade the plugin"
        raise PluginError(
            f"it is written for version {stated} of the plugin API, and vlframe {version('vlframe')} has version "
            f"{hooks.API}; {way_out}"
        )
    return stated


def _manager(name: str, module: Any) -> pluggy.PluginManager:
    """Return what asks a module's hooks. PluginError: it has none, or one of another name."""
    manager = pluggy.PluginManager("vlframe")
    manager.add_hookspecs(hooks)
    manager.register(module, name=name)
    manager.check_pending()
    if not manager.get_hookcallers(module):
        raise PluginError(
            "it has no @vlframe.hookimpl function named vlframe_components, vlframe_conf, vlframe_modalities or "
            "vlframe_commands"
        )
    return manager


def _answers(manager: pluggy.PluginManager) -> tuple[tuple[Component, ...], Path | None, tuple[Command, ...]]:
    rows = tuple(row for answer in manager.hook.vlframe_components() for row in answer)
    for row in rows:
        _check_row(row)
    names = [(row.kind, row.name) for row in rows]
    if twins := sorted({f"{kind} {name!r}" for kind, name in names if names.count((kind, name)) > 1}):
        raise PluginError(f"it offers {', '.join(twins)} twice")
    folders = manager.hook.vlframe_conf()
    if folders and not Path(folders[0]).is_dir():
        raise PluginError(f"vlframe_conf gives {folders[0]}, which is not a folder")
    commands = tuple(command for answer in manager.hook.vlframe_commands() for command in answer)
    for command in commands:
        _check_command(command)
    return rows, Path(folders[0]) if folders else None, commands


def _check_row(row: Any) -> None:
    if not isinstance(row, Component):
        raise PluginError(f"vlframe_components yields {type(row).__name__} {row!r}; it must yield vlframe.Component")
    if row.kind not in kinds():
        raise PluginError(f"component {row.name!r} has kind {row.kind!r}; kinds are {', '.join(kinds())}")
    if not NAME.fullmatch(row.name):
        raise PluginError(f"{row.kind} {row.name!r}: a name has letters, digits, _ and -, and begins with a letter")
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", row.path):
        raise PluginError(f"{row.kind} {row.name!r} has path {row.path!r}; it must be 'module:Class'")
    if row.example is not None and not isinstance(row.example, Mapping):
        raise PluginError(
            f"{row.kind} {row.name!r} has the example {row.example!r}; it must be a mapping of parameters"
        )
    if row.params is not None:
        _check_params(f"{row.kind} {row.name!r}", row.params)
        if taken := [item.name for item in fields(row.params) if item.name in keys_of_every(row.kind)]:
            raise PluginError(
                f"{row.kind} {row.name!r} has the parameter {taken[0]!r}, a key that every {row.kind} has already "
                f"({', '.join(keys_of_every(row.kind))}); rename it"
            )


def _check_command(command: Any) -> None:
    if not isinstance(command, Command):
        raise PluginError(
            f"vlframe_commands yields {type(command).__name__} {command!r}; it must yield vlframe.Command"
        )
    if not NAME.fullmatch(command.name):
        raise PluginError(f"command {command.name!r}: a name has letters, digits, _ and -, and begins with a letter")
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", command.path):
        raise PluginError(f"command {command.name!r} has path {command.path!r}; it must be 'module:function'")


def _check_params(owner: str, params: Any) -> None:
    if not is_dataclass(params):
        raise PluginError(f"{owner} has params {params!r}; they must be a dataclass, an instance of one, or None")
    if "name" in [item.name for item in fields(params)]:
        raise PluginError(f"{owner} has a parameter called 'name', which is taken by the component's own; rename it")
    try:
        get_type_hints(params if isinstance(params, type) else type(params))
    except NameError as error:
        raise PluginError(f"{owner} has a parameter whose type cannot be found: {error}") from error
