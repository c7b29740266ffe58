"""Laws of keys beyond choices and bounds: each function returns what is wrong with a value, or ""."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from vlframe.contracts.modalities import TAGS


def targets(targets: Any) -> str:
    names = isinstance(targets, list | tuple) and targets and all(isinstance(item, str) for item in targets)
    return "" if isinstance(targets, str) or names else "it is null, all, or names of layers like [q_proj]"


def some_patterns(patterns: Sequence[str]) -> str:
    return "" if patterns else "name parameters, like [norm,'*.bias'], or leave it out"


def two_betas(betas: Sequence[float]) -> str:
    good = len(betas) == 2 and all(0 <= beta < 1 for beta in betas)
    return "" if good else "it is two numbers from 0 to below 1, like [0.9,0.999]"


def duration(text: str) -> str:
    return "" if re.fullmatch(r"\d+(:\d+){3}", text) else "write DD:HH:MM:SS"


def devices(devices: Any) -> str:
    whole = [item for item in (devices if isinstance(devices, list | tuple) else [devices]) if type(item) is int]
    if isinstance(devices, list | tuple):
        good = len(whole) == len(devices) == len(set(devices)) > 0 and min(whole) >= 0
    else:
        good = devices == "auto" or (bool(whole) and (devices >= 1 or devices == -1))
    return "" if good else "it is how many (at least 1), -1 or auto for all, or which, like [0,2]"


def folder_name(name: str) -> str:
    """Check a run's name: it may contain folders, but must not leave the parent folder."""
    bad = not name or re.search(r"(^|/)\.\.?(/|$)|^/", name)
    return "it names a folder under runs, like mine or mine/first" if bad else ""


def media(kind: str) -> str:
    """Check the name of a kind of media, of vlframe or of a plugin."""
    return "" if kind in TAGS else f"it can be {', '.join(TAGS)}"


def files(media: Any) -> str:
    named = [media] if isinstance(media, str) else media
    good = isinstance(named, list | tuple) and all(isinstance(item, str) for item in named)
    return "" if good else "it is a path, or paths in brackets, like [first.mp4,second.mp4]"
