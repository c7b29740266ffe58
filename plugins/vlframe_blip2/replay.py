"""Replay recorded outputs of the official code on ours: write official files, convert them, load them, run them.

B batch, K keys, D features, I tokens, Q queries.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import OPTConfig, OPTForCausalLM

import vlframe
from vlframe import Comparison, WeightsError, read_json, read_tensors

Tensors = dict[str, Tensor]
PATCH, SIDE = 2, 2  # pixels and patches of the random ViT


def verify(recording: Path) -> Iterator[Comparison]:
    """Yield every recorded output with ours, to the recording's own tolerance."""
    about = recording.with_suffix(".json")
    if not about.is_file():
        raise WeightsError(f"{recording} has no {about.name} beside it, which says what was recorded")
    said, recorded = read_json(about), read_tensors(recording)
    with TemporaryDirectory() as folder, torch.no_grad():
        source, sources = write_official(Path(folder), said["config"], recorded)
        ours = Path(folder, "ours")
        vlframe.convert(source, ours, sources=sources, format="blip2")
        model: Any = vlframe.load(ours, device="cpu").model.float().eval()
        outputs = computed(model.parts["connector"], recorded)
    for name, theirs in recorded.items():
        if name.startswith("out/"):
            yield Comparison.of(name, outputs.get(name.removeprefix("out/")), theirs, said["tol"]["atol"])


def computed(connector: Any, recorded: Tensors) -> Tensors:
    """Return our outputs, by the names of the recording without their prefix. Padding has number 0 there, too."""
    keys_BKD, ids_BI = recorded["in/image_embeds"], recorded["in/input_ids"]
    seen_BK, there_BI = recorded["in/image_atts"].bool(), recorded["in/text_atts"]
    mask_BN = torch.cat([there_BI.new_ones(len(ids_BI), connector.query_tokens.shape[1]), there_BI], 1)
    media_BQP, logits_BIV = connector.look(keys_BKD, seen_BK, ids_BI)
    sequence_BTHWD = keys_BKD[:, None, :, None]
    return {
        "query_only": connector.output(sequence_BTHWD),
        "query_only_masked_image": connector.run(keys_BKD, recorded["in/image_atts_masked"].bool(), None, None),
        "query_and_text": connector.run(keys_BKD, seen_BK, ids_BI, mask_BN),
        "text_only": connector.qformer(input_ids=ids_BI, attention_mask=there_BI).last_hidden_state,
        "caption_logits": logits_BIV,
        "itc_image": media_BQP,
        "itc_text": connector.read(ids_BI),
        "itm_logits": connector.match(keys_BKD, seen_BK, ids_BI),
        "language_projection": connector(sequence_BTHWD),
    }


def write_official(folder: Path, config: dict[str, Any], recorded: Tensors) -> tuple[Path, dict[str, Path]]:
    """Write a recording's weights as official files, beside a random ViT and a random language model; return the
    source, and the other sources by name.
    """
    state = {name.removeprefix("w/"): value.clone() for name, value in recorded.items() if name.startswith("w/")}
    width = int(config["enc"])
    state |= {"ln_vision.weight": torch.ones(width), "ln_vision.bias": torch.zeros(width), "temp": torch.tensor(0.07)}
    sources = {"sizes": folder / "sizes.json", "vit": folder / "eva_vit_g.pth", "base": folder / "base"}
    sources["sizes"].write_text(json.dumps({"encoder": 1, "connector": config["heads"]}), encoding="utf-8")
    torch.save(random_vit(width), sources["vit"])
    write_opt(sources["base"], int(config["llm"]))
    source = folder / "blip2_pretrained_opt.pth"
    torch.save({"model": state}, source)
    return source, sources


def random_vit(width: int) -> Tensors:
    """Return a ViT of one block under its official names."""
    draw, block = torch.Generator().manual_seed(0), "blocks.0."
    shapes = {
        "cls_token": (1, 1, width), "pos_embed": (1, SIDE**2 + 1, width),
        "patch_embed.proj.weight": (width, 3, PATCH, PATCH), "patch_embed.proj.bias": (width,),
        f"{block}attn.qkv.weight": (3 * width, width), f"{block}attn.q_bias": (width,),
        f"{block}attn.v_bias": (width,), f"{block}attn.proj.weight": (width, width), f"{block}attn.proj.bias": (width,),
        f"{block}mlp.fc1.weight": (2 * width, width), f"{block}mlp.fc1.bias": (2 * width,),
        f"{block}mlp.fc2.weight": (width, 2 * width), f"{block}mlp.fc2.bias": (width,),
        **{f"{block}{norm}.{name}": (width,) for norm in ("norm1", "norm2") for name in ("weight", "bias")},
    }  # fmt: skip
    return {name: 0.02 * torch.randn(shape, generator=draw) for name, shape in shapes.items()}


def write_opt(folder: Path, width: int) -> None:
    """Write a random language model of this width."""
    folder.mkdir()
    config = OPTConfig(
        vocab_size=64,
        hidden_size=width,
        word_embed_proj_dim=width,
        ffn_dim=2 * width,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=128,
    )
    state = OPTForCausalLM(config).state_dict()
    state.pop("lm_head.weight")  # the embeddings once more
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
