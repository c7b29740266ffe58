"""Build or load the transformers model; missing, unexpected or misshapen weights are errors."""

from pickle import UnpicklingError
from typing import Any

from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from vlframe import ConfigError, WeightsError, some_of
from vlframe_causal_lm.architecture import first_line
from vlframe_causal_lm.probe import what_fails
from vlframe_causal_lm.quantise import loading_options

ATTENTION = ("sdpa", "eager", "flash_attention_2")


def random_model(config: PreTrainedConfig, attention: str) -> PreTrainedModel:
    """Build a model of this architecture with random weights, on the context's device (the meta device in a plan)."""
    check_attention(attention)
    try:
        return AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    except Exception as error:  # each architecture fails in its own way
        if "attn_implementation" in str(error) and attention != "eager":
            fault = what_fails(config, "eager")
            works = "; llm.attention=eager does it" if fault == "" else ""
            rest = f", and with eager attention {fault}" if fault else works
            raise ConfigError(
                f"there is no {attention} attention for a {config.model_type} model in transformers{rest}"
            ) from error
        raise ConfigError(
            f"llm 'causal_lm' cannot build a {config.model_type} with {attention} attention: {first_line(error)}"
        ) from error


def load_model(
    source: str, config: PreTrainedConfig, attention: str, gguf_file: str | None, quantise: str | None
) -> PreTrainedModel:
    """Load the model of a folder or a hub id, in the dtype of its files, or in four bits.

    safetensors are preferred; a ``.bin`` is only read as weights, never as code.
    """
    check_attention(attention)
    options: dict[str, Any] = {"gguf_file": gguf_file} if gguf_file else {"config": config}
    options |= loading_options(quantise)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
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
    model, report = loaded
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
            problems.append(f"{len(keys)} {title.replace('_', ' ')}: {some_of(keys)}")
    if problems:
        raise WeightsError(f"llm source {source!r} does not fit a {config.model_type} model: {'; '.join(problems)}")


def _unquantised(model: Any) -> PreTrainedModel:
    """Expand a GGUF file to plain values; marked as quantised, the model could not be saved or trained."""
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model
