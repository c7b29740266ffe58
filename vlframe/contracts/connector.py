"""Connectors turn features into media tokens. B batch, T frames, H W patches, D features, N media tokens, E embedding,
I instruction tokens, A audio steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe.contracts.grids import VideoGrid


class Connector(Protocol):
    """Turns features into media tokens; built with ``in_dim=encoder.dim, out_dim=llm.dim``.

    ``expands_images`` treats an image as a clip of equal frames. The encoder still runs on it once and its features are
    repeated, which is exact for per-frame encoders and refused for others. Such a connector may offer
    ``still(features_BHWD, frames) -> tokens_BNE``: the result of ``forward`` for the expanded clip, computed with less
    work.

    A connector whose tokens also depend on the question has an attribute ``instruction``, a ``TextFrontEnd``;
    ``forward(features_BTHWD, instruction_BI)`` then takes that front end's ids, and tokens are reused only if both file
    and instruction are equal.

    A connector whose tokens depend on time sets ``reads_seconds = True``; ``forward`` then also takes the keyword
    ``seconds_BT``, float32: for each time step of the features, when its frames are shown (their mean, if the encoder
    joins several), in seconds on the file's clock; 0 for an image.

    A connector that keeps more or less of a clip, depending on its content, declares the maximum in ``tokens`` and
    always returns that many, padded, for example with a learned embedding.
    """

    expands_images: bool

    def tokens(self, grid: VideoGrid) -> int: ...  # N, without running it; ValueError if the grid does not fit
    def forward(self, features_BTHWD: Tensor) -> Tensor: ...  # tokens_BNE


class AudioConnector(Protocol):
    """Turns sound features into media tokens; built with ``in_dim=audio_encoder.dim, out_dim=llm.dim``."""

    def tokens(self, steps: int) -> int: ...  # N for A steps
    def forward(self, features_BAD: Tensor) -> Tensor: ...  # tokens_BNE
