"""VideoLLM: branches feeding a language model.

B batch, S sequence, N media tokens, E embedding, G generated tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from vlframe.contracts.modalities import MODALITIES, modality_of
from vlframe.contracts.own_loss import running
from vlframe.errors import PluginError
from vlframe.model.absent import AbsentLanguageModel
from vlframe.model.branch import Branch, Features, in_order
from vlframe.model.cache import MediaCache

if TYPE_CHECKING:
    from vlframe.contracts.batch import Batch, MediaFile, MediaUse
    from vlframe.contracts.language_model import Loss


class VideoLLM(nn.Module):
    """The composition: a branch for each modality, and a language model."""

    branches: dict[str, Branch]  # an nn.ModuleDict, whose type cannot express its values
    llm: Any  # a module that follows the contract LanguageModel, checked when it is built

    def __init__(self, branches: Mapping[str, Branch], llm: nn.Module) -> None:
        super().__init__()
        self.branches = cast("dict[str, Branch]", nn.ModuleDict(branches))
        self.llm = llm

    def forward(self, batch: Batch) -> Loss:
        """Return the summed cross-entropy of the conversations' supervised tokens."""
        features = self.encode(batch.files)  # each distinct file once
        media_NE = self.connect(features, batch.uses)  # a connector may read a use's instruction
        embeds_BSE = place(self.embed(batch), media_NE, batch.slots_N)
        hidden_BSE = self.llm(embeds_BSE, batch.layout)
        return self.llm.loss(hidden_BSE, batch.taught_L, batch.targets_L)  # logits only at supervised positions

    def embed(self, batch: Batch) -> Tensor:
        """Return the embeddings of the text for training; a processor may have replaced a row's first by a number."""
        embeds_BSE: Tensor = self.llm.embed(batch.ids_BS)
        if batch.filled_R is None or batch.fills_R is None:
            return embeds_BSE
        fills_RE = batch.fills_R[:, None].expand(-1, embeds_BSE.shape[2])
        return place(embeds_BSE, fills_RE, batch.filled_R)

    @torch.no_grad()
    def generate(self, batch: Batch, cache: MediaCache | None = None, **sampling: Any) -> Tensor:
        """Continue left-padded prompts; return the new ids_BG. Greedy by default.

        ``cache`` keeps media tokens of earlier batches, for constant weights.
        """
        media_NE = self.media(batch, cache or MediaCache(0))
        embeds_BSE = place(self.llm.embed(batch.ids_BS), media_NE, batch.slots_N)
        return self.llm.generate(embeds_BSE, batch.layout.mask_BS, **sampling)

    @torch.no_grad()
    def log_likelihood(self, batch: Batch, cache: MediaCache | None = None) -> Tensor:
        """Return the log-probability of each supervised token, in the order of ``batch.targets_L``; float32.

        ``cache`` keeps media tokens of earlier batches, for constant weights.
        """
        media_NE = self.media(batch, cache or MediaCache(0))
        embeds_BSE = place(self.llm.embed(batch.ids_BS), media_NE, batch.slots_N)
        hidden_BSE = self.llm(embeds_BSE, batch.layout)
        logits_LV = self.llm.logits(hidden_BSE.flatten(0, 1)[batch.taught_L]).float()
        return logits_LV.log_softmax(-1).gather(1, batch.targets_L[:, None]).squeeze(1)

    def encode(self, files: Sequence[MediaFile]) -> list[Features]:
        """Return the features of each file, branch by branch."""
        found: dict[int, Features] = {}
        for name, numbers in self._by_branch([file.kind for file in files]).items():
            with running(MODALITIES[name].encoder):
                features = self.branches[name].encode([files[number] for number in numbers])
            found.update(zip(numbers, features, strict=True))
        return [found[number] for number in range(len(files))]

    def connect(self, features: Sequence[Features], uses: Sequence[MediaUse]) -> Tensor | None:
        """Return the concatenated tokens of all uses; each distinct pair of file and instruction is computed once."""
        distinct = {(use.file, use.instruction): use for use in uses}
        tokens = dict(zip(distinct, self._connected(features, list(distinct.values())), strict=True))
        return torch.cat([tokens[use.file, use.instruction] for use in uses]) if uses else None

    def media(self, batch: Batch, cache: MediaCache) -> Tensor | None:
        """Return what ``connect`` would, computing only what is not cached."""
        seen = [(file.key, file.order) for file in batch.files]
        keys = [(seen[use.file], use.instruction) for use in batch.uses]
        tokens = {key: kept for key in keys if (kept := cache.tokens.get(key)) is not None}
        new = {key: use for key, use in zip(keys, batch.uses, strict=True) if key not in tokens}
        numbers = sorted({use.file for use in new.values()})
        features = self._cached_features([batch.files[number] for number in numbers], cache)
        uses = [replace(use, file=numbers.index(use.file)) for use in new.values()]
        tokens |= zip(new, self._connected(features, uses), strict=True)
        cache.keep(tokens)
        return torch.cat([tokens[key] for key in keys]) if keys else None

    def _connected(self, features: Sequence[Features], uses: Sequence[MediaUse]) -> list[Tensor]:
        """Return tokens_NE of each use."""
        found: dict[int, Tensor] = {}
        for name, numbers in self._by_branch([features[use.file].kind for use in uses]).items():
            chosen = [uses[number] for number in numbers]
            instructions = [use.instruction_I for use in chosen]
            with running(MODALITIES[name].connector):
                made = self.branches[name].connect([features[use.file] for use in chosen], instructions)
            found.update(zip(numbers, made, strict=True))
        for number, use in enumerate(uses):
            check_count(features[use.file].kind, found[number], use.tokens)
        return [found[number] for number in range(len(uses))]

    def _cached_features(self, files: Sequence[MediaFile], cache: MediaCache) -> list[Features]:
        """Return features, cached because one file has different tokens for each instruction, and in each order."""
        encoded = [self.branches[modality_of(file.kind).name].to_encode(file) for file in files]
        keys = [(file.key, file.order) for file in encoded]
        instructed = [self.branches[modality_of(file.kind).name].instruction is not None for file in files]
        kept = {key: cache.features(key, reads) for key, reads in zip(keys, instructed, strict=True)}
        found = {key: features for key, features in kept.items() if features is not None}
        new = {key: number for number, key in enumerate(keys) if key not in found}
        made = self.encode([encoded[number] for number in new.values()])
        for (key, number), features in zip(new.items(), made, strict=True):
            found[key] = features
            cache.keep_features(key, features, instructed[number])
        return [
            found[key] if file.order == source.order else in_order(found[key], file.order)
            for key, file, source in zip(keys, files, encoded, strict=True)
        ]

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Return the components present, by their names in configs and checkpoints; a language model that the run
        never uses is not.
        """
        named: dict[str, nn.Module] = {}
        for name, branch in self.branches.items():
            modality = MODALITIES[name]
            named |= {modality.encoder: branch.encoder, modality.connector: branch.connector}
        return named if isinstance(self.llm, AbsentLanguageModel) else {**named, "llm": self.llm}

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def _by_branch(self, kinds: Sequence[str]) -> dict[str, list[int]]:
        """Return which items each branch takes."""
        found: dict[str, list[int]] = {}
        for number, kind in enumerate(kinds):
            found.setdefault(modality_of(kind).name, []).append(number)
        return found


def place(embeds_BSE: Tensor, media_NE: Tensor | None, slots_N: Tensor) -> Tensor:
    """Put media tokens, or other embeddings, at their slots (flat places, row * S + column)."""
    if media_NE is None:
        return embeds_BSE
    flat_PE = embeds_BSE.flatten(0, 1)
    return flat_PE.index_copy(0, slots_N, media_NE.to(flat_PE.dtype)).view_as(embeds_BSE)


def check_count(kind: str, tokens_NE: Tensor, promised: int) -> None:
    """Raise PluginError if a connector returned another number of tokens than its ``tokens`` declared."""
    if len(tokens_NE) != promised:
        raise PluginError(
            f"the {modality_of(kind).connector} gave {len(tokens_NE)} tokens for media of the kind {kind!r}, and its "
            f"tokens() had promised {promised}: their number is known before anything is decoded, so a number that "
            "depends on the content must be declared as its maximum, and the rest padded"
        )
