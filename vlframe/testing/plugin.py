"""A whole plugin: light to load, every row typed and buildable, every preset and experiment composed."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

from omegaconf import OmegaConf

from vlframe.errors import UserError
from vlframe.hooks import KINDS
from vlframe.plugins import Plugin
from vlframe.registry import Registry, Row
from vlframe.testing.subject import ContractError

HEAVY = ("torch", "transformers", "lightning", "timm", "peft", "av", "decord", "torchaudio", "torchvision", "hydra")
NEIGHBOURS = {
    "connector": ("in_dim", "out_dim"),
    "audio_connector": ("in_dim", "out_dim"),
    "encoder": (),
    "audio_encoder": (),
}
LOAD = """
import sys
from vlframe.plugins import GROUP, _load_file
from importlib.metadata import entry_points
from pathlib import Path
name = sys.argv[1]
if name.endswith(".py"):
    _load_file(Path(name))
for point in entry_points(group=GROUP):
    if point.dist.name == name:
        point.load()
print(*[module for module in sys.argv[2:] if module in sys.modules])
"""


def check_plugin(distribution: str) -> None:
    """``distribution`` is the name that pip knows, or the path of a single file. Imports every class; builds none."""
    from vlframe.app import open_registry

    single = [distribution] if distribution.endswith(".py") else []
    registry = open_registry(single)
    plugins = [plugin for plugin in registry.plugins if plugin.distribution == distribution]
    if not plugins:
        known = ", ".join(sorted({plugin.distribution for plugin in registry.plugins}))
        raise ContractError(f"no plugin comes from {distribution!r}; installed are {known}")
    for plugin in plugins:
        if not plugin.works:
            raise ContractError(f"plugin {plugin.name} does not load: {plugin.reason}")
    _check_light(distribution)
    for row in registry.rows():
        if row.plugin in plugins:
            _check_row(row)
    for plugin in plugins:
        _check_conf(plugin, registry)


def _check_light(distribution: str) -> None:
    command = [sys.executable, "-c", LOAD, distribution, *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ContractError(f"{distribution} cannot be loaded in a process of its own: {done.stderr.strip()}")
    if loaded := done.stdout.split():
        raise ContractError(
            f"{distribution} imports {', '.join(loaded)} when it is listed; import classes where they are built "
            "(a row names them by path), and heavy libraries in the modules of the classes"
        )


def _check_row(row: Row) -> None:
    kind = row.component.kind
    label = f"{kind} {row.component.name!r}"
    if not row.component.summary.strip():
        raise ContractError(f"{label} has no summary; `vlframe list` shows it to those who look for one")
    parameters = [key for key in OmegaConf.structured(row.schema) if key != "name"]
    neighbours = NEIGHBOURS.get(kind, ())
    if taken := [key for key in parameters if key in NEIGHBOURS["connector"]]:
        raise ContractError(f"{label} has the parameters {', '.join(taken)}; widths come from its neighbours")
    try:
        signature = inspect.signature(row.load_class())
    except UserError as error:
        raise ContractError(str(error)) from error
    _check_signature(label, signature, {*parameters, *neighbours})
    if "source" not in parameters:
        return
    if getattr(row.schema(), "source", None) not in (None, "???"):
        raise ContractError(f"{label} has a default source; weights are random by default, and presets name sources")


def _check_signature(label: str, signature: inspect.Signature, given: set[str]) -> None:
    try:
        signature.bind(**dict.fromkeys(given))
    except TypeError as error:
        raise ContractError(
            f"{label}: its class does not take its own parameters ({error}); called with {', '.join(sorted(given))}"
        ) from error
    defaults = [key for key, item in signature.parameters.items() if item.default is not item.empty]
    if defaults:
        raise ContractError(
            f"{label}: the class has a second default for {', '.join(defaults)}; their one home is the "
            "dataclass of parameters"
        )


def _check_conf(plugin: Plugin, registry: Registry) -> None:
    if plugin.conf is None:
        return
    for file in sorted(plugin.conf.rglob("*.yaml")):
        group, name = file.parent.relative_to(plugin.conf).as_posix(), file.stem
        if group in KINDS or group in ("model", "experiment"):
            _check_preset(plugin, registry, file, group, name)


def _check_preset(plugin: Plugin, registry: Registry, file: Path, group: str, name: str) -> None:
    from vlframe.app import compose

    try:
        config = compose("train", [f"{group}={name}"], registry)
        if group in KINDS and group != "benchmark":
            registry.check(group, config[group])
    except UserError as error:
        if "needs a value for" not in str(error):  # a path that only a user knows
            raise ContractError(f"{plugin.name}: {file} does not compose: {error}") from error
