"""Tables of names of systems that vlframe does not have yet, from the lists of their checkpoints: the machinery must
carry them as data."""

from vlframe import Concatenated, Fused, Interleaved, Route, TensorNames

BLOCK, LAYER = "visual_encoder.blocks.{i:int}.", "encoder.layers.{i:int}."


def qformer(theirs: str, ours: str) -> tuple[Route, ...]:
    """The names of BERT, as LAVIS has them, to those of transformers' Q-Former."""
    layer = "encoder.layer.{i:int}."
    return (
        Route(f"{theirs}.bert.{{rest:path}}", "connector", f"{ours}.{{rest:path}}"),
        Route(f"{theirs}.bert.embeddings.LayerNorm.{{w}}", "connector", f"{ours}.layernorm.{{w}}"),
        Route(
            f"{theirs}.bert.{layer}attention.self.{{rest:path}}",
            "connector",
            f"{ours}.{layer}attention.attention.{{rest:path}}",
        ),
        Route(
            f"{theirs}.bert.{layer}crossattention.self.{{rest:path}}",
            "connector",
            f"{ours}.{layer}crossattention.attention.{{rest:path}}",
        ),
    )


def eva(block: str) -> tuple[Fused, ...]:
    """q and v have a bias, k has none: one bias of three sections in transformers."""
    pieces = (f"{block}attn.q_bias", f"{block}attn.v_bias")
    return (Fused("encoder", pieces, f"{LAYER}self_attn.qkv.bias", Concatenated(zeros=(1,))),)


def vit(block: str) -> tuple[Route, ...]:
    return (
        Route(f"{block}norm{{n:int}}.{{w}}", "encoder", f"{LAYER}layer_norm{{n:int}}.{{w}}"),
        Route(f"{block}attn.qkv.weight", "encoder", f"{LAYER}self_attn.qkv.weight"),
        Route(f"{block}attn.proj.{{w}}", "encoder", f"{LAYER}self_attn.projection.{{w}}"),
        Route(f"{block}mlp.{{rest:path}}", "encoder", f"{LAYER}mlp.{{rest:path}}"),
    )


VIDEO_LLAMA = TensorNames(
    routes=(
        *vit(BLOCK),
        Route("visual_encoder.cls_token", "encoder", "embeddings.class_embedding"),
        Route("visual_encoder.pos_embed", "encoder", "embeddings.position_embedding"),
        Route("visual_encoder.patch_embed.proj.{w}", "encoder", "embeddings.patch_embedding.{w}"),
        Route("ln_vision.{w}", "encoder", "post_layernorm.{w}"),
        Route("query_tokens", "connector", "frame.query_tokens"),
        Route("video_query_tokens", "connector", "video.query_tokens"),
        Route("video_frame_position_embedding.weight", "connector", "frame_position.weight"),
        Route("llama_proj.{w}", "connector", "projection.{w}"),
        *qformer("Qformer", "frame.qformer"),
        *qformer("video_Qformer", "video.qformer"),
        Route("llama_model.{rest:path}", "llm", "lm.{rest:path}"),
    ),
    fused=eva(BLOCK),
    unused=("Qformer.cls.{rest:path}", "itm_head.{w}", "t5_proj.{w}", "{which}_proj.{w}"),
    buffers=("{rest:path}.position_ids", "{rest:path}.rotary_emb.inv_freq"),
    wrappers=("module.", "model."),
)

OTHER_LLMS = ("llama_model.base_model.model.", "mistral_model.base_model.model.", "mistral_model.")
UMT = "vision_encoder.encoder.blocks.{i:int}."
VIDEOCHAT2 = TensorNames(
    routes=(
        *vit(UMT),
        Route("vision_encoder.encoder.patch_embed.proj.{w}", "encoder", "embeddings.patch_embedding.{w}"),
        Route("vision_layernorm.{w}", "connector", "layernorm.{w}"),
        Route("query_tokens", "connector", "query_tokens"),
        Route("extra_query_tokens", "connector", "extra_query_tokens"),
        Route("llama_proj.{w}", "connector", "projection.{w}", also=("mistral_proj.{w}", "phi_proj.{w}")),
        *qformer("qformer", "qformer"),
        *(
            Route(
                f"llama_model.{top}.{{rest:path}}",
                "llm",
                f"lm.{top}.{{rest:path}}",
                also=tuple(f"{other}{top}.{{rest:path}}" for other in OTHER_LLMS),
            )
            for top in ("model", "lm_head")
        ),
    ),
    fused=eva(UMT),
    buffers=("{rest:path}.position_ids", "{rest:path}.inv_freq"),
)  # fmt: skip

OWL = "vision_model.encoder.layers.{i:int}."
MPLUG_OWL = TensorNames(
    routes=(
        Route("vision_model.{rest:path}", "encoder", "{rest:path}"),
        Route(f"{OWL}self_attn.dense.{{w}}", "encoder", "encoder.layers.{i:int}.self_attn.out_proj.{w}"),
        Route("abstractor.{rest:path}", "connector", "{rest:path}"),
        Route("query_tokens", "connector", "query_tokens"),
        Route("temporal_query_tokens", "connector", "temporal_query_tokens"),
        Route("language_model.{rest:path}", "llm", "lm.{rest:path}"),
    ),
    fused=(
        Fused(
            "encoder",
            tuple(f"encoder.layers.{{i:int}}.self_attn.{x}_proj.{{w}}" for x in "qkv"),
            f"{OWL}self_attn.query_key_value.{{w}}",
            Interleaved(heads=2),
            whole_is_theirs=True,
        ),
    ),
    buffers=("{rest:path}.rotary_emb.inv_freq",),
)

BERT = [
    f"encoder.layer.{i}.{rest}"
    for i in (0, 1, 11)
    for rest in (
        "attention.self.query.weight", "attention.self.value.bias", "attention.output.dense.weight",
        "attention.output.LayerNorm.bias", "crossattention.self.key.weight", "crossattention.output.dense.bias",
        "intermediate_query.dense.weight", "output_query.LayerNorm.weight",
    )
] + ["embeddings.LayerNorm.weight", "embeddings.position_ids"]  # fmt: skip
PLAIN = ("norm1.weight", "norm2.bias", "attn.qkv.weight", "attn.proj.bias", "mlp.fc1.weight", "mlp.fc2.bias")
EVA = [f"blocks.{i}.{rest}" for i in (0, 7, 38) for rest in (*PLAIN, "attn.q_bias", "attn.v_bias")]
LM = [
    f"model.layers.{i}.{rest}"
    for i in (0, 31)
    for rest in ("self_attn.q_proj.weight", "mlp.gate_proj.weight", "self_attn.q_proj.lora_A.default.weight")
] + ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]

# What the files of each system hold; vectors of 12 numbers do for all but the fused ones, which need equal ones too.
NAMES = {
    "video_llama": (
        VIDEO_LLAMA,
        [f"visual_encoder.{name}" for name in (*EVA, "cls_token", "pos_embed", "patch_embed.proj.weight")]
        + [f"{former}.bert.{name}" for former in ("Qformer", "video_Qformer") for name in BERT]
        + ["ln_vision.weight", "query_tokens", "video_query_tokens", "llama_proj.bias", "itm_head.weight"]
        + ["video_frame_position_embedding.weight", "text_proj.weight", "Qformer.cls.predictions.bias"]
        + [f"llama_model.{name}" for name in LM],
    ),
    "videochat2": (
        VIDEOCHAT2,
        [f"vision_encoder.encoder.{name}" for name in EVA]
        + [f"qformer.bert.{name}" for name in BERT]
        + ["vision_layernorm.bias", "query_tokens", "extra_query_tokens", "llama_proj.weight"]
        + [f"llama_model.{name}" for name in LM],
    ),
    "mplug_owl": (
        MPLUG_OWL,
        [
            f"vision_model.encoder.layers.{i}.{name}"
            for i in (0, 23)
            for name in (
                "self_attn.query_key_value.weight", "self_attn.query_key_value.bias", "self_attn.dense.weight",
                "temporal.conv.weight", "input_layernorm.bias", "mlp.fc1.weight",
            )
        ]
        + ["vision_model.embeddings.cls_token", "abstractor.vit_eos", "abstractor.visual_fc.weight", "query_tokens"]
        + ["abstractor.encoder.layers.0.crossattention.attention.key.weight", "temporal_query_tokens"]
        + [f"language_model.{name}" for name in LM]
        + ["language_model.model.layers.0.self_attn.rotary_emb.inv_freq"],
    ),
}  # fmt: skip
