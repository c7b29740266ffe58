"""Convert official VideoLLaMA 2 folders to our parts, and our parts to official folders.

The forms, as the official scripts write and read them:

* ``full``: config.json and the whole state, as (sharded) safetensors or .bin; audio-visual ones may have
  ``audio_tower.bin`` (BEATs, with its ``cfg``) and ``mm_projector_a.bin`` next to it.
* ``base``: config.json and ``mm_projector.bin``; the language model is a separate checkpoint.
* ``lora``: config.json, ``adapter_config.json``, ``adapter_model.*`` and ``non_lora_trainables.bin``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vlframe import Comparison, ExportRequest, ImportedCheckpoint, TensorNames
from vlframe_videollama2 import config, reading, replay, writing
from vlframe_videollama2.names import NAMES


class OfficialFormat:
    """The ``CheckpointFormat`` of VideoLLaMA 2, 2.1 and 2.1-AV."""

    sources = {  # noqa: RUF012
        "base": "the language model of a checkpoint that holds none: a folder or a hub id",
        "vision": "the vision tower: a folder with its config.json, or a hub id that has a preset",
        "audio": "a BEATs .pt with its cfg, where the checkpoint has none",
        "source": "the official folder, or a file in it",
    }

    def recognises(self, source: Path) -> bool:
        return config.is_official(source)

    def names(self, config: Mapping[str, Any]) -> TensorNames:
        return NAMES

    def read(self, sources: Mapping[str, Path]) -> ImportedCheckpoint:
        return reading.read(sources)

    def write(self, folder: Path, request: ExportRequest) -> None:
        writing.write(folder, request)

    def verify(self, recording: Path) -> Iterator[Comparison]:
        return replay.verify(recording)
