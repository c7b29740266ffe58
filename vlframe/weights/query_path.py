"""Adds to the weights of a text encoder what queries need to read media with it, where a training begins with them.

Names are those of transformers' encoders of text, below any prefix. J width, K width of the keys, V words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from vlframe.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

LAYER = re.compile(r"(.*\bencoder\.layer\.(\d+)\.)(.+)")
FEED_FORWARD = re.compile(r"(intermediate|output)\.(.+)")
SQUARE = "attention.self.query.weight"  # J x J
WORDS, BIAS = "embeddings.word_embeddings.weight", "predictions.bias"
DECODER = {"predictions.decoder.weight": WORDS, "predictions.decoder.bias": BIAS}  # second names of the two
INIT_STD = 0.02


def query_path(text: Mapping[str, Tensor], *, keys: int, every: int, new_words: int) -> dict[str, Tensor]:
    """Return the tensors that ``text``, those of a whole encoder of text, lacks or has too short.

    Queries have feed-forward layers of their own (``intermediate_query``, ``output_query``), copies of those for text;
    each ``every``-th layer, from the first, reads keys of width ``keys``, with new matrices; and embeddings, with
    their bias, get ``new_words`` more rows. What is new is drawn with seed 0: matrices and rows from N(0, 0.02), biases
    0, norms 1. WeightsError: ``text`` is no whole encoder of text.
    """
    import torch

    found: dict[str, Tensor] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, value in text.items():
            layer = LAYER.fullmatch(name)
            if layer is None:
                continue
            own = FEED_FORWARD.fullmatch(layer[3])
            if own is not None:
                found[f"{layer[1]}{own[1]}_query.{own[2]}"] = value.clone()
            elif layer[3] == SQUARE and int(layer[2]) % every == 0:
                found |= _reading(f"{layer[1]}crossattention.", value.shape[0], keys)
        found |= _more_words(text, new_words)
    return found


def _reading(prefix: str, width: int, keys: int) -> dict[str, Tensor]:
    import torch

    columns = {"self.query": width, "self.key": keys, "self.value": keys, "output.dense": width}
    found = {f"{prefix}{name}.weight": torch.randn(width, count) * INIT_STD for name, count in columns.items()}
    found |= {f"{prefix}{name}.bias": torch.zeros(width) for name in columns}
    norm = f"{prefix}output.LayerNorm."
    return found | {f"{norm}weight": torch.ones(width), f"{norm}bias": torch.zeros(width)}


def _more_words(text: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Return the embeddings of all words and the bias of each, with ``count`` more, under all their names."""
    import torch

    first = dict(_ending(text, (WORDS, BIAS)))
    if absent := [end for end in (WORDS, BIAS) if end not in first]:
        raise WeightsError(
            f"no tensor is called {' and none '.join(f'…{end}' for end in absent)}; give a whole encoder of text, with "
            "the head that predicts words, as published"
        )
    words_VJ, bias_V = text[first[WORDS]], text[first[BIAS]]
    found = {
        first[WORDS]: torch.cat([words_VJ, torch.randn(count, words_VJ.shape[1]) * INIT_STD]),
        first[BIAS]: torch.cat([bias_V, torch.zeros(count)]),
    }
    return found | {name: found[first[DECODER[end]]] for end, name in _ending(text, tuple(DECODER))}


def _ending(text: Mapping[str, Tensor], ends: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield an ending and the name that has it, for those that there are."""
    yield from ((end, name) for end in ends for name in text if name.endswith(f".{end}"))
