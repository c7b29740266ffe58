"""A plugin of parts that add to the loss, for tests: a connector, and a language model."""

import torch
from torch import Tensor, nn
from vlframe_causal_lm import EXAMPLE, CausalLMParams
from vlframe_causal_lm.model import CausalLM

import vlframe

WEIGHT = 0.25


class Adding(nn.Module):
    """A token for each position: the mean over time. Its squares are a term of the loss."""

    expands_images = False

    def __init__(self, *, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.out = nn.Linear(in_dim, out_dim)

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        return grid.height * grid.width

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        tokens_BNE = self.out(features_BTHWD.mean(1).flatten(1, 2))
        vlframe.add_loss("size", tokens_BNE.square().sum(), weight=WEIGHT)
        return tokens_BNE


class AddingLM(CausalLM):
    """The squares of its hidden states are a term of the loss."""

    def forward(self, embeds_BSE: Tensor, layout: vlframe.SequenceLayout) -> Tensor:
        hidden_BSE = super().forward(embeds_BSE, layout)
        vlframe.add_loss("hidden", (hidden_BSE * layout.mask_BS[..., None]).square().mean(-1).sum(), weight=0.1)
        return hidden_BSE


class Wrong(Adding):
    """Adds what is no scalar."""

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        vlframe.add_loss("rows", torch.ones(2))
        return super().forward(features_BTHWD)


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("connector", "adding", "adding:Adding", None, "with a term of its own")
    yield vlframe.Component("connector", "wrong", "adding:Wrong", None, "with a term that is no scalar")
    yield vlframe.Component("llm", "adding", "adding:AddingLM", CausalLMParams(**EXAMPLE), "with a term of its own")
