"""BLIP-2's Q-Former between an encoder and a language model, from transformers.

B batch, T frames, H W patches, D features, Q queries, K keys, N tokens, E embedding, J width of the queries.
"""

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

import vlframe

INIT_STD = 0.02  # of the queries and of every matrix of the Q-Former, as in BLIP-2


class QFormer(nn.Module):
    """LayerNorm of the features (BLIP-2's ``ln_vision``), frame positions, queries, one linear map.

    ``per_frame`` is BLIP-2 on each frame: T * queries tokens. Otherwise the queries read all frames at once, as
    Video-LLaMA's video Q-Former does. Any grid will do, sequences too. An image is a clip of one frame.
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
        _check_positive(
            queries=queries,
            depth=depth,
            heads=heads,
            cross_attention_frequency=cross_attention_frequency,
            max_frames=max_frames,
            width=width,
            intermediate=intermediate,
        )
        width = width or -(-in_dim // heads) * heads
        if width % heads:
            raise vlframe.ConfigError(
                f"connector.width={width} cannot be split over connector.heads={heads}; choose a multiple of {heads}, "
                f"like {-(-width // heads) * heads}, another number of heads, or width=null"
            )
        self.queries = queries
        self.per_frame = per_frame
        self.ln_vision = nn.LayerNorm(in_dim)
        # Drawn from N(0, 1), the scale of the normed features it is added to. At the 0.02 of the other weights it
        # drowns in them, and a Q-Former trained from nothing does not learn which of two events came first.
        self.frame_position = nn.Embedding(max_frames, in_dim) if frame_position else None
        self.query_tokens = nn.Parameter(torch.empty(1, queries, width))
        config = Blip2QFormerConfig(
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=intermediate or 4 * width,
            cross_attention_frequency=cross_attention_frequency,
            encoder_hidden_size=in_dim,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            initializer_range=INIT_STD,
        )
        self.qformer = Blip2QFormerModel(config)
        self.language_projection = nn.Linear(width, out_dim)
        nn.init.normal_(self.query_tokens, std=INIT_STD)

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        """The number of queries, once or for each frame."""
        self._check_frames(grid.frames)
        return self.queries * grid.frames if self.per_frame else self.queries

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        clips, frames = features_BTHWD.shape[:2]
        keys_BTKD = self.ln_vision(features_BTHWD.flatten(2, 3))
        if self.frame_position is not None:
            self._check_frames(frames)
            keys_BTKD = keys_BTKD + self.frame_position.weight[:frames, None]
        keys_BKD = keys_BTKD.flatten(0, 1) if self.per_frame else keys_BTKD.flatten(1, 2)
        queries_BQJ = self.query_tokens.expand(len(keys_BKD), -1, -1)
        read_BQJ = self.qformer(query_embeds=queries_BQJ, encoder_hidden_states=keys_BKD).last_hidden_state
        return self.language_projection(read_BQJ).unflatten(0, (clips, -1)).flatten(1, 2)

    def _check_frames(self, frames: int) -> None:
        if self.frame_position is not None and frames > self.frame_position.num_embeddings:
            raise vlframe.ConfigError(
                f"the Q-Former has positions for {self.frame_position.num_embeddings} frames, and a clip has {frames}; "
                f"set connector.max_frames to at least {frames}, connector.frame_position=false, or fewer media.frames"
            )


def _check_positive(**values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < 1:
            raise vlframe.ConfigError(f"connector.{name}={value} is not possible; it is at least 1")
