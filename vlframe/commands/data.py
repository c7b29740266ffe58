"""``vlframe data check``: read all data as training would, and report what is wrong."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlframe.contracts.modalities import parts
from vlframe.errors import ConfigError

if TYPE_CHECKING:
    from vlframe.datacheck.report import Report

MANIFEST = "manifest"  # the preset that reads a manifest named on the command line
COMPOSITION = ("model", "experiment", "processor", "pixels")  # besides the parts of the model
USAGE = (("data check train.jsonl model=<name>", "read all of it as training would, and say what is wrong and where"),)
HELP = """\
vlframe data check [manifest.jsonl …] [key=value …] [--json]

  vlframe data check train.jsonl dataset.media_root=/films
  vlframe data check train.jsonl model=<name>              token lengths, too, against its context
  vlframe data check experiment=quickstart                 the data of its stages, and its benchmark's questions
  vlframe data check dataset=<name> loader.workers=4

Exit code: 0 nothing is wrong (there may be notes), 1 errors were found, 2 nothing could be checked.
"""


def main(words: list[str]) -> int:
    if words[:1] in (["--help"], ["-h"]):
        print(HELP, end="")
        return 0
    if words[:1] != ["check"]:
        found = f"not {words[0]!r}" if words else "and nothing was given"
        print(f"vlframe data: 'check' comes next, {found}; see vlframe data check --help", file=sys.stderr)
        return 2
    return _check(words[1:])


def _check(words: Sequence[str]) -> int:
    flags = [item for item in words if item.startswith("-")]
    if "--help" in flags or "-h" in flags:
        print(HELP, end="")
        return 0
    unknown = [flag for flag in flags if flag != "--json"]
    if unknown:
        raise ConfigError(f"vlframe data check does not know {', '.join(unknown)}; there are --json and --help")
    rest = [item for item in words if not item.startswith("-")]
    manifests = [item for item in rest if _is_manifest(item)]
    os.environ["HF_HUB_OFFLINE"] = "1"  # a check downloads nothing; must be set before the hub's library is imported
    try:
        report = check(manifests, [item for item in rest if item not in manifests])
    except KeyboardInterrupt:
        print("vlframe: stopped; files that were read are not read again", file=sys.stderr)
        return 130
    text = json.dumps(report.as_json(), indent=1) if "--json" in flags else str(report)
    print(text)
    return report.exit_code


def _is_manifest(word: str) -> bool:
    return os.path.isfile(word) or word.startswith("/") or ("=" not in word and not word.startswith("~"))


def check(manifests: Sequence[str], overrides: Sequence[str]) -> Report:
    """Read manifests, or the data that a composed config names, as training would."""
    from vlframe.composer.command_line import parse
    from vlframe.composer.compose import compose_line
    from vlframe.composer.offer import open_registry
    from vlframe.datacheck.check import Check
    from vlframe.datacheck.sources import configured_sources, manifest_sources
    from vlframe.machine.cpus import cpus
    from vlframe.runs.places import located

    given = parse("data", overrides)
    registry = open_registry(given.plugin_paths, given.strict)
    keys = [*given.keys, *given.absent]
    chosen = [] if "dataset" in keys or not manifests else [f"dataset={MANIFEST}"]
    config = compose_line("train", parse("data", [*chosen, *overrides]), registry)
    if config.moved:
        config = located(config, registry)
    sources = manifest_sources(manifests, config, registry) if manifests else configured_sources(config, registry)
    composed = any(key.partition(".")[0] in (*COMPOSITION, *parts()) for key in keys)
    workers = config.loader.workers
    if not workers and "loader.workers" not in keys:
        workers = cpus().usable
    return Check(config, registry, composed=composed, workers=workers)(sources)
