"""Generation settings: each takes effect as stated, or is refused."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import GenerationConfig

from vlframe import ConfigError, DataError, did_you_mean, one_line

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h")


@dataclass(frozen=True)
class Number:
    """A number from ``least`` to ``most``; ``whole``: an integer; ``above``: ``least`` itself is not allowed."""

    least: float
    most: float = math.inf
    whole: bool = False
    above: bool = False

    def __contains__(self, value: object) -> bool:
        kinds = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return False
        return self.least <= value <= self.most and not (self.above and value == self.least)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        least = f"above {self.least:g}" if self.above else f"from {self.least:g}"
        return f"{kind} {least}" + f" to {self.most:g}" * (self.most < math.inf)


SHARE = Number(0, 1)
NUMBERS = {
    "max_new_tokens": Number(1, whole=True),
    "min_new_tokens": Number(0, whole=True),
    "max_time": Number(0, above=True),
    "temperature": Number(0),
    "top_k": Number(0, whole=True),
    "top_p": SHARE,
    "min_p": SHARE,
    "typical_p": SHARE,
    "top_h": SHARE,
    "epsilon_cutoff": SHARE,
    "eta_cutoff": SHARE,
    "num_beams": Number(1, whole=True),
    "length_penalty": Number(-math.inf),
    "repetition_penalty": Number(0, above=True),
    "no_repeat_ngram_size": Number(0, whole=True),
}
SWITCHES = ("do_sample", "renormalize_logits", "remove_invalid_values", "use_cache")
OTHERS = (
    "stop_strings", "early_stopping", "bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "sequence_bias",
    "exponential_decay_length_penalty", "eos_token_id", "pad_token_id", "forced_eos_token_id", "cache_implementation",
    "cache_config",
)  # fmt: skip
TAKEN = (*NUMBERS, *SWITCHES, *OTHERS)
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
    _check_values(asked)
    settings = {"do_sample": False, **asked}
    if settings.get("temperature") == 0:  # transformers does not take it
        if asked.get("do_sample"):
            raise ConfigError("do_sample=True with temperature=0 contradict each other; leave one of them out")
        del settings["temperature"]
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
    settings["max_new_tokens"] = min(settings.get("max_new_tokens") or room, room)
    if streams and settings.get("num_beams") not in (None, 1):
        raise ConfigError("num_beams gives no answer piece by piece; ask without streaming, or leave it out")
    try:
        return GenerationConfig(**settings)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"these generation settings do not work: {one_line(error)}") from error


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
        if name in ("max_length", "min_length") and value is not None:
            new = name.replace("length", "new_tokens")
            raise ConfigError(f"{name} also counts the question; use {new}")
        if name not in TAKEN and name not in ONE_ANSWER and value is not None:
            raise ConfigError(
                f"{name} has no meaning or does not work where questions contain media; settings that can be given are "
                f"{', '.join(sorted(TAKEN))}"
            )


def _check_values(asked: Mapping[str, Any]) -> None:
    for name, value in asked.items():
        if value is None:
            continue
        if name in NUMBERS and value not in NUMBERS[name]:
            raise ConfigError(f"{name} is {value!r}; it is {NUMBERS[name]}")
        if name in SWITCHES and not isinstance(value, bool):
            raise ConfigError(f"{name} is {value!r}; it is True or False")
    least, most = asked.get("min_new_tokens") or 0, asked.get("max_new_tokens")
    if most is not None and least > most:
        raise ConfigError(f"min_new_tokens={least} and max_new_tokens={most} contradict each other")


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())
