"""VideoChat2's checkpoints into our parts, and back.

``umt_l16_qformer.pth`` is what the first stage trains. That stage begins with BERT, whose folder is then the source,
and UMT's own file. The later ones save what they train (encoder, Q-Former, projection, and low-rank adapters of the
language model from the third on) and every buffer, under the key ``model``; the language model itself stays in its own
folder. Stage 2 has no instruction, so what reads one is only in the first file. Files are read in the order of
``Format.sources``.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from vlframe import (
    Comparison,
    ConfigError,
    ExportRequest,
    ImportedCheckpoint,
    NameTable,
    TensorLayers,
    TensorNames,
    WeightsError,
    adapter_settings,
    is_matrix,
    read_json,
    read_tensors,
    write_tensors,
)
from vlframe_videochat2 import begin, replay, sizes
from vlframe_videochat2.names import family_of, names, names_of

SYSTEM = "VideoChat2"
FILE = re.compile(r"videochat2.*|umt_l16_qformer.*", re.IGNORECASE)
HD = re.compile(r"(?:^|[-_])hd(?:[-_]|$)", re.IGNORECASE)
INSIDE = begin.INSIDE  # keys of the official training, without and with DeepSpeed
FIRST = "umt_l16_qformer.pth"  # what the first stage trains; flat
TRAINED, LANGUAGE, SIZES = "videochat2.pth", "language_model", "sizes.json"
NEEDED = (
    "vision_encoder.encoder.patch_embed.proj.weight", "query_tokens", "qformer.bert.embeddings.word_embeddings.weight",
)  # fmt: skip


class Format:
    """The ``CheckpointFormat`` of VideoChat2."""

    sources = {  # noqa: RUF012
        "sizes": "what does not show in the tensors, for a model of other sizes than the released ones: a JSON file",
        "umt": "l16_25m.pth, UMT-L/16 of its own pretraining, which the first stage begins with",
        "vit_qformer": "umt_l16_qformer.pth",
        "base": "the folder of the language model",
        "stage2": "videochat2_…_stage2.pth, under a file of a later stage that does not hold everything",
        "source": "a file of stage 2, 3 or 4; or umt_l16_qformer.pth, which stage 2 begins with; or the folder of "
        "bert-base-uncased, which the first stage begins with",
    }

    def recognises(self, source: Path) -> bool:
        """Return whether a recording names this system, or a file is named like its checkpoints."""
        if source.suffix == ".safetensors" and source.with_suffix(".json").is_file():
            return str(read_json(source.with_suffix(".json")).get("system", "")).startswith(SYSTEM)
        return source.suffix in (".pth", ".bin") and FILE.fullmatch(source.stem) is not None

    def names(self, config: Mapping[str, Any]) -> TensorNames:
        return names_of(config)

    def read(self, sources: Mapping[str, Path]) -> ImportedCheckpoint:
        """Read everything, later files over earlier ones. WeightsError says what is absent."""
        base, source = sources.get("base"), sources["source"]
        if base is None or not (base / "config.json").is_file():
            raise WeightsError(f"{source.name} has no language model; give sources.base=<the folder of one, with "
                               "config.json>")  # fmt: skip
        language, number = read_json(base / "config.json"), sizes.numbers(_said(sources))
        family, first_stage = family_of(str(language.get("model_type"))), source.is_dir()
        layers = TensorLayers(NameTable(names(family, first_stage=first_stage)))
        written = _add_first(layers, sources) if first_stage else _add_files(layers, sources, family)
        record: dict[str, Any] = {"file": source.name, "inside": None if first_stage else _inside(source),
                                  "names": written}  # fmt: skip
        tensors = {name: item.tensor for name, item in layers.tensors.items()}
        if f"{family}_proj.weight" not in tensors:
            layers.add("drawn", begin.second_stage(tensors, family, int(language["hidden_size"])))
            tensors, record = {name: item.tensor for name, item in layers.tensors.items()}, {"form": "begun"}
        hd = HD.search(source.stem) is not None
        config = sizes.composition(tensors, family, base, language, number, hd=hd)
        if first_stage:
            config |= sizes.first_stage(config, tensors, source)
        ranks = {len(value) for name, value in tensors.items() if is_matrix(name) and ".lora_A." in name}
        said = {"r": max(ranks, default=0), "lora_alpha": number["lora_alpha"], "lora_dropout": 0.1}
        adapters = adapter_settings(layers.names, layers.tensors, said) if ranks else {}
        return ImportedCheckpoint(config, layers.tensors, adapters, base, record)

    def write(self, folder: Path, request: ExportRequest) -> None:
        """Write the file as it came in; of a trained run, one with everything but the language model."""
        folder.mkdir(parents=True, exist_ok=True)
        _check_writable(request.config)
        family = family_of(str(request.config["llm"]["architecture"]["model_type"]))
        if request.record.get("names"):
            table, record = NameTable(names(family)), request.record
            state = {name: request.tensors[table.canonical(name) or name].clone() for name in record["names"]}
            torch.save({record["inside"]: state} if record["inside"] else state, folder / record["file"])
        elif request.config["connector"].get("alignment") is not None:
            table = NameTable(names_of(request.config))
            own = {name: value for name, value in request.tensors.items() if not table.is_unused(name)}
            torch.save(_of_the_first_stage(own, family), folder / FIRST)
        else:
            own = {
                name: value.clone()
                for name, value in request.tensors.items()
                if not name.startswith(f"{family}_model.")
            }
            torch.save({"model": own}, folder / TRAINED)
            if _language_learnt(request.config):
                _write_language_model(folder / LANGUAGE, request, f"{family}_model.")
        number = sizes.numbers_of(request.config)
        if number != sizes.RELEASED:
            (folder / SIZES).write_text(json.dumps(number, indent=2) + "\n", encoding="utf-8")

    def verify(self, recording: Path) -> Iterator[Comparison]:
        return replay.verify(recording)


def _of_the_first_stage(tensors: Mapping[str, torch.Tensor], family: str) -> dict[str, torch.Tensor]:
    """Return the tensors of the first stage, which has neither further queries nor a projection; words and their bias
    have second names in it.
    """
    later = (f"{family}_proj.", f"{family}_model.", "extra_query_tokens")
    found = {name: value.clone() for name, value in tensors.items() if not name.startswith(later)}
    again = {"weight": "qformer.bert.embeddings.word_embeddings.weight", "bias": "qformer.cls.predictions.bias"}
    return found | {f"qformer.cls.predictions.decoder.{name}": found[first].clone() for name, first in again.items()}


def _said(sources: Mapping[str, Path]) -> dict[str, Any]:
    """Return the sizes that are given: those of the heads of BERT's config, and those of the file of sizes."""
    bert = read_json(sources["source"] / "config.json") if sources["source"].is_dir() else {}
    heads = {"connector": bert["num_attention_heads"]} if "num_attention_heads" in bert else {}
    return heads | (read_json(sources["sizes"]) if "sizes" in sources else {})


def _add_first(layers: TensorLayers, sources: Mapping[str, Path]) -> list[str]:
    """Add what the first stage begins with."""
    source = sources["source"]
    if "umt" not in sources:
        raise WeightsError(f"{source} is a folder, which the first stage begins with; give sources.umt=<l16_25m.pth>, "
                           "too")  # fmt: skip
    strange = [role for role in ("vit_qformer", "stage2") if role in sources]
    if strange:
        raise WeightsError(f"{source} is a folder, which the first stage begins with, and "
                           f"{' and '.join(f'sources.{role}' for role in strange)} is of a later one; leave it "
                           "out")  # fmt: skip
    begin.add_first_files(layers, source, sources["umt"])
    return []


def _add_files(layers: TensorLayers, sources: Mapping[str, Path], family: str) -> list[str]:
    """Add the files of the stages, later ones over earlier ones; return the names of the last."""
    source, written = sources["source"], list[str]()
    if "umt" in sources:
        raise WeightsError(f"sources.umt is for the beginning of the first stage, which is from a folder of BERT; "
                           f"{source.name} comes after it: leave sources.umt out")  # fmt: skip
    for role in ("vit_qformer", "stage2", "source"):
        if role in sources:
            tensors = read_tensors(_existing(role, sources[role]), INSIDE)
            _check_family(tensors, family, sources[role])
            layers.add(f"{role}:{sources[role].name}", tensors)
            written = list(tensors)
    absent = [name for name in NEEDED if name not in layers.tensors]
    if absent:
        raise WeightsError(f"{source.name} does not hold {', '.join(absent)}; give sources.vit_qformer="
                           "<umt_l16_qformer.pth>, which a file of stage 2 lies over")  # fmt: skip
    return written


def _existing(role: str, path: Path) -> Path:
    if not path.is_file():
        raise WeightsError(f"{role} is {path}, and there is no such file")
    return path


def _inside(source: Path) -> str | None:
    """Return the key under which a file keeps its tensors."""
    content = torch.load(source, map_location="meta", weights_only=True)
    return next((key for key in INSIDE if isinstance(content.get(key), dict)), None)


def _check_family(tensors: Mapping[str, Any], family: str, path: Path) -> None:
    found = [
        name.removesuffix("_proj.weight") for name in tensors if re.fullmatch(r"(llama|mistral|phi)_proj\.weight", name)
    ]
    if found and found != [family]:
        raise WeightsError(f"{path.name} is of a model before {found[0]}, and sources.base is a {family} model")


def _check_writable(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for parts that the official code does not have."""
    wanted = {"encoder": "umt_l", "connector": "qformer_instruct"}
    wrong = [f"{part} {config[part]['name']!r}" for part, name in wanted.items() if config[part]["name"] != name]
    if wrong:
        raise ConfigError(f"the official code has no {' and no '.join(wrong)}; it has {', '.join(wanted.values())}")


def _language_learnt(config: Mapping[str, Any]) -> bool:
    return any(stage["llm"]["train"] != "frozen" for stage in config["stages"].values())


def _write_language_model(folder: Path, request: ExportRequest, prefix: str) -> None:
    """Write the language model with its adapters merged, for the official ``…_model_path``."""
    folder.mkdir()
    own = {name.removeprefix(prefix): value for name, value in request.tensors.items() if name.startswith(prefix)}
    write_tensors(folder, own)
    (folder / "config.json").write_text(json.dumps(request.hf_config, indent=2) + "\n", encoding="utf-8")
    for file in sorted(request.tokenizer.iterdir()) if request.tokenizer else ():
        shutil.copyfile(file, folder / file.name)
