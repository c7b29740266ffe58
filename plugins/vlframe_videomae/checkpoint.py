"""VideoMAE's weights as they are published and as transformers 5 writes them."""

from typing import Any

from transformers import VideoMAEModel

from vlframe import pretrained_part

# Published checkpoints hold the biases of query and value under these names and none of the key, which is zero
# (MCG-NJU/VideoMAE, modeling_finetune.py, Attention). transformers 5 has a bias for each.
RENAME = {r"attention\.q_bias$": "attention.query.bias", r"attention\.v_bias$": "attention.value.bias"}


def load(source: str, config: Any) -> VideoMAEModel:
    """Return the encoder of a checkpoint of itself, of the pretraining model or of a classifier.

    Biases of keys may be absent and are zero then. (They never matter: each adds the same to a query's scores for all
    keys, which the softmax takes away again.) Any other weight that is missing or misshapen is a WeightsError.
    """
    keys = [f"encoder.layer.{index}.attention.attention.key.bias" for index in range(config.num_hidden_layers)]
    return pretrained_part(VideoMAEModel, source, config, needless=tuple(keys), rename=RENAME)
