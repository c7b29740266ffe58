"""A plugin in one file (``plugins.paths``): a reader that does to files what their names say."""

import os
import sys
import time
from pathlib import Path

import numpy as np

import vlframe


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("reader", "misbehaving", "bad_reader:Misbehaving", None, "hangs, aborts, exits, raises")


class Misbehaving:
    """Four frames whose grey is the length of the file, unless its name begins with hang, abort, exit, raise, talk."""

    def info(self, path: Path) -> vlframe.VideoInfo:
        return vlframe.VideoInfo(frames=np.int64(4), fps=2.5, height=6, width=8, has_audio=False)

    def frames(self, path: Path, indices: list[int]) -> np.ndarray:
        name = Path(path).name
        if name.startswith("hang"):
            time.sleep(600)
        if name.startswith("abort"):
            os.abort()
        if name.startswith("exit"):
            os._exit(3)
        if name.startswith("raise"):
            raise KeyError("a fault of the reader")
        if name.startswith("talk"):
            print("a library that prints", flush=True)
            os.write(1, b"and one that writes\n")
        if name.startswith("slow"):
            time.sleep(0.4)
        return np.full((len(indices), 6, 8, 3), Path(path).stat().st_size % 256, np.uint8)

    def audio(self, path: Path, sampling_rate: int, start: float | None, end: float | None) -> np.ndarray:
        raise vlframe.NoAudioTrack(f"{path}: it has no audio track ({sys.version_info.major})")
