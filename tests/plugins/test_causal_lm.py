"""The causal_lm plugin: sizes, the contract, generation, loading that leaves nothing unsaid, the small tokenizer."""

import json
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer
from vlframe_causal_lm import train_tiny_tokenizer, vlframe_components, vlframe_conf
from vlframe_causal_lm.model import CausalLM
from vlframe_causal_lm.text import TEMPLATES, end_of_turn, load_tokenizer

from vlframe import ConfigError, WeightsError
from vlframe.contracts.language_model import padded_layout
from vlframe.contracts.meta import meta_build
from vlframe.registry.discovery import Plugin
from vlframe.registry.presets import read_preset
from vlframe.registry.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
QWENLIKE = ROOT / "tests" / "recordings" / "text" / "qwenlike"
REGISTRY = Registry([Plugin("tests:causal_lm", "tests", "0", tuple(vlframe_components()), vlframe_conf())])
FAMILIES = ("tiny", "tiny_qwen2", "tiny_mixtral", "tiny_llama")


# Learned positions: unlike the rotary ones above, they show a row that is counted from its padding.
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


def lively(llm: CausalLM) -> CausalLM:
    """Larger weights, so that a difference of one position or one mask shows in the outputs."""
    with torch.no_grad():
        for name, weight in llm.named_parameters():
            if weight.dim() > 1:
                weight.mul_(6.0 if "embed" not in name else 20.0)
    return llm


# -- sizes and plans -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters", "dim", "context"),
    [
        ("mistral_7b_instruct", 7_241_732_096, 4096, 32768),
        ("mixtral_8x7b_instruct", 46_702_792_704, 4096, 32768),
        ("qwen2_7b_instruct", 7_615_616_512, 3584, 32768),
        ("qwen2_72b_instruct", 72_706_203_648, 8192, 32768),
        ("vicuna_7b", 6_738_415_616, 4096, 4096),
        ("tiny", 549_504, 128, 2048),
    ],
)
def test_presets_plan_to_the_known_sizes_without_file_or_network(
    name: str, parameters: int, dim: int, context: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("transformers.AutoTokenizer", "transformers.AutoConfig", "transformers.AutoModelForCausalLM"):
        monkeypatch.setattr(f"{method}.from_pretrained", lambda *args, **kwargs: pytest.fail("a plan read a file"))
    with meta_build():
        llm = REGISTRY.build("llm", preset(name))
    assert sum(weight.numel() for weight in llm.parameters()) == parameters
    assert {weight.device.type for weight in llm.parameters()} == {"meta"}
    assert (llm.dim, llm.context) == (dim, context)


def test_context_may_be_shorter_but_not_longer_than_the_positions() -> None:
    assert build(preset("tiny"), context=256).context == 256
    with pytest.raises(ConfigError, match="context is 4096; the architecture has positions for 1 to 2048"):
        build(preset("tiny"), context=4096)


# -- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_together_are_the_whole_model(family: str) -> None:
    llm = lively(build(preset(family)))
    ids_BS = torch.randint(3, 704, (2, 12))
    hidden_BSE = llm(llm.embed(ids_BS), padded_layout(torch.ones(2, 12, dtype=torch.bool)))
    assert hidden_BSE.shape == (2, 12, llm.dim)
    torch.testing.assert_close(llm.logits(hidden_BSE), llm.lm(input_ids=ids_BS).logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(llm.logits(hidden_BSE[0, 3]), llm.logits(hidden_BSE)[0, 3])


WINDOWED = [("tiny", {}), ("tiny_mixtral", {}), ("tiny_qwen2", {"use_sliding_window": True, "max_window_layers": 0})]


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        *((family, {}) for family in (*FAMILIES, "gpt2")),
        *((family, {"sliding_window": 4, **more}) for family, more in WINDOWED),
    ],
)
def test_padding_on_either_side_changes_nothing(family: str, changes: dict[str, Any]) -> None:
    llm = lively(build(preset(family, **changes)))
    embeds_BSE = llm.embed(torch.randint(3, 704, (1, 9)))
    alone = llm(embeds_BSE, padded_layout(torch.ones(1, 9)))
    noise = torch.randn(1, 5, llm.dim)
    for parts, mask, where in (
        ((noise, embeds_BSE), [0] * 5 + [1] * 9, slice(5, None)),
        ((embeds_BSE, noise), [1] * 9 + [0] * 5, slice(0, 9)),
    ):
        padded = llm(torch.cat(parts, dim=1), padded_layout(torch.tensor([mask])))
        torch.testing.assert_close(padded[:, where], alone, atol=2e-5, rtol=2e-5)
        assert padded.isfinite().all()
    if changes:  # the window is felt: the last position does not see the first (2 layers of 4 reach 6 back)
        moved = embeds_BSE.clone()
        moved[:, 0] += 1
        torch.testing.assert_close(llm(moved, padded_layout(torch.ones(1, 9)))[:, 7:], alone[:, 7:])
        assert not torch.allclose(llm(moved, padded_layout(torch.ones(1, 9)))[:, 1], alone[:, 1])


def test_padding_keeps_gradients_finite() -> None:
    llm = build(preset("tiny"))
    embeds_BSE = llm.embed(torch.randint(3, 704, (2, 8)))
    mask_BS = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1], [1] * 8])
    llm.logits(llm(embeds_BSE, padded_layout(mask_BS))[mask_BS.bool()]).logsumexp(-1).sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in llm.parameters())


def test_eager_and_sdpa_agree() -> None:
    ids_BS, mask_BS = torch.randint(3, 704, (2, 8)), torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1], [1] * 8])
    layout = padded_layout(mask_BS)
    one, other = (build(preset("tiny"), attention=name) for name in ("sdpa", "eager"))
    difference = (one(one.embed(ids_BS), layout) - other(other.embed(ids_BS), layout))[mask_BS.bool()]
    assert difference.abs().max() < 1e-5


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2"])
@pytest.mark.parametrize("trained", [True, False])
def test_recomputing_gives_the_same_gradients_from_fewer_kept_tensors(family: str, trained: bool) -> None:
    """Also where the language model is frozen and in eval mode, and only what lies below it learns."""
    gradients, kept = [], []
    for checkpoint in (False, True):
        llm = build(preset(family)).train(trained).requires_grad_(trained)
        if checkpoint:
            llm.enable_gradient_checkpointing()
        embeds_BSE = llm.embed(torch.arange(3, 15)[None]).detach().requires_grad_()
        saved: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, saved=saved: saved.append(x.numel()) or x, lambda x: x):
            hidden_BSE = llm(embeds_BSE, padded_layout(torch.ones(1, 12)))
        kept.append(sum(saved))
        torch.manual_seed(1)
        llm.logits(hidden_BSE).square().mean().backward()
        gradients.append({"embeds": embeds_BSE.grad} | {name: weight.grad for name, weight in llm.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1])
    assert kept[1] < 0.5 * kept[0]


def test_recomputing_changes_nothing_about_generation() -> None:
    one, other = build(preset("tiny")), build(preset("tiny"))
    other.enable_gradient_checkpointing()
    embeds_BSE = one.embed(torch.arange(3, 9)[None])
    answers = [llm.generate(embeds_BSE, torch.ones(1, 6), max_new_tokens=8).tolist() for llm in (one, other)]
    assert answers[0] == answers[1]
    pickle.loads(pickle.dumps(other))


# -- four bits -------------------------------------------------------------------------------------------------------


def test_a_plan_in_four_bits_needs_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with meta_build():
        llm = REGISTRY.build("llm", {**preset("mistral_7b_instruct"), "quantise": "nf4"})
    assert sum(weight.numel() for weight in llm.parameters()) == 7_241_732_096


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantise": "int8", "source": "x"}, "quantise is 'int8'; it can be null or nf4"),
        ({"quantise": "nf4"}, "there is no llm.source"),
        ({"quantise": "nf4", "source": "x", "gguf_file": "y"}, "gguf_file 'y' has a quantisation of its own"),
    ],
)
def test_four_bits_of_what_cannot_have_them_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(preset("tiny"), **changes)


def test_without_a_gpu_four_bits_are_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    CausalLM.check_machine({"quantise": None})
    with pytest.raises(ConfigError, match=r"needs a GPU, and there is none here; set llm\.quantise=null"):
        CausalLM.check_machine({"quantise": "nf4"})


def test_without_bitsandbytes_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("vlframe_causal_lm.quantise.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'vlframe\[quantise\]'"):
        CausalLM.check_machine({"quantise": "nf4"})


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_adapters_learn_on_four_bit_weights(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, where ``check_machine`` refuses it for being slow, the numbers are the same kind."""
    pytest.importorskip("bitsandbytes", reason="four-bit weights need bitsandbytes (the extra 'quantise')")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
    build(preset("tiny")).lm.save_pretrained(tmp_path / "tiny")
    llm = build(preset("tiny"), source=str(tmp_path / "tiny"), quantise="nf4")
    llm.enable_gradient_checkpointing()
    packed = {name: weight.clone() for name, weight in llm.named_parameters() if not weight.is_floating_point()}
    assert len(packed) == 14 and not any("lm_head" in name or "embed" in name for name in packed)
    llm.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=4, target_modules=llm.lora_targets), llm)
    llm.to(device).train()
    adapters = [weight for name, weight in llm.named_parameters() if "lora_" in name]
    optimizer = torch.optim.AdamW(adapters, lr=1e-2)
    ids_BS = torch.arange(3, 19, device=device)[None]
    losses = []
    for _ in range(12):
        with torch.autocast(device, torch.bfloat16):
            logits_BSV = llm.logits(llm(llm.embed(ids_BS), padded_layout(torch.ones(1, 16, device=device))))
            loss = torch.nn.functional.cross_entropy(logits_BSV[0, :-1].float(), ids_BS[0, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3
    after = dict(llm.named_parameters())
    for name, weight in packed.items():
        stem, _, last = name.rpartition(".")
        assert torch.equal(after[f"{stem}.base_layer.{last}"], weight)


@pytest.mark.parametrize(
    ("family", "adapted"),
    [("tiny", 14), ("tiny_qwen2", 14), ("tiny_llama", 14), ("tiny_mixtral", 8)],  # two layers of 7, or attention's 4
)
def test_lora_targets_are_the_decoders_linear_layers(family: str, adapted: int) -> None:
    llm = build(preset(family))
    before = llm.logits(llm(llm.embed(torch.arange(3, 9)[None]), padded_layout(torch.ones(1, 6))))
    targets = llm.lora_targets
    inject_adapter_in_model(LoraConfig(r=4, target_modules=targets), llm)
    assert sum(name.endswith("lora_A.default.weight") for name, _ in llm.named_parameters()) == adapted
    assert not any("lm_head" in name for name, _ in llm.named_parameters() if "lora" in name)
    assert llm.lora_targets == targets
    torch.testing.assert_close(
        llm.logits(llm(llm.embed(torch.arange(3, 9)[None]), padded_layout(torch.ones(1, 6)))), before
    )


# -- generation ------------------------------------------------------------------------------------------------------


def padded(rows: list[torch.Tensor], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(row) for row in rows)
    embeds_BSE = torch.randn(len(rows), longest, rows[0].shape[1])  # what stands in the padding must not matter
    mask_BS = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        where = slice(0, len(row)) if side == "right" else slice(longest - len(row), None)
        embeds_BSE[index, where], mask_BS[index, where] = row, True
    return embeds_BSE, mask_BS


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", [*FAMILIES, "gpt2"])
def test_a_batch_generates_what_its_rows_generate_alone(family: str, side: str) -> None:
    llm = lively(build(preset(family)))
    rows = [llm.embed(torch.randint(3, 704, (length,))).detach() for length in (3, 11, 7, 1)]
    together = llm.generate(*padded(rows, side), max_new_tokens=10, eos_token_id=None)
    assert together.shape == (4, 10)
    assert len({tuple(row.tolist()) for row in together}) == 4
    for row, expected in zip(rows, together, strict=True):
        alone = llm.generate(row[None], torch.ones(1, len(row)), max_new_tokens=10, eos_token_id=None)
        assert alone[0].tolist() == expected.tolist()


def test_generated_tokens_are_the_greedy_ones() -> None:
    llm = lively(build(preset("tiny")))
    ids_BS = torch.randint(3, 704, (1, 6))
    generated = llm.generate(llm.embed(ids_BS), torch.ones(1, 6), max_new_tokens=8, eos_token_id=None)
    for token in generated[0]:
        hidden_BSE = llm(llm.embed(ids_BS), padded_layout(torch.ones_like(ids_BS)))
        assert llm.logits(hidden_BSE[:, -1]).argmax() == token
        ids_BS = torch.cat([ids_BS, token[None, None]], dim=1)


def test_a_row_ends_at_its_end_and_is_padded_after_it() -> None:
    llm = lively(build(preset("tiny")))
    rows = [llm.embed(torch.randint(3, 704, (length,))).detach() for length in (4, 9)]
    free = llm.generate(*padded(rows, "left"), max_new_tokens=8, eos_token_id=None).tolist()
    end = free[0][2]
    assert end not in free[1] and free[0].index(end) == 2
    ended = llm.generate(*padded(rows, "left"), max_new_tokens=8, eos_token_id=end).tolist()
    assert ended == [[*free[0][:3], *[llm.tokenizer.pad_token_id] * 5], free[1]]


def test_generation_says_nothing_and_sampling_is_refused_by_name(capfd: pytest.CaptureFixture[str]) -> None:
    llm = build(preset("tiny"))
    embeds_BSE, mask_BS = llm.embed(torch.arange(3, 9)[None]), torch.ones(1, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        llm.generate(embeds_BSE, mask_BS, max_new_tokens=3)
        llm.generate(embeds_BSE, mask_BS, max_new_tokens=3, do_sample=True, temperature=0.7, top_p=0.9)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ConfigError, match=r"no setting 'temprature'\. Did you mean 'temperature'"):
        llm.generate(embeds_BSE, mask_BS, temprature=0.5)


def test_where_an_answer_ends(tmp_path: Path) -> None:
    """By the tokenizer and its template for random weights; by what the checkpoint says as well for a loaded one."""
    im_end = 1000
    assert build(preset("tiny"))._end_ids == {2}
    assert build(preset("tiny", vocab_size=1003), tokenizer=str(QWENLIKE))._end_ids == {im_end}
    tokenizer = AutoTokenizer.from_pretrained(QWENLIKE, eos_token="<|endoftext|>")
    assert (tokenizer.eos_token_id, end_of_turn(tokenizer)) == (1001, im_end)
    folder = saved(tmp_path, generation={"eos_token_id": [2, 7], "temperature": 0.6, "do_sample": True})
    loaded = build({"name": "causal_lm", "source": str(folder)}, tokenizer="bundled:tiny")
    assert loaded._end_ids == {2, 7}
    config = loaded.lm.generation_config
    assert not config.do_sample and config.temperature in (None, 1.0)


# -- loading ---------------------------------------------------------------------------------------------------------


def saved(folder: Path, *, generation: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A checkpoint folder of transformers, weights in safetensors, as it comes from a hub."""
    llm = build(preset("tiny", **changes))
    llm.lm.save_pretrained(folder)
    if generation:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


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


# -- tokenizers and templates ----------------------------------------------------------------------------------------


def test_the_tokenizer_is_read_at_its_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = build(preset("tiny"))
    assert "tokenizer" not in vars(llm)
    assert llm.tokenizer is llm.tokenizer
    assert llm.tokenizer.chat_template == TEMPLATES["mistral_instruct"].read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chat_template": "alpaca"}, "the named templates are chatml, llama3, mistral_instruct, plain, vicuna"),
        ({"tokenizer": "bundled:huge"}, "the plugin brings bundled:tiny"),
    ],
)
def test_names_are_checked_when_the_model_is_built(changes: dict[str, Any], message: str) -> None:
    with meta_build(), pytest.raises(ConfigError, match=message):
        REGISTRY.build("llm", {**preset("tiny"), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer": None}, "no tokenizer: set llm.tokenizer"),
        ({"tokenizer": "/nowhere/at/all"}, "tokenizer '/nowhere/at/all' is a path, and there is no such folder"),
        ({"tokenizer": str(QWENLIKE)}, "has 1003 tokens and the llm has embeddings for 704"),
        ({"chat_template": "chatml"}, r"writes <\|im_start\|>, <\|im_end\|>, and tokenizer 'bundled:tiny' has no such"),
    ],
)
def test_tokenizers_that_cannot_work(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _ = build(preset("tiny"), **changes).tokenizer


def test_a_tokenizer_without_a_template_needs_a_named_one(tmp_path: Path) -> None:
    train_tiny_tokenizer.save(train_tiny_tokenizer.train(train_tiny_tokenizer.FOLDER / "corpus.txt"), tmp_path)
    settings_file = tmp_path / "tokenizer_config.json"
    values = json.loads(settings_file.read_text())
    del values["chat_template"]
    settings_file.write_text(json.dumps(values))
    with pytest.raises(
        ConfigError, match=r"no chat template; set llm\.chat_template to one of chatml, llama3, mistral"
    ):
        load_tokenizer(str(tmp_path), None, None)
    assert load_tokenizer(str(tmp_path), "vicuna", None).chat_template == TEMPLATES["vicuna"].read_text()


TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "Three?"},
    {"role": "assistant", "content": "Four."},
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mistral_instruct", "<s>[INST] Be brief.\n\nOne? [/INST] Two.</s>[INST] Three? [/INST] Four.</s>"),
        ("vicuna", "<s>Be brief. USER: One? ASSISTANT: Two.</s>USER: Three? ASSISTANT: Four.</s>"),
        ("plain", "<s>Be brief.\nOne?\nTwo.</s>Three?\nFour.</s>"),
        (
            "chatml",
            "<|im_start|>system\nBe brief.<|im_end|>\n"
            "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\nTwo.<|im_end|>\n"
            "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\nFour.<|im_end|>\n",
        ),
        (
            "llama3",
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nOne?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nTwo.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nThree?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nFour.<|eot_id|>",
        ),
    ],
)
def test_named_templates(name: str, expected: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(train_tiny_tokenizer.FOLDER, chat_template=TEMPLATES[name].read_text())
    whole = tokenizer.apply_chat_template(TALK, tokenize=False)
    assert whole == expected
    for answer in (2, 4):  # what a model is asked to continue is what it was trained on
        prompt = tokenizer.apply_chat_template(TALK[:answer], tokenize=False, add_generation_prompt=True)
        assert whole.startswith(prompt) and whole[len(prompt) :].lstrip().startswith(TALK[answer]["content"])


def test_vicuna_has_its_own_system_text() -> None:
    tokenizer = load_tokenizer("bundled:tiny", "vicuna", None)
    text = tokenizer.apply_chat_template(TALK[1:2], tokenize=False, add_generation_prompt=True)
    assert text.startswith("<s>A chat between a curious user and an artificial intelligence assistant. ")
    assert text.endswith("polite answers to the user's questions. USER: One? ASSISTANT:")


TINY = load_tokenizer("bundled:tiny", None, None)


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="<")))
@settings(max_examples=200, deadline=None)
def test_the_small_tokenizer_writes_any_text(text: str) -> None:
    assert TINY.decode(TINY.encode(text, add_special_tokens=False)) == text


def test_the_small_tokenizer_is_made_by_its_script(tmp_path: Path) -> None:
    train_tiny_tokenizer.save(train_tiny_tokenizer.train(train_tiny_tokenizer.FOLDER / "corpus.txt"), tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (train_tiny_tokenizer.FOLDER / name).read_bytes()


def test_the_small_tokenizer_knows_the_words_of_its_questions() -> None:
    assert len(TINY) == 704
    assert (TINY.pad_token_id, TINY.bos_token_id, TINY.eos_token_id) == (0, 1, 2)
    words = "left right up down red green blue yellow square circle triangle one two three four before after beep flash"
    for word in words.split():
        assert len(TINY.encode(" " + word, add_special_tokens=False)) == 1, word


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
FAMILIES = [
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


@pytest.mark.parametrize(("family", "fields", "attention"), FAMILIES)
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
    ("mamba", True), ("mamba2", True), ("jamba", False), ("bamba", False),
    ("granitemoehybrid", False),
]  # fmt: skip


@pytest.mark.parametrize(("family", "can"), LARGE)
def test_families_are_tried_in_the_size_that_they_are_published_in(family: str, can: bool) -> None:
    from vlframe_causal_lm.architecture import resolve
    from vlframe_causal_lm.probe import what_fails

    found = what_fails(resolve(None, {"model_type": family}, None), "eager")
    assert found is not None and (found == "") == can, found


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
        ({"model_type": "bloom", **FAMILIES[9][1]}, r"for a bloom model in transformers; llm.attention=eager does it"),
        (
            {"model_type": "deepseek_v3", **SIZE, "qk_rope_head_dim": 8, "kv_lora_rank": 8, "v_head_dim": 8},
            r"its own numbers do not fit one another \(.*size.*\); correct llm.architecture",
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
