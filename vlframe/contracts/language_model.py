"""Language models: a decoder over embeddings.

B batch, S sequence, E embedding, V vocabulary, L supervised positions, G generated tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Loss(NamedTuple):
    """A sum over supervised tokens and their number, so that micro-batches and ranks can be weighted exactly.

    An objective other than cross-entropy may count something else, samples for example, and give the ``terms`` of its
    total by name, which are logged.
    """

    total: Tensor  # scalar
    tokens: int
    terms: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class SequenceLayout:
    """The positions of a batch's tokens: padded rows, or several conversations packed into a row.

    ``mask_BS`` is True on tokens and False on padding (on either side). ``positions_BS`` counts from 0 within each
    conversation. ``segments_BS`` numbers the conversations of packed rows (a token attends to its own segment only);
    None: each row is one conversation. ``masked`` says, without reading from the device, whether a causal decoder needs
    the mask; it does not if padding only follows the tokens of a row, since they never attend to it.
    """

    mask_BS: Tensor
    positions_BS: Tensor
    segments_BS: Tensor | None = None
    masked: bool = True

    def to(self, device: torch.device | str, **options: Any) -> SequenceLayout:
        segments_BS = None if self.segments_BS is None else self.segments_BS.to(device, **options)
        return replace(
            self,
            mask_BS=self.mask_BS.to(device, **options),
            positions_BS=self.positions_BS.to(device, **options),
            segments_BS=segments_BS,
        )

    def pin_memory(self) -> SequenceLayout:
        segments_BS = None if self.segments_BS is None else self.segments_BS.pin_memory()
        return replace(
            self,
            mask_BS=self.mask_BS.pin_memory(),
            positions_BS=self.positions_BS.pin_memory(),
            segments_BS=segments_BS,
        )


def padded_layout(mask_BS: Tensor) -> SequenceLayout:
    """Return the layout of rows that hold one conversation each. Built on the CPU, together with the batch."""
    mask_BS = mask_BS.bool()
    positions_BS = (mask_BS.long().cumsum(1) - 1).clamp(min=0)
    return SequenceLayout(mask_BS, positions_BS, masked=bool((~mask_BS[:, :-1] & mask_BS[:, 1:]).any()))


class LanguageModel(Protocol):
    """A decoder over embeddings. ``loss`` computes logits only where something is supervised.

    A module may also offer ``blocks()``, ``enable_gradient_checkpointing()``, ``lora_targets`` (names of the linear
    layers that adapters go to), ``check_machine(parameters)`` (a static method that rejects what this machine cannot
    run, before weights are read), ``packed_bits() -> dict[str, float]`` (the bits per value of each packed weight, by
    name; for a plan), ``compute_in(type)`` (called with float16 in runs of ``trainer.precision=16``, for weights that
    are packed and have a type of their own to compute in) and ``hf_config() -> dict | None`` (its transformers config,
    which checkpoint formats write).
    """

    dim: int  # E
    context: int  # the longest sequence, media tokens included
    tokenizer: Any  # a transformers fast tokenizer with a chat template

    def embed(self, ids_BS: Tensor) -> Tensor: ...  # embeds_BSE
    def forward(self, embeds_BSE: Tensor, layout: SequenceLayout) -> Tensor: ...  # hidden_BSE
    def logits(self, hidden_E: Tensor) -> Tensor: ...  # logits_V over the last dimension, any leading shape
    def loss(self, hidden_BSE: Tensor, taught_L: Tensor, targets_L: Tensor) -> Loss:
        """Return the summed cross-entropy of ``targets_L``. ``taught_L`` are the flat places (row * S + column) whose
        hidden state predicts them. Reads nothing back from the device."""
        ...

    def generate(self, embeds_BSE: Tensor, mask_BS: Tensor, **sampling: Any) -> Tensor:
        """Return the new tokens ids_BG, padded after the end of each row. Greedy by default."""
        ...
