"""Official tensor names and ours. Modules keep their official names, so most routes only change a prefix."""

from vlframe import Concatenated, Fused, Repeated, Route, TensorNames

TOWER = "model.vision_tower.vision_tower.vision_model."
BIAS = ".self_attn.relative_attention_bias.weight"
EXPERT = "model.layers.{layer:int}.block_sparse_moe.experts.{expert:int}."

NAMES = TensorNames(
    routes=(
        Route(TOWER + "{rest:path}", "encoder", "{rest:path}", also=(TOWER.removeprefix("model.") + "{rest:path}",)),
        *(
            Route(f"model.{module}.{{rest:path}}", part, "{rest:path}", also=(f"{module}.{{rest:path}}",))
            for module, part in (
                ("mm_projector", "connector"),
                ("audio_tower", "audio_encoder"),
                ("mm_projector_a", "audio_connector"),
            )
        ),
        Route("model.{rest:path}", "llm", "lm.model.{rest:path}"),
        Route("lm_head.{rest:path}", "llm", "lm.lm_head.{rest:path}"),
        Route(
            "model.layers.{layer:int}.block_sparse_moe.gate.{rest:path}",
            "llm",
            "lm.model.layers.{layer:int}.mlp.gate.{rest:path}",
        ),
    ),
    # transformers 5 keeps the experts of a layer in one tensor: w1 above w3, and w2.
    fused=(
        Fused(
            "llm",
            (EXPERT + "w1.weight", EXPERT + "w3.weight"),
            "lm.model.layers.{layer:int}.mlp.experts.gate_up_proj",
            Concatenated(),
            stacked="expert",
        ),
        Fused(
            "llm",
            (EXPERT + "w2.weight",),
            "lm.model.layers.{layer:int}.mlp.experts.down_proj",
            Concatenated(),
            stacked="expert",
        ),
    ),
    repeated=(
        Repeated("lm_head.weight", "model.embed_tokens.weight"),  # if embeddings are tied
        Repeated("model.audio_tower.encoder.layers.{layer:int}" + BIAS, "model.audio_tower.encoder.layers.0" + BIAS),
    ),
    # Towers end at the hidden state that is read; BEATs' classifier serves another task.
    unused=(
        TOWER + "post_layernorm.{rest:path}",
        TOWER + "head.{rest:path}",
        TOWER + "encoder.layers.{layer:int}.{rest:path}",
        "model.audio_tower.predictor.{rest:path}",
    ),
    buffers=(TOWER + "embeddings.position_ids", "{rest:path}.rotary_emb.inv_freq"),
    wrappers=("module.", "base_model.model."),  # of DeepSpeed and of peft
)
