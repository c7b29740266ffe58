"""VideoLLM: branches feeding a language model.

B batch, S sequence, L labelled positions, N media tokens, E embedding, V vocabulary, G generated tokens.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlframe.config import PARTS
from vlframe.data.batch import UNLABELLED, Batch, MediaInput
from vlframe.model.branch import encode_audio, encode_images, encode_video


class Loss(NamedTuple):
    """A sum over supervised tokens and their number, so that micro-batches and ranks can be weighted exactly."""

    total: Tensor  # scalar
    tokens: int


class VideoLLM(nn.Module):
    """The composition. Parts keep their own names: encoder, connector, audio_encoder, audio_connector, llm.

    ``frames`` is the length of the clip an image stands for, where the connector wants one.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        connector: nn.Module,
        llm: nn.Module,
        audio_encoder: nn.Module | None = None,
        audio_connector: nn.Module | None = None,
        frames: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.connector = connector
        self.audio_encoder = audio_encoder
        self.audio_connector = audio_connector
        self.llm = llm
        self.frames = frames

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The components that are there, by name."""
        return {name: getattr(self, name) for name in PARTS if getattr(self, name) is not None}

    @property
    def device(self) -> torch.device:
        return next(self.llm.parameters()).device

    def forward(self, batch: Batch) -> Loss:
        """Conversations to the summed cross-entropy of their supervised tokens."""
        embeds_BSE = self.embed(batch)
        hidden_BSE = self.llm(embeds_BSE, batch.mask_BS)
        targets_BS = batch.labels_BS[:, 1:]
        labelled_BS = targets_BS != UNLABELLED
        logits_LV = self.llm.logits(hidden_BSE[:, :-1][labelled_BS])
        total = F.cross_entropy(logits_LV.float(), targets_BS[labelled_BS], reduction="sum")
        return Loss(total, len(logits_LV))

    @torch.no_grad()
    def generate(self, batch: Batch, cache: TokenCache | None = None, **sampling: Any) -> Tensor:
        """Left-padded prompts to the ids_BG that follow them; greedy unless told otherwise."""
        return self.llm.generate(self.embed(batch, cache), batch.mask_BS, **sampling)

    def embed(self, batch: Batch, cache: TokenCache | None = None) -> Tensor:
        """Text and media in one row of embeddings: media tokens stand where the placeholders (negative ids) are."""
        embeds_BSE = self.llm.embed(batch.ids_BS.clamp(min=0))
        if not batch.media:
            return embeds_BSE
        media_NE = torch.cat(self.encode(batch.media, cache)).to(embeds_BSE.dtype)
        waiting_BS = batch.ids_BS < 0
        if len(media_NE) != int(waiting_BS.sum()):
            raise RuntimeError(f"{len(media_NE)} media tokens for {int(waiting_BS.sum())} placeholders")
        return embeds_BSE.masked_scatter(waiting_BS[..., None], media_NE)

    def encode(self, media: Sequence[MediaInput], cache: TokenCache | None = None) -> list[Tensor]:
        """tokens_NE of each item. Equal items are encoded once, and items of one shape together."""
        done: dict[Hashable, Tensor] = {} if cache is None else cache.found(media)
        groups: dict[tuple[Any, ...], dict[Hashable, MediaInput]] = {}
        for item in media:
            if item.key not in done:
                groups.setdefault((item.kind, *item.tensor.shape), {})[item.key] = item
        for items in groups.values():
            tokens_BNE = self._encode_group(list(items.values()))
            done.update(zip(items, tokens_BNE, strict=True))
        if cache is not None:
            cache.keep(done)
        for item in media:
            if len(done[item.key]) != item.tokens:
                raise RuntimeError(
                    f"{item.kind} {item.key} gave {len(done[item.key])} tokens where its connector had promised "
                    f"{item.tokens}; the connector's tokens(grid) is wrong"
                )
        return [done[item.key] for item in media]

    def _encode_group(self, items: Sequence[MediaInput]) -> Tensor:
        stacked = torch.stack([item.tensor for item in items])
        if items[0].kind == "audio":
            assert self.audio_encoder is not None and self.audio_connector is not None
            return encode_audio(self.audio_encoder, self.audio_connector, stacked)
        if items[0].kind == "image":
            return encode_images(self.encoder, self.connector, stacked, self.frames)
        return encode_video(self.encoder, self.connector, stacked)


class TokenCache:
    """Media tokens of the files seen last, for weights that stand still: evaluation asks a clip many questions."""

    def __init__(self, items: int) -> None:
        self.items = items
        self.tokens: OrderedDict[Hashable, Tensor] = OrderedDict()

    def found(self, media: Sequence[MediaInput]) -> dict[Hashable, Tensor]:
        return {item.key: self.tokens[item.key] for item in media if item.key in self.tokens}

    def keep(self, tokens: dict[Hashable, Tensor]) -> None:
        for key, value in tokens.items():
            self.tokens[key] = value
            self.tokens.move_to_end(key)
        while len(self.tokens) > self.items:
            self.tokens.popitem(last=False)
