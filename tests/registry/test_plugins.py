"""The plugin door: what is found, what happens to plugins that fail, clash or ask for the impossible."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.made_up import good

import vlframe
from vlframe.cli import main
from vlframe.composer.compose import compose, open_registry
from vlframe.config.schema import PluginsConfig
from vlframe.config.typed import to_yaml
from vlframe.contracts.meta import meta_build
from vlframe.contracts.modalities import MODALITIES, TAGS, forget_plugins_modalities
from vlframe.errors import ConfigError, PluginError, UnknownName
from vlframe.registry.registry import Registry

Publish = Callable[..., Path]
COMPONENT = "import vlframe\n@vlframe.hookimpl\ndef vlframe_components():\n    yield vlframe.Component({})\n"
MODALITY = "import vlframe\n@vlframe.hookimpl\ndef vlframe_modalities():\n    yield {}\n"
SMELL = (
    "vlframe.Modality('smell', (vlframe.MediaKind('smell', -301, 'nose:Decoder'),), 'smell_encoder', "
    "'smell_connector', 'nose:Branch')"
)
NOSE = (
    "@vlframe.hookimpl\ndef vlframe_components():\n"
    "    yield vlframe.Component('smell_encoder', {!r}, 'nose:Nose', {})\n"
)

# what is wrong, and what the reason must say
BROKEN = {
    "import_error": ("import no_such_library", ["ModuleNotFoundError", "no_such_library", "broken.py:1"]),
    "syntax_error": ("def broken(:\n    pass", ["SyntaxError", "broken.py, line 1"]),
    "own_error": ("\n\nraise RuntimeError('no\\nlicence')", ["RuntimeError: no licence", "broken.py:3"]),
    "exits": ("raise SystemExit('bye')", ["SystemExit", "bye"]),
    "no_hook": ("x = 1", ["no @vlframe.hookimpl function named vlframe_components"]),
    "misspelt_hook": ("import vlframe\n@vlframe.hookimpl\ndef vlframe_component(): ...", ["vlframe_component"]),
    "row_type": (
        "import vlframe\n@vlframe.hookimpl\ndef vlframe_components():\n    yield 'connector'",
        ["yields str 'connector'", "vlframe.Component"],
    ),
    "kind": (COMPONENT.format("'conector', 'x', 'm:C'"), ["kind 'conector'", "kinds are encoder, connector"]),
    "name": (COMPONENT.format("'connector', 'a,b', 'm:C'"), ["'a,b'", "letters"]),
    "path": (COMPONENT.format("'connector', 'x', 'module.Class'"), ["'module.Class'", "'module:Class'"]),
    "params": (COMPONENT.format("'connector', 'x', 'm:C', {'depth': 2}"), ["{'depth': 2}", "dataclass"]),
    "params_called_name": (good("x").replace("queries", "name"), ["'x'", "called 'name'"]),
    "unknown_annotation": (good("x").replace(": int = 4", ": 'Tensor' = 4"), ["'x'", "Tensor"]),
    "api_to_come": ("vlframe_api = 2\n" + good("x"), ["written for version 2 of the plugin API", "upgrade vlframe"]),
    "api_of_old": ("vlframe_api = 0\n" + good("x"), ["written for version 0", "has version 1; upgrade the plugin"]),
    "api_type": ("vlframe_api = '1'\n" + good("x"), ["vlframe_api is '1'", "a whole number (now 1)"]),
    "twins": (
        COMPONENT.format("'llm', 'x', 'm:C'") + "    yield vlframe.Component('llm', 'x', 'm:D')\n",
        ["llm 'x' twice"],
    ),
    "conf": (
        "import vlframe\n@vlframe.hookimpl\ndef vlframe_conf(): return '/nowhere/conf'",
        ["/nowhere/conf", "not a folder"],
    ),
    "modality_type": (MODALITY.format("'smell'"), ["yields str 'smell'", "vlframe.Modality"]),
    "modality_of_a_kind_there_is": (MODALITY.format(SMELL.replace("smell_encoder", "reader")), ["'reader' is taken"]),
    "modality_of_a_key_of_runs": (MODALITY.format(SMELL.replace("smell_connector", "trainer")), ["'trainer' is taken"]),
    "modality_of_a_key_of_stages": (MODALITY.format(SMELL.replace("smell_encoder", "lr")), ["'lr' is taken"]),
}


def rows(capsys: pytest.CaptureFixture, *arguments: str) -> dict[str, dict[str, str]]:
    """What ``vlframe list --json`` shows, by name."""
    assert main(["list", "--json", *arguments]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_an_installed_plugin_is_found(publish: Publish, capsys: pytest.CaptureFixture) -> None:
    publish("maker-of-things", made=good("made_up"))
    row = rows(capsys, "connector")["made_up"]
    assert (row["distribution"], row["version"], row["state"], row["summary"]) == (
        "maker-of-things", "1.2", "ok", "made up",
    )  # fmt: skip
    registry = open_registry()
    config = compose("train", ["connector=made_up", "connector.queries=7"], registry)
    built = registry.build("connector", config.connector, in_dim=1, out_dim=2)
    assert type(built).__name__ == "Made" and built.queries == 7


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_isolated_and_named(case: str, publish: Publish, capsys: pytest.CaptureFixture) -> None:
    source, reason = BROKEN[case]
    publish("broken-things", broken=source)
    publish("good-things", made=good("made_up"))

    found = rows(capsys)
    assert found["stc"]["state"] == found["made_up"]["state"] == "ok"
    broken = found["broken-things:broken"]
    assert (broken["kind"], broken["state"], broken["distribution"]) == ("plugin", "broken", "broken-things")
    for word in reason:
        assert word in broken["summary"]
    assert "\n" not in broken["summary"] and "<frozen" not in broken["summary"]

    with pytest.raises(UnknownName) as refused:
        compose("train", ["connector=theirs"], open_registry())
    for word in ("no connector named 'theirs'", "made_up", "broken-things:broken", *reason):
        assert word in str(refused.value)
    assert compose("train", ["connector=made_up"], open_registry()).connector["name"] == "made_up"


@pytest.fixture
def two_modalities_after() -> Iterator[None]:
    yield
    forget_plugins_modalities()


@pytest.mark.usefixtures("two_modalities_after")
@pytest.mark.parametrize("names", [("aaa-things", "zzz-things"), ("zzz-things", "aaa-things")])
def test_components_of_another_plugins_modality_are_found_in_any_order(
    names: tuple[str, str], publish: Publish
) -> None:
    publish(names[0], nose=MODALITY.format(SMELL) + NOSE.format("own", None))
    publish(names[1], dog="import vlframe\n" + NOSE.format("better", None))
    registry = Registry.installed()
    assert not registry.broken and registry.names("smell_encoder") == ["better", "own"]


@pytest.mark.usefixtures("two_modalities_after")
@pytest.mark.parametrize(
    "fault",
    [
        "    yield 'smell_encoder'\n",
        "    raise RuntimeError('no licence')\n",
        "@dataclasses.dataclass\nclass Wrong:\n    nostrils: set[int] = None\n",
    ],
    ids=["row", "error", "found when it is offered to Hydra"],
)
def test_a_broken_plugin_takes_its_modality_and_commands_with_it(fault: str, publish: Publish) -> None:
    """Otherwise every run would have keys, and every word of text a tag, of a plugin that is not there."""
    wrong = NOSE.format("own", "Wrong" if "class" in fault else None)
    wrong = fault + wrong if "class" in fault else wrong + fault
    command = "@vlframe.hookimpl\ndef vlframe_commands():\n    yield vlframe.Command('sniff', 'nose:sniff')\n"
    publish("aaa-things", nose="import dataclasses\n" + MODALITY.format(SMELL) + wrong + command)
    publish("zzz-things", dog="import vlframe\n" + NOSE.format("better", None))
    publish("good-things", made=good("made_up"))
    registry = open_registry()
    assert list(MODALITIES) == ["video", "audio"] and "smell" not in TAGS
    broken = {plugin.name: plugin.reason for plugin in registry.broken}
    assert broken.keys() == {"aaa-things:nose", "zzz-things:dog"}
    assert (
        "'better' has the kind 'smell_encoder'" in broken["zzz-things:dog"] or "kinds are" in broken["zzz-things:dog"]
    )
    assert "sniff" not in registry.commands and "made_up" in registry.names("connector")
    assert not any(row.component.kind == "smell_encoder" for row in registry.rows())


def test_strict_makes_a_broken_plugin_fatal(publish: Publish, capsys: pytest.CaptureFixture) -> None:
    publish("broken-things", broken="import no_such_library")
    assert main(["list", "plugins.strict=true"]) == 2
    message = capsys.readouterr().err
    assert "broken-things:broken" in message and "no_such_library" in message and "Traceback" not in message
    with pytest.raises(PluginError, match="broken-things:broken"):
        open_registry(strict=True)


@pytest.mark.parametrize("wrong", [": int = 'deep'", ": set[int] = frozenset()"], ids=["default", "type"])
def test_parameters_that_cannot_be_typed_are_their_plugins_failure(wrong: str, publish: Publish) -> None:
    publish("broken-things", broken=good("theirs").replace(": int = 4", wrong))
    registry = open_registry()
    assert compose("train", [], registry).connector["name"] == "stc"
    with pytest.raises(UnknownName, match=r"broken-things:broken \(the parameters of connector 'theirs'"):
        compose("train", ["connector=theirs"], registry)
    with pytest.raises(PluginError, match="the parameters of connector 'theirs'"):
        open_registry(strict=True)


def test_a_clash_names_both_distributions(publish: Publish, capsys: pytest.CaptureFixture) -> None:
    publish("rival", version="3.4", rival=good("stc"))
    assert main(["list"]) == 2
    message = capsys.readouterr().err
    for word in (
        "connector 'stc'",
        "rival 3.4",
        "rival:rival",
        "vlframe:stc",
        "rename one of the two, or uninstall rival",
    ):
        assert word in message


def test_a_clash_with_a_file_says_to_leave_it_out(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "clashing.py"
    file.write_text(good("stc"))
    assert main(["list", f"plugins.paths=[{file}]"]) == 2
    assert f"or leave {file} out of plugins.paths" in capsys.readouterr().err


def test_the_same_name_in_another_kind_is_no_clash(publish: Publish) -> None:
    publish("other-kind", other=good("beats"))
    assert {"beats"} <= {*Registry.installed().names("connector"), *Registry.installed().names("audio_encoder")}


def test_two_distributions_with_one_entry_name_both_load(publish: Publish) -> None:
    publish("first-things", entry="plugin", first=good("first_up"))
    publish("second-things", entry="plugin", second=good("second_up"))
    registry = Registry.installed()
    assert {"first_up", "second_up"} <= set(registry.names("connector"))
    assert {"first-things:plugin", "second-things:plugin"} <= {plugin.name for plugin in registry.plugins}


def test_a_distribution_seen_twice_is_loaded_once(publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editable install can be on the path twice."""
    site = publish("maker-of-things", made=good("made_up"))
    monkeypatch.syspath_prepend(str(site / "..") + "/maker-of-things")
    assert Registry.installed().names("connector").count("made_up") == 1


# --- what a component says about its parameters ---


@pytest.mark.parametrize(
    "override, words",
    [
        ("connector.queries=many", ["connector.queries", "many"]),
        ("connector.querys=3", ["no key 'connector.querys'", "queries", "Did you mean 'queries'"]),
        ("connector.mode=[1]", ["connector.mode"]),
    ],
)
def test_parameters_are_checked_when_composed(override: str, words: list[str], publish: Publish) -> None:
    publish("maker-of-things", made=good("made_up"))
    with pytest.raises(ConfigError) as refused:
        compose("train", ["connector=made_up", override], open_registry())
    for word in words:
        assert word in str(refused.value)


def test_a_parameter_without_default_must_be_given(publish: Publish) -> None:
    publish("maker-of-things", made=good("made_up").replace("queries: int = 4", "queries: int"))
    registry = open_registry()
    config = compose("train", ["connector=made_up"], registry)
    with pytest.raises(ConfigError, match="connector 'made_up' needs a value for queries"):
        registry.build("connector", config.connector, in_dim=1, out_dim=2)


def test_a_parameter_may_refer_to_the_rest_of_the_config(publish: Publish) -> None:
    publish("maker-of-things", made=good("made_up"))
    registry = open_registry()
    config = compose("train", ["connector=made_up", "connector.queries=${media.frames}", "media.frames=5"], registry)
    assert registry.build("connector", config.connector, in_dim=1, out_dim=2).queries == 5


def test_the_instance_of_a_row_gives_its_defaults(publish: Publish) -> None:
    source = good("made_up").replace("Params, ", "Params(queries=9), ").replace("mode: str", "mode: str | None")
    publish("maker-of-things", made=source)
    registry = open_registry()
    config = compose("train", ["connector=made_up", "connector.mode=null"], registry)
    assert dict(config.connector) == {"name": "made_up", "queries": 9, "mode": None}


def test_a_class_that_does_not_take_its_own_parameters(publish: Publish) -> None:
    publish("maker-of-things", made=good("made_up").replace("*, queries: int,", "*, tokens: int,"))
    with pytest.raises(PluginError) as refused:
        open_registry().build("connector", {"name": "made_up"}, in_dim=1, out_dim=2)
    for word in ("maker-of-things:made", "made:Made", "does not take its own parameters", "queries", "in_dim"):
        assert word in str(refused.value)


def test_a_class_that_lacks_what_its_kind_promises(publish: Publish) -> None:
    source = good("made_up").replace("def tokens", "def tokenz").replace("expands_images", "expands")
    publish("maker-of-things", made=source)
    with pytest.raises(PluginError, match="'made_up' of plugin maker-of-things:made has no expands_images and no tok"):
        open_registry().build("connector", {"name": "made_up"}, in_dim=1, out_dim=2)


@pytest.mark.parametrize(
    "path, words", [("made:Lost", ["has no attribute 'Lost'"]), ("gone.away:Made", ["No module named 'gone'"])]
)
def test_a_class_that_is_not_there(path: str, words: list[str], publish: Publish) -> None:
    publish("maker-of-things", made=good("made_up").replace('__name__ + ":Made"', repr(path)))
    with pytest.raises(PluginError) as refused:
        open_registry().build("connector", {"name": "made_up"}, in_dim=1, out_dim=2)
    for word in ("connector 'made_up'", "maker-of-things:made", path, *words):
        assert word in str(refused.value)


def test_a_module_that_a_plan_imports_is_real(publish: Publish) -> None:
    """Whatever it computes at its top outlives the plan; only what is built is on the meta device."""
    constant = "import torch\nCONSTANT = torch.ones(2)\n"
    made = (
        "class Made:\n    expands_images = tokens = forward = None\n\n    def __init__(self, **_):\n"
        "        import imported_late\n        self.built = torch.ones(2)\n"
    )
    site = publish("maker-of-things", made=good("made_up").replace('__name__ + ":Made"', '"made_class:Made"'))
    (site / "made_class.py").write_text(constant + made)
    (site / "imported_late.py").write_text(constant)
    registry = Registry.installed()
    with meta_build():
        built = registry.build("connector", {"name": "made_up"}, in_dim=1, out_dim=2)
    assert built.built.device.type == "meta"
    for module in ("imported_late", "made_class"):
        assert sys.modules[module].CONSTANT.device.type == "cpu", module


# --- folders of presets ---

CONF = """
from pathlib import Path


@vlframe.hookimpl
def vlframe_conf():
    return Path(__file__).parent / "conf"
"""


def publish_with_conf(publish: Publish, files: dict[str, str], distribution: str = "maker-of-things") -> None:
    module = distribution.partition("-")[0]
    site = publish(distribution, **{module: good(f"{module}_up") + CONF})
    for name, text in files.items():
        file = site / "conf" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_presets_and_experiments_of_a_plugin(publish: Publish) -> None:
    experiment = "# @package _global_\ndefaults:\n  - override /connector: maker_many\nseed: 11\n"
    preset = "defaults: [maker_up, _self_]\nqueries: 99\n"
    publish_with_conf(publish, {"connector/maker_many.yaml": preset, "experiment/makers.yaml": experiment})
    registry = open_registry()
    config = compose("train", ["experiment=makers"], registry)
    assert (config.connector["name"], config.connector["queries"]) == ("maker_up", 99)
    assert (config.seed, config.name) == (11, "makers")
    with pytest.raises(ConfigError, match=r"no key 'connector\.depth'"):  # a preset is as typed as its row
        compose("train", ["connector=maker_many", "connector.depth=1"], registry)
    with pytest.raises(UnknownName, match="maker_many"):
        compose("train", ["connector=maker_mony"], registry)


def test_an_encoder_preset_of_a_plugin_sizes_a_checkpoint_that_names_it(publish: Publish) -> None:
    preset = "defaults: [clip, _self_]\nsource: makers/eye-9\narchitecture: {hidden_size: 24}\n"
    publish_with_conf(publish, {"encoder/eye.yaml": preset})
    found = vlframe.preset_of_source("encoder", "makers/eye-9")
    assert found == {"name": "clip", "source": "makers/eye-9", "architecture": {"hidden_size": 24}}


def test_a_preset_with_a_rows_name_is_refused(publish: Publish) -> None:
    publish_with_conf(publish, {"connector/stc.yaml": "depth: 1\n"})
    with pytest.raises(PluginError) as refused:
        open_registry()
    for word in ("maker-of-things:maker", "stc.yaml", "vlframe:stc", "rename the preset"):
        assert word in str(refused.value)


@pytest.mark.parametrize("other", ["vlframe", "second-things:second"])
def test_two_presets_of_one_name_are_refused(other: str, publish: Publish) -> None:
    name = "connector/stc_tiny.yaml" if other == "vlframe" else "connector/shared.yaml"
    publish_with_conf(publish, {name: "defaults: [maker_up, _self_]\n"})
    if other != "vlframe":
        publish_with_conf(publish, {name: "defaults: [second_up, _self_]\n"}, "second-things")
    with pytest.raises(PluginError) as refused:
        open_registry()
    for word in ("maker-of-things:maker", other, name, "rename"):
        assert word in str(refused.value)


# --- one file, no package ---


def one_file(folder: Path, name: str = "my_connector", component: str = "mine") -> Path:
    file = folder / f"{name}.py"
    file.write_text(good(component))
    return file


def test_one_file_is_a_plugin(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = one_file(tmp_path)
    row = rows(capsys, "connector", f"plugins.paths=[{file}]")["mine"]
    assert (row["distribution"], row["version"], row["state"]) == (str(file), "file", "ok")
    registry = open_registry([str(file)])
    config = compose("train", ["connector=mine", f"plugins.paths=[{file}]"], registry)
    assert registry.build("connector", config.connector, in_dim=1, out_dim=2).queries == 4
    assert open_registry([str(file)]).names("connector") == registry.names("connector")  # and once more


@pytest.mark.parametrize("command", ["list", "train", "plan"])
def test_a_file_that_is_not_there(command: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    missing = tmp_path / "mien.py"
    assert main([command, f"plugins.paths=[{missing}]"]) == 2
    message = capsys.readouterr().err
    assert f"the plugin {missing} cannot be used: there is no such file" in message and "Traceback" not in message
    assert "leave it out of plugins.paths" in message


UNUSABLE = {
    "a syntax error": "def (",
    "an exception": "raise RuntimeError('no')",
    "no plugin": "x = 1",
    "a parameter that cannot be typed": good("odd").replace("queries: int = 4", "queries: int = 'four'"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_named_file_that_cannot_be_used_stops_every_command(what: str, tmp_path: Path, capsys) -> None:
    file = tmp_path / f"odd_{len(what)}.py"
    file.write_text(UNUSABLE[what])
    for words in (["train"], ["plan", "connector=stc"], ["plugin", "matrix"], ["predict", "run=a", "prompt=b"]):
        assert main([*words, f"plugins.paths=[{file}]"]) == 2
        assert f"the plugin {file} cannot be used: " in capsys.readouterr().err, words


def test_a_file_named_like_a_library(tmp_path: Path) -> None:
    for name in ("wandb", "json"):  # one that is not imported yet, and one that is
        with pytest.raises(PluginError, match=f"another module named {name!r} already; give .* another name"):
            open_registry([str(one_file(tmp_path, name, f"from_{name}"))])


def test_a_config_chooses_no_code(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """``plugins.paths`` of a saved config loads nothing; only the command line does."""
    file = tmp_path / "sly.py"
    file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n" + good("sly"))
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    config = compose("train", ["experiment=quickstart"], open_registry())
    config = replace(config, connector={"name": "sly"}, plugins=PluginsConfig(paths=(str(file),)))
    (run / "config.yaml").write_text(to_yaml(config))
    assert main(["evaluate", f"run={run}"]) == 2
    message = capsys.readouterr().err
    assert "no connector named 'sly'" in message and f"plugins.paths=[{file}]" in message
    assert not (tmp_path / "ran").exists()
