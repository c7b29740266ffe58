"""Video-LLaMA's audio connector (video_llama/models/video_llama.py, encode_audioQformer).

B batch, A steps, T frames, H W patches, D features, Q queries, N tokens, E embedding.
"""

import torch
from torch import Tensor, nn

import vlframe
from vlframe_qformer.blip2 import INIT_STD, blip2_qformer, check_positive, read


class AudioQFormer(nn.Module):
    """A learned position is added to each audio step, and the queries read the steps."""

    def __init__(
        self,
        *,
        in_dim: int,
        out_dim: int,
        queries: int,
        depth: int,
        width: int,
        heads: int,
        intermediate: int,
        dropout: float,
        max_steps: int,
    ) -> None:
        super().__init__()
        check_positive(queries=queries, max_steps=max_steps)
        self.step_position = nn.Embedding(max_steps, in_dim)
        self.query_tokens = nn.Parameter(torch.empty(1, queries, width))
        self.qformer = blip2_qformer(
            width=width, depth=depth, heads=heads, intermediate=intermediate, frequency=1, keys=in_dim, dropout=dropout
        )
        self.projection = nn.Linear(width, out_dim)
        nn.init.normal_(self.query_tokens, std=INIT_STD)

    def tokens(self, steps: int) -> int:
        """Return N, the number of queries."""
        most = self.step_position.num_embeddings
        if steps > most:
            raise vlframe.ConfigError(
                f"audio_qformer has positions for {most} steps, and this has {steps}; set its max_steps to at least "
                f"{steps}, or take an encoder that gives fewer"
            )
        return self.query_tokens.shape[1]

    def intermediates(self, features_BAD: Tensor) -> dict[str, Tensor]:
        """Return ``audio_qformer_kv`` and ``audio_qformer``: the keys and the output of the queries."""
        keys_BAD = features_BAD + self.step_position.weight[: features_BAD.shape[1]]
        return {"audio_qformer_kv": keys_BAD, "audio_qformer": read(self.qformer, self.query_tokens, keys_BAD)}

    def forward(self, features_BAD: Tensor) -> Tensor:
        return self.projection(self.intermediates(features_BAD)["audio_qformer"])


class FramesAsSteps(AudioQFormer):
    """The same after an image encoder: every position of a clip is a step. Video-LLaMA trains it this way, with one
    vector for each frame (imagebind_vision), and uses it on sound afterwards. An image is one step.
    """

    expands_images = False

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        """Return N, the number of queries."""
        return super().tokens(grid.positions)

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        return super().forward(features_BTHWD.flatten(1, 3))
