"""A vlframe composition, with its own weights, run the way the official VideoLLaMA 2 code runs its model.

What makes that code expensive: an image is copied T times before the tower; a row without media gets a zero image,
whose tokens are thrown away; every tower layer runs and every hidden state is kept, although only the last but one is
read; logits are computed for every position and copied for the loss; questions are asked one at a time, recomputing a
clip's features for each. The connector is timm's RegStage around a plain Conv3d, channels first, as in that code.

B batch, T frames, N = B * T, C colours, Y X pixels, H W patches, P tokens of a frame, D features, S sequence,
E embedding, V vocabulary, M media tokens, R positions of all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from timm.models.regnet import RegStage
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from vlframe.contracts.batch import Batch
from vlframe.data.collate import Collate

if TYPE_CHECKING:
    from vlframe.data.prepare import PreparedSamples
    from vlframe.inference.pipeline import Pipeline

UNLABELLED = -100


class OfficialStyle(nn.Module):
    """Use the parameters of a pipeline's model. The tower's last layer is random: it runs, but is not read."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        model = pipeline.model
        self.tower = (
            _whole_tower(model.parts["encoder"], dict(pipeline.config.encoder["architecture"]))
            .eval()
            .requires_grad_(False)
        )
        self.connector = OfficialSTC(model.parts["connector"])
        self.llm = model.llm
        self.pixels = model.parts["encoder"].pixels
        self.frames = pipeline.budget.frames

    def loss(self, batch: Batch, pixels: Sequence[Tensor]) -> Tensor:
        """Return the mean over supervised tokens. ``pixels``: normalised ``pixels_TCYX`` of each row, images T = 1."""
        embeds_BSE = self.splice(batch, self.encode(pixels))
        mask_BS = batch.layout.mask_BS
        logits_BSV = self.llm.lm(inputs_embeds=embeds_BSE, attention_mask=mask_BS, use_cache=False).logits.float()
        shifted_RV = logits_BSV[:, :-1].contiguous().view(-1, logits_BSV.shape[-1])
        targets_R = labels(batch)[:, 1:].contiguous().view(-1)
        return F.cross_entropy(shifted_RV, targets_R, ignore_index=UNLABELLED)

    def encode(self, pixels: Sequence[Tensor]) -> Tensor:
        """Return ``tokens_BME``, all rows at once, with an image as a clip of equal frames."""
        clips = [item.expand(self.frames, -1, -1, -1) if len(item) == 1 else item for item in pixels]
        with torch.no_grad():
            states = self.tower(torch.cat(clips), output_hidden_states=True).hidden_states
            patches_NPD = states[-2][:, 1:]
        side = round(patches_NPD.shape[1] ** 0.5)
        return self.connector(patches_NPD.unflatten(1, (side, side)).unflatten(0, (len(clips), self.frames)))

    def splice(self, batch: Batch, tokens_BME: Tensor) -> Tensor:
        """Splice text, media, text row by row; for a row without media, cut the tokens of its zero image to nothing."""
        rows = []
        waiting_BS = torch.zeros_like(batch.layout.mask_BS).flatten()
        waiting_BS[batch.slots_N] = True
        for ids_S, tokens_ME, waiting_S in zip(batch.ids_BS, tokens_BME, waiting_BS.view_as(batch.ids_BS), strict=True):
            places = waiting_S.nonzero().flatten().tolist()
            if places:
                assert len(places) == len(tokens_ME)
                before, after = self.llm.embed(ids_S[: places[0]]), self.llm.embed(ids_S[places[-1] + 1 :])
                rows.append(torch.cat([before, tokens_ME, after]))
            else:
                rows.append(torch.cat([self.llm.embed(ids_S), tokens_ME[:0]]))
        return torch.stack(rows)

    def ask(self, rows: PreparedSamples, new_tokens: int) -> Iterator[tuple[str, Tensor]]:
        """Yield the id of each question with the ids_G of its answer, one question at a time."""
        collate = Collate(left=True)
        for index in range(len(rows)):
            batch = collate([rows[index]])
            pixels = [self.pixels.normalise(file.tensor) for file in batch.files]
            embeds_BSE = self.splice(batch, self.encode(pixels))
            yield batch.samples[0], self.llm.generate(embeds_BSE, batch.layout.mask_BS, max_new_tokens=new_tokens)[0]

    def zero_image(self) -> Tensor:
        """Return the zero image of a row without media."""
        return torch.zeros(1, 3, self.pixels.size, self.pixels.size)


def labels(batch: Batch) -> Tensor:
    """Return ``labels_BS``: the id of each supervised token at its position."""
    labels_P = torch.full_like(batch.ids_BS, UNLABELLED).flatten()
    labels_P[batch.taught_L + 1] = batch.targets_L
    return labels_P.view_as(batch.ids_BS)


class OfficialSTC(nn.Module):
    """The forward pass of the official connector on the parameters of ours, which have the same names."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.s1 = _regstage(ours.s1)
        window = ours.sampler[0]
        conv = nn.Conv3d(
            window.in_channels, window.out_channels, window.kernel_size, stride=window.stride, padding=window.padding
        )
        conv.weight, conv.bias = window.weight, window.bias
        self.sampler = nn.Sequential(conv, nn.SiLU())
        self.s2 = _regstage(ours.s2)
        self.readout = ours.readout

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        batch = len(features_BTHWD)
        features_NDHW = self.s1(features_BTHWD.permute(0, 1, 4, 2, 3).flatten(0, 1))
        sampled_BDTHW = self.sampler(features_NDHW.unflatten(0, (batch, -1)).transpose(1, 2))
        sampled_NDHW = self.s2(sampled_BDTHW.transpose(1, 2).flatten(0, 1))
        return self.readout(sampled_NDHW.unflatten(0, (batch, -1)).permute(0, 1, 3, 4, 2).flatten(1, 3))


def _regstage(ours: Any) -> RegStage:
    first = ours.b1.conv1.conv
    stage = RegStage(
        depth=len(ours),
        in_chs=first.in_channels,
        out_chs=first.out_channels,
        stride=1,
        dilation=1,
        act_layer=nn.SiLU,
        norm_layer=LayerNorm2d,
    )
    stage.load_state_dict(ours.state_dict(keep_vars=True), assign=True)
    return stage


def _whole_tower(ours: Any, architecture: dict[str, Any]) -> CLIPVisionModel:
    """Build all layers of the architecture: ours, followed by those that ours omits."""
    tower = CLIPVisionModel(CLIPVisionConfig(**architecture))
    tower.embeddings = ours.embeddings
    tower.pre_layrnorm = ours.pre_layrnorm
    for index, layer in enumerate(ours.encoder.layers):
        tower.encoder.layers[index] = layer
    return tower
