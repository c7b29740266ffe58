"""Who may import whom: plugins -> the door; nobody -> a plugin, nor experiments; one room -> Hydra."""

from pathlib import Path

import pytest
from helpers.sources import CORE, PLUGINS, ROOT, imports

HEAVY = {"torch", "transformers", "lightning", "timm", "peft", "av", "decord", "torchaudio", "wandb", "numpy", "hydra"}


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CORE, ids=label)
def test_core_knows_no_plugin(path: Path) -> None:
    strange = [str(item) for item in imports(path) if item.name.startswith(("vlframe_", "experiments"))]
    assert not strange


@pytest.mark.parametrize("path", PLUGINS, ids=label)
def test_plugins_use_the_door_and_no_other_plugin(path: Path) -> None:
    import vlframe

    family = path.relative_to(ROOT / "plugins").parts[0]
    for item in imports(path):
        top, _, rest = item.name.partition(".")
        assert not top.startswith(("vlframe_", "experiments")) or top == family, f"another plugin: {item}"
        assert top != "vlframe" or rest in ("", *vlframe.__all__), f"past the door: {item}"


@pytest.mark.parametrize("path", [p for p in PLUGINS if p.name == "__init__.py"], ids=lambda p: p.parent.name)
def test_plugin_modules_are_light(path: Path) -> None:
    assert not {item.name.split(".")[0] for item in imports(path, top_only=True)} & HEAVY


@pytest.mark.parametrize("path", CORE, ids=label)
def test_only_the_composer_knows_hydra(path: Path) -> None:
    if path.relative_to(ROOT / "vlframe").parts[0] != "composer":
        assert not [str(item) for item in imports(path) if item.name.split(".")[0] == "hydra"]


@pytest.mark.parametrize("path", CORE, ids=label)
def test_only_config_and_composer_know_omegaconf(path: Path) -> None:
    """After them a config is a frozen dataclass."""
    if path.relative_to(ROOT / "vlframe").parts[0] not in ("config", "composer"):
        assert not [str(item) for item in imports(path) if item.name.split(".")[0] == "omegaconf"]


def test_no_grab_bags() -> None:
    assert not [path for path in (*CORE, *PLUGINS) if path.stem in ("utils", "helpers", "misc", "common")]
