"""A transformers causal LM behind the LanguageModel contract.

Shapes: B batch, S sequence, E embedding, V vocabulary, G generated tokens. A mask is 1 on tokens and 0 on padding,
which may stand on either side of a row.
"""

import difflib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from vlframe import ConfigError, planning
from vlframe_causal_lm.architecture import resolve
from vlframe_causal_lm.quantise import check_gpu, check_quantise
from vlframe_causal_lm.recompute import decoder_layers, recompute
from vlframe_causal_lm.text import check_names, end_of_turn, load_tokenizer
from vlframe_causal_lm.weights import load_model, random_model


class CausalLM(nn.Module):
    """Any causal LM of transformers. ``lora_targets`` names the linear layers of the decoder, lm_head not among them.

    The experts of a Mixtral are not linear layers in transformers 5; there, the targets are those of attention.
    """

    def __init__(
        self,
        *,
        source: str | None,
        architecture: dict[str, Any],
        gguf_file: str | None,
        tokenizer: str | None,
        chat_template: str | None,
        attention: str,
        context: int | None,
        quantise: str | None,
    ) -> None:
        super().__init__()
        check_names(tokenizer, chat_template)
        check_quantise(quantise, source, gguf_file)
        config = resolve(source, architecture, gguf_file)
        if source is None or planning():
            self.lm = random_model(config, attention)
        else:
            self.lm = load_model(source, config, attention, gguf_file, quantise)
            self.is_loaded_in_4bit = quantise is not None  # peft asks; its adapters then fit four-bit layers
        self.dim: int = self.lm.get_input_embeddings().weight.shape[1]
        self.context = _context(context, getattr(config, "max_position_embeddings", None))
        parts = self.lm.base_model.named_modules()
        self.lora_targets = sorted({name.rpartition(".")[2] for name, part in parts if isinstance(part, nn.Linear)})
        self._tokenizer_from = (tokenizer or source, chat_template, None if tokenizer else gguf_file)
        # Random weights know no end of their own: the default of their config may be any word of the tokenizer.
        stranger = source is None and tokenizer is not None
        self._ends = set() if stranger else _as_set(self.lm.generation_config.eos_token_id)
        # A checkpoint's own sampling settings would otherwise mix with those that are asked for.
        self.lm.generation_config = GenerationConfig()

    @staticmethod
    def check_machine(parameters: Mapping[str, Any]) -> None:
        """Called before any part is built: ConfigError when this machine cannot run one of these parameters."""
        check_gpu(parameters["quantise"])

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Read at the first use, so that a plan reads none."""
        name, chat_template, gguf_file = self._tokenizer_from
        if name is None:
            raise ConfigError("the llm has no tokenizer: set llm.tokenizer to a folder, a hub id or bundled:tiny")
        tokenizer = load_tokenizer(name, chat_template, gguf_file)
        rows = self.lm.get_input_embeddings().weight.shape[0]
        if len(tokenizer) > rows:
            raise ConfigError(
                f"tokenizer {name!r} has {len(tokenizer)} tokens and the llm has embeddings for {rows}; take the "
                "tokenizer that belongs to the model, or an architecture with a vocab_size as large"
            )
        return tokenizer

    def embed(self, ids_BS: Tensor) -> Tensor:
        """ids -> embeds_BSE. Every id must be a token; the caller puts media in afterwards."""
        return self.lm.get_input_embeddings()(ids_BS)

    def forward(self, embeds_BSE: Tensor, mask_BS: Tensor) -> Tensor:
        """The body only: hidden_BSE after the last norm. Padding has a hidden state too; it means nothing."""
        positions_BS = (mask_BS.long().cumsum(1) - 1).clamp(min=0)
        body = self.lm.base_model
        output = body(inputs_embeds=embeds_BSE, attention_mask=mask_BS, position_ids=positions_BS, use_cache=False)
        return output.last_hidden_state

    def logits(self, hidden_E: Tensor) -> Tensor:
        """logits_V over the last dimension, for any leading shape."""
        return self.lm.get_output_embeddings()(hidden_E)

    @torch.no_grad()
    def generate(
        self,
        embeds_BSE: Tensor,
        mask_BS: Tensor,
        *,
        max_new_tokens: int = 64,
        streamer: Any = None,
        **sampling: Any,
    ) -> Tensor:
        """ids_BG, the new tokens alone; after its end a row is filled with the padding token. Greedy unless told.

        ``sampling`` takes the fields of transformers' ``GenerationConfig``. A row of a batch gives what it gives alone.
        ``streamer`` (transformers' ``BaseStreamer``) is handed the tokens of a single row as they come.
        """
        ends = sorted(self._end_ids)
        settings = {"do_sample": False, "max_new_tokens": max_new_tokens, **sampling}
        known = GenerationConfig().to_dict()
        for name in settings:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3)
                raise ConfigError(
                    f"generation has no setting {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")
                )
        order_BS = mask_BS.long().argsort(dim=1, stable=True)  # padding first, tokens in their order
        config = GenerationConfig(**{"eos_token_id": ends or None, "pad_token_id": self._pad_id(ends), **settings})
        return self.lm.generate(
            inputs_embeds=embeds_BSE.gather(1, order_BS[..., None].expand_as(embeds_BSE)),
            attention_mask=mask_BS.long().gather(1, order_BS),
            generation_config=config,
            streamer=streamer,
        )

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the decoder's layers in the backward pass instead of keeping their activations."""
        recompute(self.lm)

    def blocks(self) -> list[nn.Module]:
        """The decoder's layers, which ``trainer.strategy=fsdp`` shards one by one."""
        return decoder_layers(self.lm)

    @cached_property
    def _end_ids(self) -> set[int]:
        """The tokens that end an answer, as the weights, the tokenizer and the chat template know them."""
        if self._tokenizer_from[0] is None:
            return self._ends
        return self._ends | _as_set(self.tokenizer.eos_token_id) | _as_set(end_of_turn(self.tokenizer))

    def _pad_id(self, ends: list[int]) -> int:
        has_tokenizer = self._tokenizer_from[0] is not None
        if has_tokenizer and self.tokenizer.pad_token_id is not None:
            return self.tokenizer.pad_token_id
        return ends[0] if ends else 0


def _context(asked: int | None, longest: int | None) -> int:
    if asked is None and longest is None:
        raise ConfigError("llm 'causal_lm': the architecture does not say how long a sequence may be; set llm.context")
    if asked is None:
        return longest
    if longest is not None and not 0 < asked <= longest:
        raise ConfigError(f"llm context is {asked}; the architecture has positions for 1 to {longest} tokens")
    return asked


def _as_set(ids: int | list[int] | None) -> set[int]:
    if ids is None:
        return set()
    return {ids} if isinstance(ids, int) else set(ids)
