"""What the tests of the causal_lm plugin share."""

import json
from pathlib import Path
from typing import Any

import torch
from vlframe_causal_lm import vlframe_components, vlframe_conf
from vlframe_causal_lm.model import CausalLM

from vlframe.registry.discovery import Plugin
from vlframe.registry.presets import read_preset
from vlframe.registry.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
QWENLIKE = ROOT / "tests" / "recordings" / "text" / "qwenlike"
REGISTRY = Registry([Plugin("tests:causal_lm", "tests", "0", tuple(vlframe_components()), vlframe_conf())])
# Learned positions: unlike the rotary ones of the presets, they show a row that is counted from its padding.
GPT2 = {"model_type": "gpt2", "vocab_size": 704, "n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4}


def preset(name: str, **changes: Any) -> dict[str, Any]:
    """A preset as the row's parameters, with changes to the architecture."""
    if name == "gpt2":
        return {"name": "causal_lm", "architecture": GPT2, "tokenizer": "bundled:tiny"}
    values = read_preset("llm", name, REGISTRY)
    values["architecture"].update(changes)
    return values


def build(config: dict[str, Any], **changes: Any) -> CausalLM:
    torch.manual_seed(0)
    return REGISTRY.build("llm", {**config, **changes}).eval()


def saved(folder: Path, *, generation: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A checkpoint folder of transformers, weights in safetensors, as it comes from a hub."""
    llm = build(preset("tiny", **changes))
    llm.lm.save_pretrained(folder)
    if generation:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder
