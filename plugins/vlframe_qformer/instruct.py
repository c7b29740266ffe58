"""VideoChat2's connector (video_chat2/models/videochat_vicuna/videochat2_it_vicuna.py, encode_img).

B batch, T frames, H W patches, D features, K keys, Q queries, I instruction tokens, J width, N tokens, E embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import InstructBlipQFormerConfig, InstructBlipQFormerModel

import vlframe
from vlframe_qformer.blip2 import INIT_STD, check_positive, check_width
from vlframe_qformer.heads import AlignmentHeads
from vlframe_qformer.wordpieces import PAD, WordPieces


class QFormerInstruct(nn.Module):
    """Queries read every position of a clip together, and the instruction beside them. Any grid will do, sequences too.

    Queries and instruction attend to each other; only queries read the features, and only they become tokens. An image
    is a clip of one frame; of a picture in tiles, each is a clip of its own. Without ``text`` the queries are alone, as
    in VideoChat2's second stage; what reads texts is then kept as it is. With ``alignment`` there are also BLIP-2's
    heads, which an objective of that name trains.
    """

    expands_images = False
    captions: WordPieces | None = None  # with ``alignment``

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
        alignment: int | None,
        matching: str,
        caption_tokens: int,
        temperature: float,
    ) -> None:
        super().__init__()
        check_positive(queries=queries, positions=positions, vocabulary=vocabulary)
        check_instruction(longest=longest, positions=positions, pad_to=pad_to, side=side, drop_path=drop_path)
        self.instruction = WordPieces(tokenizer, vocabulary, longest, pad_to, side) if text else None
        self.query_tokens = nn.Parameter(torch.empty(1, queries, width))
        self.extra_query_tokens = _extra(extra_queries, width)
        self.qformer = qformer_with_text(
            vocabulary=vocabulary,
            positions=positions,
            width=width,
            depth=depth,
            heads=heads,
            intermediate=intermediate,
            frequency=cross_attention_frequency,
            keys=in_dim,
            dropout=dropout,
        )
        add_drop_path(self.qformer, drop_path)
        self.projection = nn.Linear(width, out_dim)
        # The original's further queries begin at zero; a checkpoint that training begins with has them so.
        for parameter in (self.query_tokens, self.extra_query_tokens):
            if parameter is not None:
                nn.init.normal_(parameter, std=INIT_STD)
        self.heads = None
        if alignment is not None:
            check_captions(caption_tokens, positions)
            self.captions = WordPieces(tokenizer, vocabulary, caption_tokens, cut="end")
            self.heads = AlignmentHeads(
                width=width, compared=alignment, vocabulary=vocabulary, matching=matching, temperature=temperature
            )

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        """Return N: 32 + 64 = 96 for images and clips of any grid, and for each tile."""
        return self._queries().shape[1]

    def _queries(self) -> Tensor:
        if self.extra_query_tokens is None:
            return self.query_tokens
        return torch.cat([self.query_tokens, self.extra_query_tokens], 1)

    def output(self, features_BTHWD: Tensor, instruction_BI: Tensor | None = None) -> Tensor:
        """Return what the Q-Former gives, before the linear map: of the queries, then of the instruction."""
        queries_BQJ = self._queries().expand(len(features_BTHWD), -1, -1)
        mask = None
        if instruction_BI is not None and self.instruction is not None and self.instruction.pads:
            seen_BQ = torch.ones(queries_BQJ.shape[:2], dtype=torch.long, device=instruction_BI.device)
            mask = seen_by_all(torch.cat([seen_BQ, (instruction_BI != PAD).long()], 1))
        found: Tensor = self.qformer(
            input_ids=instruction_BI,
            attention_mask=mask,
            query_embeds=queries_BQJ,
            encoder_hidden_states=features_BTHWD.flatten(1, 3),
        ).last_hidden_state
        return found

    def forward(self, features_BTHWD: Tensor, instruction_BI: Tensor | None = None) -> Tensor:
        queries = self._queries().shape[1]
        return self.projection(self.output(features_BTHWD, instruction_BI)[:, :queries])

    # What follows compares media with captions (``vlframe.AligningConnector``), by the original queries only.

    @property
    def beginning(self) -> int:
        """Return the number of ``[DEC]``, with which a caption that is written begins."""
        assert self.captions is not None
        return self.captions.beginning

    @property
    def temperature(self) -> Tensor:
        return self._heads.temperature

    @property
    def _heads(self) -> AlignmentHeads:
        assert self.heads is not None  # an objective is refused by ``captions`` first
        return self.heads

    def keys(self, features_BTHWD: Tensor) -> Tensor:
        """Return ``keys_BKD``: every position of a clip."""
        return features_BTHWD.flatten(1, 3)

    def look(self, keys_BKD: Tensor, seen_BK: Tensor, ids_BI: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return ``media_BQP``; and of a caption to be written ``logits_BIV`` of the next ids.

        Queries do not see the caption, a word sees the queries and the words before it.
        """
        queries = self.query_tokens.shape[1]
        mask = None if ids_BI is None else written_after(queries, ids_BI)
        found_BNJ = self.run(keys_BKD, seen_BK, ids_BI, mask)
        media_BQP = self._heads.media(found_BNJ[:, :queries])
        if ids_BI is None:
            return media_BQP, None
        words_VJ = self.qformer.embeddings.word_embeddings.weight
        return media_BQP, self._heads.words(found_BNJ[:, queries:], words_VJ)

    def read(self, ids_BI: Tensor) -> Tensor:
        """Return ``text_BP`` of only captions."""
        found_BIJ = self.qformer(input_ids=ids_BI, attention_mask=seen_by_all(ids_BI != PAD)).last_hidden_state
        return self._heads.text(found_BIJ)

    def match(self, keys_BKD: Tensor, seen_BK: Tensor, ids_BI: Tensor) -> Tensor:
        """Return ``logits_B2``; queries and caption see each other."""
        queries = self.query_tokens.shape[1]
        seen_BQ = seen_BK.new_ones(len(ids_BI), queries)
        mask = seen_by_all(torch.cat([seen_BQ, ids_BI != PAD], 1))
        found_BNJ = self.run(keys_BKD, seen_BK, ids_BI, mask)
        return self._heads.pair(found_BNJ[:, :queries], found_BNJ[:, queries:])

    def run(self, keys_BKD: Tensor, seen_BK: Tensor, ids_BI: Tensor | None, mask: Tensor | None) -> Tensor:
        """Return what the Q-Former gives of the original queries, then of the words. ``mask``: who sees whom among
        these, ``seen_by_all`` or ``written_after``; None: everybody.
        """
        found: Tensor = self.qformer(
            input_ids=ids_BI,
            attention_mask=mask,
            query_embeds=self.query_tokens.expand(len(keys_BKD), -1, -1),
            encoder_hidden_states=keys_BKD,
            encoder_attention_mask=seen_by_all(seen_BK),
        ).last_hidden_state
        return found


def seen_by_all(there_BN: Tensor) -> Tensor:
    """Return who sees whom, ``mask_B11N``: everybody those that are there. The library would ask a mask of two
    dimensions whether all are, in each pass, for which the host waits, and of which a plan has no values.
    """
    return there_BN.bool()[:, None, None]


def written_after(queries: int, ids_BI: Tensor) -> Tensor:
    """Return who sees whom, ``mask_B1NN`` over N = queries and I words: queries each other, a word the queries and the
    words up to itself.
    """
    tokens = ids_BI.shape[1]
    whole = queries + tokens
    sees_NN = torch.ones(whole, whole, dtype=torch.bool, device=ids_BI.device).tril()
    sees_NN[:queries, :queries] = True
    there_BN = F.pad(ids_BI != PAD, (queries, 0), value=True)
    return (sees_NN & there_BN[:, None])[:, None]


def _extra(queries: int, width: int) -> nn.Parameter | None:
    if queries < 0:
        raise vlframe.ConfigError(f"connector.extra_queries={queries} is not possible; it is at least 0")
    return nn.Parameter(torch.empty(1, queries, width)) if queries else None


def check_captions(caption_tokens: int, positions: int) -> None:
    """Raise ConfigError for captions that are too short to be learnt from, or longer than there are positions."""
    if not 3 <= caption_tokens <= positions:
        raise vlframe.ConfigError(
            f"connector.caption_tokens={caption_tokens} is not possible; it is at least 3, and at most "
            f"connector.positions={positions}"
        )


def qformer_with_text(
    *,
    vocabulary: int,
    positions: int,
    width: int,
    depth: int,
    heads: int,
    intermediate: int,
    frequency: int,
    keys: int,
    dropout: float,
) -> InstructBlipQFormerModel:
    """Build a Q-Former that also reads words, over keys of width ``keys``."""
    check_width(width=width, depth=depth, heads=heads, intermediate=intermediate, frequency=frequency)
    return InstructBlipQFormerModel(
        InstructBlipQFormerConfig(
            vocab_size=vocabulary,
            max_position_embeddings=positions,
            pad_token_id=PAD,
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=intermediate,
            cross_attention_frequency=frequency,
            encoder_hidden_size=keys,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            initializer_range=INIT_STD,
        )
    )


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
    """Add drop path after the dropout of every branch of every layer, none in the first, ``share`` in the last."""
    layers = list(qformer.encoder.layer)  # type: ignore[union-attr, arg-type]
    for number, layer in enumerate(layers):
        rate = share * number / max(1, len(layers) - 1)
        branches = [module for name, module in layer.named_modules() if name.endswith(("output", "output_query"))]
        for branch in branches if rate else ():
            branch.dropout = nn.Sequential(branch.dropout, DropPath(rate))


def check_instruction(*, longest: int, positions: int, pad_to: int, side: str, drop_path: float) -> None:
    """Raise ConfigError for lengths that do not fit, and for words of which there are none."""
    if not 2 <= longest <= positions or not 0 <= pad_to <= positions:
        raise vlframe.ConfigError(
            f"connector.longest={longest} and pad_to={pad_to} are lengths of instructions, for which the connector has "
            f"connector.positions={positions}; longest is at least 2"
        )
    if side not in ("left", "right"):
        raise vlframe.ConfigError(f"connector.side is {side!r}; it can be left, right")
    if not 0 <= drop_path < 1:
        raise vlframe.ConfigError(f"connector.drop_path={drop_path} is not possible; it is at least 0 and below 1")
