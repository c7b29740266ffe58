"""VideoChat2's connector (video_chat2/models/videochat_vicuna/videochat2_it_vicuna.py, encode_img).

B batch, T frames, H W patches, D features, K keys, Q queries, I instruction tokens, J width, N tokens, E embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import InstructBlipQFormerConfig, InstructBlipQFormerModel

import vlframe
from vlframe_qformer.blip2 import INIT_STD, check_positive, check_width
from vlframe_qformer.wordpieces import PAD, WordPieces


class QFormerInstruct(nn.Module):
    """Queries read every position of a clip together, and the instruction beside them. Any grid will do, sequences too.

    Queries and instruction attend to each other; only queries read the features, and only they become tokens. An image
    is a clip of one frame; of a picture in tiles, each is a clip of its own. Without ``text`` the queries are alone, as
    in VideoChat2's second stage; what reads texts is then kept as it is.
    """

    expands_images = False

    def __init__(
        self,
        *,
        in_dim: int,
        out_dim: int,
        queries: int,
        extra_queries: int,
        depth: int,
        cross_attention_frequency: int,
        width: int,
        heads: int,
        intermediate: int,
        dropout: float,
        drop_path: float,
        text: bool,
        tokenizer: str,
        vocabulary: int,
        positions: int,
        longest: int,
        pad_to: int,
        side: str,
    ) -> None:
        super().__init__()
        check_positive(queries=queries, extra_queries=extra_queries, positions=positions, vocabulary=vocabulary)
        check_width(
            width=width, depth=depth, heads=heads, intermediate=intermediate, frequency=cross_attention_frequency
        )
        check_instruction(longest=longest, positions=positions, pad_to=pad_to, side=side, drop_path=drop_path)
        self.instruction = WordPieces(tokenizer, vocabulary, longest, pad_to, side) if text else None
        self.query_tokens = nn.Parameter(torch.empty(1, queries, width))
        self.extra_query_tokens = nn.Parameter(torch.empty(1, extra_queries, width))
        self.qformer = InstructBlipQFormerModel(
            InstructBlipQFormerConfig(
                vocab_size=vocabulary,
                max_position_embeddings=positions,
                pad_token_id=PAD,
                hidden_size=width,
                num_hidden_layers=depth,
                num_attention_heads=heads,
                intermediate_size=intermediate,
                cross_attention_frequency=cross_attention_frequency,
                encoder_hidden_size=in_dim,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
                initializer_range=INIT_STD,
            )
        )
        add_drop_path(self.qformer, drop_path)
        self.projection = nn.Linear(width, out_dim)
        # The original's further queries begin at zero; a checkpoint that training begins with has them so.
        for parameter in (self.query_tokens, self.extra_query_tokens):
            nn.init.normal_(parameter, std=INIT_STD)

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        """Return N: 32 + 64 = 96 for images and clips of any grid, and for each tile."""
        return self.query_tokens.shape[1] + self.extra_query_tokens.shape[1]

    def read(self, features_BTHWD: Tensor, instruction_BI: Tensor | None = None) -> Tensor:
        """Return what the Q-Former gives, before the linear map: of the queries, then of the instruction."""
        queries_1QJ = torch.cat([self.query_tokens, self.extra_query_tokens], 1)
        queries_BQJ = queries_1QJ.expand(len(features_BTHWD), -1, -1)
        mask = None
        if instruction_BI is not None and self.instruction is not None and self.instruction.pads:
            seen_BQ = torch.ones(queries_BQJ.shape[:2], dtype=torch.long, device=instruction_BI.device)
            mask = torch.cat([seen_BQ, (instruction_BI != PAD).long()], 1)
        found: Tensor = self.qformer(
            input_ids=instruction_BI,
            attention_mask=mask,
            query_embeds=queries_BQJ,
            encoder_hidden_states=features_BTHWD.flatten(1, 3),
        ).last_hidden_state
        return found

    def forward(self, features_BTHWD: Tensor, instruction_BI: Tensor | None = None) -> Tensor:
        queries = self.query_tokens.shape[1] + self.extra_query_tokens.shape[1]
        return self.projection(self.read(features_BTHWD, instruction_BI)[:, :queries])


class DropPath(nn.Module):
    """Leaves a branch out of some samples in training (stochastic depth, Huang et al. 2016)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values_BNJ: Tensor) -> Tensor:
        if not self.training:
            return values_BNJ
        keep = 1 - self.share
        kept_B11 = values_BNJ.new_empty(len(values_BNJ), 1, 1).bernoulli_(keep)
        return values_BNJ * (kept_B11 / keep)


def add_drop_path(qformer: nn.Module, share: float) -> None:
    """After the dropout of every branch of every layer, from none in the first to ``share`` in the last."""
    layers = list(qformer.encoder.layer)  # type: ignore[union-attr, arg-type]
    for number, layer in enumerate(layers):
        rate = share * number / max(1, len(layers) - 1)
        branches = [module for name, module in layer.named_modules() if name.endswith(("output", "output_query"))]
        for branch in branches if rate else ():
            branch.dropout = nn.Sequential(branch.dropout, DropPath(rate))


def check_instruction(*, longest: int, positions: int, pad_to: int, side: str, drop_path: float) -> None:
    """ConfigError for lengths that do not fit, and for words there are none of."""
    if not 2 <= longest <= positions or not 0 <= pad_to <= positions:
        raise vlframe.ConfigError(
            f"connector.longest={longest} and pad_to={pad_to} are lengths of instructions, for which the connector has "
            f"connector.positions={positions}; longest is at least 2"
        )
    if side not in ("left", "right"):
        raise vlframe.ConfigError(f"connector.side is {side!r}; it can be left, right")
    if not 0 <= drop_path < 1:
        raise vlframe.ConfigError(f"connector.drop_path={drop_path} is not possible; it is at least 0 and below 1")
