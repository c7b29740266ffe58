"""The keys for trying a run out."""

from __future__ import annotations

from dataclasses import dataclass

from vlframe.config.fields import key


@dataclass(frozen=True)
class DebugConfig:
    """Shortcuts for trying a run out; the group `debug` has presets of these (`debug=fast`)."""

    steps: int | None = key(None, "optimizer steps of every stage, in place of its own", at_least=1)
    samples: int | None = key(
        None, "train every stage on its first samples only, without weight decay and dropout of adapters", at_least=1
    )
    questions: int | None = key(None, "ask only the first questions of the benchmark's data set", at_least=1)
    profiler: bool = key(False, "write Lightning's simple profile of every stage into the run's folder")
    tiny: bool = key(False, "replace every part of the model by one with its small example parameters")
