"""BLIP-2's first stage: contrast, matching and captioning (Li et al. 2023; LAVIS, blip2_models/blip2_qformer.py).

B samples of this rank, A of all ranks, K keys, D features, Q queries, P width of the comparison, I caption tokens, V
vocabulary, X pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

import vlframe
from vlframe import Batch, ConfigError, DataError, Loss, Sample, TokenBudget, TokenizedSample, VideoLLM

KINDS = ("video", "image")
PAD = 0  # of captions, by the contract
LEAST = 1e-4  # added to the chance of every negative, as in LAVIS
IGNORED = -100  # torch's number for positions without a target
CHOICES = {"similarity": ("max", "mean"), "negatives": ("all_ranks", "own_rank")}


class Pairs(NamedTuple):
    """The samples of a rank, and what is known of those of all ranks; ``rows`` are their numbers on each."""

    keys_BKD: Tensor
    seen_BK: Tensor
    ids_BI: Tensor
    rows: tuple[int, ...]
    first: int  # where this rank's rows begin among all

    def without_rows(self) -> Pairs:
        return self._replace(keys_BKD=self.keys_BKD[:0], seen_BK=self.seen_BK[:0], ids_BI=self.ids_BI[:0])


class Alignment:
    """Three losses of the connector's heads; each is a mean over samples (captioning: over tokens), summed over them.

    A sample is one video or image and one caption, the text of its only answer. The temperature, the projections and
    the head of matching belong to the connector. Negatives are drawn from torch's random state, which a run seeds,
    saves and restores.
    """

    uses_llm = False
    joint = True
    needs: Mapping[str, str] = MappingProxyType({"captions": "heads that compare media with captions"})

    def __init__(
        self,
        *,
        contrastive: float,
        matching: float,
        captioning: float,
        similarity: str,
        contrastive_smoothing: float,
        captioning_smoothing: float,
        negatives: str,
        temperature_bounds: list[float] | None,
    ) -> None:
        self.weights = {"contrastive": contrastive, "matching": matching, "captioning": captioning}
        self.similarity = similarity
        self.contrastive_smoothing = contrastive_smoothing
        self.captioning_smoothing = captioning_smoothing
        self.negatives = negatives
        self.temperature_bounds = temperature_bounds
        _check(self)

    def write(self, sample: Sample, budget: TokenBudget) -> TokenizedSample | None:
        """Return the caption's ids, in the vocabulary of the connector."""
        answers = [turn.text for turn in sample.turns if turn.role == "assistant"]
        if len(answers) != 1 or len(sample.media) != 1 or sample.media[0].kind not in KINDS:
            held = ", ".join(item.kind for item in sample.media) or "no media"
            raise DataError(
                f"sample {sample.id!r} has {held} and {len(answers)} answers; objective blip2_alignment learns from "
                f"one video or image and one caption, its only answer"
            )
        captions = budget.captions(sample.media[0].kind)
        assert captions is not None  # checked before training
        ids = captions.encode(answers[0])
        return TokenizedSample(ids, [False, *[True] * (len(ids) - 1)], sample.media, apart=True)

    def loss(self, model: VideoLLM, batch: Batch) -> Loss:
        """Return the weighted sum over the samples of this rank, and their number."""
        connector: Any = model.branches["video"].connector
        if self.temperature_bounds and torch.is_grad_enabled():
            with torch.no_grad():
                connector.temperature.clamp_(*self.temperature_bounds)
        pairs = self._pairs(model, batch)
        media_BQP, logits_BIV = connector.look(pairs.keys_BKD, pairs.seen_BK, self._written(connector, pairs.ids_BI))
        text_BP = connector.read(pairs.ids_BI)
        if not len(batch):  # a stand-in was run, since modules do not take empty batches; it counts for nothing
            media_BQP, text_BP, pairs = media_BQP[:0], text_BP[:0], pairs.without_rows()
        to_text_BA, to_media_BA = self._similarities(media_BQP, text_BP, pairs, connector)
        means: dict[str, Tensor] = {}
        if self.weights["contrastive"]:
            means["contrastive"] = self.contrast(to_text_BA, to_media_BA, pairs.first)
        if self.weights["matching"]:
            means["matching"] = self._match(connector, pairs, to_text_BA, to_media_BA)
        if self.weights["captioning"]:
            means["captioning"] = self.caption(logits_BIV[: len(batch)], pairs.ids_BI)
        samples = len(batch)
        terms = {name: samples * self.weights[name] * value.float() for name, value in means.items()}
        return Loss(sum(terms.values(), torch.zeros((), device=pairs.ids_BI.device)), samples, terms)

    def contrast(self, to_text_BA: Tensor, to_media_BA: Tensor, first: int) -> Tensor:
        """Return the mean of both directions: the right caption of a medium among all, the right medium of a caption.
        Row b belongs to column ``first + b``.
        """
        own_B = torch.arange(first, first + len(to_text_BA), device=to_text_BA.device)
        both = (_cross_entropy(rows_BA, own_B, self.contrastive_smoothing) for rows_BA in (to_text_BA, to_media_BA))
        return sum(both, to_text_BA.new_zeros(())) / 2

    def caption(self, logits_BIV: Tensor, ids_BI: Tensor) -> Tensor:
        """Return the mean over the tokens of all captions after their first, of the logits at the token before."""
        targets_BI = ids_BI[:, 1:].masked_fill(ids_BI[:, 1:] == PAD, IGNORED)
        return _cross_entropy(logits_BIV[:, :-1].flatten(0, 1), targets_BI.flatten(), self.captioning_smoothing)

    def _written(self, connector: Any, ids_BI: Tensor) -> Tensor | None:
        """Return the captions with the token that begins a written one; None if none are written."""
        if not self.weights["captioning"]:
            return None
        written_BI = ids_BI.clone()
        if not written_BI.is_meta:  # where only the cost is wanted, there may be no vocabulary
            written_BI[:, :1] = connector.beginning
        return written_BI

    def _pairs(self, model: VideoLLM, batch: Batch) -> Pairs:
        """Encode the media of a batch, and pad keys and captions to the longest of all ranks. An empty batch has a row
        that stands in for the missing ones.
        """
        branch, device = model.branches["video"], batch.ids_BS.device
        features = model.encode(batch.files)
        keys = [branch.connector.keys(item.values_K).flatten(0, 1) for item in features]
        mine = (len(batch), max(map(len, keys), default=1), max(1, batch.ids_BS.shape[1]), any(_learning(keys)))
        rows, longest, tokens, learning = zip(*vlframe.of_all_ranks(mine), strict=True)
        if keys:
            files, ids_BI = [use.file for use in batch.uses], batch.ids_BS
        else:
            files, ids_BI = [0], torch.ones(1, 1, dtype=torch.long, device=device)
            keys = [torch.zeros(1, branch.encoder.dim, device=device, requires_grad=any(learning))]
        keys_FKD = pad_sequence(keys, batch_first=True)
        keys_FKD = F.pad(keys_FKD, (0, 0, 0, max(longest) - keys_FKD.shape[1]))
        counts_B = torch.tensor([len(keys[file]) for file in files], device=device)
        seen_BK = torch.arange(max(longest), device=device) < counts_B[:, None]
        return Pairs(
            keys_FKD[torch.tensor(files, device=device)],
            seen_BK,
            F.pad(ids_BI, (0, max(tokens) - ids_BI.shape[1]), value=PAD),
            rows,
            vlframe.rows_before(rows),
        )

    def _similarities(self, media_BQP: Tensor, text_BP: Tensor, pairs: Pairs, connector: Any) -> tuple[Tensor, Tensor]:
        """Return each medium's similarity with all captions, and each caption's with all media, by the temperature."""
        all_media_AQP = vlframe.gathered(media_BQP.float(), pairs.rows)
        all_text_AP = vlframe.gathered(text_BP.float(), pairs.rows)
        to_text_BAQ = torch.einsum("bqp,ap->baq", media_BQP.float(), all_text_AP)
        to_media_BAQ = torch.einsum("bp,aqp->baq", text_BP.float(), all_media_AQP)
        over = torch.amax if self.similarity == "max" else torch.mean
        to_text_BA, to_media_BA = (over(values_BAQ, -1) for values_BAQ in (to_text_BAQ, to_media_BAQ))
        return to_text_BA / connector.temperature, to_media_BA / connector.temperature

    def _match(self, connector: Any, pairs: Pairs, to_text_BA: Tensor, to_media_BA: Tensor) -> Tensor:
        """Return the mean over B pairs that belong together, and 2 B that do not: a caption with a hard negative among
        the media, and a medium with one among the captions. Without another sample to draw from, 0.
        """
        samples, first = len(pairs.ids_BI), pairs.first
        keys_AKD, seen_AK, ids_AI = pairs.keys_BKD, pairs.seen_BK, pairs.ids_BI
        if self.negatives == "all_ranks":
            keys_AKD = vlframe.gathered(keys_AKD, pairs.rows)
            seen_AK, ids_AI = (vlframe.gathered(item, pairs.rows) for item in (seen_AK.long(), ids_AI))
            seen_AK = seen_AK.bool()
        else:
            to_text_BA, to_media_BA = (rows[:, first : first + samples] for rows in (to_text_BA, to_media_BA))
            first = 0
        if len(ids_AI) < 2 or not samples:
            return 0 * (keys_AKD.sum() + to_text_BA.sum())  # other ranks wait for the gradients
        other_text_B, other_media_B = (hard_negatives(rows, first) for rows in (to_text_BA, to_media_BA))
        logits_X2 = connector.match(
            torch.cat([pairs.keys_BKD, keys_AKD[other_media_B], pairs.keys_BKD]),
            torch.cat([pairs.seen_BK, seen_AK[other_media_B], pairs.seen_BK]),
            torch.cat([pairs.ids_BI, pairs.ids_BI, ids_AI[other_text_B]]),
        )
        labels_X = torch.arange(3 * samples, device=logits_X2.device) < samples
        return _cross_entropy(logits_X2, labels_X.long(), 0.0)


def hard_negatives(similar_BA: Tensor, first: int) -> Tensor:
    """Draw for each row the column of another sample, the likelier the more similar; row b's own is ``first + b``."""
    with torch.no_grad():
        chance_BA = similar_BA.float().softmax(1) + LEAST
        chance_BA[:, first : first + len(chance_BA)].fill_diagonal_(0)
        return torch.multinomial(chance_BA, 1).squeeze(1)


def _cross_entropy(logits_XV: Tensor, targets_X: Tensor, smoothing: float) -> Tensor:
    """Return the mean over targets; 0 if there are none."""
    if not logits_XV.numel():
        return logits_XV.float().sum()
    total = F.cross_entropy(logits_XV.float(), targets_X, label_smoothing=smoothing, reduction="sum")
    return total / (targets_X != IGNORED).sum().clamp(min=1)


def _learning(values: Sequence[Tensor]) -> list[bool]:
    return [item.requires_grad for item in values]


def _check(settings: Alignment) -> None:
    """Raise ConfigError for what types cannot refuse."""
    for name, allowed in CHOICES.items():
        if getattr(settings, name) not in allowed:
            raise ConfigError(f"objective.{name} is {getattr(settings, name)!r}; it can be {', '.join(allowed)}")
    for name in ("contrastive_smoothing", "captioning_smoothing"):
        if not 0 <= getattr(settings, name) < 1:
            raise ConfigError(f"objective.{name} is {getattr(settings, name)}; it is at least 0 and below 1")
    if min(settings.weights.values()) < 0 or not any(settings.weights.values()):
        said = ", ".join(f"{name}={value:g}" for name, value in settings.weights.items())
        raise ConfigError(f"the objective's weights are {said}; they are at least 0, and one is above")
    bounds = settings.temperature_bounds
    if bounds and not (len(bounds) == 2 and 0 < bounds[0] < bounds[1]):
        raise ConfigError(f"objective.temperature_bounds is {bounds}; it is two numbers above 0, the smaller first")
