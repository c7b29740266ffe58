"""Tokens that are added to a language model: rows, their beginning, and which of them learn."""

from typing import Any

import pytest
import torch
from vlframe_causal_lm import EXAMPLE

from vlframe import ConfigError
from vlframe.contracts.language_model import padded_layout
from vlframe.registry.registry import Registry

TOKENS = ["<clip_start>", "<clip_end>"]


def model(**changes: Any) -> Any:
    torch.manual_seed(0)
    parameters = {"name": "causal_lm", **EXAMPLE, "added_tokens": TOKENS, **changes}
    return Registry.installed().build("llm", Registry.installed().check("llm", parameters))


def test_each_token_has_a_row_that_begins_as_the_mean_of_the_others() -> None:
    grown, plain = model(), model(added_tokens=[])
    rows = plain.lm.get_input_embeddings().weight.shape[0]
    for table, before in (
        (grown.lm.get_input_embeddings().weight, plain.lm.get_input_embeddings().weight),
        (grown.lm.get_output_embeddings().weight, plain.lm.get_output_embeddings().weight),
    ):
        assert torch.equal(table[:rows], before)
        assert torch.allclose(table[rows:], before.mean(0).expand(2, -1), atol=1e-7)
    ids = grown.tokenizer.convert_tokens_to_ids(TOKENS)
    assert grown.tokenizer.encode(f"a{TOKENS[0]}", add_special_tokens=False)[-1] == ids[0]
    assert max(ids) < rows + 2 and grown.hf_config()["vocab_size"] == rows + 2


@pytest.mark.parametrize("learning", ["all", "added"])
def test_the_rows_that_learn(learning: str) -> None:
    llm = model(embedding_gradient=learning)
    ids = llm.tokenizer.convert_tokens_to_ids(TOKENS)
    ids_BS = torch.tensor([[5, ids[0], 9, ids[1]]])
    hidden_BSE = llm(llm.embed(ids_BS), padded_layout(torch.ones_like(ids_BS).bool()))
    llm.loss(hidden_BSE, torch.tensor([0, 3]), torch.tensor([9, 5])).total.backward()
    gradient = llm.lm.get_input_embeddings().weight.grad
    assert gradient is not None
    moved = set(gradient.abs().sum(1).nonzero()[:, 0].tolist())
    assert moved == {*ids} | ({5, 9} if learning == "all" else set())


@pytest.mark.parametrize(
    ("changes", "piece"),
    [
        ({"added_tokens": ["a", "a"]}, "distinct"),
        ({"added_tokens": [" "]}, "empty"),
        ({"embedding_gradient": "some"}, "all or added"),
        ({"added_tokens": [], "embedding_gradient": "added"}, "llm.added_tokens"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], piece: str) -> None:
    with pytest.raises(ConfigError, match=piece):
        model(**changes)
