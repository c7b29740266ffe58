"""The plugin API: what its version stands for, and that it is raised when something of it goes."""

import dataclasses
import json
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

import vlframe
from vlframe.registry import hooks
from vlframe.registry.registry import Registry
from vlframe.testing import ContractError, check_plugin

RECORDED = Path(__file__).parent / "api.json"
RECORD_IT = "after raising vlframe.API, or after adding something, run python tests/registry/test_api.py"


def described(item: Any) -> list[str]:
    """The names by which a public class, or a function's arguments, are used."""
    if isinstance(item, type):
        names = {field.name for field in dataclasses.fields(item)} if dataclasses.is_dataclass(item) else set()
        ours = [name for base in item.__mro__ if base.__module__.startswith("vlframe") for name in vars(base)]
        return sorted(names | {name for name in ours if not name.startswith("_")})
    return list(signature(item).parameters) if callable(item) else []


def api() -> dict[str, list[str]]:
    names = {name: described(getattr(vlframe, name)) for name in vlframe.__all__ if not name.startswith("_")}
    found = {f"hook {name}": [] for name in vars(hooks) if name.startswith("vlframe_")}
    return {**names, **found}


def test_nothing_of_a_version_goes() -> None:
    recorded = json.loads(RECORDED.read_text())
    assert recorded["version"] == vlframe.API, RECORD_IT
    now = api()
    gone = [name for name in recorded["names"] if name not in now]
    gone += [f"{name}.{item}" for name in now for item in recorded["names"].get(name, ()) if item not in now[name]]
    assert not gone, f"plugins may use {', '.join(gone)}: keep it, or raise vlframe.API; {RECORD_IT}"


def test_what_is_there_is_recorded() -> None:
    new = sorted(set(api()) - set(json.loads(RECORDED.read_text())["names"]))
    assert not new, f"{', '.join(new)} can be used from now on; {RECORD_IT}"


def test_every_first_party_plugin_says_its_version() -> None:
    assert {plugin.name: plugin.api for plugin in Registry.installed().plugins if plugin.api != vlframe.API} == {}


def test_the_kit_demands_it_of_packages(publish: Any) -> None:
    source = "import vlframe\n@vlframe.hookimpl\ndef vlframe_components(): return []\n"
    publish("silent-maker", silent_made=source)
    with pytest.raises(ContractError, match="does not say which version of the plugin API"):
        check_plugin("silent-maker")
    publish("saying-maker", saying_made=source + "vlframe_api = 1\n")
    check_plugin("saying-maker")


@pytest.mark.parametrize("name", ["hookimpl", "Component", "API"])
def test_the_door_opens(name: str) -> None:
    assert getattr(vlframe, name) is getattr(import_module("vlframe.registry.hooks"), name)


if __name__ == "__main__":
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(used)}" for name, used in api().items())
    RECORDED.write_text(f'{{"version": {vlframe.API}, "names": {{\n{rows}\n}}}}\n')
