"""Objectives: what a stage minimises.

B batch, T frames, H W patches, D features, K keys, Q queries, I caption tokens, P width of the comparison, V
vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe.contracts.batch import Batch
    from vlframe.contracts.front_ends import TextFrontEnd
    from vlframe.contracts.language_model import Loss
    from vlframe.contracts.processor import TokenizedSample
    from vlframe.contracts.sample import Sample
    from vlframe.contracts.token_budget import TokenBudget


class Objective(Protocol):
    """What a stage minimises. It has no weights of its own: what it trains belongs to the parts.

    ``uses_llm``: False if it never runs the language model; a run none of whose stages does has none loaded. ``joint``:
    the loss of a rank depends on the samples of the others, so that all ranks compute it for every micro-batch, even
    for an empty one. ``needs`` are attributes that the connector of videos and images must have, not None, each with
    what it is in words. All three are also attributes of the class.
    """

    uses_llm: bool
    joint: bool
    needs: Mapping[str, str]

    def write(self, sample: Sample, budget: TokenBudget) -> TokenizedSample | None:
        """Return the tokens of a sample, or None for those of a conversation with the language model. Runs in data
        workers. DataError: the sample is not of the kind that it learns from.
        """
        ...

    def loss(self, model: Any, batch: Batch) -> Loss:
        """Return the sum over a micro-batch of a ``vlframe.VideoLLM``, and the number by which the sums of a step are
        divided.
        """
        ...


class AligningConnector(Protocol):
    """What a connector has, besides its contract, that can compare media with captions.

    ``captions`` is the front end of captions: ids between a first and a last one, without padding, which has number 0,
    and at most ``longest`` of them; None for a connector that was built without heads. ``beginning`` is the id that
    replaces the first one where a caption is written instead of read. ``temperature`` is a scalar parameter that
    similarities are divided by.
    """

    captions: TextFrontEnd | None
    beginning: int
    temperature: Tensor

    def keys(self, features_BTHWD: Tensor) -> Tensor: ...  # keys_BKD: what the queries read
    def look(
        self, keys_BKD: Tensor, seen_BK: Tensor, ids_BI: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]: ...  # media_BQP of length 1; logits_BIV of the next ids, if ids are given
    def read(self, ids_BI: Tensor) -> Tensor: ...  # text_BP of length 1
    def match(self, keys_BKD: Tensor, seen_BK: Tensor, ids_BI: Tensor) -> Tensor: ...  # logits_B2: no, yes
