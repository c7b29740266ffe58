"""A small BERT with random weights, in the layout of the published one."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import BertConfig, BertForPreTraining

WORDS, WIDTH, LAYERS = 40, 32, 3


def write_bert(folder: Path) -> dict[str, Tensor]:
    """Write the folder; return its tensors by today's names. As published, norms have their names of early files."""
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=4,
        max_position_embeddings=24, initializer_range=0.3,
    )  # fmt: skip
    state = {name: torch.randn_like(value) / 4 for name, value in BertForPreTraining(config).state_dict().items()
             if value.is_floating_point()}  # fmt: skip
    state["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"].clone()
    state["cls.predictions.decoder.bias"] = state["cls.predictions.bias"].clone()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    early = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    written = {}
    for name, value in state.items():
        end = next((end for end in early if name.endswith(end)), "")
        written[name.removesuffix(end) + early.get(end, "")] = value
    save_file(written, folder / "model.safetensors")
    return state
