"""Build or load the transformers model; what is missing, unexpected or misshapen is an error."""

from pickle import UnpicklingError
from typing import Any

from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from vlframe import ConfigError, WeightsError
from vlframe_causal_lm.architecture import first_line
from vlframe_causal_lm.quantise import loading_options

ATTENTION = ("sdpa", "eager", "flash_attention_2")
SHOWN = 8


def random_model(config: PreTrainedConfig, attention: str) -> PreTrainedModel:
    """A model of this architecture with random weights, on the device of the context (the meta device in a plan)."""
    check_attention(attention)
    try:
        return AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"llm 'causal_lm' cannot build a {config.model_type} with {attention} attention: {first_line(error)}"
        ) from error


def load_model(
    source: str, config: PreTrainedConfig, attention: str, gguf_file: str | None, quantise: str | None
) -> PreTrainedModel:
    """The model of a folder or a hub id, in the number format of its files, or in four bits.

    safetensors are preferred; a ``.bin`` is read as weights only, never as code.
    """
    check_attention(attention)
    options: dict[str, Any] = {"gguf_file": gguf_file} if gguf_file else {"config": config}
    options |= loading_options(quantise)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            source,
            attn_implementation=attention,
            dtype="auto",
            weights_only=True,
            output_loading_info=True,
            **options,
        )
    except UnpicklingError as error:
        raise WeightsError(
            f"llm source {source!r} has a .bin file with more than weights in it, which could run code; it is not "
            "read. Take a copy in safetensors"
        ) from error
    except (OSError, ImportError, ValueError, RuntimeError) as error:
        raise WeightsError(f"llm source {source!r} cannot be loaded: {first_line(error)}") from error
    _check_report(source, config, report)
    return _unquantised(model) if gguf_file else model


def check_attention(attention: str) -> None:
    if attention not in ATTENTION:
        raise ConfigError(f"llm attention is {attention!r}; it must be one of {', '.join(ATTENTION)}")


def _check_report(source: str, config: PreTrainedConfig, report: dict[str, Any]) -> None:
    problems = []
    for title in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        keys = sorted(map(str, report.get(title) or ()))
        if keys:
            more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
            problems.append(f"{len(keys)} {title.replace('_', ' ')}: {', '.join(keys[:SHOWN])}{more}")
    if problems:
        raise WeightsError(f"llm source {source!r} does not fit a {config.model_type} model: {'; '.join(problems)}")


def _unquantised(model: PreTrainedModel) -> PreTrainedModel:
    """A GGUF file is expanded to plain numbers; the marks that it was quantised would forbid saving and training."""
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model
