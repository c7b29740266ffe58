"""The default objective."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vlframe import Batch, Loss, Sample, TokenBudget, TokenizedSample, VideoLLM


class LanguageModelling:
    """The cross-entropy of the tokens that a conversation supervises."""

    uses_llm = True
    joint = False
    needs: Mapping[str, str] = MappingProxyType({})

    def write(self, sample: Sample, budget: TokenBudget) -> TokenizedSample | None:
        return None

    def loss(self, model: VideoLLM, batch: Batch) -> Loss:
        loss: Loss = model(batch)
        return loss
