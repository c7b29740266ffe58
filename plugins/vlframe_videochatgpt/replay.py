"""Replay recorded outputs of the official code on ours: write an official folder, convert it, load it, run it.

T frames, C colours, Y X pixels, P patches, D features, N tokens, S sequence, E embedding.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import vlframe
from vlframe import Comparison, WeightsError, padded_layout, place, read_json, read_tensors

TOWER = "vision_tower."


def verify(recording: Path) -> Iterator[Comparison]:
    """Yield every recorded output with ours, at the recording's own tolerance."""
    about = recording.with_suffix(".json")
    if not about.is_file():
        raise WeightsError(f"{recording} has no {about.name} beside it, which says what was recorded")
    said, recorded = read_json(about), read_tensors(recording)
    with TemporaryDirectory() as folder:
        official, vision, ours = (Path(folder, name) for name in ("official", "vision", "ours"))
        write_official(official, vision, said, recorded)
        vlframe.convert(official, ours, sources={"vision": vision}, format="videochatgpt")
        model: Any = vlframe.load(ours, device="cpu").model.float().eval()
        with torch.no_grad():
            outputs = computed(model, recorded, said)
    limits = said["tol"]
    for name, theirs in recorded.items():
        if name.startswith("out/"):
            tolerance = limits["half_atol"] if theirs.dtype == torch.float16 else limits["atol"]
            yield Comparison.of(name, outputs[name], theirs, tolerance)


def computed(model: Any, recorded: dict[str, Tensor], said: dict[str, Any]) -> dict[str, Tensor]:
    """Return our outputs, by the names of the recording."""
    encoder, connector = model.parts["encoder"], model.parts["connector"]
    features_BTHWD = encoder(recorded["in/pixel_values_tchw"].float()[None])
    pooled_BND = connector.pool(features_BTHWD)
    half_BND = connector.pool(features_BTHWD.half())
    media_BNE = connector(features_BTHWD)
    ids_BS = recorded["in/input_ids"]
    patch_BS = ids_BS == said["special_token_ids"]["<vid_patch>"]
    slots_N = patch_BS.flatten().nonzero()[:, 0]
    embeds_BSE = place(model.llm.embed(ids_BS), media_BNE.flatten(0, 1), slots_N)
    hidden_BSE = model.llm(embeds_BSE, padded_layout(torch.ones_like(patch_BS)))
    return {
        "out/clip_penultimate_patches": features_BTHWD[0].flatten(1, 2),
        "out/features_numpy_fp32": pooled_BND[0],
        "out/features_numpy_fp16": half_BND[0],
        "out/features_torch_half": pooled_BND[0].half(),
        "out/mm_projected": media_BNE,
        "out/inputs_embeds": embeds_BSE,
        "out/logits": model.llm.logits(hidden_BSE),
    }


def write_official(folder: Path, vision: Path, said: dict[str, Any], recorded: dict[str, Tensor]) -> None:
    """Write a recording's weights as an official ``full`` folder, and its tower as a CLIP folder."""
    weights = {name.removeprefix("w/"): tensor for name, tensor in recorded.items() if name.startswith("w/")}
    tower = {name.removeprefix(TOWER): tensor for name, tensor in weights.items() if name.startswith(TOWER)}
    state = {name: tensor for name, tensor in weights.items() if not name.startswith(TOWER)}
    sizes = said["config"]
    for place_, tensors, config in (
        (folder, state, _llama(sizes, state)),
        (vision, tower, _clip(sizes)),
    ):
        place_.mkdir()
        save_file({name: value.contiguous() for name, value in tensors.items()}, place_ / "model.safetensors")
        (place_ / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _llama(sizes: dict[str, Any], state: dict[str, Tensor]) -> dict[str, Any]:
    return {
        "model_type": "VideoChatGPT",
        "vocab_size": state["model.embed_tokens.weight"].shape[0],
        "hidden_size": sizes["llm_h"],
        "intermediate_size": sizes["llm_i"],
        "num_hidden_layers": sizes["llm_layers"],
        "num_attention_heads": sizes["llm_heads"],
        "num_key_value_heads": sizes["llm_heads"],
        "max_position_embeddings": sizes.get("max_position_embeddings", 2048),
        "rms_norm_eps": sizes.get("rms_norm_eps", 1e-6),
        "tie_word_embeddings": False,
        "mm_hidden_size": sizes["clip_h"],
    }


def _clip(sizes: dict[str, Any]) -> dict[str, Any]:
    return {
        "model_type": "clip_vision_model",
        "hidden_size": sizes["clip_h"],
        "intermediate_size": sizes["clip_i"],
        "num_hidden_layers": sizes["clip_layers"],
        "num_attention_heads": sizes["clip_heads"],
        "image_size": sizes["img"],
        "patch_size": sizes["patch"],
    }
