"""Checks shared by all samplers."""

from __future__ import annotations

import math

from vlframe import ConfigError


def check_above_zero(name: str, value: float) -> float:
    """Return the value. ``ConfigError`` unless it is a finite number above 0."""
    if not 0 < value < math.inf:
        raise ConfigError(f"media.sampler.{name} is {value}; it must be more than 0")
    return value
