"""Official tensor names and ours, as tables.

A route leads an official name to a part and the name it has there; the parts keep the official names of their own
modules, so most of it is a prefix. The expert weights of a Mixtral are the exception: see ``fuse_experts``.
"""

import re

import torch
from torch import Tensor

PARTS = ("encoder", "connector", "audio_encoder", "audio_connector", "llm")

# part -> (prefix of its official names, prefix of ours)
PREFIXES = {
    "encoder": ("model.vision_tower.vision_tower.vision_model.", ""),
    "connector": ("model.mm_projector.", ""),
    "audio_encoder": ("model.audio_tower.", ""),
    "audio_connector": ("model.mm_projector_a.", ""),
    "llm": ("", "lm."),
}

# What official checkpoints hold and nothing runs, by part, under our names: towers end at the hidden state that is
# read, BEATs' classifier is for another task, and older files keep buffers that are computed anew.
UNUSED = {
    "encoder": (r"post_layernorm\..+", r"head\..+", r"encoder\.layers\.\d+\..+", r"embeddings\.position_ids"),
    "connector": (),
    "audio_encoder": (r"predictor\..+",),
    "audio_connector": (),
    "llm": (r".+\.rotary_emb\.inv_freq",),
}

# A second name for a tensor that is listed already: (part, the name that may repeat, the name it repeats).
REPEATED = (
    (
        "audio_encoder",
        re.compile(r"encoder\.layers\.[1-9]\d*\.self_attn\.relative_attention_bias\.weight"),
        "encoder.layers.0.self_attn.relative_attention_bias.weight",
    ),
    ("llm", re.compile(r"lm\.lm_head\.weight"), "lm.model.embed_tokens.weight"),  # only where embeddings are tied
)

# Wrappers that training put around the model: DeepSpeed and peft write these before the official name.
WRAPPER = re.compile(r"^(?:module\.)?(?:base_model\.model\.)?(?=model\.|lm_head\.)")

EXPERT = re.compile(r"(lm\.model\.layers\.\d+\.)block_sparse_moe\.experts\.(\d+)\.(w[123])\.weight")
ROUTER = (".block_sparse_moe.gate.", ".mlp.gate.")
FUSED = re.compile(r"(lm\.model\.layers\.\d+\.)mlp\.experts\.(gate_up_proj|down_proj)")


def ours(official: str) -> tuple[str, str]:
    """The part and our name for an official one; ``llm`` takes whatever no other part claims."""
    name = WRAPPER.sub("", official)
    for part, (theirs, prefix) in PREFIXES.items():
        if name.startswith(theirs):
            return part, prefix + name[len(theirs) :]
    raise AssertionError("the llm's prefix is empty")


def official(part: str, name: str) -> str:
    theirs, prefix = PREFIXES[part]
    return theirs + name.removeprefix(prefix)


def is_unused(part: str, name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in UNUSED[part])


def repeats(part: str, name: str) -> str | None:
    """The name whose tensor this one repeats, for names that may."""
    return next((first for owner, pattern, first in REPEATED if owner == part and pattern.fullmatch(name)), None)


def fuse_experts(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers 5 keeps a layer's experts in one tensor: gate_up_proj (experts, w1 over w3), down_proj (w2)."""
    found: dict[str, dict[str, dict[int, Tensor]]] = {}
    fused: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        match = EXPERT.fullmatch(name)
        if match:
            layer, expert, matrix = match.groups()
            found.setdefault(layer, {}).setdefault(matrix, {})[int(expert)] = tensor
        else:
            fused[name.replace(*ROUTER)] = tensor
    for layer, matrices in found.items():
        stacks = {name: [experts[number] for number in sorted(experts)] for name, experts in matrices.items()}
        if {"w1", "w3"} <= stacks.keys() and len(stacks["w1"]) == len(stacks["w3"]):
            pairs = zip(stacks["w1"], stacks["w3"], strict=True)
            fused[f"{layer}mlp.experts.gate_up_proj"] = torch.stack([torch.cat(pair) for pair in pairs])
        if "w2" in stacks:
            fused[f"{layer}mlp.experts.down_proj"] = torch.stack(stacks["w2"])
    return fused


def split_experts(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of ``fuse_experts``."""
    if not any(FUSED.fullmatch(name) for name in tensors):
        return dict(tensors)
    split = {}
    for name, tensor in tensors.items():
        match = FUSED.fullmatch(name)
        if match is None:
            split[name.replace(*reversed(ROUTER))] = tensor
            continue
        layer, kind = match.groups()
        for number, expert in enumerate(tensor):
            matrices = zip(("w1", "w3"), expert.chunk(2), strict=True) if kind == "gate_up_proj" else (("w2", expert),)
            for matrix, weight in matrices:
                split[f"{layer}block_sparse_moe.experts.{number}.{matrix}.weight"] = weight.contiguous()
    return split
