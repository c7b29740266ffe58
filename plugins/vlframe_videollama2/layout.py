"""Official VideoLLaMA 2 folders into our parts, and our parts into official folders.

The forms, as the official scripts write and read them:

* ``full``: config.json and the whole state, as (sharded) safetensors or .bin; audio-visual ones may have
  ``audio_tower.bin`` (BEATs, with its ``cfg``) and ``mm_projector_a.bin`` beside it.
* ``base``: config.json and ``mm_projector.bin``; the language model is a checkpoint of its own.
* ``lora``: config.json, ``adapter_config.json``, ``adapter_model.*`` and ``non_lora_trainables.bin``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from vlframe import Comparison, Foreign, Ours
from vlframe_videollama2 import names, reading, replay, writing


class OfficialLayout:
    """The ``layout`` contract for VideoLLaMA 2, 2.1 and 2.1-AV."""

    def read(self, source: Path, given: Mapping[str, str | None]) -> Foreign:
        return reading.read(source, given)

    def write(self, folder: Path, ours: Ours) -> None:
        writing.write(folder, ours)

    def their_name(self, part: str, name: str) -> str:
        return names.official(part, name)

    def unused(self, part: str, name: str) -> bool:
        return names.is_unused(part, name)

    def repeats(self, part: str, name: str) -> str | None:
        return names.repeats(part, name)

    def verify(self, recording: Path) -> Iterator[Comparison]:
        return replay.verify(recording)
