"""The encoder's own front end: squares in one of the two sets of colours that the official code has."""

from vlframe import ConfigError, SquarePixels

COLOURS = {
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
RESIZES = ("crop", "squash", "pad")


def front_end(size: int, colours: str, resize: str) -> SquarePixels:
    """Build the front end. ConfigError for unknown colours or an unknown ``resize``."""
    for name, value, allowed in (("colours", colours, tuple(COLOURS)), ("resize", resize, RESIZES)):
        if value not in allowed:
            raise ConfigError(f"encoder.{name} is {value!r}; it can be {', '.join(allowed)}")
    return SquarePixels(size, *COLOURS[colours], "bicubic", resize)
