"""What the first stage begins with: UMT's own encoder, BERT, and random weights, drawn as in the official code.

Source: models/videochat2_qformer.py, VideoChat2_qformer; models/blip2/builder.py, build_qformer; models/blip2/vit.py,
build_vit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vlframe import TensorLayers, WeightsError, query_path, read_tensors

QUERIES, EXTRA_QUERIES = 32, 64
EVERY = 2  # every second layer of the Q-Former reads the encoder
COMPARED = 768  # width in which media and captions are compared
FRAMES, TEMPERATURE, INIT_STD = 4, 0.07, 0.02
UMT = "vision_encoder."
PATCHES = f"{UMT}encoder.patch_embed.proj.weight"
INSIDE = ("model", "module")
Tensors = dict[str, Tensor]


def add_first_files(layers: TensorLayers, bert: Path, umt: Path) -> None:
    """Add UMT's own file and BERT's folder, and all that neither holds. WeightsError: they are others."""
    if not umt.is_file():
        raise WeightsError(f"umt is {umt}, and there is no such file")
    held = read_tensors(umt, INSIDE)
    whole = any(name.startswith(UMT) for name in held)  # a file of only the encoder has its names without the prefix
    own = {name: value for name, value in held.items() if not whole or name.startswith(UMT)}
    layers.add(f"umt:{umt.name}", own, under="" if whole else UMT)
    layers.add(f"umt:{umt.name}", {name: held[name] for name in held if name not in own}, under="umt.")
    if PATCHES not in layers.tensors:
        raise WeightsError(f"umt is {umt}, which has no {PATCHES.removeprefix(UMT)}; it is UMT's l16_25m.pth")
    layers.add_folder("source", bert, under="qformer.")
    tensors = {name: item.tensor for name, item in layers.tensors.items()}
    width = tensors[PATCHES].shape[0]
    layers.add("begun", query_path(tensors, keys=width, every=EVERY, new_words=1))  # [DEC]
    layers.add("begun", drawn(layers.tensors["qformer.bert.embeddings.LayerNorm.weight"].tensor.shape[0], width))


def drawn(width: int, keys: int) -> Tensors:
    """Draw queries, the embeddings of frames, heads and the encoder's last norm, with seed 0."""
    found: Tensors = {
        "query_tokens": torch.empty(1, QUERIES, width),
        "vision_temp_embed": torch.empty(1, FRAMES, 1, keys),
        "temp": torch.tensor(TEMPERATURE),
        "vision_layernorm.weight": torch.ones(keys),
        "vision_layernorm.bias": torch.zeros(keys),
    }
    heads = {"vision_proj": (COMPARED, width), "text_proj": (COMPARED, width), "itm_head": (2, 2 * width)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name in ("query_tokens", "vision_temp_embed"):
            nn.init.trunc_normal_(found[name])
        for name, shape in heads.items():
            found[f"{name}.weight"] = nn.init.trunc_normal_(torch.empty(shape), std=INIT_STD)
            found[f"{name}.bias"] = torch.zeros(shape[0])
    return found


def second_stage(tensors: Mapping[str, Tensor], family: str, width: int) -> Tensors:
    """Return what no file holds when stage 2 begins: further queries of zeros, and a projection, of seed 0."""
    own = int(tensors["query_tokens"].shape[2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        projection = nn.Linear(own, width)
    return {
        "extra_query_tokens": torch.zeros(1, EXTRA_QUERIES, own),
        f"{family}_proj.weight": projection.weight.detach(),
        f"{family}_proj.bias": projection.bias.detach(),
    }
