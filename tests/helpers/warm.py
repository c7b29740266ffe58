"""Imported by the process that commands are forked from: what each of them would otherwise do once for itself."""

import gc

from vlframe.composer.compose import compose, open_registry
from vlframe.runs.folder import versions

registry = open_registry()
compose("train", ["experiment=quickstart"], registry)
versions(registry)
gc.freeze()  # no command has to look through what it was forked with
