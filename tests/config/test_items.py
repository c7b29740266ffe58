"""What lists and mappings hold: one sentence for every key of the schema, never a traceback."""

import dataclasses
import re
from typing import Any

import pytest

from vlframe.cli import main
from vlframe.composer.compose import compose
from vlframe.config.checks import check_values
from vlframe.config.fields import Key, keys_of
from vlframe.config.items import items_problem
from vlframe.config.schema import EvaluateConfig, PredictConfig, RunConfig
from vlframe.config.typed import check_parameters, typed
from vlframe.errors import ConfigError, UserError
from vlframe.registry.registry import Registry

BAD = {"a list": [["a"]], "null": [None], "a mapping": [{"a": 1}]}


def lists(schema: type, path: str = "") -> dict[str, Key]:
    """The keys of a schema that may hold a list, by path; a stage is called main."""
    found: dict[str, Key] = {}
    for item in keys_of(schema):
        inner = item.schema or item.law.some_of or item.item_schema
        if inner is not None:
            found |= lists(inner, f"{path}{item.name}.{'main.' if item.item_schema else ''}")
        elif "tuple" in str(item.hint) or "list" in str(item.hint) or (item.law.rule and item.hint is Any):
            found[f"{path}{item.name}"] = item
    return found


LISTS = [(schema, path) for schema in (RunConfig, EvaluateConfig, PredictConfig) for path in lists(schema)]


def nested(path: str, value: object) -> dict:
    *groups, name = path.split(".")
    values: dict = {"stages": {"main": {"steps": 1}}} if groups[:1] == ["stages"] else {}
    holder = values
    for group in groups:
        holder = holder.setdefault(group, {})
    holder[name] = value
    if name in ("trainable", "frozen"):
        holder["train"] = "full"
    return values


def test_the_lists_of_the_schema_are_found() -> None:
    paths = {path for _, path in LISTS}
    assert {"media.withhold", "stages.main.llm.trainable", "stages.main.betas", "trainer.devices", "media"} <= paths
    assert {"stages.main.encoder.lora.targets", "plugins.paths", "init.parts", "evaluation.controls"} <= paths


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize(("schema", "path"), LISTS, ids=lambda item: getattr(item, "__name__", item))
def test_a_list_holds_plain_values(schema: type, path: str, what: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{re.escape(path)} (holds|is) .+; .+"):
        check_values(schema, typed(schema, nested(path, BAD[what])))


@pytest.mark.parametrize(("schema", "path"), LISTS, ids=lambda item: getattr(item, "__name__", item))
def test_an_empty_list_is_taken_or_refused_in_a_sentence(schema: type, path: str) -> None:
    try:
        check_values(schema, typed(schema, nested(path, [])))
    except ConfigError as error:
        assert re.match(rf"{re.escape(path)} is \[\]; .+", str(error))


@pytest.mark.parametrize("value", ["[[a]]", "[null]"])
@pytest.mark.parametrize("path", ["media.withhold", "stages.main.encoder.trainable", "trainer.devices"])
def test_the_command_line_says_it_in_a_sentence(path: str, value: str, registry: Registry) -> None:
    with pytest.raises(ConfigError, match=rf"^{re.escape(path)} (holds|is) "):
        compose("train", ["experiment=quickstart", f"{path}={value}"], registry)


@dataclasses.dataclass
class Source:
    path: str = ""
    weight: float = 1.0


@dataclasses.dataclass
class Params:
    stride: list[int] = dataclasses.field(default_factory=list)
    bounds: list[float] | None = None
    holes: list[int | None] = dataclasses.field(default_factory=list)
    grids: list[list[int]] = dataclasses.field(default_factory=list)
    parts: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    mixture: list[Source] = dataclasses.field(default_factory=list)
    names: dict[str, str] = dataclasses.field(default_factory=dict)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"stride": [[2]]}, "stride holds [2]; each item of it must be a whole number"),
        ({"bounds": [None]}, "bounds holds null; each item of it must be a number"),
        ({"grids": [1]}, "grids holds 1; each item of it must be a list"),
        ({"grids": [[[1]]]}, "grids.0 holds [1]; each item of it must be a whole number"),
        ({"parts": ["a"]}, "parts holds 'a'; each item of it must be a mapping"),
        ({"mixture": [["a"]]}, "mixture holds ['a']; each item of it must be a mapping"),
        ({"names": {"a": ["b"]}}, "names holds ['b']; each item of it must be one text"),
    ],
)
def test_parameters_of_components_are_checked_alike(values: dict, said: str) -> None:
    assert items_problem(Params, values) == said
    with pytest.raises(ConfigError, match=re.escape(f"connector 'mine': {said}")):
        check_parameters(Params, "connector 'mine'", values)


def test_what_belongs_in_a_list_is_taken() -> None:
    good = {"stride": [1], "bounds": None, "holes": [None, 1], "grids": [[1], []], "parts": [{"a": ["b"]}, "${x}"]}
    assert items_problem(Params, good) == ""


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("dataset.mixture=[[a]]", "dataset.mixture holds ['a']; each item of it must be a mapping"),
        ("dataset.mixture=[null]", "dataset.mixture holds null; each item of it must be a mapping"),
        ("dataset.mixture=[a]", "dataset.mixture holds a; each item of it must be a mapping"),
        ("dataset.ignore_fields=[null]", "dataset.ignore_fields holds null; each item of it must be one text"),
        ("benchmark=[[a]]", "benchmark holds ['a']; each item of it must be the name of a benchmark"),
        ("benchmark=[null]", "benchmark holds null; each item of it must be the name of a benchmark"),
        ("plugins.paths={a: 1}", "plugins.paths is {'a': 1}; it is a list of files, like plugins.paths=[mine.py]"),
    ],
)
def test_components_on_the_command_line(word: str, said: str, registry: Registry) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}$"):
        compose("train", ["dataset=conversations", word], registry)


@pytest.mark.parametrize("value", ["[a]", "[[a]]", "[null]"])
def test_a_list_of_mappings_of_a_component(value: str, registry: Registry) -> None:
    with pytest.raises(UserError, match=r"^dataset\.parts .*each item of it must be a mapping"):
        compose("train", ["dataset=videochat", f"dataset.parts={value}"], registry)


def test_evaluate_and_predict(capsys: pytest.CaptureFixture) -> None:
    assert main(["evaluate", "run=/nowhere", "media.withhold=[[image]]"]) == 2
    assert "media.withhold holds ['image']; each item of it must be one text" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"^media is \[\['a\.mp4'\]\]; it is a path, or paths in brackets"):
        check_values(PredictConfig, typed(PredictConfig, {"media": [["a.mp4"]]}))
