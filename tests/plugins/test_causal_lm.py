"""The causal_lm plugin: sizes, the contract, four bits, generation."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.causal_lm import QWENLIKE, REGISTRY, build, preset, saved
from peft import LoraConfig, inject_adapter_in_model
from transformers import AutoTokenizer
from vlframe_causal_lm.model import CausalLM
from vlframe_causal_lm.text import end_of_turn

from vlframe import ConfigError
from vlframe.contracts.language_model import padded_layout
from vlframe.contracts.meta import meta_build

FAMILIES = ("tiny", "tiny_qwen2", "tiny_mixtral", "tiny_llama")


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
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_adapters_learn_on_four_bit_weights(
    device: str, low: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU, where ``check_machine`` refuses it for being slow, the numbers are the same kind."""
    pytest.importorskip("bitsandbytes", reason="four-bit weights need bitsandbytes (the extra 'quantise')")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
    build(preset("tiny")).lm.save_pretrained(tmp_path / "tiny")
    llm = build(preset("tiny"), source=str(tmp_path / "tiny"), quantise="nf4")
    llm.compute_in(low)
    assert {layer.compute_dtype for layer in llm.modules() if hasattr(layer, "compute_dtype")} == {low}
    llm.enable_gradient_checkpointing()
    packed = {name: weight.clone() for name, weight in llm.named_parameters() if not weight.is_floating_point()}
    assert len(packed) == 14 and not any("lm_head" in name or "embed" in name for name in packed)
    llm.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=4, target_modules=llm.lora_targets), llm)
    llm.to(device).train()
    adapters = [weight for name, weight in llm.named_parameters() if "lora_" in name]
    for weight in adapters:
        weight.data = weight.data.float()  # as a run holds what it trains
    optimizer = torch.optim.AdamW(adapters, lr=1e-2)
    ids_BS = torch.arange(3, 19, device=device)[None]
    losses = []
    for _ in range(12):
        with torch.autocast(device, low):
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
