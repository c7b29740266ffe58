"""Readers of media files: what can be decoded, and by which library."""

import vlframe


@vlframe.hookimpl
def vlframe_components():
    rows = {
        "auto": ("pyav:PyavReader", "the reader that is right about most files, whichever that is: today pyav"),
        "decord": ("decord:DecordReader", "frames by decord; clips it is known to read wrongly are refused"),
        "pyav": ("pyav:PyavReader", "frames and sound by PyAV (FFmpeg); damage that FFmpeg notices is refused"),
    }
    for name, (path, summary) in rows.items():
        yield vlframe.Component("reader", name, f"vlframe_readers.{path}", None, summary)
