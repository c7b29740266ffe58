"""Explains OmegaConf's errors: which key, what is wrong with it, and the override that works."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from vlframe.config.items import WORDS, item_sentence
from vlframe.config.renamed import present_hint, present_key
from vlframe.errors import did_you_mean, some_of

NOT_OF_A_TYPE = re.compile(r"Invalid type assigned: (\w+) is not a subclass of (\w+)")
NO_MAPPING = re.compile(r"Cannot assign \w+ to Dict\[str, (\w+)\]|Cannot merge DictConfig with \w+")
# OmegaConf's sentences about a value of another type than its key's: the value, and the type.
CONVERSIONS = (
    re.compile(r"Value '(?P<value>.*)' of type '(?P<given>\w+)' could not be converted to (?P<wanted>\w+)"),
    re.compile(r"Value '(?P<value>.*)' is not a valid (?P<wanted>bool) \(type (?P<given>\w+)\)"),
    re.compile(r"Cannot convert '(?P<given>\w+)' to (?P<wanted>string): '(?P<value>.*)'"),
)
NOT_FOUND = re.compile(r"Interpolation key '(.*)' not found")
WANTED = {"Integer": "a whole number", "Float": "a number", "bool": "true or false", "string": "one text"}
# Its sentences about an item of a list, whose keys end in a number: the type it must have, and what it is.
ITEM = re.compile(r"(?P<key>.+?)(\[\d+\])+")
NOT_AN_ITEM = (
    re.compile(r"Invalid type assigned: \w+ is not a subclass of (?P<wanted>\w+)(.*)\. value: (?P<value>.*)"),
    re.compile(r"Incompatible value '(?P<value>None)' for field of type '(?P<wanted>\w+)'"),
    re.compile(r"'(?P<value>\w+)' is incompatible with type hint '(<class ')?(typing\.)?(?P<wanted>\w+)"),
)
SHOWN = {"None": "null", "ListConfig": "a list", "DictConfig": "a mapping"}
OF_ITEMS = {kind.__name__: words for kind, words in WORDS.items()} | {"List": WORDS[list]}
GIVEN = {"list": ", not a list", "dict": ", not a mapping"}


def key_problem(error: OmegaConfBaseException, choose: Callable[[str, str], str] | None = None) -> str:
    """Explain an error about a key in one sentence. ``choose`` returns how to fill an empty place, from its path and
    the name of the component that contains it.
    """
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and isinstance(error.parent_node, DictConfig):
        return _no_such_key(error, error.parent_node, choose or (lambda place, holder: f"{place}=<name>"))
    key, reason = error.full_key or "the config", str(error.msg or error).splitlines()[0]
    if (item := ITEM.fullmatch(key)) and (told := _item(item["key"], reason)):
        return told
    if found := NOT_OF_A_TYPE.match(reason):
        return _whole_group(error, key, found[2])
    if found := NO_MAPPING.match(reason):
        return _whole_mapping(key, found[1])
    return f"{key}{_of_another_type(key, reason)}"


def _whole_group(error: OmegaConfBaseException, key: str, schema: str) -> str:
    """Explain a value given to a group of keys as a whole."""
    name = key.rpartition(".")[2]
    if schema != "StageConfig":
        return f"{key} is a group of keys; change one of them{_like(error, key)}"
    there = isinstance(error.parent_node, DictConfig) and error.parent_node._get_node(str(error.key)) is not None
    if there:
        another = add_a_stage("second")
        return f"{key} is a stage that is already there; change its keys, like {key}.steps=…; for another, {another}"
    return f"there is no stage {name!r}; {add_a_stage(name)}"


def _item(key: str, reason: str) -> str:
    """Explain an item of a list that has another type than the list's; "" for any other error."""
    for pattern in NOT_AN_ITEM:
        if found := pattern.match(reason):
            value = found["value"]
            return item_sentence(key, SHOWN.get(value, value), OF_ITEMS.get(found["wanted"], "a mapping"))
    return ""


def _whole_mapping(key: str, schema: str | None) -> str:
    """Explain a value given to a mapping as a whole."""
    if key == "stages":
        return f"stages are given one by one, each with a name, like main: {add_a_stage('main')}"
    if schema is None:
        return f"{key} is a group of keys, and takes no value as a whole; give them one by one, like {key}.<key>=…"
    return f"{key} holds values by name; give one like {key}.<name>=…"


def _of_another_type(key: str, reason: str) -> str:
    """Return the end of a sentence about a key whose value has another type than the key's."""
    if "is not a ListConfig" in reason:
        return f" is a list; write it in brackets, like {key}=[first,second]"
    if found := NOT_FOUND.match(reason):
        return f" refers to ${{{found[1]}}}, and there is no key {found[1]!r}"
    if "is not Optional" in reason or "is not optional" in reason:
        return " cannot be null; leave it out for its default"
    for pattern in CONVERSIONS:
        if found := pattern.match(reason):
            value = repr(found["value"]) if found["given"] == "str" else found["value"]
            wanted = WANTED.get(found["wanted"], f"a {found['wanted']}")
            return f" is {value}; it must be {wanted}{GIVEN.get(found['given'], '')}"
    return f": {reason}"


def value_problem(error: OmegaConfBaseException) -> str:
    """Explain an error about a value among a component's parameters in one sentence."""
    reason = str(error.msg or error).splitlines()[0]
    key = str(error.full_key or "")
    return f"{key}{_of_another_type(key, reason)}" if key else reason


def add_a_stage(name: str) -> str:
    """Return the overrides that add a stage."""
    return f"add it with +stage@stages.{name}=everything stages.{name}.steps=… (presets of stages are in --help)"


def _like(error: OmegaConfBaseException, key: str) -> str:
    holder = OmegaConf.get_type(error.parent_node) if isinstance(error.parent_node, DictConfig) else None
    group = get_type_hints(holder).get(str(error.key)) if is_dataclass(holder) else None
    names = [item.name for item in fields(group)] if is_dataclass(group) else []
    return f", like {key}.{names[0]}=… ({', '.join(names)})" if names else ""


def _present_word(key: str) -> str:
    """Return the last word of a key, by its present name."""
    return (present_key(key) or key).rpartition(".")[2]


def _places(node: Any, word: str, prefix: str = "") -> list[str]:
    """Return every key of a config that ends in this word: whoever types ``lr=`` means that of a stage."""
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return []
    found = []
    for key in map(str, node):
        if prefix or key not in ("hydra", "choices"):
            found += [f"{prefix}{key}"] if key == word else _places(node._get_node(key), word, f"{prefix}{key}.")
    return found


def _no_such_key(error: OmegaConfBaseException, parent: DictConfig, choose: Callable[[str, str], str]) -> str:
    keys = sorted(str(key) for key in parent if key != "hydra")
    key = str(error.full_key)
    where = key.rpartition(".")[0]
    if where == "stages":
        there = f"the run has {', '.join(keys)}{did_you_mean(str(error.key), keys)}" if keys else "the run has none"
        return f"there is no stage {str(error.key)!r}; {there}; {add_a_stage(str(error.key))}"
    chosen = bool(keys) or not where  # otherwise the keys of what is to be chosen are not known yet
    places = [place for place in _places(parent._get_root(), _present_word(key)) if place != key]
    if places and chosen:
        now = present_key(key)
        nearest = [now] if now in places else sorted(places, key=lambda place: place.count("."))
        own = f"; {where} has {', '.join(keys)}" if where and "name" in keys else ""  # of a component
        return f"there is no key {key!r}{own}. Did you mean {some_of(nearest, 4, ' or ')}?"
    if where and (hint := present_hint(key)):
        return f"there is no key {key!r}{hint}"
    if not chosen:
        above = parent._get_parent()
        holder = above.get("name") if isinstance(above, DictConfig) else None
        words = choose(where, str(holder or ""))
        return f"there is no key {key!r}: {where} is not chosen yet; choose it first, like {words}"
    return f"there is no key {key!r}; {where or 'the config'} has {', '.join(keys)}{did_you_mean(str(error.key), keys)}"
