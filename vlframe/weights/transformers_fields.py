"""Fields of config.json files in transformers' layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Fields of every transformers config that describe the file or how to run it, not the architecture.
GENERIC = {
    "_name_or_path", "architectures", "chunk_size_feed_forward", "dtype", "id2label", "is_encoder_decoder", "label2id",
    "model_type", "output_attentions", "output_hidden_states", "problem_type", "return_dict", "torch_dtype",
    "transformers_version", "use_cache", "pad_token_id", "pretraining_tp", "output_router_logits",
}  # fmt: skip


def hf_architecture(model_type: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a config.json that define a model of this type, without those of other modules in
    the file.
    """
    from transformers import CONFIG_MAPPING

    known = CONFIG_MAPPING[model_type]().to_dict().keys() | {"rope_theta", "rope_scaling"}
    return {name: said[name] for name in sorted((known - GENERIC) & said.keys()) if said[name] is not None}


def hf_old_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a transformers 5 config's architecture under its earlier names (rope_theta, rope_scaling)."""
    written = {name: value for name, value in config.items() if name not in (*GENERIC, "rope_parameters")}
    rope = dict(config.get("rope_parameters") or {})
    written["rope_theta"] = rope.pop("rope_theta", 10000.0)
    if rope.get("rope_type", "default") != "default":
        written["rope_scaling"] = rope
    return written
