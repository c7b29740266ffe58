"""Audio connectors: every step of the sound becomes one token. B batch, A steps, D features, N tokens, E embedding."""

from torch import nn

from vlframe_projectors.mlp import MLP


class SoundLinear(nn.Linear):
    """One linear map: ``features_BAD`` to ``tokens_BNE``."""

    def __init__(self, *, in_dim: int, out_dim: int) -> None:
        super().__init__(in_dim, out_dim)

    def tokens(self, steps: int) -> int:
        return steps


class SoundMLP(MLP):
    """An MLP: ``features_BAD`` to ``tokens_BNE``; depth 2 is the official ``mm_projector_a``."""

    def __init__(self, *, in_dim: int, out_dim: int, depth: int, hidden: int | None) -> None:
        super().__init__(in_dim, out_dim, depth, hidden)

    def tokens(self, steps: int) -> int:
        return steps
