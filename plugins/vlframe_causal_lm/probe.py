"""Try the required abilities of a language model on a small copy with random weights, before anything is read.

Hidden states from embeddings, padding on either side, logits by only the output layer, generation from embeddings.
B batch, S sequence, E embedding, G generated tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from logging import getLogger
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from vlframe import ConfigError, padded_layout
from vlframe_causal_lm.architecture import first_line
from vlframe_causal_lm.attention import attention_arguments

SMALL = {
    "vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "num_local_experts": 4, "sliding_window": 4,
    "word_embed_proj_dim": 64, "ffn_dim": 96, "intermediate_size_mlp": 96,
    "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 16, "kv_lora_rank": 16, "q_lora_rank": 16,
    "qk_head_dim": 32,
    "rotary_dim": 16, "num_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
    # of state-space layers, whose inner width is twice the hidden one
    "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_d_ssm": 128, "mamba_n_groups": 1,
    "mamba_chunk_size": 16, "num_heads": 8, "chunk_size": 16, "n_mamba_heads": 8, "mamba_headdim": 16,
    "mamba_dt_rank": 8, "attn_layer_period": 2, "attn_layer_offset": 1,
    # of attention on hidden states and embeddings side by side
    "attention_hidden_size": 128, "attention_head_dim": 32, "kv_channels": 16, "num_query_groups": 4, "adapter_rank": 8,
}  # fmt: skip
IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
KINDS_OF_LAYERS = ("layer_types", "layers_block_type")
NUMBERS_OF_LAYERS = ("attn_layer_indices", "hybrid_layer_ids")
SHARED = "hybrid"  # a layer whose weights are those of all of its kind, of which there must be two
LARGE = 4_000_000  # parameters; smaller models are tried as they are
LENGTH, PADDING, NEW = 9, 3, 4  # tokens
ADVICE = "take another architecture, such as mistral, mixtral, qwen2 or llama"
RTOL, ATOL = 1e-3, 1e-4
log = getLogger("vlframe")
_TRIED: dict[str, str | None] = {}  # what ``what_fails`` found for each config


def body(model: PreTrainedModel) -> nn.Module:
    """Return the decoder without its output layer."""
    return model.base_model if model.base_model is not model else model.get_decoder()


def hidden_states(model: PreTrainedModel, embeds_BSE: Tensor, layout: Any) -> Tensor:
    """Return hidden_BSE after the last norm."""
    decoder = body(model)
    arguments = attention_arguments(layout, embeds_BSE.dtype, decoder)
    return decoder(inputs_embeds=embeds_BSE, use_cache=False, **arguments).last_hidden_state


def check_abilities(config: PreTrainedConfig, attention: str) -> None:
    """Raise ConfigError if a model of this architecture cannot be trained or asked, naming an alternative."""
    fault = what_fails(config, attention)
    if fault:
        raise ConfigError(f"a {config.model_type} model cannot be used with {attention} attention: {fault}")


def what_fails(config: PreTrainedConfig, attention: str) -> str | None:
    """Describe the first thing that a model of this architecture cannot do, with an alternative; "" if it can do all;
    None if no small copy of it can be built.
    """
    key = json.dumps([config.to_dict(), attention], default=str, sort_keys=True)
    if key not in _TRIED:
        with ThreadPoolExecutor(1) as apart:  # in a thread, which a plan's device context does not affect
            _TRIED[key] = apart.submit(_tried, config, attention).result()
    return _TRIED[key]


def _tried(config: PreTrainedConfig, attention: str) -> str | None:
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            twin = _built(_as_it_is, config, attention)
            if isinstance(twin, RuntimeError):  # of tensors whose sizes differ
                return f"its own numbers do not fit one another ({first_line(twin)}); correct llm.architecture"
            if isinstance(twin, ValueError) and isinstance(_built(_as_it_is, config, "eager"), ValueError):
                return f"it does not run as it is set ({first_line(twin)}); correct llm.architecture"
            if not isinstance(twin, PreTrainedModel):
                twin = _built(_small, config, attention)
            if not isinstance(twin, PreTrainedModel):
                log.warning(
                    "no small copy of this %s model works (%s), so it was not tried whether it can be trained and "
                    "asked; make a short run first (debug=fast)", config.model_type, first_line(twin)[:200],
                )  # fmt: skip
                return None
            return _unable(twin)
    finally:
        logging.set_verbosity(level)


def _built(make: Callable[..., Any], config: PreTrainedConfig, attention: str) -> Any:
    """Build a working model of the config that ``make`` returns; its error if it does not work; None if none."""
    try:
        small = make(config, attention)
        if small is None:
            return None
        twin = AutoModelForCausalLM.from_config(small, attn_implementation=attention).float().eval()
        twin(torch.tensor([[3, 4, 5]]), use_cache=False)
    except Exception as error:  # each architecture fails in its own way
        return error
    return twin


def _as_it_is(config: PreTrainedConfig, attention: str) -> PreTrainedConfig | None:
    own = deepcopy(config)  # building a model writes its attention into the config
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(own, attn_implementation=attention)
    return own if sum(p.numel() for p in model.parameters()) < LARGE else None


def _small(config: PreTrainedConfig, attention: str) -> PreTrainedConfig:
    small, layers = deepcopy(config), SMALL["num_hidden_layers"]
    for name in KINDS_OF_LAYERS:
        kinds = getattr(small, name, None)
        if kinds:
            several = list(dict.fromkeys(kinds))[:2]
            layers = 4 if SHARED in several else layers
            with suppress(AttributeError):  # a property, which follows from other fields
                setattr(small, name, several * (layers // len(several)))
    for name in NUMBERS_OF_LAYERS:
        if getattr(small, name, None):
            setattr(small, name, list(range(1, layers, 2)))
    for name, size in (SMALL | {"num_hidden_layers": layers}).items():
        if isinstance(getattr(small, name, None), int):
            setattr(small, name, min(size, getattr(small, name)))
    if getattr(small, "mamba_d_ssm", None):  # all its heads together
        small.mamba_d_ssm = small.mamba_n_heads * small.mamba_d_head
    heads = getattr(config, "num_attention_heads", None)
    if heads and getattr(config, "num_key_value_heads", None) == heads:  # not shared, which some rely on
        small.num_key_value_heads = small.num_attention_heads
    for name in IDS:
        setattr(small, name, None)
    return small


def _unable(twin: Any) -> str:
    """Describe the first thing that this model cannot do in one sentence; "" if it can do all."""
    ids_BS = torch.randint(3, twin.get_input_embeddings().weight.shape[0], (2, LENGTH))
    embeds_BSE = twin.get_input_embeddings()(ids_BS)
    steps = {
        "the forward pass from embeddings": _hidden,
        "the output layer": _output,
        "padding on either side": _padding,
        "generation from embeddings": _generation,
    }
    for what, step in steps.items():
        try:
            wrong = step(twin, ids_BS, embeds_BSE)
        except Exception as error:  # each architecture fails in its own way
            wrong = f"{what} fails ({first_line(error)})"
        if wrong:
            return f"{wrong}; {ADVICE}"
    return ""


def _hidden(twin: Any, ids_BS: Tensor, embeds_BSE: Tensor) -> str:
    """Describe how hidden states from embeddings differ from those from tokens; "" = they do not."""
    expected = body(twin)(ids_BS, use_cache=False).last_hidden_state
    found = hidden_states(twin, embeds_BSE, padded_layout(torch.ones_like(ids_BS)))
    return (
        "" if torch.allclose(found, expected, rtol=RTOL, atol=ATOL) else "embeddings do not give what their tokens give"
    )


def _output(twin: Any, ids_BS: Tensor, embeds_BSE: Tensor) -> str:
    """Describe how logits by only the output layer differ from the model's own; "" = they do not."""
    hidden = hidden_states(twin, embeds_BSE, padded_layout(torch.ones_like(ids_BS)))
    same = torch.allclose(
        twin.get_output_embeddings()(hidden), twin(ids_BS, use_cache=False).logits, rtol=RTOL, atol=ATOL
    )
    return "" if same else "it changes its logits after the output layer, which llm 'causal_lm' does not do"


def _padding(twin: Any, ids_BS: Tensor, embeds_BSE: Tensor) -> str:
    """Describe how padding changes what a conversation gives; "" = it does not."""
    expected = hidden_states(twin, embeds_BSE[1:, PADDING:], padded_layout(torch.ones_like(ids_BS[1:, PADDING:])))
    for side in ("left", "right"):
        mask_BS = torch.ones_like(ids_BS)
        tokens = slice(PADDING, None) if side == "left" else slice(None, LENGTH - PADDING)
        mask_BS[1] = 0
        mask_BS[1, tokens] = 1
        padded_BSE = embeds_BSE.clone()
        padded_BSE[1, tokens] = embeds_BSE[1, PADDING:]
        found = hidden_states(twin, padded_BSE, padded_layout(mask_BS))[1:, tokens]
        if not torch.allclose(found, expected, rtol=RTOL, atol=ATOL):
            return f"padding on the {side} changes what a conversation gives"
    return ""


def _generation(twin: Any, ids_BS: Tensor, embeds_BSE: Tensor) -> str:
    """Describe how generation from embeddings differs from the forward pass; "" = it does not."""
    settings = GenerationConfig(do_sample=False, max_new_tokens=NEW, pad_token_id=0, eos_token_id=None)
    mask_BS = torch.ones_like(ids_BS)
    mask_BS[1, :PADDING] = 0
    twin.generation_config = GenerationConfig()
    found_BG = twin.generate(inputs_embeds=embeds_BSE, attention_mask=mask_BS, generation_config=settings)
    alone_BG = twin.generate(
        inputs_embeds=embeds_BSE[1:, PADDING:], attention_mask=mask_BS[1:, PADDING:], generation_config=settings
    )
    if found_BG.shape != (2, NEW):
        return f"generation from embeddings gives {found_BG.shape[1]} tokens where {NEW} were asked for"
    row = ids_BS[:1]
    for _ in range(NEW):
        row = torch.cat([row, twin(row, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    if not torch.equal(found_BG[0], row[0, LENGTH:]) or not torch.equal(found_BG[1], alone_BG[0]):
        return "generation from embeddings is not what the forward pass gives"
    return ""
