"""Official tensor names and ours."""

from vlframe import Route, TensorNames

NAMES = TensorNames(
    routes=(
        Route("model.mm_projector.{rest:path}", "connector", "projector.{rest:path}"),
        Route("vision_tower.vision_model.{rest:path}", "encoder", "{rest:path}"),  # in none of their files
        Route("model.{rest:path}", "llm", "lm.model.{rest:path}"),
        Route("lm_head.{rest:path}", "llm", "lm.lm_head.{rest:path}"),
    ),
    buffers=("{rest:path}.rotary_emb.inv_freq",),
    wrappers=("module.",),
)
EMBEDDINGS, HEAD, PROJECTOR = "model.embed_tokens.weight", "lm_head.weight", "model.mm_projector."
