"""Recorded outputs of the official code, replayed on ours: laid out as official files, converted, loaded, asked.

B batch, T frames, C colours, Y X pixels, I instruction tokens, K tiles, N tokens, E embedding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

import vlframe
from vlframe import Comparison, PixelLayout, WeightsError, read_json, read_tensors
from vlframe_videochat2.names import FAMILIES

Tensors = dict[str, Tensor]


def verify(recording: Path) -> Iterator[Comparison]:
    """Compare every recorded output with ours, to the recording's own tolerance."""
    about = recording.with_suffix(".json")
    if not about.is_file():
        raise WeightsError(f"{recording} has no {about.name} beside it, which says what was recorded")
    said, recorded = read_json(about), read_tensors(recording)
    config = said["config"]
    with TemporaryDirectory() as folder:
        source, sources = write_official(Path(folder), config, recorded)
        ours = Path(folder, "ours")
        vlframe.convert(source, ours, sources=sources, format="videochat2")
        model: Any = vlframe.load(ours, device="cpu").model.float().eval()
    with torch.no_grad():
        outputs = tiled(model, config, recorded) if "local_size" in config else whole(model, config, recorded)
    for name, theirs in recorded.items():
        if name.startswith("out/") or name in outputs:
            yield Comparison.of(name, outputs.get(name), theirs, said["tol"]["atol"])


def whole(model: Any, config: dict[str, Any], recorded: Tensors) -> Tensors:
    """Return our outputs for frames that are squares, by the names of the recording."""
    encoder, connector = model.parts["encoder"], model.parts["connector"]
    frames_BTCYX, ids_BI = recorded["in/frames_u8_low"], recorded["in/text_input_ids"]
    if not recorded["in/text_attention_mask"].all():
        connector.instruction = replace(connector.instruction, pad_to=ids_BI.shape[1])
    times = config["img"] // frames_BTCYX.shape[-1]
    pixels_BTCYX = encoder.pixels.normalise(frames_BTCYX.repeat_interleave(times, 3).repeat_interleave(times, 4))
    features_BTHWD = encoder(pixels_BTCYX)
    tables = {"aux/pos_embed": pixels_BTCYX.shape[1], "aux/img_pos_embed": 1}
    return {
        **{name: encoder.positions(frames, torch.device("cpu"))[None] for name, frames in tables.items()},
        **{f"out/{name}": value for name, value in encoder.intermediates(pixels_BTCYX).items()},
        "out/vision_layernorm": features_BTHWD.flatten(1, 3),
        "out/qformer_all": connector.output(features_BTHWD, ids_BI),
        "out/inputs_llama": connector(features_BTHWD, ids_BI),
        "out/inputs_llama_no_text": connector(features_BTHWD),
        "out/inputs_llama_single_frame_image_path": connector(encoder(pixels_BTCYX[:, :1]), ids_BI),
    }


def tiled(model: Any, config: dict[str, Any], recorded: Tensors) -> Tensors:
    """Return our tokens for pictures of several tiles, whose instructions are padded on the left to the longest."""
    branch, size, done = model.branches["video"], config["local_size"], 0
    encoder, connector = branch.encoder, branch.connector
    ids_BI = recorded["in/text_ids_batch_leftpadded"]
    connector.instruction = replace(connector.instruction, pad_to=ids_BI.shape[1], side="left")
    found: Tensors = {}
    for number, (height, width) in enumerate(config["sizes_hw"]):
        layout = PixelLayout(size, size, height // size, width // size, overview=config["add_global"])
        tiles_KTCYX = branch.front_end.cut(recorded[f"in/video{number}_tchw"], layout).unflatten(0, (layout.tiles, -1))
        tokens_KNE = connector(encoder(tiles_KTCYX), ids_BI[done : done + layout.tiles])
        found[f"out/video{number}_tokens"] = tokens_KNE.flatten(0, 1)[None]
        done += layout.tiles
    return found


def write_official(folder: Path, config: dict[str, Any], recorded: Tensors) -> tuple[Path, dict[str, Path]]:
    """Write a recording's weights as official files; the source, and the other sources by name.

    The first file holds the encoder and the Q-Former, the second lies over it. The language model is random.
    """
    state = {name.removeprefix("w/"): value.clone() for name, value in recorded.items() if name.startswith("w/")}
    family = next(name.removesuffix("_proj.weight") for name in state if name.endswith("_proj.weight"))
    hd = "hd_" if "local_size" in config else ""
    added, later = (f"{family}_proj.", "extra_query_tokens"), ("vision_layernorm.", "query_tokens")
    files = {"sizes": "sizes.json", "vit_qformer": "umt_l16_qformer.pth", "base": "base"}
    sources = {role: folder / name for role, name in files.items()}
    numbers = {"encoder": config["vit_heads"], "connector": config["heads"], "image_size": config["img"]}
    sources["sizes"].write_text(json.dumps(numbers), encoding="utf-8")
    torch.save({name: value for name, value in state.items() if not name.startswith(added)}, sources["vit_qformer"])
    source = folder / f"videochat2_{hd}{family}_stage4.pth"
    torch.save({"model": {name: value for name, value in state.items() if name.startswith((*added, *later))}}, source)
    write_language_model(sources["base"], family, config["llm"])
    return source, sources


def write_language_model(folder: Path, family: str, width: int) -> None:
    """Write a random language model of this family and width."""
    folder.mkdir()
    model_type = next(name for name, own in FAMILIES.items() if own == family)
    small = {
        "vocab_size": 64, "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 1,
        "num_attention_heads": 1, "num_key_value_heads": 1, "pad_token_id": 0,
    }  # fmt: skip
    config = AutoConfig.for_model(model_type, **small)
    state = AutoModelForCausalLM.from_config(config).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
