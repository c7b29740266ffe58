"""Write a recording's weights as the official files, with small random ones for those that a recording lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from vlframe import NameTable
from vlframe_videollama import begin
from vlframe_videollama.begin import qformer
from vlframe_videollama.names import IMAGEBIND, VIT, names

BLIP2 = ("ln_vision.", "query_tokens", "Qformer.")
VL = ("llama_proj.", "video_")
AL = ("audio_Qformer.", "audio_query", "audio_position", "audio_llama")
Tensors = dict[str, Tensor]


def weights(recorded: Tensors) -> Tensors:
    return {name.removeprefix("w/"): tensor for name, tensor in recorded.items() if name.startswith("w/")}


def write(
    folder: Path, state: Tensors, heads: dict[str, int], llm: int, *, through_vision: bool
) -> tuple[Path, dict[str, Path]]:
    """Write the files; return the source, and the other sources by name. The language model is random, ``llm`` wide."""
    sources = {"sizes": folder / "sizes.json", "base": folder / "base"}
    sources["sizes"].write_text(json.dumps(heads), encoding="utf-8")
    write_llama(sources["base"], llm)
    if through_vision:
        plan = {"imagebind_vision": ("imagebind_huge.pth", (IMAGEBIND,)), "source": ("AL.pth", AL)}
    else:
        plan = {
            "vit": ("eva_vit_g.pth", (VIT,)),
            "blip2": ("blip2_pretrained_flant5xxl.pth", BLIP2),
            "source": ("VL.pth", VL),
        }
        if "audio_query_tokens" in state:
            plan |= {"imagebind": ("imagebind_huge.pth", (IMAGEBIND,)), "audio": ("AL.pth", AL)}
    for role, (file, starts) in plan.items():
        held = {name: value.clone() for name, value in state.items() if name.startswith(starts)}
        flat = role in ("vit", "imagebind", "imagebind_vision")  # these hold one module, and nothing else
        torch.save({name.removeprefix(starts[0]): value for name, value in held.items()} if flat else {"model": held},
                   folder / file)  # fmt: skip
        sources[role] = folder / file
    return sources.pop("source"), sources


def write_llama(folder: Path, width: int) -> None:
    folder.mkdir()
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    state = LlamaForCausalLM(config).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")


def visual_branch(config: dict[str, Any]) -> Tensors:
    """Return a random visual branch of these sizes, for a recording of only the audio branch."""
    width, heads, hidden, vit, llm = (config[key] for key in ("h", "heads", "inter", "vit", "llm"))
    frames = qformer(width, heads, hidden, keys=vit, frequency=2)
    connector = {"query_tokens": torch.randn(1, 2, width), **_under("qformer", frames), **_projection(width, llm)}
    table = NameTable(names(None, through_vision=False))
    return {
        **_under("visual_encoder", _vit(vit, config["img"])),
        **_drawn({"ln_vision.weight": (vit,), "ln_vision.bias": (vit,)}),
        **table.split({"connector": connector}),
        **begin.video_qformer(width, heads, hidden),
    }


def audio_branch(config: dict[str, Any], clips: int) -> Tensors:
    """Return a random audio branch with positions for this many clips, for a recording of only the front end."""
    width, heads, hidden, out = config["h"], config["heads"], config["inter"], config["ib_out"]
    heard = qformer(width, heads, hidden, keys=out, frequency=1)
    connector = {
        "query_tokens": torch.randn(1, 2, width),
        "step_position.weight": torch.randn(clips, out),
        **_under("qformer", heard),
        **_projection(width, config["llm"]),
    }
    table = NameTable(names(None, through_vision=False))
    trunk = _under(IMAGEBIND.rstrip("."), _imagebind_audio(config["ib_a"], out))
    return {**trunk, **table.split({"audio_connector": connector})}


def _projection(width: int, llm: int) -> Tensors:
    return {"projection.weight": torch.randn(llm, width), "projection.bias": torch.randn(llm)}


def _vit(dim: int, image: int) -> Tensors:
    return _drawn({
        "cls_token": (1, 1, dim),
        "pos_embed": (1, (image // 14) ** 2 + 1, dim),
        "patch_embed.proj.weight": (dim, 3, 14, 14),
        "patch_embed.proj.bias": (dim,),
        **_block("blocks.0.", dim, "norm1", "norm2"),
        "blocks.0.attn.qkv.weight": (3 * dim, dim),
        "blocks.0.attn.q_bias": (dim,),
        "blocks.0.attn.v_bias": (dim,),
        "blocks.0.attn.proj.weight": (dim, dim),
        "blocks.0.attn.proj.bias": (dim,),
    })  # fmt: skip


def _imagebind_audio(dim: int, out: int) -> Tensors:
    stem, block = "modality_preprocessors.audio.", "modality_trunks.audio.blocks.0."
    return _drawn({
        f"{stem}cls_token": (1, 1, dim),
        f"{stem}pos_embedding_helper.pos_embed": (1, 229, dim),
        f"{stem}rgbt_stem.proj.weight": (dim, 1, 16, 16),
        f"{stem}rgbt_stem.norm_layer.weight": (dim,),
        f"{stem}rgbt_stem.norm_layer.bias": (dim,),
        **_block(block, dim, "norm_1", "norm_2"),
        f"{block}attn.in_proj_weight": (3 * dim, dim),
        f"{block}attn.in_proj_bias": (3 * dim,),
        f"{block}attn.out_proj.weight": (dim, dim),
        f"{block}attn.out_proj.bias": (dim,),
        f"{block}attn.bias_k": (1, 1, dim),
        f"{block}attn.bias_v": (1, 1, dim),
        "modality_heads.audio.0.weight": (dim,),
        "modality_heads.audio.0.bias": (dim,),
        "modality_heads.audio.2.weight": (out, dim),
    })  # fmt: skip


def _block(prefix: str, dim: int, *norms: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}{norm}.{name}": (dim,) for norm in norms for name in ("weight", "bias")
    }
    return shapes | {
        f"{prefix}mlp.fc1.weight": (dim, dim),
        f"{prefix}mlp.fc1.bias": (dim,),
        f"{prefix}mlp.fc2.weight": (dim, dim),
        f"{prefix}mlp.fc2.bias": (dim,),
    }


def _drawn(shapes: dict[str, tuple[int, ...]]) -> Tensors:
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def _under(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}.{name}": value for name, value in tensors.items()}
