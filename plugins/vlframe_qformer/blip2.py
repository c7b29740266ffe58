"""BLIP-2's Q-Former from transformers, as this plugin's connectors use it: queries that read keys, without text."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

import vlframe

INIT_STD = 0.02  # of the queries and of every matrix of a Q-Former, as in BLIP-2


def blip2_qformer(
    *, width: int, depth: int, heads: int, intermediate: int, frequency: int, keys: int, dropout: float
) -> Blip2QFormerModel:
    """Build a Q-Former of this width over keys of width ``keys``; layers 0, ``frequency``, … read them."""
    check_width(width=width, depth=depth, heads=heads, intermediate=intermediate, frequency=frequency)
    return Blip2QFormerModel(
        Blip2QFormerConfig(
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=intermediate,
            cross_attention_frequency=frequency,
            encoder_hidden_size=keys,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            initializer_range=INIT_STD,
        )
    )


def read(qformer: nn.Module, queries_1QJ: Tensor, keys_BKJ: Tensor) -> Tensor:
    """Return the output of the queries over the keys: ``read_BQJ``."""
    queries_BQJ = queries_1QJ.expand(len(keys_BKJ), -1, -1)
    found: Tensor = qformer(query_embeds=queries_BQJ, encoder_hidden_states=keys_BKJ).last_hidden_state
    return found


def check_width(*, width: int, depth: int, heads: int, intermediate: int, frequency: int) -> None:
    """Raise ConfigError for sizes of which no Q-Former can be built."""
    check_positive(
        width=width, depth=depth, heads=heads, intermediate=intermediate, cross_attention_frequency=frequency
    )
    if width % heads:
        raise vlframe.ConfigError(
            f"connector.width={width} cannot be split over connector.heads={heads}; choose a multiple of {heads}, "
            f"like {-(-width // heads) * heads}, or another number of heads"
        )


def check_positive(**values: int | None) -> None:
    """Raise ConfigError for a parameter below 1."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise vlframe.ConfigError(f"connector.{name}={value} is not possible; it is at least 1")
