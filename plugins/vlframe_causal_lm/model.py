"""A transformers causal LM that implements the LanguageModel contract.

Shapes: B batch, S sequence, E embedding, V vocabulary, G generated tokens. A mask is 1 on tokens and 0 on padding,
which may stand on either side of a row.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from vlframe import ConfigError, Loss, SequenceLayout, is_meta
from vlframe_causal_lm.added_tokens import add_rows, check_added
from vlframe_causal_lm.architecture import resolve
from vlframe_causal_lm.generation import generation_settings
from vlframe_causal_lm.probe import body, check_abilities, hidden_states
from vlframe_causal_lm.quantise import check_gpu, check_quantise, packed
from vlframe_causal_lm.recompute import decoder_layers, recompute
from vlframe_causal_lm.text import check_names, end_of_turn, load_tokenizer
from vlframe_causal_lm.weights import load_model, random_model


class CausalLM(nn.Module):
    """Any causal LM of transformers. ``lora_targets`` names the linear layers of the decoder, without lm_head.

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
        added_tokens: Sequence[str],
        embedding_gradient: str,
        attention: str,
        context: int | None,
        quantise: str | None,
    ) -> None:
        super().__init__()
        check_names(tokenizer, chat_template)
        check_added(added_tokens, embedding_gradient)
        check_quantise(quantise, source, gguf_file)
        config = resolve(source, architecture, gguf_file)
        if source is None or is_meta():
            self.lm: Any = random_model(config, attention)
        else:
            self.lm = load_model(source, config, attention, gguf_file, quantise)
            self.is_loaded_in_4bit = quantise is not None  # peft asks; its adapters then fit four-bit layers
        self.added_tokens = tuple(added_tokens)
        self.embedding_gradient = embedding_gradient
        add_rows(self.lm, len(added_tokens))
        self.dim: int = self.lm.get_input_embeddings().weight.shape[1]
        self.context = _context(context, getattr(config, "max_position_embeddings", None))
        if is_meta():
            check_abilities(config, attention)
        linear = [name for name, part in body(self.lm).named_modules() if isinstance(part, nn.Linear | Conv1D)]
        self.lora_targets = sorted({name.rpartition(".")[2] for name in linear})
        self._quantise = quantise
        self._tokenizer_from = (tokenizer or source, chat_template, None if tokenizer else gguf_file)
        # Random weights have no end token: the default of their config may be any word of the tokenizer.
        stranger = source is None and tokenizer is not None
        self._ends = set() if stranger else _as_set(self.lm.generation_config.eos_token_id)
        # A checkpoint's own sampling settings would otherwise mix with the requested ones.
        self.lm.generation_config = GenerationConfig()

    @staticmethod
    def check_machine(parameters: Mapping[str, Any]) -> None:
        """Raise ConfigError if this machine cannot run one of these parameters; called before any part is built."""
        check_gpu(parameters["quantise"])

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Read the tokenizer at its first use, so that a plan reads none."""
        name, chat_template, gguf_file = self._tokenizer_from
        if name is None:
            raise ConfigError("the llm has no tokenizer: set llm.tokenizer to a folder, a hub id or bundled:tiny")
        tokenizer = load_tokenizer(name, chat_template, gguf_file)
        tokenizer.add_tokens(list(self.added_tokens), special_tokens=True)
        rows = self.lm.get_input_embeddings().weight.shape[0]
        if len(tokenizer) > rows:
            raise ConfigError(
                f"tokenizer {name!r} has {len(tokenizer)} tokens and the llm has embeddings for {rows}; take the "
                "tokenizer that belongs to the model, or an architecture with a vocab_size as large"
            )
        return tokenizer

    def embed(self, ids_BS: Tensor) -> Tensor:
        """Return embeds_BSE of ids. Every id must be a token; the caller inserts media afterwards."""
        embeds_BSE = self.lm.get_input_embeddings()(ids_BS)
        if self.embedding_gradient == "all":
            return embeds_BSE
        added_BS1 = torch.stack([ids_BS == number for number in self._added_ids]).any(0)[..., None]
        return torch.where(added_BS1, embeds_BSE, embeds_BSE.detach())

    def forward(self, embeds_BSE: Tensor, layout: SequenceLayout) -> Tensor:
        """Run only the body: hidden_BSE after the last norm. The hidden states of padding are meaningless."""
        return hidden_states(self.lm, embeds_BSE, layout)

    def logits(self, hidden_E: Tensor) -> Tensor:
        """Return logits_V over the last dimension, for any leading shape."""
        return self.lm.get_output_embeddings()(hidden_E)

    def loss(self, hidden_BSE: Tensor, taught_L: Tensor, targets_L: Tensor) -> Loss:
        """Return the summed cross-entropy of the targets, in float32; logits only at supervised positions."""
        hidden_LE = hidden_BSE.flatten(0, 1).index_select(0, taught_L)
        total = F.cross_entropy(self.logits(hidden_LE).float(), targets_L, reduction="sum")
        return Loss(total, targets_L.shape[0])

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
        """Return ids_BG, only the new tokens; after its end a row is filled with the padding token. Greedy by default.

        ``sampling`` takes the fields of transformers' ``GenerationConfig``; a ``temperature`` above 0 means sampling
        (see ``vlframe_causal_lm.generation``). A row of a batch gives the same as alone. ``streamer`` (transformers'
        ``BaseStreamer``) receives the tokens of a single row as they are generated.
        """
        ends = sorted(self._end_ids)
        tokens = {"eos_token_id": ends or None, "pad_token_id": self._pad_id(ends)}
        room = self.context - embeds_BSE.shape[1]
        config = generation_settings(
            {**tokens, "max_new_tokens": max_new_tokens, **sampling}, room, streamer is not None
        )
        order_BS = mask_BS.long().argsort(dim=1, stable=True)  # padding first, tokens in their order
        return self.lm.generate(
            inputs_embeds=embeds_BSE.gather(1, order_BS[..., None].expand_as(embeds_BSE)),
            attention_mask=mask_BS.long().gather(1, order_BS),
            generation_config=config,
            streamer=streamer,
            **({"tokenizer": self.tokenizer} if config.stop_strings else {}),
        )

    def hf_config(self) -> dict[str, Any]:
        """Return the config of the model, as transformers would write it."""
        return dict(self.lm.config.to_dict())

    def packed_bits(self) -> dict[str, float]:
        """Return the bits per value of the weights that ``quantise`` packs, by name: the decoder's linear layers."""
        return packed(self.lm, body(self.lm)) if self._quantise else {}

    def compute_in(self, low: torch.dtype) -> None:
        """Compute the products of packed weights in this type, not in bfloat16."""
        for layer in self.lm.modules() if self._quantise else ():
            if hasattr(layer, "compute_dtype"):  # bitsandbytes' layers
                layer.compute_dtype = low

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the decoder's layers in the backward pass instead of keeping their activations."""
        recompute(self.lm)

    def blocks(self) -> list[nn.Module]:
        """Return the decoder's layers: sharded by ``trainer.strategy=fsdp``, counted by ``layers_from_top``."""
        return decoder_layers(self.lm)

    @cached_property
    def _added_ids(self) -> list[int]:
        ids: Any = self.tokenizer.convert_tokens_to_ids(list(self.added_tokens))
        return list(ids)

    @cached_property
    def _end_ids(self) -> set[int]:
        """Return the tokens that end an answer, according to the weights, the tokenizer and the chat template."""
        if self._tokenizer_from[0] is None:
            return self._ends
        return self._ends | _as_set(self.tokenizer.eos_token_id) | _as_set(end_of_turn(self.tokenizer))

    def _pad_id(self, ends: list[int]) -> int:
        has_tokenizer = self._tokenizer_from[0] is not None
        if has_tokenizer and self.tokenizer.pad_token_id is not None:
            return self.tokenizer.pad_token_id
        return ends[0] if ends else 0


def _context(asked: int | None, longest: int | None) -> int:
    if asked is None:
        if longest is None:
            raise ConfigError("llm 'causal_lm': the architecture does not say how long a sequence is; set llm.context")
        return longest
    if longest is not None and not 0 < asked <= longest:
        raise ConfigError(f"llm context is {asked}; the architecture has positions for 1 to {longest} tokens")
    return asked


def _as_set(ids: int | list[int] | None) -> set[int]:
    if ids is None:
        return set()
    return {ids} if isinstance(ids, int) else set(ids)
