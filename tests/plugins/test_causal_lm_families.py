"""The causal_lm plugin: settings of a generation, and which families can do all, tried on a twin."""

from typing import Any

import pytest
import torch
from helpers.causal_lm import build, preset

from vlframe import ConfigError
from vlframe.contracts.meta import meta_build

# -- settings of a generation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "samples"),
    [
        ({}, False),
        ({"temperature": 0}, False),
        ({"temperature": 0, "top_p": 0.5}, False),
        ({"temperature": 0.7}, True),
        ({"top_p": 0.9}, True),
        ({"top_k": 5}, True),
        ({"do_sample": True}, True),
        ({"do_sample": False}, False),
    ],
)
def test_sampling_settings_mean_sampling(asked: dict[str, Any], samples: bool) -> None:
    from vlframe_causal_lm.generation import generation_settings

    config = generation_settings({"max_new_tokens": 7, **asked}, 5, False)
    assert config.do_sample is samples and config.max_new_tokens == 5
    if samples:
        assert all(getattr(config, name) == value for name, value in asked.items())


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"do_sample": False, "temperature": 0.5}, "contradict each other"),
        ({"do_sample": True, "temperature": 0}, "contradict each other"),
        ({"num_return_sequences": 2}, "num_return_sequences=2 does not give one answer"),
        ({"return_dict_in_generate": True}, "does not give one answer"),
        ({"output_scores": True}, "does not give one answer"),
        ({"max_length": 9}, "use max_new_tokens"),
        ({"temprature": 1}, "no setting 'temprature'. Did you mean 'temperature'"),
        ({"top_p": 3.0}, "top_p is 3.0; it is a number from 0 to 1"),
        ({"top_k": 2.5}, "top_k is 2.5; it is a whole number from 0"),
        ({"max_new_tokens": 2.5}, "max_new_tokens is 2.5; it is a whole number from 1"),
        ({"max_new_tokens": "8"}, "max_new_tokens is '8'; it is a whole number"),
        ({"max_new_tokens": True}, "max_new_tokens is True; it is a whole number"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; it is a whole number from 1"),
        ({"min_new_tokens": 9}, "min_new_tokens=9 and max_new_tokens=7 contradict"),
        ({"min_length": 9}, "use min_new_tokens"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0; it is a number above 0"),
        ({"num_beams": 0}, "num_beams is 0; it is a whole number from 1"),
        ({"temperature": float("nan")}, "temperature is nan; it is a number from 0"),
        ({"do_sample": "yes"}, "do_sample is 'yes'; it is True or False"),
        ({"prompt_lookup_num_tokens": 3}, "prompt_lookup_num_tokens has no meaning or does not work"),
        ({"guidance_scale": 2.0}, "settings that can be given are .*repetition_penalty"),
        ({"num_beam_groups": 2}, "num_beam_groups has no meaning or does not work"),
        ({"penalty_alpha": 0.5, "top_k": 4}, "penalty_alpha has no meaning or does not work"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(asked: dict[str, Any], sentence: str) -> None:
    from vlframe_causal_lm.generation import generation_settings

    with pytest.raises(ConfigError, match=sentence):
        generation_settings({"max_new_tokens": 7, **asked}, 5, False)


# -- what a family can do, on a twin ---------------------------------------------------------------------------------


SIZE = {
    "vocab_size": 704, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FOUR_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 12}
PROBED = [
    ("mistral", SIZE, "sdpa"),
    ("mistral", {}, "sdpa"),
    ("qwen2", {}, "sdpa"),
    ("llama", SIZE, "eager"),
    ("mixtral", {}, "sdpa"),
    ("qwen3_moe", {**SIZE, **FOUR_EXPERTS}, "sdpa"),
    ("gemma3_text", {**SIZE, "head_dim": 12}, "sdpa"),
    ("phi3", {**SIZE, "pad_token_id": 2}, "sdpa"),
    ("gpt2", {"vocab_size": 704, "n_embd": 48, "n_layer": 2, "n_head": 4}, "sdpa"),
    ("bloom", {"vocab_size": 704, "hidden_size": 48, "n_layer": 2, "n_head": 4}, "eager"),
    ("gpt_oss", {**SIZE, "head_dim": 12, "num_local_experts": 2, "num_experts_per_tok": 1}, "eager"),
]


@pytest.mark.parametrize(("family", "fields", "attention"), PROBED)
def test_families_that_can_do_all(family: str, fields: dict[str, Any], attention: str) -> None:
    from vlframe_causal_lm.architecture import resolve
    from vlframe_causal_lm.probe import check_abilities

    before = torch.random.get_rng_state()
    check_abilities(resolve(None, {"model_type": family, **fields}, None), attention)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("llama4_text", {**SIZE, "head_dim": 12, "num_local_experts": 2, "intermediate_size_mlp": 64}),
        (
            "falcon_h1",
            {**SIZE, "mamba_n_heads": 6, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_d_ssm": 96},
        ),
    ],
)
def test_families_that_cannot_are_refused(family: str, fields: dict[str, Any]) -> None:
    from vlframe_causal_lm.architecture import resolve
    from vlframe_causal_lm.probe import check_abilities

    with pytest.raises(ConfigError, match=f"a {family} model cannot be used with eager attention: .*take another"):
        check_abilities(resolve(None, {"model_type": family, **fields}, None), "eager")


LARGE = [
    ("gptj", True), ("codegen", True), ("deepseek_v3", True), ("olmoe", True), ("qwen3_moe", True),
    ("mamba", True), ("mamba2", True), ("jamba", True), ("bamba", False),
    ("granitemoehybrid", False), ("falcon_h1", False), ("zamba", False), ("zamba2", False), ("qwen3_next", True),
]  # fmt: skip
OF_STATES = ("mamba", "mamba2", "bamba", "granitemoehybrid", "qwen3_next")  # their kernels in plain torch take long


@pytest.mark.parametrize(
    ("family", "can"), [pytest.param(*item, marks=[pytest.mark.slow] * (item[0] in OF_STATES)) for item in LARGE]
)
def test_families_are_tried_in_the_size_that_they_are_published_in(family: str, can: bool) -> None:
    from vlframe_causal_lm.architecture import resolve
    from vlframe_causal_lm.probe import what_fails

    found = what_fails(resolve(None, {"model_type": family}, None), "eager")
    assert found is not None and (found == "") == can, found
    assert can or found.startswith("generation from embeddings fails"), found


def test_a_family_that_cannot_be_tried_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from vlframe_causal_lm import probe
    from vlframe_causal_lm.architecture import resolve

    monkeypatch.setattr(probe, "_TRIED", {})
    monkeypatch.setattr(probe, "_small", lambda *config: 1 / 0)
    assert probe.what_fails(resolve(None, {"model_type": "llama"}, None), "eager") is None
    assert "no small copy of this llama model works (division by zero)" in caplog.text


TINY_STATES = {"vocab_size": 704, "hidden_size": 48, "num_hidden_layers": 2}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "rwkv", **TINY_STATES}, "for a rwkv model .*with eager attention padding on the left"),
        (
            {"model_type": "xlnet", "vocab_size": 704, "d_model": 48, "n_layer": 2, "n_head": 4, "d_inner": 64},
            "no sdpa attention for a xlnet .*with eager attention padding on either side fails",
        ),
        ({"model_type": "xlm"}, "no sdpa attention for a xlm model in transformers$"),
        ({"model_type": "bloom", **PROBED[9][1]}, r"for a bloom model in transformers; llm.attention=eager does it"),
        (
            {"model_type": "deepseek_v3", **SIZE, "qk_rope_head_dim": 8, "kv_lora_rank": 8, "v_head_dim": 8},
            r"its own numbers do not fit one another \(.*size.*\); correct llm.architecture",
        ),
        (
            {"model_type": "gemma3_text", **SIZE, "head_dim": 12, "sliding_window": None},
            r"does not run as it is set \(.*sliding_window.*\); correct llm.architecture",
        ),
        ({"model_type": "t5"}, "a t5 is an encoder-decoder model, .*a causal language model.*mistral"),
        ({"model_type": "whisper"}, "a whisper is an encoder-decoder model"),
        ({"model_type": "qwen2_vl"}, "a qwen2_vl is a vision-language model, .*a causal language model.*mistral"),
        ({"model_type": "llava"}, "a llava is a vision-language model, .*take the llama inside it"),
        ({"model_type": "gemma3"}, "a gemma3 is a vision-language model, .*take the gemma3_text inside"),
        ({"model_type": "qwen3_5"}, "a qwen3_5 is a vision-language model, .*take the qwen3_5_text inside it"),
        ({"model_type": "fuyu"}, "a fuyu is a model of several parts"),
        ({"model_type": "vit"}, "a vit is no language model that writes text"),
    ],
)
def test_a_refusal_says_what_the_model_is_and_advises_only_what_was_tried(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message), meta_build():
        build({"name": "causal_lm", "architecture": fields, "tokenizer": "bundled:tiny", "context": 64})


def test_a_field_that_is_null_and_unknown_to_a_model_is_none() -> None:
    """Presets say null of what their model does without; another type of model may not know it at all."""
    from vlframe_causal_lm.architecture import resolve

    assert not hasattr(resolve(None, {"model_type": "jamba", "sliding_window": None}, None), "sliding_window")
    with pytest.raises(ConfigError, match="has the field 'sliding_window', and a jamba config has none"):
        resolve(None, {"model_type": "jamba", "sliding_window": 4}, None)


WORKING: dict[str, Any] = {
    "max_new_tokens": 3, "min_new_tokens": 2, "max_time": 60, "temperature": 0.5, "top_k": 3, "top_p": 0.9,
    "min_p": 0.1, "typical_p": 0.9, "top_h": 0.5, "epsilon_cutoff": 0.01, "eta_cutoff": 0.01, "num_beams": 2,
    "length_penalty": -1.0, "repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "do_sample": True,
    "renormalize_logits": True, "remove_invalid_values": True, "use_cache": False, "stop_strings": ["a"],
    "early_stopping": True, "bad_words_ids": [[5]], "suppress_tokens": [5], "begin_suppress_tokens": [5],
    "sequence_bias": [[[5], -9.0]], "exponential_decay_length_penalty": (1, 1.5), "eos_token_id": 5, "pad_token_id": 5,
    "forced_eos_token_id": 5, "cache_implementation": "dynamic", "cache_config": None,
}  # fmt: skip


def test_every_generation_setting_that_is_taken_generates() -> None:
    from vlframe_causal_lm.generation import TAKEN

    assert set(WORKING) == set(TAKEN)
    llm = build(preset("tiny"))
    embeds_BSE, mask_BS = llm.embed(torch.arange(3, 9)[None]), torch.ones(1, 6)
    for name, value in WORKING.items():
        beams = {"num_beams": 2} if name in ("length_penalty", "early_stopping") else {}
        ids_BG = llm.generate(embeds_BSE, mask_BS, **{"max_new_tokens": 4, name: value}, **beams)
        assert ids_BG.shape[0] == 1 and 1 <= ids_BG.shape[1] <= 4, name
