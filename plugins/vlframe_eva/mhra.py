"""EVA's ViT with UniFormerV2's relation aggregators (Li et al. 2022), as VideoChat builds it.

Source: video_chat/models/eva_vit.py of the official repository.

B batch, T frames, N = B * T, C colours, Y X pixels, H W patches, P tokens of a frame (class token first), D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlframe import ConfigError, VideoGrid
from vlframe_eva.vit import Block, ViT, again, check_sizes, front_end


class EvaViTMHRA(nn.Module):
    """EVA's ViT with a global token that reads the tokens of each of the last blocks; T * P + 1 tokens, it comes last.

    Frames are otherwise encoded separately, unless ``local`` convolutions mix them. An image is T = 1.
    """

    per_frame = False

    def __init__(
        self,
        *,
        hidden_size: int,
        intermediate_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        image_size: int,
        patch_size: int,
        select: str,
        resize: str,
        global_layers: int,
        global_intermediate: int | None,
        global_dropout: float,
        local: str,
        local_reduction: float,
        halve_frames: bool,
    ) -> None:
        super().__init__()
        check_sizes(hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, image_size, patch_size)
        if select != "cls_patch":
            raise ConfigError(
                f"encoder.select is {select!r}, and eva_vit_g_mhra gives one sequence for a clip, in which the token "
                "of all frames stands; it can be cls_patch, or take encoder=eva_vit_g"
            )
        if local not in ("none", "single", "double"):
            raise ConfigError(f"encoder.local is {local!r}; it can be none, single, double")
        narrow = min(local_reduction, 1 if global_intermediate is None else global_intermediate)
        if not 0 < global_layers <= num_hidden_layers or narrow < 1:
            raise ConfigError(
                f"encoder.global_layers is {global_layers}, which must be 1 to num_hidden_layers={num_hidden_layers}, "
                f"local_reduction {local_reduction} and global_intermediate {global_intermediate}, at least 1 each"
            )
        self.dim = hidden_size
        self.side = image_size // patch_size
        self.halve_frames = halve_frames
        self.pixels = front_end(image_size, resize)
        depth, step = (3, 2) if halve_frames else (1, 1)
        projection = nn.Conv3d(
            3, hidden_size, (depth, patch_size, patch_size), (step, patch_size, patch_size), (depth // 2, 0, 0)
        )
        self.visual_encoder = Aggregating(
            hidden_size,
            self.side**2,
            projection,
            [
                LocalBlock(hidden_size, intermediate_size, num_attention_heads, local, local_reduction)
                for _ in range(num_hidden_layers)
            ],
            [
                GlobalAggregator(
                    hidden_size, global_intermediate or intermediate_size, num_attention_heads, global_dropout
                )
                for _ in range(global_layers)
            ],
        )
        self.ln_vision = nn.LayerNorm(hidden_size)
        self.recompute = False

    def steps(self, frames: int) -> int:
        """Return the number of time steps that remain of this many frames."""
        return (frames + 1) // 2 if self.halve_frames else frames

    def grid(self, frames: int, height: int, width: int) -> VideoGrid:
        """Return one sequence for a clip: T * 257 + 1 positions at 224 pixels."""
        return VideoGrid(1, 1, self.steps(frames) * (1 + self.side**2) + 1, sequence=True)

    def blocks(self) -> list[nn.Module]:
        return list(self.visual_encoder.blocks)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute blocks in the backward pass instead of keeping their activations."""
        self.recompute = True

    def intermediates(self, pixels_BTCYX: Tensor) -> dict[str, Tensor]:
        """Return ``vit_gmhra_tokens``, the input of ``ln_vision``: tokens of all frames, then the global token."""
        return {"vit_gmhra_tokens": self._run(pixels_BTCYX)}

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        return self.ln_vision(self._run(pixels_BTCYX))[:, None, None]

    def _run(self, pixels_BTCYX: Tensor) -> Tensor:
        tower = self.visual_encoder
        clips = pixels_BTCYX.shape[0]
        patches_BDTHW = tower.patch_embed.proj(pixels_BTCYX.transpose(1, 2).to(tower.pos_embed.dtype))
        frames = patches_BDTHW.shape[2]
        tokens_NPD = tower.embed(patches_BDTHW.flatten(3).permute(0, 2, 3, 1).flatten(0, 1))
        summary_BD = tower.gmhra_cls_token[0].expand(clips, -1)
        first = len(tower.blocks) - len(tower.gmhra)
        for number, block in enumerate(tower.blocks):
            tokens_NPD = again(self.recompute, block, tokens_NPD, frames)
            if number >= first:
                summary_BD = tower.gmhra[number - first](summary_BD, tokens_NPD.unflatten(0, (clips, frames)))
        return torch.cat([tokens_NPD.unflatten(0, (clips, frames)).flatten(1, 2), summary_BD[:, None]], 1)


class Aggregating(ViT):
    """The tower's parameters, with the global token and the modules by which it reads the others."""

    def __init__(
        self, dim: int, patches: int, projection: nn.Module, blocks: list[nn.Module], aggregators: list[nn.Module]
    ) -> None:
        super().__init__(dim, patches, projection, blocks)
        self.gmhra_cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.gmhra = nn.ModuleList(aggregators)


class LocalBlock(Block):
    """A block of the tower, with a convolution over time before its attention, and before its MLP (``double``)."""

    def __init__(self, dim: int, hidden: int, heads: int, local: str, reduction: float) -> None:
        super().__init__(dim, hidden, heads)
        self.lmhra1 = LocalAggregator(dim, reduction) if local != "none" else None
        self.lmhra2 = LocalAggregator(dim, reduction) if local == "double" else None

    def forward(self, tokens_NPD: Tensor, frames: int = 1) -> Tensor:
        if self.lmhra1 is not None:
            tokens_NPD = self.lmhra1(tokens_NPD, frames)
        tokens_NPD = tokens_NPD + self.attn(self.norm1(tokens_NPD))
        if self.lmhra2 is not None:
            tokens_NPD = self.lmhra2(tokens_NPD, frames)
        return tokens_NPD + self.mlp(self.norm2(tokens_NPD))


class LocalAggregator(nn.Module):
    """A depthwise convolution over three frames in a narrower space, added to the patches; zero-initialised output."""

    def __init__(self, dim: int, reduction: float) -> None:
        super().__init__()
        narrow = int(dim // reduction)
        self.pos_embed = nn.Sequential(
            nn.BatchNorm3d(dim),
            nn.Conv3d(dim, narrow, 1),
            nn.Conv3d(narrow, narrow, (3, 1, 1), padding=(1, 0, 0), groups=narrow),
            nn.Conv3d(narrow, dim, 1),
        )
        for parameter in self.pos_embed[3].parameters():
            nn.init.zeros_(parameter)

    def forward(self, tokens_NPD: Tensor, frames: int) -> Tensor:
        patches_BTPD = tokens_NPD[:, 1:].unflatten(0, (-1, frames))
        patches_BDTP1 = patches_BTPD.permute(0, 3, 1, 2)[..., None]
        mixed_BTPD = self.pos_embed(patches_BDTP1)[..., 0].permute(0, 2, 3, 1)
        return torch.cat([tokens_NPD[:, :1], (patches_BTPD + mixed_BTPD).flatten(0, 1)], 1)


class GlobalAggregator(nn.Module):
    """Let the global token attend to every token, with a 3x3x3 convolution added to the patches; then an MLP.

    The output maps of attention and MLP are zero-initialised, so the global token is unchanged at first.
    """

    def __init__(self, dim: int, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.dpe = nn.Conv3d(dim, dim, 3, padding=1, groups=dim)
        self.attn = nn.MultiheadAttention(dim, heads)
        self.ln_1 = nn.LayerNorm(dim)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(dim, hidden), "c_proj": nn.Linear(hidden, dim)})
        self.ln_2 = nn.LayerNorm(dim)
        self.ln_3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        for name, parameter in self.named_parameters():
            if name == "dpe.bias" or name.startswith(("attn.out_proj", "mlp.c_proj")):
                nn.init.zeros_(parameter)
            elif name == "mlp.c_fc.weight":
                nn.init.xavier_uniform_(parameter)

    def forward(self, summary_BD: Tensor, tokens_BTPD: Tensor) -> Tensor:
        query_1BD, seen_KBD = self.ln_1(summary_BD)[None], self._seen(tokens_BTPD)
        read_1BD, _ = self.attn(query_1BD, seen_KBD, seen_KBD, need_weights=False)
        summary_BD = summary_BD + read_1BD[0]
        hidden = self.dropout(functional.gelu(self.mlp["c_fc"](self.ln_2(summary_BD))))
        return summary_BD + self.mlp["c_proj"](hidden)

    def _seen(self, tokens_BTPD: Tensor) -> Tensor:
        normed_BTPD = self.ln_3(tokens_BTPD)
        side = round((normed_BTPD.shape[2] - 1) ** 0.5)
        patches_BDTHW = normed_BTPD[:, :, 1:].permute(0, 3, 1, 2).unflatten(3, (side, side))
        placed_BTPD = normed_BTPD[:, :, 1:] + self.dpe(patches_BDTHW).flatten(3).permute(0, 2, 3, 1)
        return torch.cat([normed_BTPD[:, :, :1], placed_BTPD], 2).flatten(1, 2).transpose(0, 1)
