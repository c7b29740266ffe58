"""BLIP-2's Q-Former between an encoder and a language model, from transformers.

B batch, T frames, H W patches, D features, Q queries, K keys, N tokens, E embedding, J width of the queries.
"""

import torch
from torch import Tensor, nn

import vlframe
from vlframe_qformer.blip2 import INIT_STD, blip2_qformer, check_positive, read


class QFormer(nn.Module):
    """LayerNorm of the features (BLIP-2's ``ln_vision``), frame positions, queries, one linear map.

    ``per_frame`` is BLIP-2 on each frame: T * queries tokens. Otherwise the queries read all frames at once, as in
    Video-LLaMA's video Q-Former. Any grid is accepted, including sequences. An image is a clip of one frame.
    """

    expands_images = False

    def __init__(
        self,
        *,
        in_dim: int,
        out_dim: int,
        queries: int,
        depth: int,
        width: int | None,
        heads: int,
        intermediate: int | None,
        cross_attention_frequency: int,
        dropout: float,
        per_frame: bool,
        frame_position: bool,
        max_frames: int,
    ) -> None:
        super().__init__()
        check_positive(queries=queries, heads=heads, max_frames=max_frames, width=width, intermediate=intermediate)
        width = width or -(-in_dim // heads) * heads
        self.queries = queries
        self.per_frame = per_frame
        self.ln_vision = nn.LayerNorm(in_dim)
        # Drawn from N(0, 1), the scale of the normed features it is added to. With the 0.02 of the other weights it is
        # negligible, and a Q-Former trained from scratch does not learn which of two events came first.
        self.frame_position = nn.Embedding(max_frames, in_dim) if frame_position else None
        self.query_tokens = nn.Parameter(torch.empty(1, queries, width))
        self.qformer = blip2_qformer(
            width=width,
            depth=depth,
            heads=heads,
            intermediate=intermediate or 4 * width,
            frequency=cross_attention_frequency,
            keys=in_dim,
            dropout=dropout,
        )
        self.language_projection = nn.Linear(width, out_dim)
        nn.init.normal_(self.query_tokens, std=INIT_STD)

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        """Return the number of queries, once or for each frame."""
        self._check_frames(grid.frames)
        return self.queries * grid.frames if self.per_frame else self.queries

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        clips, frames = features_BTHWD.shape[:2]
        keys_BTKD = self.ln_vision(features_BTHWD.flatten(2, 3))
        if self.frame_position is not None:
            self._check_frames(frames)
            keys_BTKD = keys_BTKD + self.frame_position.weight[:frames, None]
        keys_BKD = keys_BTKD.flatten(0, 1) if self.per_frame else keys_BTKD.flatten(1, 2)
        read_BQJ = read(self.qformer, self.query_tokens, keys_BKD)
        return self.language_projection(read_BQJ).unflatten(0, (clips, -1)).flatten(1, 2)

    def _check_frames(self, frames: int) -> None:
        if self.frame_position is not None and frames > self.frame_position.num_embeddings:
            raise vlframe.ConfigError(
                f"the Q-Former has positions for {self.frame_position.num_embeddings} frames, and a clip has {frames}; "
                f"set connector.max_frames to at least {frames}, connector.frame_position=false, or fewer media.frames"
            )
