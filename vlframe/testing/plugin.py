"""Checks of a whole plugin: light to load, every row typed and buildable, every preset and experiment composed."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path

from vlframe.config.asking import keys_of_every
from vlframe.contracts.kinds import kinds
from vlframe.contracts.modalities import MODALITIES, Modality
from vlframe.errors import UserError, named_line
from vlframe.registry.discovery import Plugin
from vlframe.registry.hooks import API
from vlframe.registry.registry import Registry, Row
from vlframe.testing.subject import ContractError, note_passed

HEAVY = ("torch", "transformers", "lightning", "timm", "peft", "av", "decord", "torchaudio", "torchvision", "hydra")
LOAD = """
import contextlib, io, json, os, sys, time
from vlframe.registry.discovery import GROUP, load_file
from importlib.metadata import entry_points
from pathlib import Path
name, heavy = sys.argv[1], sys.argv[2:]
asked, changed, watched = set(), set(), [True]
def hook(event, arguments):
    if watched[0] and event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system"):
        asked.add(event)
    if watched[0] and event in ("os.putenv", "os.unsetenv"):
        changed.add(os.fsdecode(arguments[0]))
sys.addaudithook(hook)
printed, at = io.StringIO(), time.process_time()
with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), contextlib.suppress(OSError):
    if name.endswith(".py"):
        plugin = load_file(Path(name))
        if not plugin.works:
            raise SystemExit(plugin.reason)
    for point in entry_points(group=GROUP):
        if point.dist.name == name:
            point.load()
watched[0] = False
seconds = time.process_time() - at
loaded = [module for module in heavy if module in sys.modules]
found = {"loaded": loaded, "asked": sorted(asked), "changed": sorted(changed),
         "printed": printed.getvalue()[:200], "seconds": seconds}
sys.__stdout__.write("\\n" + json.dumps(found))
"""
MOST_SECONDS = 2.0  # of a processor, to load the modules that list components
EVENTS = {
    "socket.connect": "the network",
    "socket.getaddrinfo": "the network",
    "subprocess.Popen": "another process",
    "os.system": "another process",
}


def check_plugin(distribution: str) -> None:
    """Check a plugin. ``distribution`` is its name in pip, or the path of a single file. Imports every class;
    builds none.
    """
    from vlframe.composer.compose import open_registry

    single = [distribution] if distribution.endswith(".py") else []
    registry = open_registry(single)
    plugins = [plugin for plugin in registry.plugins if plugin.distribution == distribution]
    if not plugins:
        known = ", ".join(sorted({plugin.distribution for plugin in registry.plugins}))
        raise ContractError(f"no plugin comes from {distribution!r}; installed are {known}")
    for plugin in plugins:
        if not plugin.works:
            raise ContractError(f"plugin {plugin.name} does not load: {plugin.reason}")
    if not single:
        _check_api(plugins)
    _check_light(distribution)
    note_passed("it loads by itself, soon, without heavy libraries, network, printing, or other environment variables")
    for row in registry.rows():
        if row.plugin in plugins:
            _check_row(row)
    note_passed("every row has a summary, typed parameters with one default, and a class that takes them")
    if modalities := [MODALITIES[name] for plugin in plugins for name in plugin.modalities]:
        for modality in modalities:
            _check_modality(modality, registry)
        note_passed("every modality has a branch, decoders, and components of both its kinds")
    for plugin in plugins:
        _check_conf(plugin, registry)
    note_passed("every preset and experiment composes")


def _check_api(plugins: Sequence[Plugin]) -> None:
    for plugin in plugins:
        if plugin.api is None:
            raise ContractError(
                f"plugin {plugin.name} does not say which version of the plugin API it is written for; write "
                f"vlframe_api = {API} beside its hooks"
            )
    note_passed("it says which version of the plugin API it is written for")


def _check_light(distribution: str) -> None:
    command = [sys.executable, "-c", LOAD, distribution, *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ContractError(f"{distribution} cannot be loaded in a separate process: {done.stderr.strip()}")
    found = json.loads(done.stdout.splitlines()[-1])
    if found["loaded"]:
        raise ContractError(
            f"{distribution} imports {', '.join(found['loaded'])} when it is listed; import classes where they are "
            "built (a row names them by path), and heavy libraries in the modules of the classes"
        )
    for broken, words in (
        (found["asked"], f"asks for {' and '.join(dict.fromkeys(map(EVENTS.__getitem__, found['asked'])))}"),
        (found["changed"], f"changes the environment variables {', '.join(found['changed'])}"),
        (found["printed"].strip(), f"prints {found['printed'].strip()!r}"),
        (found["seconds"] > MOST_SECONDS, f"computes for {found['seconds']:.1f} s"),
    ):
        if broken:
            raise ContractError(
                f"{distribution} {words} when it is listed, which every command does; leave that to the "
                "classes, when they are built"
            )


def _check_row(row: Row) -> None:
    kind = row.component.kind
    label = f"{kind} {row.component.name!r}"
    if not row.component.summary.strip():
        raise ContractError(f"{label} has no summary; `vlframe list` shows it to those who look for one")
    parameters = [key for key in row.schema.__dataclass_fields__ if key not in ("name", *keys_of_every(kind))]
    neighbours = kinds()[kind].neighbours
    if taken := [key for key in parameters if key in ("in_dim", "out_dim", *neighbours)]:
        raise ContractError(f"{label} has the parameters {', '.join(taken)}; widths come from its neighbours")
    try:
        signature = inspect.signature(row.load_class())
    except UserError as error:
        raise ContractError(str(error)) from error
    _check_signature(label, signature, {*parameters, *neighbours}, kinds()[kind].offered)
    if "source" not in parameters:
        return
    if getattr(row.schema(), "source", None) not in (None, "???"):
        raise ContractError(f"{label} has a default source; weights are random by default, and presets name sources")


def _check_modality(modality: Modality, registry: Registry) -> None:
    """Check what a run would import of a modality only when it has a model, or a file, of its kind."""
    from vlframe.media.loader import decoder_at
    from vlframe.model.assemble import branch_class
    from vlframe.model.branch import Branch

    label = f"modality {modality.name!r}"
    try:
        branch = branch_class(modality)
        for kind in modality.media:
            assert kind.decoder is not None, "the table takes none of a plugin without a decoder"
            decoder_at(kind.decoder, kind.name)
    except UserError as error:
        raise ContractError(f"{label}: {error}") from error
    except Exception as error:  # of the decoder's own code
        raise ContractError(
            f"{label}: a decoder is built without parameters; that fails with {named_line(error)}"
        ) from error
    if lacking := [
        name for name in ("front_end", "tokens") if getattr(branch, name, None) is getattr(Branch, name, None)
    ]:
        raise ContractError(
            f"{label}: its branch {modality.branch} has no {' and no '.join(lacking)} of its own; it needs a property "
            "front_end and a method tokens(kind, shape, tiles)"
        )
    if lacking := [name for name in (modality.encoder, modality.connector) if not registry.names(name)]:
        raise ContractError(
            f"{label}: there is no component of the kind {' and none of the kind '.join(lacking)}, so that no "
            "model can have it; add one to vlframe_components"
        )


def _check_signature(label: str, signature: inspect.Signature, given: set[str], offered: tuple[str, ...]) -> None:
    try:
        signature.bind(**dict.fromkeys(given))
    except TypeError as error:
        raise ContractError(
            f"{label}: its class does not take its own parameters ({error}); called with {', '.join(sorted(given))}"
        ) from error
    defaults = [
        key for key, item in signature.parameters.items() if item.default is not item.empty and key not in offered
    ]
    if defaults:
        raise ContractError(
            f"{label}: the class has a second default for {', '.join(defaults)}; their one home is the "
            "dataclass of parameters"
        )


def _check_conf(plugin: Plugin, registry: Registry) -> None:
    if plugin.conf is None:
        return
    groups = {kind.group for kind in kinds().values()}
    for file in sorted(plugin.conf.rglob("*.yaml")):
        group, _, name = file.relative_to(plugin.conf).with_suffix("").as_posix().partition("/")
        whole = not file.stem.startswith("_")  # the others are shared by several experiments
        if whole and (group in groups or group in ("model", "experiment")):
            _check_preset(plugin, registry, file, group, name)


def _check_preset(plugin: Plugin, registry: Registry, file: Path, group: str, name: str) -> None:
    from vlframe.composer.compose import compose

    try:
        place = kinds()[group].place if group in kinds() else None
        config = compose("train", [f"{place or group}={name}"], registry)
        if place and not kinds()[group].many and group != "benchmark":
            registry.check(group, attrgetter(place)(config))
    except UserError as error:
        if "needs a value for" not in str(error):  # a path that only the user knows
            raise ContractError(f"{plugin.name}: {file} does not compose: {error}") from error
