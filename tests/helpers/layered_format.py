"""A plugin in one file (``plugins.paths``): a checkpoint format of three files, as the systems before VideoLLaMA 2 have
it: a vision tower with bare names, a base with more than is run, and the system's own file, which wins."""

import json
from pathlib import Path

import torch

import vlframe
from vlframe import ImportedCheckpoint, NameTable, Repeated, Route, TensorLayers, TensorNames

NAMES = TensorNames(
    routes=(
        Route("visual_encoder.{rest:path}", "encoder", "{rest:path}"),
        Route("proj.{w}", "connector", "{w}", also=("mistral_proj.{w}",)),
        Route("llama_model.{rest:path}", "llm", "lm.{rest:path}"),
    ),
    repeated=(Repeated("llama_model.lm_head.weight", "llama_model.model.embed_tokens.weight"),),
    unused=("itm_head.{w}", "visual_encoder.head.{w}"),
    buffers=("{rest:path}.position_ids",),
    wrappers=("module.",),
)


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("checkpoint_format", "layered", "layered_format:Layered", None, "three files, later wins")


class Layered:
    """``config.json`` beside the main file holds our own config of the parts."""

    sources = {  # noqa: RUF012
        "tower": "the vision tower, flat names",
        "base": "what it was built on",
        "source": "the system's own file",
    }

    def recognises(self, source):
        return source.suffix == ".pth" and source.with_name("parts.json").is_file()

    def names(self, config):
        return NAMES

    def read(self, sources):
        layers = TensorLayers(NameTable(NAMES))
        for key, path in sources.items():
            tensors = vlframe.read_tensors(path, inside=("model",))
            layers.add(f"{key}:{path.name}", tensors, under="visual_encoder." if key == "tower" else "")
        return ImportedCheckpoint(vlframe.read_json(sources["source"].with_name("parts.json")), layers.tensors)

    def write(self, folder: Path, request):
        folder.mkdir(parents=True)
        torch.save({"model": {name: tensor.clone() for name, tensor in request.tensors.items()}}, folder / "all.pth")
        (folder / "parts.json").write_text(json.dumps(request.config))

    def verify(self, recording):
        yield vlframe.Comparison("a", 0.0, 0.0)
