"""Video-LLaMA's connector (video_llama/models/video_llama.py, encode_videoQformer_visual).

B batch, T frames, H W patches, D features, Q queries of a frame, V queries of the clip, J width, N tokens, E embedding.
"""

from typing import Any

import torch
from torch import Tensor, nn

import vlframe
from vlframe_qformer.blip2 import INIT_STD, blip2_qformer, check_positive, read


class VideoQFormer(nn.Module):
    """BLIP-2's Q-Former on each frame; a learned position is added to the output of each frame's queries; the clip's
    queries read that. Any grid is accepted, including sequences. An image is a clip of one frame.

    The first Q-Former is BLIP-2's, and frozen in the official training: ``stages.<s>.connector.frozen:
    [qformer.*, query_tokens]``.
    """

    expands_images = False

    def __init__(
        self,
        *,
        in_dim: int,
        out_dim: int,
        queries: int,
        depth: int,
        cross_attention_frequency: int,
        video_queries: int,
        video_depth: int,
        width: int,
        heads: int,
        intermediate: int,
        dropout: float,
        max_frames: int,
    ) -> None:
        super().__init__()
        check_positive(queries=queries, video_queries=video_queries, max_frames=max_frames)
        sizes: dict[str, Any] = {"width": width, "heads": heads, "intermediate": intermediate, "dropout": dropout}
        self.query_tokens = nn.Parameter(torch.empty(1, queries, width))
        self.qformer = blip2_qformer(**sizes, depth=depth, frequency=cross_attention_frequency, keys=in_dim)
        self.frame_position = nn.Embedding(max_frames, width)
        self.video_query_tokens = nn.Parameter(torch.empty(1, video_queries, width))
        self.video_qformer = blip2_qformer(**sizes, depth=video_depth, frequency=1, keys=width)
        self.projection = nn.Linear(width, out_dim)
        for parameter in (self.query_tokens, self.video_query_tokens):
            nn.init.normal_(parameter, std=INIT_STD)

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        """Return N, the number of queries of the clip."""
        most = self.frame_position.num_embeddings
        if grid.frames > most:
            raise vlframe.ConfigError(
                f"connector video_qformer has positions for {most} frames, and a clip has {grid.frames}; set "
                f"connector.max_frames to at least {grid.frames}, or take fewer media.frames"
            )
        return self.video_query_tokens.shape[1]

    def intermediates(self, features_BTHWD: Tensor) -> dict[str, Tensor]:
        """Return ``frame_qformer``, ``video_qformer_kv`` and ``video_qformer``: the output of each step."""
        clips, frames = features_BTHWD.shape[:2]
        frames_NQJ = read(self.qformer, self.query_tokens, features_BTHWD.flatten(0, 1).flatten(1, 2))
        placed_BTQJ = frames_NQJ.unflatten(0, (clips, frames)) + self.frame_position.weight[:frames, None]
        keys_BKJ = placed_BTQJ.flatten(1, 2)
        read_BVJ = read(self.video_qformer, self.video_query_tokens, keys_BKJ)
        return {"frame_qformer": frames_NQJ, "video_qformer_kv": keys_BKJ, "video_qformer": read_BVJ}

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        return self.projection(self.intermediates(features_BTHWD)["video_qformer"])
