"""Opens containers of video and sound with FFmpeg, the same way everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vlframe.media.formats import CONTAINERS
from vlframe.media.open_sizes import open_sizes

if TYPE_CHECKING:
    from av.container import InputContainer

_OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file,subfile"}


def open_container(path: Path, spans: Sequence[tuple[int, int]] | None = None) -> InputContainer:
    """Return the opened file, only these of its bytes; the caller closes it. Raises FFmpeg's errors.

    For short files FFmpeg trusts the name more than the content (an MP3 called .png): if it detects a format that is
    not ours, the file is opened again without its name. Sizes that a writer to a pipe left open are filled in.
    """
    import av

    if fields := open_sizes(path):
        return av.open(_Completed(path.open("rb"), fields), mode="r", options=_OPTIONS, metadata_errors="ignore")
    if spans and len(spans) > 1:
        return av.open(_Joined(path.open("rb"), spans), mode="r", options=_OPTIONS, metadata_errors="ignore")
    part = f"subfile,,start,{spans[0][0]},end,{spans[0][1]},,:" if spans else ""
    with suppress(av.ArgumentError):
        return av.open(f"{part}file:{path}", mode="r", options=_OPTIONS, metadata_errors="ignore")
    return av.open(_Nameless(path.open("rb")), mode="r", options=_OPTIONS, metadata_errors="ignore")


class _Nameless:
    """A file object that hides its name."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell
        self.close = file.close


class _Completed:
    """A file object with other bytes in some of its fields, given by their position."""

    def __init__(self, file: BinaryIO, fields: Mapping[int, bytes]) -> None:
        self.file, self.fields = file, fields
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, count: int = -1) -> bytes:
        begin = self.file.tell()
        found = bytearray(self.file.read(count))
        for at, field in self.fields.items():
            for place, byte in enumerate(field, at - begin):
                if 0 <= place < len(found):
                    found[place] = byte
        return bytes(found)


class _Joined:
    """A file object of some parts of a file, one after the other."""

    def __init__(self, file: BinaryIO, spans: Sequence[tuple[int, int]]) -> None:
        self.file, self.spans, self.at = file, spans, 0
        self.close = file.close

    def read(self, count: int = -1) -> bytes:
        pieces, before = [], 0
        wanted = count if count >= 0 else sum(end - begin for begin, end in self.spans)
        for begin, end in self.spans:
            inside = self.at - before
            before += end - begin
            if wanted and 0 <= inside < end - begin:
                self.file.seek(begin + inside)
                pieces.append(self.file.read(min(wanted, end - begin - inside)))
                self.at += len(pieces[-1])
                wanted -= len(pieces[-1])
        return b"".join(pieces)

    def seek(self, place: int, whence: int = 0) -> int:
        length = sum(end - begin for begin, end in self.spans)
        self.at = place + {0: 0, 1: self.at, 2: length}[whence]
        return self.at

    def tell(self) -> int:
        return self.at
