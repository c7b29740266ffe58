"""Presets, looked up by name and by what they are a preset of, in vlframe's folder and in those of plugins."""

from pathlib import Path

import pytest

from vlframe.errors import ConfigError
from vlframe.paths import conf_folder
from vlframe.registry.discovery import Plugin
from vlframe.registry.presets import conf_folders, preset_files, preset_of_source, read_preset
from vlframe.registry.registry import Registry


def registry_of(folder: Path, files: dict[str, str], *more: Plugin) -> Registry:
    for name, text in files.items():
        file = folder / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Registry([*more, Plugin("things:maker", "things", "1", conf=folder)])


def test_every_plugins_folder_is_looked_into_and_vlframes_first(tmp_path: Path) -> None:
    registry = registry_of(tmp_path, {"experiment/deep/one": "", "stage/slow": ""}, Plugin("bare:none", "bare", "1"))
    assert conf_folders(registry) == [("vlframe", conf_folder()), ("things:maker", tmp_path)]
    assert preset_files("experiment", registry)["deep/one"] == tmp_path / "experiment" / "deep" / "one.yaml"
    assert {"quickstart", "deep/one"} <= preset_files("experiment", registry).keys()
    assert list(preset_files("stage", registry)) == sorted(preset_files("stage", registry))


def test_a_preset_is_read_with_what_it_builds_on(tmp_path: Path) -> None:
    base = "defaults: [made, _self_]\nsource: org/made\narchitecture: {width: 8, depth: 2}\nrate: 1e-3\n"
    files = {"encoder/made_b": base, "encoder/made_deep": "defaults: [made_b, _self_]\narchitecture: {depth: 9}\n"}
    registry = registry_of(tmp_path, files)
    assert read_preset("encoder", "made_deep", registry) == {
        "name": "made", "source": "org/made", "architecture": {"width": 8, "depth": 9}, "rate": 0.001,
    }  # fmt: skip
    assert read_preset("encoder", "made", registry) == {"name": "made"}  # a component


def test_what_presets_share_is_no_choice_of_its_own(tmp_path: Path) -> None:
    files = {
        "encoder/_made": "defaults: [made, _self_]\nrate: 2\n",
        "encoder/made_b": "defaults: [_made, _self_]\nsource: org/made\n",
        "experiment/deep/_shared": "",
    }
    registry = registry_of(tmp_path, files)
    assert [name for name in preset_files("encoder", registry) if "made" in name] == ["made_b"]
    assert "deep/_shared" not in preset_files("experiment", registry)
    assert read_preset("encoder", "made_b", registry) == {"name": "made", "source": "org/made", "rate": 2}
    assert preset_of_source("encoder", "org/made", registry) == read_preset("encoder", "made_b", registry)


def test_presets_in_a_circle_are_refused(tmp_path: Path) -> None:
    files = {"llm/one": "defaults: [two, _self_]\n", "llm/two": "defaults: [one, _self_]\n"}
    with pytest.raises(ConfigError, match="in a circle: one -> two -> one"):
        read_preset("llm", "one", registry_of(tmp_path, files))


def test_the_whole_hub_id_goes_before_its_last_part(tmp_path: Path) -> None:
    files = {
        "encoder/a": "defaults: [made, _self_]\nsource: theirs/tower\nsize: 1\n",
        "encoder/b": "defaults: [made, _self_]\nsource: ours/tower\nsize: 2\n",
        "encoder/c": "defaults: [b, _self_]\nsize: 3\n",  # says no source of its own
    }
    registry = registry_of(tmp_path, files)
    assert preset_of_source("encoder", "ours/tower", registry)["size"] == 2
    assert preset_of_source("encoder", "/weights/tower", registry)["size"] == 1
    assert preset_of_source("encoder", "ours/other", registry) is None
    assert preset_of_source("llm", "ours/tower", registry) is None


def test_without_a_registry_the_installed_plugins_are_searched() -> None:
    import vlframe

    found = vlframe.preset_of_source("encoder", "openai/clip-vit-large-patch14-336")
    assert (found["name"], found["architecture"]["image_size"]) == ("clip", 336)


def test_a_file_that_holds_no_keys_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"bad\.yaml is no config"):
        read_preset("llm", "bad", registry_of(tmp_path, {"llm/bad": "[1, 2]\n"}))
