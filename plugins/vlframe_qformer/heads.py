"""The heads with which BLIP-2's first stage compares media and captions (LAVIS, blip2_models/blip2_qformer.py).

B batch, Q queries, I caption tokens, J width, P width of the comparison, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlframe import ConfigError
from vlframe_qformer.blip2 import INIT_STD, check_positive

EPS = 1e-12  # of BERT's norms
READ = ("queries", "queries_and_text")


class AlignmentHeads(nn.Module):
    """Projections of queries and of a caption's first token, the head of matching, the temperature, and what turns
    outputs into the next word. Words are compared with the Q-Former's own embeddings of them.

    ``matching`` reads the mean over the queries, or that beside the caption's first token (VideoChat2).
    """

    def __init__(self, *, width: int, compared: int, vocabulary: int, matching: str, temperature: float) -> None:
        super().__init__()
        check_positive(alignment=compared)
        if matching not in READ:
            raise ConfigError(f"connector.matching is {matching!r}; it can be {', '.join(READ)}")
        if temperature <= 0:
            raise ConfigError(f"connector.temperature={temperature} is not possible; it is above 0")
        self.vision_proj = nn.Linear(width, compared)
        self.text_proj = nn.Linear(width, compared)
        self.reads_text = matching == "queries_and_text"
        self.itm_head = nn.Linear(width * (1 + self.reads_text), 2)
        self.temperature = nn.Parameter(torch.tensor(temperature))
        self.word_dense = nn.Linear(width, width)
        self.word_norm = nn.LayerNorm(width, eps=EPS)
        self.word_bias = nn.Parameter(torch.zeros(vocabulary))
        for module in (self.vision_proj, self.text_proj, self.itm_head, self.word_dense):
            nn.init.normal_(module.weight, std=INIT_STD)
            nn.init.zeros_(module.bias)

    def media(self, queries_BQJ: Tensor) -> Tensor:
        """Return ``media_BQP`` of length 1."""
        return F.normalize(self.vision_proj(queries_BQJ), dim=-1)

    def text(self, text_BIJ: Tensor) -> Tensor:
        """Return ``text_BP`` of length 1, of the first token."""
        return F.normalize(self.text_proj(text_BIJ[:, 0]), dim=-1)

    def pair(self, queries_BQJ: Tensor, text_BIJ: Tensor) -> Tensor:
        """Return ``logits_B2``: the two do not belong together, they do."""
        seen_BJ = queries_BQJ.mean(1)
        return self.itm_head(torch.cat([seen_BJ, text_BIJ[:, 0]], 1) if self.reads_text else seen_BJ)

    def words(self, text_BIJ: Tensor, embeddings_VJ: Tensor) -> Tensor:
        """Return ``logits_BIV``."""
        return F.linear(self.word_norm(F.gelu(self.word_dense(text_BIJ))), embeddings_VJ, self.word_bias)
