"""Tokens that a system adds to a language model: their rows in its tables, and which rows are trained."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from transformers.utils import logging

from vlframe import ConfigError

LEARNING = ("all", "added")  # rows of the embeddings that receive a gradient


def check_added(tokens: Sequence[str], learning: str) -> None:
    """Refuse invalid settings without reading a file."""
    twice = [token for token, count in Counter(tokens).items() if count > 1]
    if twice or not all(token.strip() for token in tokens):
        raise ConfigError(f"llm added_tokens is {list(tokens)}; tokens must be distinct and not empty")
    if learning not in LEARNING:
        raise ConfigError(f"llm embedding_gradient is {learning!r}; it can be {' or '.join(LEARNING)}")
    if learning == "added" and not tokens:
        raise ConfigError(
            "llm embedding_gradient is 'added' and there are no added_tokens, so no row of the embeddings could learn; "
            "name the tokens (llm.added_tokens=[…]), or say llm.embedding_gradient=all"
        )


def add_rows(model: Any, count: int) -> None:
    """Grow embeddings and output layer by ``count`` rows, each the mean of the rows before."""
    if not count:
        return
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # it advises sizes that are multiples of 64
    try:
        rows = model.get_input_embeddings().weight.shape[0]
        model.resize_token_embeddings(rows + count, mean_resizing=False)
    finally:
        logging.set_verbosity(level)
    with torch.no_grad():
        for table in (model.get_input_embeddings(), model.get_output_embeddings()):
            if table is not None:
                table.weight[rows:] = table.weight[:rows].float().mean(0).to(table.weight.dtype)
