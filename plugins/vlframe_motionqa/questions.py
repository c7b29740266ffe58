"""All questions and answers of MotionQA: one wording and a closed list of one-word answers for each category."""

from dataclasses import dataclass

COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("square", "circle", "triangle", "cross")
DIRECTIONS = ("left", "right", "up", "down")
COUNTS = ("one", "two", "three", "four")
MOMENTS = ("before", "after")
EIGHTHS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


@dataclass(frozen=True)
class Question:
    """``scenes`` are the kinds of scene it is asked about (see ``scenes``); ``hears``: the sound is needed."""

    text: str
    options: tuple[str, ...]
    scenes: tuple[str, ...]
    hears: bool = False


QUESTIONS = {
    "direction": Question("which way does the shape move?", DIRECTIONS, ("motion",)),
    "shape": Question("what shape is it?", SHAPES, ("motion", "blink")),
    "count": Question("how many times does the shape appear?", COUNTS, ("blink",)),
    "colour": Question("what colour is the shape?", COLOURS, ("motion", "blink")),
    "order": Question("which colour appears or vanishes first?", COLOURS, ("switch",)),
    "sound": Question("does the beep come before or after the flash?", MOMENTS, ("beep",), hears=True),
    # Two steps on the way to "sound", one for each modality; for training, not for scores.
    "flash": Question("in which eighth of the clip is the flash?", EIGHTHS[1:-1], ("beep",)),
    "beep": Question("in which eighth of the clip is the beep?", EIGHTHS, ("beep",), hears=True),
}


def vocabulary() -> tuple[list[str], list[str]]:
    """Return all question texts and all answer texts, each once, in a fixed order."""
    answers = dict.fromkeys(option for question in QUESTIONS.values() for option in question.options)
    return [question.text for question in QUESTIONS.values()], list(answers)
