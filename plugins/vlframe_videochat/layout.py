"""Write a recording's weights as the official files, with a small random language model."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from vlframe_videochat.names import VIT, is_saved

Tensors = dict[str, Tensor]


def write(folder: Path, state: Tensors, heads: dict[str, int], llm: int) -> tuple[Path, dict[str, Path]]:
    """Write the files; return VideoChat's own, and the other sources by name. ``llm``: the language model's width."""
    sources = {"sizes": folder / "sizes.json", "base": folder / "base", "vit": folder / "eva_vit_g.pth"}
    sources["blip2"] = folder / "blip2_pretrained_flant5xxl.pth"
    sources["sizes"].write_text(json.dumps(heads), encoding="utf-8")
    write_llama(sources["base"], llm)
    own = {name: value for name, value in state.items() if is_saved(name)}
    vit = {name.removeprefix(VIT): value for name, value in state.items() if name.startswith(VIT) and name not in own}
    blip2 = {name: value for name, value in state.items() if name not in own and not name.startswith(VIT)}
    torch.save(vit, sources["vit"])
    replaced = {name: torch.zeros_like(value) for name, value in own.items() if name.startswith("ln_vision.")}
    torch.save({"model": {**replaced, **blip2}}, sources["blip2"])
    torch.save({"model": own}, folder / "videochat.pth")
    return folder / "videochat.pth", sources


def write_llama(folder: Path, width: int) -> None:
    folder.mkdir()
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    state = LlamaForCausalLM(config).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
