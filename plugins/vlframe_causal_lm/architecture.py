"""Build a transformers config from parameters, reporting every disagreement."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, PreTrainedConfig

from vlframe import ConfigError, did_you_mean, is_meta, one_line

# Older configs have these fields; transformers 5 keeps both in rope_parameters.
OLD_NAMES = {"rope_theta": "rope_parameters", "rope_scaling": "rope_parameters"}

# Fields by which a model changes its logits after lm_head. This plugin computes logits only with lm_head.
CHANGED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


def resolve(source: str | None, architecture: Mapping[str, Any], gguf_file: str | None) -> PreTrainedConfig:
    """Return the config to build: given, read from ``source``, or both if they agree."""
    if source is None and not architecture:
        raise ConfigError(
            "llm 'causal_lm' has neither a source (a folder or a hub id) nor an architecture (model_type and its "
            "fields); give one of them, or take a preset such as llm=tiny"
        )
    if gguf_file and source is None:
        raise ConfigError(f"llm gguf_file is {gguf_file!r} and there is no source folder to find it in; set llm.source")
    spelled = _spelled(architecture) if architecture else None
    config: Any = spelled
    if source is not None and not (spelled and is_meta() and _costly(source, gguf_file)):
        config = read_config(source, gguf_file)
        if spelled:
            _compare(source, architecture, spelled, config)
    _check_kind(config)
    changed = [name for name in CHANGED_LOGITS if getattr(config, name, None) not in (None, 1, 1.0)]
    if changed:
        raise ConfigError(
            f"a {config.model_type} model changes its logits by {', '.join(changed)}, which llm 'causal_lm' does not "
            "do; take another architecture, such as mistral, mixtral, qwen2 or llama"
        )
    return config


def _check_kind(config: PreTrainedConfig) -> None:
    """Refuse models that are no decoder of text, and say what they are."""
    known = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    inner = config.get_text_config(decoder=True)
    if config.is_encoder_decoder:
        what = "an encoder-decoder model"
    elif inner is not config:
        what = "a vision-language model" if hasattr(config, "vision_config") else "a model of several parts"
    elif known:
        return
    else:
        what = "no language model that writes text"
    apart = inner is not config and type(inner) in MODEL_FOR_CAUSAL_LM_MAPPING
    own = f"the {inner.model_type} inside it, if it can be used, saved in a folder of its own, or " if apart else ""
    raise ConfigError(
        f"a {config.model_type} is {what}, and llm 'causal_lm' takes a decoder that writes one token after the other "
        f"(a causal language model); take {own}mistral, mixtral, qwen2 or llama"
    )


def read_config(source: str, gguf_file: str | None) -> PreTrainedConfig:
    """Read the config of a folder or a hub id. Code that comes with a model is never run."""
    refuse_absent_folder("source", source)
    try:
        return AutoConfig.from_pretrained(source, **({"gguf_file": gguf_file} if gguf_file else {}))
    except (OSError, ImportError, ValueError) as error:
        raise ConfigError(
            f"the config of llm source {source!r} cannot be read: {first_line(error)}. It must be a folder, or a hub "
            "id that is reachable or cached"
        ) from error


def refuse_absent_folder(key: str, value: str) -> None:
    """Raise ConfigError for a path without a folder, which a library would take for a hub id of an impossible form."""
    if value.startswith(("/", ".", "~")) and not Path(value).is_dir():
        raise ConfigError(f"llm {key} {value!r} is a path, and there is no such folder")


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__


def _costly(source: str, gguf_file: str | None) -> bool:
    """Return whether reading costs a download or a whole GGUF file; a plan only reads a folder's config.json."""
    return gguf_file is not None or not Path(source).is_dir()


def _spelled(architecture: Mapping[str, Any]) -> PreTrainedConfig:
    fields = dict(architecture)
    model_type = fields.pop("model_type", None)
    if model_type not in CONFIG_MAPPING:
        hint = did_you_mean(str(model_type), CONFIG_MAPPING) or "; for example mistral, mixtral, qwen2 or llama"
        raise ConfigError(f"llm architecture has model_type {model_type!r}, which transformers does not know{hint}")
    kind = CONFIG_MAPPING[model_type]
    # a config.json may use other names for some of its fields, and head_dim, which models read from any config
    known = {**kind().to_dict(), **kind.attribute_map, **dict.fromkeys(kind.attribute_map.values()), "head_dim": None}
    for name in [*fields]:
        if name in known or name in OLD_NAMES:
            continue
        if fields.pop(name) is not None:  # null is what a preset for another type says of what it does without
            raise ConfigError(
                f"llm architecture has the field {name!r}, and a {model_type} config has none of that name"
                f"{did_you_mean(name, known)}"
            )
    try:
        config = AutoConfig.for_model(model_type, **fields)
    except Exception as error:  # each config class checks its fields in its own way
        raise ConfigError(f"llm architecture cannot be a {model_type}: {one_line(error)}") from error
    _check_heads(config, "head_dim" in fields)
    return config


def _check_heads(config: PreTrainedConfig, head_dim_given: bool) -> None:
    """Check what transformers only discovers in the first forward pass, or not at all."""
    width, heads, groups = (
        getattr(config, name, None) for name in ("hidden_size", "num_attention_heads", "num_key_value_heads")
    )
    if width and heads and width % heads and not head_dim_given:
        raise ConfigError(
            f"llm architecture has hidden_size={width}, which cannot be shared among num_attention_heads={heads}; "
            "take a multiple, or give head_dim"
        )
    if heads and groups and heads % groups:
        raise ConfigError(
            f"llm architecture has num_attention_heads={heads}, which cannot be shared among "
            f"num_key_value_heads={groups}; take a multiple"
        )


def _compare(source: str, fields: Mapping[str, Any], spelled: PreTrainedConfig, found: PreTrainedConfig) -> None:
    names = sorted({OLD_NAMES.get(name, name) for name in fields})
    differences = [
        f"{name} is {getattr(spelled, name, None)!r}, in {source} {getattr(found, name, None)!r}"
        for name in names
        if not _agree(getattr(spelled, name, None), getattr(found, name, None))
    ]
    if differences:
        raise ConfigError(
            f"llm architecture and source disagree: {'; '.join(differences)}. Correct the architecture, or leave it out"
        )


def _agree(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return all(_agree(value, theirs.get(key)) for key, value in ours.items())
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-6)  # GGUF keeps single precision
    return bool(ours == theirs)
