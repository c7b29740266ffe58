"""The causal_lm plugin: loading that leaves nothing unsaid."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.causal_lm import REGISTRY, build, preset, saved
from safetensors.torch import load_file, save_file

from vlframe import ConfigError, WeightsError
from vlframe.contracts.language_model import padded_layout
from vlframe.contracts.meta import meta_build


def rewrite(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_folder_is_loaded_with_or_without_its_architecture_spelled_out(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    expected = build(preset("tiny")).state_dict()
    for config in ({"name": "causal_lm"}, preset("tiny")):
        loaded = build(config, source=str(folder), tokenizer="bundled:tiny")
        torch.testing.assert_close(loaded.state_dict(), expected, rtol=0, atol=0)
    with meta_build():
        planned = REGISTRY.build("llm", {"name": "causal_lm", "source": str(folder)})
    assert planned.dim == 128 and {weight.device.type for weight in planned.parameters()} == {"meta"}


def test_numbers_keep_the_format_of_the_files(tmp_path: Path) -> None:
    build(preset("tiny")).lm.to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = build({"name": "causal_lm", "source": str(tmp_path)})
    assert {weight.dtype for weight in loaded.parameters()} == {torch.bfloat16}


def test_every_disagreement_is_named(tmp_path: Path) -> None:
    config = preset("tiny", intermediate_size=256, rms_norm_eps=1e-6)
    config["architecture"]["rope_theta"] = 5e5
    with pytest.raises(ConfigError) as caught:
        build(config, source=str(saved(tmp_path)))
    for part in ("intermediate_size is 256, in ", "rms_norm_eps is 1e-06, in ", "rope_parameters is ", " 352"):
        assert part in str(caught.value)
    assert "hidden_size" not in str(caught.value)
    with pytest.raises(ConfigError, match="model_type is 'llama'"):
        build({"name": "causal_lm", "architecture": {"model_type": "llama"}}, source=str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("model.norm.weight"), "1 missing keys: model.norm.weight"),
        (lambda weights: weights.update(extra=torch.ones(2)), "1 unexpected keys: extra"),
        (lambda weights: weights.update({"model.norm.weight": torch.ones(7)}), "cannot be loaded|mismatched"),
    ],
    ids=["missing", "unexpected", "mismatched"],
)
def test_weights_that_do_not_fit(tmp_path: Path, change: Any, message: str) -> None:
    folder = saved(tmp_path)
    rewrite(folder, change)
    with pytest.raises(WeightsError, match=message):
        build({"name": "causal_lm", "source": str(folder)})


class Payload:
    """Unpickling this would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_bin_is_read_as_weights_and_never_as_code(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    loaded = build({"name": "causal_lm", "source": str(folder)})
    torch.testing.assert_close(loaded.lm.state_dict(), weights, rtol=0, atol=0)
    torch.save({**weights, "extra": Payload(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"a \.bin file with more than weights"):
        build({"name": "causal_lm", "source": str(folder)})
    assert not (tmp_path / "ran").exists()


def test_code_that_comes_with_a_checkpoint_is_refused(tmp_path: Path) -> None:
    config = {"model_type": "new_thing", "auto_map": {"AutoConfig": "configuration.Thing"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "configuration.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ConfigError, match="cannot be read"):
        build({"name": "causal_lm", "source": str(tmp_path)})
    assert not (tmp_path / "ran").exists()


def test_a_gguf_file_becomes_plain_weights_that_can_be_saved(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    torch.manual_seed(0)
    architecture = preset("tiny_llama", num_key_value_heads=4)["architecture"]
    original = build({"name": "causal_lm", "architecture": architecture}, tokenizer="bundled:tiny").lm
    write_gguf(gguf, tmp_path / "tiny.gguf", original)
    config = {"name": "causal_lm", "source": str(tmp_path), "gguf_file": "tiny.gguf", "tokenizer": "bundled:tiny"}
    loaded = build(config, architecture={**architecture, "bos_token_id": 1})
    ids_BS = torch.arange(3, 20)[None]
    got = loaded.logits(loaded(loaded.embed(ids_BS), padded_layout(torch.ones(1, 17))))
    torch.testing.assert_close(got, original(input_ids=ids_BS).logits, atol=1e-5, rtol=1e-5)
    loaded.lm.save_pretrained(tmp_path / "plain")
    again = build({"name": "causal_lm", "source": str(tmp_path / "plain"), "tokenizer": "bundled:tiny"})
    torch.testing.assert_close(again.state_dict(), loaded.state_dict(), rtol=0, atol=0)


def write_gguf(gguf: Any, path: Path, model: torch.nn.Module) -> None:
    """A Llama as GGUF, unquantised. Its query and key rows are in the interleaved order of that format."""
    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        values = weight.detach()
        if "q_proj" in name or "k_proj" in name:
            heads = config.num_attention_heads
            values = values.view(heads, 2, -1, values.shape[1]).transpose(1, 2).reshape(values.shape)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), values.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "neither a source .* nor an architecture"),
        ({"source": "/nowhere/at/all"}, "llm source '/nowhere/at/all' is a path, and there is no such folder"),
        ({"architecture": {"hidden_size": 8}}, "model_type None, which transformers does not know"),
        ({"architecture": {"model_type": "mistrall"}}, "Did you mean .*'mistral'"),
        ({"architecture": {"model_type": "clip_vision_model"}}, "a clip_vision_model is no language model"),
        (
            {"architecture": {"model_type": "mistral", "hiden_size": 8}},
            "'hiden_size'.*Did you mean 'hidden_size'",
        ),
        ({"architecture": {"model_type": "mistral", "hidden_size": "wide"}}, "cannot be a mistral"),
        ({"architecture": {"model_type": "gemma2"}}, "gemma2 model changes its logits by final_logit_softcapping"),
        ({"architecture": {"model_type": "mistral"}, "gguf_file": "a.gguf"}, "no source folder to find it in"),
    ],
)
def test_configs_that_cannot_work(config: dict[str, Any], message: str) -> None:
    with meta_build(), pytest.raises(ConfigError, match=message):
        REGISTRY.build("llm", {"name": "causal_lm", **config})


def test_attention_is_one_of_three() -> None:
    with pytest.raises(ConfigError, match="attention is 'flash'; it must be one of sdpa, eager, flash_attention_2"):
        build(preset("tiny"), attention="flash")
