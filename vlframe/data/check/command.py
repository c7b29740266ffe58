"""``vlframe data check``: its command line, its exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlframe.errors import ConfigError

if TYPE_CHECKING:
    from vlframe.data.check.report import Report

MANIFEST = "conversations_file"  # the preset that reads a manifest named on the command line
COMPOSITION = (
    "model",
    "experiment",
    "encoder",
    "connector",
    "audio_encoder",
    "audio_connector",
    "llm",
    "protocol",
)
USAGE = """\
vlframe data check [manifest.jsonl …] [key=value …] [--json]

  vlframe data check train.jsonl dataset.media_root=/films
  vlframe data check train.jsonl model=videollama2_7b      token lengths, too, against its context
  vlframe data check experiment=quickstart                 the data of its stages, and its benchmark's questions
  vlframe data check dataset=motionqa loader.workers=4

Exit code: 0 nothing is wrong (there may be notes), 1 errors were found, 2 nothing could be checked.
"""


def check_command(arguments: Sequence[str]) -> int:
    flags = [item for item in arguments if item.startswith("-")]
    if "--help" in flags or "-h" in flags:
        print(USAGE, end="")
        return 0
    unknown = [flag for flag in flags if flag != "--json"]
    if unknown:
        raise ConfigError(f"vlframe data check does not know {', '.join(unknown)}; there are --json and --help")
    rest = [item for item in arguments if not item.startswith("-")]
    manifests = [item for item in rest if os.path.isfile(item) or ("=" not in item and not item.startswith("~"))]
    overrides = [item for item in rest if item not in manifests]
    os.environ["HF_HUB_OFFLINE"] = "1"  # a check fetches nothing; read when the hub's library is imported
    try:
        report = _report(manifests, overrides)
    except KeyboardInterrupt:
        print("vlframe: stopped; files that were read are not read again", file=sys.stderr)
        return 130
    text = json.dumps(report.as_json(), indent=1) if "--json" in flags else str(report)
    print(text.encode(errors="backslashreplace").decode())  # half a surrogate pair in a text, which no terminal shows
    return report.exit_code


def _report(manifests: Sequence[str], overrides: Sequence[str]) -> Report:
    from vlframe.app import compose, open_registry
    from vlframe.cli import plugin_arguments
    from vlframe.data.check.check import Check
    from vlframe.data.check.sources import configured_sources, manifest_sources
    from vlframe.data.check.workers import cpu_count

    keys = [item.lstrip("+~").partition("=")[0] for item in overrides]
    registry = open_registry(*plugin_arguments(overrides))
    chosen = [] if "dataset" in keys or not manifests else [f"dataset={MANIFEST}"]
    config = compose("train", [*chosen, *overrides], registry)
    sources = manifest_sources(manifests, config, registry) if manifests else configured_sources(config, registry)
    composed = any(key.partition(".")[0] in COMPOSITION for key in keys)
    workers = config.loader.workers
    if not workers and "loader.workers" not in keys:
        workers = cpu_count()
    return Check(config, registry, composed=composed, workers=workers)(sources)
