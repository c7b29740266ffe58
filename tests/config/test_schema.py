"""Every key of the configuration: its law stands where it is declared, and is kept."""

import dataclasses
import math
import pickle
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlframe.composer.help import keys_help
from vlframe.config.asking import AskingConfig
from vlframe.config.checks import check_given, check_values
from vlframe.config.fields import MISSING, Key, keys_of, missing_keys
from vlframe.config.open_schema import open_schema
from vlframe.config.schema import (
    EvaluateConfig,
    PredictConfig,
    RunConfig,
    StageConfig,
    part_settings,
    parts_of,
    run_schema,
    run_schema_of,
)
from vlframe.config.typed import frozen, plain, typed
from vlframe.contracts.modalities import parts
from vlframe.errors import ConfigError

STAGE = {"stages": {"main": {"steps": 1}}}


def declared(schema: type, path: str = "") -> Iterator[tuple[str, Key]]:
    """Every key that is no group, by its path; a stage is called main."""
    for item in keys_of(schema):
        if item.schema is not None:
            yield from declared(item.schema, f"{path}{item.name}.")
        elif item.item_schema is not None:
            yield from declared(item.item_schema, f"{path}{item.name}.main.")
        else:
            yield f"{path}{item.name}", item


KEYS = dict(declared(RunConfig))
BOUNDED = {path: item for path, item in KEYS.items() if item.law.bounds}
CHOSEN = {path: item for path, item in KEYS.items() if item.law.choices}


def with_value(path: str, value: object) -> dict:
    """Typed values of a run with one stage, in which a key has a value."""
    values = typed(RunConfig, STAGE)
    *groups, name = path.split(".")
    holder = values
    for group in groups:
        holder = holder[group]
    assert name in holder
    holder[name] = value
    if name == "epochs":
        holder["steps"] = None
    if name == "layers_from_top":
        holder["train"] = "full"
    return values


def test_every_key_says_what_it_is() -> None:
    assert not [path for path, item in KEYS.items() if not item.law.text]
    assert len(BOUNDED) > 30 and len(CHOSEN) > 10


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_numbers_are_taken_inside_their_bounds_and_refused_outside(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(BOUNDED)))
    law = BOUNDED[path].law
    number = data.draw(st.floats(allow_nan=True, allow_infinity=True) | st.integers(-3, 3))
    inside = law.at_least <= number <= law.at_most and law.above < number < law.below and math.isfinite(number)
    values = with_value(path, [number] if law.items else number)
    if inside:
        check_values(RunConfig, values)
    else:
        with pytest.raises(ConfigError, match=rf"{path} is .*; it must be {re.escape(law.bounds)}"):
            check_values(RunConfig, values)


@pytest.mark.parametrize("path", sorted(CHOSEN))
def test_a_word_that_is_no_choice_is_refused_with_the_choices(path: str) -> None:
    law = CHOSEN[path].law
    for choice in law.choices:
        check_values(RunConfig, with_value(path, [choice] if law.items else choice))
    with pytest.raises(ConfigError, match=f"{path} is 'strange'; it can be {', '.join(law.choices)}"):
        check_values(RunConfig, with_value(path, ["strange"] if law.items else "strange"))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("stages.main.betas", [0.9], "two numbers from 0 to below 1"),
        ("stages.main.betas", [0.9, 1.0], "two numbers"),
        ("name", "../elsewhere", "a folder under runs"),
        ("name", "", "a folder under runs"),
        ("trainer.max_time", "3 hours", "write DD:HH:MM:SS"),
    ],
)
def test_rules_that_are_no_bounds(path: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=f"{path} is .*{words}"):
        check_values(RunConfig, with_value(path, value))


def test_a_stage_has_steps_or_epochs() -> None:
    for stage, words in (({}, "needs steps or epochs"), ({"steps": 1, "epochs": 2}, r"steps=null stages\.a\.epochs=2")):
        with pytest.raises(ConfigError, match=words):
            check_values(RunConfig, typed(RunConfig, {"stages": {"a": stage}}))
    none = typed(RunConfig, {"stages": {"a": {"steps": 0}}})
    check_values(RunConfig, none, saved=True)
    with pytest.raises(ConfigError, match=r"stages\.a\.steps is 0"):
        check_values(RunConfig, none)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"layers_from_top": 1}, r"llm\.layers_from_top is set and stages\.a\.llm\.train is frozen"),
        ({"train": "full", "trainable": []}, r"llm\.trainable is \[\]; name parameters"),
        ({"train": "lora", "lora": {"targets": []}}, r"targets is \[\]; it is null, all, or names of layers"),
        ({"train": "lora", "lora": {"targets": [1]}}, r"targets is \[1\]; it is null, all"),
    ],
)
def test_what_narrows_a_part_down(part: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_values(RunConfig, typed(RunConfig, {"stages": {"a": {"steps": 1, "llm": part}}}))


def test_some_keys_of_a_run_are_checked_as_its_own() -> None:
    values = typed(EvaluateConfig, {"media": {"withhold": ["vidoe"]}})
    with pytest.raises(ConfigError, match=r"media\.withhold is 'vidoe'"):
        check_values(EvaluateConfig, values)


def test_what_has_to_be_given_is_named_with_an_example() -> None:
    with pytest.raises(ConfigError, match=r"needs run and prompt; give it like run=runs/quickstart/<id> prompt="):
        check_given(PredictConfig, typed(PredictConfig))
    assert missing_keys({"a": [{"b": MISSING}, 1], "c": {"d": MISSING}}) == ["a.0.b", "c.d"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"foo": 1}, "no key 'foo'; the config has"),
        ({"media": {"framez": 1}}, r"no key 'media\.framez'.*Did you mean 'frames'"),
        ({"media": {"frames": "many"}}, r"media\.frames is 'many'; it must be a whole number"),
        ({"init": {"parts": "llm"}}, r"init\.parts is a list; write it in brackets, like init\.parts=\["),
    ],
)
def test_a_wrong_key_or_type_is_one_sentence(values: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        typed(RunConfig, values)


def test_a_config_is_frozen_travels_and_comes_back_from_plain_values() -> None:
    config = frozen(RunConfig, typed(RunConfig, STAGE, {"media": {"withhold": ["video"]}, "init": {"parts": ["llm"]}}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.stages["main"].llm.lora.rank = 3
    assert config.media.withhold == ("video",) and config.init.parts == ("llm",)
    assert config.stages["main"].betas == (0.9, 0.999)
    assert pickle.loads(pickle.dumps(config)) == config
    assert frozen(RunConfig, typed(RunConfig, plain(config))) == config


def test_parts_come_from_one_list() -> None:
    assert tuple(parts_of(RunConfig())) == parts() == tuple(part_settings(StageConfig()))
    assert run_schema() is RunConfig
    more = run_schema_of((*parts(), "depth_encoder"))
    values = {"stages": {"main": {"steps": 1, "depth_encoder": {"train": "full"}}}, "depth_encoder": {"name": "d"}}
    config = frozen(more, typed(more, values))
    assert isinstance(config, RunConfig) and parts_of(config)["depth_encoder"] == {"name": "d"}
    assert part_settings(config.stages["main"])["depth_encoder"].train == "full"
    with pytest.raises(ConfigError, match=r"no key 'stages\.main\.depth_encoder'"):
        typed(RunConfig, values)


def test_what_composes_is_found_by_its_name_in_another_process() -> None:
    for schema in (RunConfig, StageConfig, run_schema_of((*parts(), "depth_encoder", "depth_connector"))):
        opened = open_schema(schema)
        assert pickle.loads(pickle.dumps(opened)) is opened
        pickled = pickle.dumps(opened)
        open_schema.cache_clear()
        again = pickle.loads(pickled)
        assert [item.name for item in dataclasses.fields(again)] == [item.name for item in keys_of(schema)]


def test_help_has_every_key_with_default_law_and_text() -> None:
    lines = {line.partition(":")[0]: line for line in keys_help(RunConfig)}
    asking = {f"{at}.{item.name}" for at in ("benchmark", "benchmarks.<name>") for item in keys_of(AskingConfig)}
    assert set(lines) == {path.replace("stages.main.", "stages.<name>.") for path in KEYS} | asking
    assert lines["media.frames"] == "media.frames: 8  (at least 1) the most frames of a clip"
    assert "(between 0 and 1)" in lines["stages.<name>.warmup_ratio"]
    assert "one of frozen, full, lora" in lines["stages.<name>.llm.train"]
    assert "dataset component" in lines["stages.<name>.data"] and ": null" in lines["stages.<name>.data"]
