"""Any causal language model of transformers, and a small tokenizer for tiny ones."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import vlframe


@dataclass
class CausalLMParams:
    """A decoder, its tokenizer and its chat template."""

    source: str | None = None  # a folder or a hub id with the weights; null: random weights
    # model_type and fields of the transformers config. Spelled out, a plan needs neither file nor network; empty, the
    # config of source is read; with both, they must agree in every field spelled here.
    architecture: dict[str, Any] = field(default_factory=dict)
    gguf_file: str | None = None  # a file inside source, where the weights are GGUF (needs the package gguf)
    tokenizer: str | None = None  # a folder, a hub id, or bundled:tiny; null: that of source
    chat_template: str | None = None  # mistral_instruct | chatml | vicuna | llama3 | plain; null: the tokenizer's own
    attention: str = "sdpa"  # sdpa | eager | flash_attention_2
    context: int | None = None  # the longest sequence, media included; null: the architecture's max_position_embeddings
    quantise: str | None = None  # nf4: weights in four bits, for LoRA on a GPU (bitsandbytes, quantised twice)


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "llm",
        "causal_lm",
        "vlframe_causal_lm.model:CausalLM",
        CausalLMParams,
        "any causal LM of transformers: Mistral, Mixtral, Qwen2, Llama, ...",
    )
