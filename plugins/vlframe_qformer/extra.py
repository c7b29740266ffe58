"""VideoChat's connector (video_chat/models/videochat.py, encode_img).

B batch, T frames, H W patches, D features, K keys, Q queries, N tokens, E embedding.
"""

import torch
from torch import Tensor, nn

import vlframe
from vlframe_qformer.blip2 import INIT_STD, blip2_qformer, check_positive, read


class QFormerExtra(nn.Module):
    """BLIP-2's queries and extra ones read all positions of a clip jointly. Any grid is accepted, also sequences. An
    image is a clip of one frame.

    The Q-Former and its original queries are frozen in the official training:
    ``stages.<s>.connector.frozen: [qformer.*, query_tokens]``.
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
    ) -> None:
        super().__init__()
        check_positive(queries=queries, extra_queries=extra_queries)
        self.query_tokens = nn.Parameter(torch.empty(1, queries, width))
        self.extra_query_tokens = nn.Parameter(torch.empty(1, extra_queries, width))
        self.qformer = blip2_qformer(
            width=width,
            depth=depth,
            heads=heads,
            intermediate=intermediate,
            frequency=cross_attention_frequency,
            keys=in_dim,
            dropout=dropout,
        )
        self.projection = nn.Linear(width, out_dim)
        # The original's extra queries start at zero, where they stay equal: all have the same gradient.
        for parameter in (self.query_tokens, self.extra_query_tokens):
            nn.init.normal_(parameter, std=INIT_STD)

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        """Return N: 32 + 64 = 96 for images and clips of any grid."""
        return self.query_tokens.shape[1] + self.extra_query_tokens.shape[1]

    def read(self, features_BTHWD: Tensor) -> Tensor:
        """Return the output of the queries, before the linear map: ``read_BQJ``."""
        queries_1QJ = torch.cat([self.query_tokens, self.extra_query_tokens], 1)
        return read(self.qformer, queries_1QJ, features_BTHWD.flatten(1, 3))

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        return self.projection(self.read(features_BTHWD))
