"""Generation settings: each takes effect as stated, or is refused."""

import math
from collections.abc import Mapping
from typing import Any

from transformers import GenerationConfig

from vlframe import ConfigError, DataError, did_you_mean

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h")
BOUNDS = {"temperature": (0, math.inf), "top_p": (0, 1), "min_p": (0, 1), "top_k": (0, math.inf)}
ONE_ANSWER = {  # settings whose other values give something other than one text for each question
    "num_return_sequences": (None, 1),
    "return_dict_in_generate": (None, False),
    "output_scores": (None, False),
    "output_logits": (None, False),
    "output_attentions": (None, False),
    "output_hidden_states": (None, False),
}


def generation_settings(asked: Mapping[str, Any], room: int, streams: bool) -> GenerationConfig:
    """Build transformers' settings from those requested. ConfigError for one that is unknown, contradicts another, or
    gives anything but one answer per question. ``room`` is what the context has left: answers end there."""
    _check_names(asked)
    settings = {"do_sample": False, **asked}
    if settings.get("temperature") == 0:  # transformers does not take it
        if asked.get("do_sample"):
            raise ConfigError("do_sample=True with temperature=0 contradict each other; leave one of them out")
        del settings["temperature"]
    for name, (least, most) in BOUNDS.items():
        value = settings.get(name)
        if value is not None and not (isinstance(value, int | float) and least <= value <= most):
            raise ConfigError(f"{name} is {value!r}; it is a number from {least:g} to {most:g}")
    sampling = {name: settings[name] for name in SAMPLING if settings.get(name) is not None}
    if sampling and asked.get("do_sample") is False:
        raise ConfigError(
            f"do_sample=False and {_listed(sampling)} contradict each other; leave do_sample out to sample"
        )
    settings["do_sample"] = bool(asked.get("do_sample") or (sampling and asked.get("temperature") != 0))
    if not settings["do_sample"]:
        settings = {name: value for name, value in settings.items() if name not in SAMPLING}
    if room < 1:
        raise DataError("the question fills the whole context of the language model, and leaves no room for an answer")
    settings["max_new_tokens"] = min(settings["max_new_tokens"], room)
    if streams and settings.get("num_beams") not in (None, 1):
        raise ConfigError("num_beams gives no answer piece by piece; ask without streaming, or leave it out")
    try:
        return GenerationConfig(**settings)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"these generation settings do not work: {' '.join(str(error).split())}") from error


def _check_names(asked: Mapping[str, Any]) -> None:
    known = GenerationConfig().to_dict()
    for name, value in asked.items():
        if name not in known:
            raise ConfigError(f"generation has no setting {name!r}{did_you_mean(name, known)}")
        if name in ONE_ANSWER and value not in ONE_ANSWER[name]:
            raise ConfigError(
                f"{name}={value} does not give one answer to each question as text, which is what is given here; leave "
                "it out, and ask as often as answers are wanted"
            )
    if asked.get("max_length") is not None:
        raise ConfigError("max_length also counts the question; use max_new_tokens")


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())
