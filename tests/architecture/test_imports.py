"""Who may import whom: plugins -> the door; cli -> app -> the rest; nobody -> a plugin, nor experiments."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "vlframe").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
HEAVY = {"torch", "transformers", "lightning", "timm", "peft", "av", "decord", "torchaudio", "wandb", "numpy", "hydra"}


def imported(path: Path, *, top_only: bool = False) -> Iterator[str]:
    """Absolute names of the modules a file imports; ``top_only``: those it imports when it is itself imported."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import; they hide where things come from"
            yield from [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_core_knows_no_plugin(path: Path) -> None:
    assert not [name for name in imported(path) if name.startswith("vlframe_") or name.split(".")[0] == "experiments"]


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_plugins_use_the_door_and_no_other_plugin(path: Path) -> None:
    import vlframe

    family = path.relative_to(ROOT / "plugins").parts[0]
    for name in imported(path):
        top, _, rest = name.partition(".")
        assert not top.startswith("vlframe_") or top == family, f"{path} imports another plugin: {name}"
        assert top != "vlframe" or rest in ("", *vlframe.__all__), f"{path} imports past the door: {name}"


@pytest.mark.parametrize("path", [p for p in PLUGINS if p.name == "__init__.py"], ids=lambda p: p.parent.name)
def test_plugin_modules_are_light(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path, top_only=True)} & HEAVY


def test_data_and_model_do_not_know_training() -> None:
    """The model can be used without Lightning; the evaluation may load runs, the model may not."""
    allowed = {"vlframe/model/report.py"}
    for path in CORE:
        name = str(path.relative_to(ROOT))
        if name.startswith(("vlframe/model", "vlframe/media", "vlframe/weights")) and name not in allowed:
            bad = [item for item in imported(path) if item.startswith(("vlframe.training", "vlframe.evaluation"))]
            assert not bad, f"{name} imports {bad}"


def test_only_app_knows_hydra() -> None:
    for path in CORE:
        if path.name not in ("app.py", "hydra_guard.py", "hydra_errors.py"):
            top = [name for name in imported(path, top_only=True) if name.split(".")[0] == "hydra"]
            assert not top, f"{path} imports {top}"


def test_no_grab_bags() -> None:
    assert not [path for path in (*CORE, *PLUGINS) if path.stem in ("utils", "helpers", "misc", "common")]
