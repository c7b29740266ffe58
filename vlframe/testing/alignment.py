"""Checks of connectors that compare media with captions.

B batch, K keys, Q queries, P width of the comparison, I tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vlframe.testing.modules import TOLERANCE, Case, noise, run
from vlframe.testing.subject import Subject


def check_alignment(subject: Subject, connector: Any, in_dim: int, case: Case) -> tuple[str, ...]:
    """Check what ``vlframe.AligningConnector`` adds to a connector; return the parameters that only this uses, and not
    the ``case`` of its ``forward``.
    """
    subject.pickles(connector.captions, "its captions")
    if connector.temperature.ndim or not connector.temperature > 0:
        subject.fail(f"temperature is {connector.temperature}; it must be a positive scalar")
    with subject.doing("captions.encode()"):
        ids_BI = torch.tensor([list(connector.captions.encode("a red square"))] * 2)
    connector.eval().zero_grad()
    total = _check_outputs(subject, connector, connector.keys(noise(2, 2, 3, 3, in_dim)), ids_BI)
    compared = _learning(connector, total) | _names(connector, connector.temperature)
    return tuple(sorted(compared - _learning(connector, run(subject, connector, case).sum())))


def _check_outputs(subject: Subject, connector: Any, keys_BKD: Tensor, ids_BI: Tensor) -> Tensor:
    """Check every output; return a sum that depends on all of them."""
    seen_BK = torch.ones(keys_BKD.shape[:2], dtype=torch.bool)
    with subject.doing("look(), read() and match()"):
        media_BQP, logits_BIV = connector.look(keys_BKD, seen_BK, ids_BI)
        alone_BQP, nothing = connector.look(keys_BKD, seen_BK)
        text_BP, pairs_B2 = connector.read(ids_BI), connector.match(keys_BKD, seen_BK, ids_BI)
    shapes = f"{tuple(media_BQP.shape)} and {tuple(text_BP.shape)}"
    if media_BQP.ndim != 3 or media_BQP.shape[::2] != text_BP.shape:
        subject.fail(f"look() and read() give {shapes}; they must be BQP and BP")
    lengths = torch.cat([media_BQP.norm(dim=-1).flatten(), text_BP.norm(dim=-1)])
    if not torch.allclose(lengths, torch.ones_like(lengths), atol=TOLERANCE):
        subject.fail(f"look() and read() give vectors of the lengths {lengths.tolist()}; all must be 1")
    if pairs_B2.shape != (2, 2) or logits_BIV.shape[:2] != ids_BI.shape or nothing is not None:
        subject.fail("match() must give logits_B2, and look() logits_BIV where it is given ids, else None")
    if not torch.allclose(media_BQP, alone_BQP, atol=TOLERANCE):
        subject.fail("look() gives other media beside a caption: queries must not see what is to be written")
    return sum((item * noise(*item.shape)).sum() for item in (media_BQP, text_BP, pairs_B2, logits_BIV))


def _learning(connector: nn.Module, total: Tensor) -> set[str]:
    """Return the parameters that a scalar gives a gradient."""
    total.backward()
    found = {name for name, parameter in connector.named_parameters() if parameter.grad is not None}
    connector.zero_grad()
    return found


def _names(connector: nn.Module, value: Tensor) -> set[str]:
    return {name for name, parameter in connector.named_parameters() if parameter is value}
