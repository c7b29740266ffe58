"""Any causal language model of transformers, and a small tokenizer for tiny ones."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import vlframe

vlframe_api = 1


@dataclass
class CausalLMParams:
    """A decoder, its tokenizer and its chat template."""

    source: str | None = None  # a folder or a hub id with the weights; null: random weights
    # model_type and fields of the transformers config. If given, planning needs neither file nor network; if empty, the
    # config of source is read; with both, they must agree in every field given here.
    architecture: dict[str, Any] = field(default_factory=dict)
    gguf_file: str | None = None  # a file inside source, if the weights are GGUF (needs the package gguf)
    tokenizer: str | None = None  # a folder, a hub id, or bundled:tiny; null: that of source
    chat_template: str | None = None  # mistral_instruct | chatml | vicuna | llama3 | plain; null: the tokenizer's own
    # Special tokens in addition to those of source. Embeddings and output layer grow by one row for each, initialised
    # to the mean of the existing rows.
    added_tokens: list[str] = field(default_factory=list)
    embedding_gradient: str = "all"  # all | added: if embeddings are trained, only the rows of added_tokens learn
    attention: str = "sdpa"  # sdpa | eager | flash_attention_2
    context: int | None = None  # the longest sequence, media included; null: the architecture's max_position_embeddings
    quantise: str | None = None  # nf4: weights in four bits, for LoRA on a GPU (bitsandbytes, quantised twice)


# A Llama with random weights; the context is long enough for the media of large experiments, and costs nothing.
EXAMPLE = {
    "tokenizer": "bundled:tiny",
    "architecture": {
        "model_type": "llama",
        "vocab_size": 704,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
}


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "llm",
        "causal_lm",
        "vlframe_causal_lm.model:CausalLM",
        CausalLMParams,
        "any causal LM of transformers: Mistral, Mixtral, Qwen2, Llama, ...",
        example=EXAMPLE,
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets of published language models, and of tiny ones with random weights."""
    return Path(__file__).parent / "conf"
