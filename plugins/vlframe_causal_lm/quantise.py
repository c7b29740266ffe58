"""Weights in four bits, by bitsandbytes: what QLoRA trains adapters on (Dettmers et al. 2023)."""

import os
from importlib.util import find_spec

import torch
from transformers import BitsAndBytesConfig

from vlframe import ConfigError

QUANTISE = ("nf4",)


def check_quantise(quantise: str | None, source: str | None, gguf_file: str | None) -> None:
    """Refuse what cannot work on any machine."""
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
    """Refuse what cannot work on this machine. A plan is made without GPU and bitsandbytes."""
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


def loading_options(quantise: str | None) -> dict[str, object]:
    """What ``from_pretrained`` needs to know. The numbers are those of the official scripts: nf4, quantised twice."""
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
