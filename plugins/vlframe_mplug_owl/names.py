"""Official tensor names and ours."""

from vlframe import Route, TensorNames

NAMES = TensorNames(
    routes=(
        Route("vision_model.{rest:path}", "encoder", "{rest:path}"),
        Route("abstractor.{rest:path}", "connector", "{rest:path}"),
        Route("query_tokens", "connector", "query_tokens"),
        Route("temporal_query_tokens", "connector", "temporal_query_tokens"),
        Route("language_model.{rest:path}", "llm", "lm.{rest:path}"),
    ),
    buffers=("{rest:path}.rotary_emb.inv_freq", "vision_model.embeddings.position_ids"),
    wrappers=("module.", "base_model.model."),
)
