"""Readers of media files: what can be decoded, and by which library."""

import vlframe


@vlframe.hookimpl
def vlframe_components():
    rows = {
        "auto": ("AutoReader", "decord where its frames are exact, PyAV for everything else and for sound"),
        "decord": ("DecordReader", "frames by decord only; clips it is known to read wrongly are refused"),
        "pyav": ("PyavReader", "frames and sound by PyAV (FFmpeg)"),
    }
    for name, (class_name, summary) in rows.items():
        yield vlframe.Component("reader", name, f"vlframe_readers.{name}:{class_name}", None, summary)
