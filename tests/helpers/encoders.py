"""What encoders may offer beside their contract."""

from typing import Any

import torch

from vlframe.model.selection import blocks_of


def check_blocks(encoder: Any) -> None:
    """Its blocks are parts of the encoder, in the order that an image passes them, and all of those that are run."""
    ran: list[torch.nn.Module] = []
    blocks = blocks_of(encoder)
    for block in blocks:
        block.register_forward_pre_hook(lambda module, _: ran.append(module))
    layout = encoder.pixels.layout(40, 60)
    with torch.no_grad():
        encoder(torch.randn(1, 1, 3, layout.height, layout.width))
    assert ran == blocks
    assert {id(block) for block in blocks} <= {id(module) for module in encoder.modules()}
