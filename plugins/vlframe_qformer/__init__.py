"""BLIP-2's querying transformer (Li et al. 2023) as a connector."""

from collections.abc import Iterator
from dataclasses import dataclass

import vlframe


@dataclass
class QFormerParams:
    """A few learned queries that read the features by cross-attention."""

    queries: int = 32  # media tokens of a clip, or of each frame
    depth: int = 2  # layers
    width: int | None = None  # of the queries; null: the encoder's width, rounded up to a multiple of heads
    heads: int = 8
    intermediate: int | None = None  # hidden width of the feed-forward layers; null: 4 x width
    cross_attention_frequency: int = 1  # every n-th layer, from the first, reads the features
    dropout: float = 0.0
    per_frame: bool = False  # true: the queries read each frame by itself; false: all frames together
    frame_position: bool = True  # add a learned embedding of the frame's place; without it the order is not seen
    max_frames: int = 32  # rows of that embedding


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "connector",
        "qformer",
        "vlframe_qformer.connector:QFormer",
        QFormerParams,
        "BLIP-2's Q-Former: a fixed number of queries over all frames, or over each",
    )
