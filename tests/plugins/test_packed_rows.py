"""Rows that hold several conversations: each gives what it gives in a row of its own."""

import pytest
import torch
from helpers.compositions import tiny_pipeline

from vlframe.contracts.language_model import SequenceLayout, padded_layout


@pytest.mark.parametrize("llm", ["tiny", "tiny_qwen2", "tiny_llama"])
def test_a_packed_row_gives_what_its_conversations_give_alone(registry, llm: str) -> None:
    model = tiny_pipeline(registry, f"llm={llm}").model.llm.eval()
    lengths = [5, 3, 7]
    parts = [torch.randint(5, 300, (length,), generator=torch.manual_seed(length)) for length in lengths]
    packed_BS = torch.cat([*parts, torch.zeros(2, dtype=torch.long)])[None]
    mask_BS = torch.arange(17)[None] < 15
    positions_BS = torch.cat([torch.arange(length) for length in [*lengths, 2]])[None]
    segments_BS = torch.cat([torch.full((length,), number) for number, length in enumerate([*lengths, 2])])[None]
    layout = SequenceLayout(mask_BS, positions_BS, segments_BS)
    with torch.no_grad():
        hidden_SE = model(model.embed(packed_BS), layout)[0]
        start = 0
        for part in parts:
            alone = model(model.embed(part[None]), padded_layout(torch.ones(1, len(part), dtype=torch.bool)))[0]
            torch.testing.assert_close(hidden_SE[start : start + len(part)], alone, rtol=1e-4, atol=1e-5)
            start += len(part)
