"""Four-bit weights by bitsandbytes, on which QLoRA trains adapters (Dettmers et al. 2023)."""

import os
from importlib.util import find_spec

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from vlframe import ConfigError

QUANTISE = ("nf4",)


def check_quantise(quantise: str | None, source: str | None, gguf_file: str | None) -> None:
    """Refuse settings that cannot work on any machine."""
    if quantise is None:
        return
    if quantise not in QUANTISE:
        raise ConfigError(f"llm quantise is {quantise!r}; it can be null or {', '.join(QUANTISE)}")
    if gguf_file or source is None:
        reason = f"gguf_file {gguf_file!r} has a quantisation of its own" if gguf_file else "there is no llm.source"
        raise ConfigError(
            f"llm quantise is {quantise!r}, which needs pretrained weights in plain numbers, and {reason}"
        )


def check_gpu(quantise: str | None) -> None:
    """Refuse settings that cannot work on this machine. A plan needs neither a GPU nor bitsandbytes."""
    if quantise is None:
        return
    if not torch.cuda.is_available():
        raise ConfigError(
            f"llm quantise is {quantise!r}, which needs a GPU, and there is none here; set llm.quantise=null for the "
            "same training on whole weights (LoRA instead of QLoRA)"
        )
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"llm quantise is {quantise!r}, which needs bitsandbytes: pip install 'vlframe[quantise]', or set "
            "llm.quantise=null"
        )


# Four bits, a scale of eight bits for 64 numbers, and a float32 for 256 scales (Dettmers et al. 2023, section 3).
BITS = 4 + 8 / 64 + 32 / (64 * 256)


def packed(model: nn.Module, decoder: nn.Module) -> dict[str, float]:
    """Return the bits per value of the weights that bitsandbytes packs, by name. The output layer is not packed."""
    linear = {id(layer.weight) for layer in decoder.modules() if isinstance(layer, nn.Linear)}
    return {f"lm.{name}": BITS for name, parameter in model.named_parameters() if id(parameter) in linear}


def loading_options(quantise: str | None) -> dict[str, object]:
    """Return options for ``from_pretrained``. The values are those of the official scripts: nf4, quantised twice."""
    if quantise is None:
        return {}
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantise,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    # Each rank on its own GPU: the model is built before Lightning has chosen one. (The CPU is slow, and for tests.)
    device = int(os.environ.get("LOCAL_RANK", "0")) if torch.cuda.is_available() else "cpu"
    return {"quantization_config": four_bits, "device_map": {"": device}}
