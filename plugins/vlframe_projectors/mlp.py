"""Linear layers with GELU between, named 0, 2, 4, ... as in the official checkpoints (mlp2x_gelu)."""

from torch import nn

import vlframe


class MLP(nn.Sequential):
    """``depth`` linear layers from ``in_dim`` via ``hidden`` (None: ``out_dim``) to ``out_dim``; any leading shape."""

    def __init__(self, in_dim: int, out_dim: int, depth: int, hidden: int | None) -> None:
        if depth < 1 or (hidden is not None and hidden < 1):
            raise vlframe.ConfigError(
                f"an MLP of depth={depth} and hidden={hidden} cannot be built; depth is the number of linear layers, "
                "at least 1, and hidden a width above 0, or null for the language model's width"
            )
        widths = [in_dim, *[hidden or out_dim] * (depth - 1), out_dim]
        super().__init__(nn.Linear(widths[0], widths[1]))
        for i in range(1, depth):
            self.extend([nn.GELU(), nn.Linear(widths[i], widths[i + 1])])
