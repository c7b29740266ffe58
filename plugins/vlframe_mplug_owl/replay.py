"""Replay recorded outputs of the official code on ours: write an official folder, convert it, load it, run it.

B batch, T frames, C colours, Y X pixels, P tokens of a frame, D features, N tokens, S sequence, E embedding.
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


def verify(recording: Path) -> Iterator[Comparison]:
    """Yield every recorded output with ours, at the recording's own tolerance."""
    about = recording.with_suffix(".json")
    if not about.is_file():
        raise WeightsError(f"{recording} has no {about.name} beside it, which says what was recorded")
    said, recorded = read_json(about), read_tensors(recording)
    with TemporaryDirectory() as folder:
        official, ours = Path(folder, "official"), Path(folder, "ours")
        write_official(official, said, recorded)
        vlframe.convert(official, ours, format="mplug_owl")
        model: Any = vlframe.load(ours, device="cpu").model.float().eval()
        with torch.no_grad():
            outputs = computed(model, recorded)
    for name, theirs in recorded.items():
        if name.startswith("out/"):
            yield Comparison.of(name, outputs.get(name), theirs, said["tol"]["atol"])


def computed(model: Any, recorded: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return our outputs, by the names of the recording."""
    encoder, connector = model.parts["encoder"], model.parts["connector"]
    found: dict[str, Tensor] = {}
    for kind, pixels_BTCYX, prefix in (
        ("video", recorded["in/video_bcthw"].transpose(1, 2), ""),
        ("image", recorded["in/image_bchw"][:, None], "image_"),
    ):
        features_BTHWD = encoder(pixels_BTCYX)
        media_BNE = connector(features_BTHWD)
        found[f"out/{prefix}vision_last_hidden_state"] = features_BTHWD.flatten(2, 3)
        found[f"out/{prefix}abstractor"] = media_BNE
        ids_BS = recorded[f"in/input_ids_{kind}"]
        slots_N = (ids_BS < 0).flatten().nonzero()[:, 0]
        embeds_BSE = place(model.llm.embed(ids_BS.clamp(min=0)), media_BNE.flatten(0, 1), slots_N)
        hidden_BSE = model.llm(embeds_BSE, padded_layout(torch.ones_like(ids_BS).bool()))
        found[f"out/inputs_embeds_{kind}"] = embeds_BSE
        found[f"out/logits_{kind}"] = model.llm.logits(hidden_BSE)
        if kind == "video":
            found["out/abstractor_encoder"] = connector.read(features_BTHWD)
            inside = encoder.intermediates(pixels_BTCYX)
            found |= {f"out/{name}": value for name, value in inside.items()}
    return found


def write_official(folder: Path, said: dict[str, Any], recorded: dict[str, Tensor]) -> None:
    """Write a recording's weights as an official folder."""
    folder.mkdir()
    state = {name.removeprefix("w/"): value.contiguous() for name, value in recorded.items() if name.startswith("w/")}
    save_file(state, folder / "model.safetensors")
    sizes = said["config"]
    config = {
        "model_type": "mplug-owl",
        "num_query_tokens": sizes["nq"],
        "vision_config": {
            "hidden_size": sizes["vit"],
            "intermediate_size": sizes["vit_i"],
            "num_hidden_layers": sizes["vit_layers"],
            "num_attention_heads": sizes["vit_heads"],
            "image_size": sizes["img"],
            "patch_size": sizes["patch"],
        },
        "visual_abstractor_config": {
            "hidden_size": sizes["ab_h"],
            "encoder_hidden_size": sizes["vit"],
            "num_hidden_layers": sizes["ab_layers"],
            "num_attention_heads": sizes["ab_heads"],
            "intermediate_size": sizes["ab_i"],
        },
        "text_config": {
            "model_type": "llama",
            "vocab_size": state["language_model.lm_head.weight"].shape[0],
            "hidden_size": sizes["llm_h"],
            "intermediate_size": sizes["llm_i"],
            "num_hidden_layers": sizes["llm_layers"],
            "num_attention_heads": sizes["llm_heads"],
            "num_key_value_heads": sizes["llm_heads"],
            "rms_norm_eps": sizes.get("rms_norm_eps", 1e-6),
            "tie_word_embeddings": False,
        },
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
