"""Say what to do about fields that are not read: those that other tools give a meaning are not to be passed over."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vlframe import TAGS

# What a field means elsewhere, and how that is written here. To ignore it would change what is taught or shown.
MEANT = {
    ("reasoning_content", "reasoning", "thinking", "thought"): (
        "a thought is part of its answer's text: <think>…</think> before it"
    ),
    ("weight", "weights", "loss", "loss_mask", "train", "trainable", "masked", "training"): (
        "all answers of a row are taught alike; leave out rows in which one is not to be"
    ),
    ("tool_calls", "tool_call_id", "tool_responses", "function_call", "tools", "functions"): (
        "calls of tools are not read; leave out rows with some"
    ),
    ("system", "system_prompt"): "a system text is the first turn, of the role system",
    ("history",): "earlier questions and answers are turns of their own",
    ("start_time", "start_sec", "start_s", "start_second", "video_start", "begin", "clip_start"): (
        "the second at which a film or sound begins is 'start'"
    ),
    ("end_time", "end_sec", "end_s", "end_second", "video_end", "stop", "clip_end"): (
        "the second at which a film or sound ends is 'end'"
    ),
}
EMPTY: tuple[Any, ...] = ("", [], {})  # that a field with such a value is passed over loses nothing
PLACES = ("path", "paths", "file", "files", "filename", "name", "url")


def advice(unknown: Mapping[str, Any], known: Collection[str], ignored: Sequence[str]) -> str:
    """Return what to do about ``unknown`` fields where ``known`` ones are read and ``ignored`` ones passed over."""
    meanings = {name: "" if value in EMPTY else _meaning(name, known) for name, value in unknown.items()}
    said = dict.fromkeys(text for text in meanings.values() if text)
    rest = [name for name, text in meanings.items() if not text]
    ignore = f"To read the file without them: ignore_fields=[{','.join([*ignored, *rest])}]"
    if not said:
        return ignore
    told = "; ".join(said)
    return f"{told[0].upper()}{told[1:]}" + (f". {ignore}" if rest else "")


def _meaning(name: str, known: Collection[str]) -> str:
    for names, text in MEANT.items():
        if name.lower() in names:
            return text
    kind, _, place = name.lower().partition("_")
    return f"a file is named in {kind!r}" if kind in TAGS and kind in known and place in PLACES else ""
