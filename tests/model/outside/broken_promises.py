"""Parts that give something else than they promise, each in one way."""

from dataclasses import dataclass

import numpy as np
from torch import nn

import vlframe


@dataclass
class Params:
    fault: str = ""


@vlframe.hookimpl
def vlframe_components():
    for kind, path in (
        ("encoder", "Eyes"), ("connector", "Bridge"), ("audio_encoder", "Ears"), ("audio_connector", "Wire")
    ):  # fmt: skip
        yield vlframe.Component(kind, "wrong", f"broken_promises:{path}", Params, "keeps all but one promise")


DECLARED = {
    "tuple_grid": lambda frames: (frames, 4, 4),
    "float_grid": lambda frames: vlframe.VideoGrid(frames, 16 / 4, 16 / 4),
    "none_grid": lambda frames: None,
    "crash_grid": lambda frames: {}[frames],
    "numpy": lambda frames: vlframe.VideoGrid(np.int64(frames), np.int32(4), np.uint8(4)),
}
COUNTED = {
    "float": lambda count: count * 1.0, "none": lambda count: None, "zero": lambda count: 0, "yes": lambda count: True,
    "text": lambda count: str(count), "crash": lambda count: [][count], "numpy": lambda count: np.int64(count),
}  # fmt: skip


class Eyes(nn.Module):
    def __init__(self, *, fault):
        super().__init__()
        self.fault, self.dim = fault, {"float_dim": 8.0, "no_dim": None, "numpy": np.int64(8)}.get(fault, 8)
        if fault == "no_grid":
            self.grid = None
        self.per_frame = fault != "joint_image_grid"
        self.pixels = vlframe.SquarePixels(size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        width = 6 if fault == "dim" else 8
        self.embed = nn.Linear(3, width + (fault == "built_otherwise" and not vlframe.is_meta()))

    def grid(self, frames, height, width):
        if self.fault in DECLARED:
            return DECLARED[self.fault](frames)
        image = frames == 1 and "image_grid" in self.fault
        return vlframe.VideoGrid(frames, 3 if self.fault == "grid" or image else 4, 4)

    def forward(self, pixels_BTCYX):
        if self.fault == "fails":
            return self.embed(pixels_BTCYX)
        if self.fault == "looks":
            assert pixels_BTCYX.sum().item() == pixels_BTCYX.sum().item()
        pooled = nn.functional.adaptive_avg_pool2d(pixels_BTCYX.flatten(0, 1), 4)
        return self.embed(pooled.unflatten(0, pixels_BTCYX.shape[:2]).permute(0, 1, 3, 4, 2))


class Bridge(nn.Module):
    def __init__(self, *, in_dim, out_dim, fault):
        super().__init__()
        self.fault, self.expands_images = fault, fault == "expanded"
        self.planned = vlframe.is_meta()
        self.readout = nn.Linear(in_dim, out_dim - (fault == "out_dim"))

    def tokens(self, grid):
        if self.fault in COUNTED:
            return COUNTED[self.fault](4 * grid.frames)
        per_frame = 5 if self.fault == "built_tokens" and not self.planned else 4
        if self.fault == "planned_only":  # right for four frames
            return 16
        if self.fault == "expanded":
            return 4 * grid.frames + (grid.frames == 4)
        return per_frame * grid.frames - (self.fault == "image" and grid.frames == 1)

    def forward(self, features_BTHWD):
        tokens_BNE = self.readout(features_BTHWD.mean(2).flatten(1, 2))
        if self.fault == "batch":
            return tokens_BNE.flatten(0, 1)
        return (tokens_BNE,) if self.fault == "tuple" else tokens_BNE


class Loud:
    sampling_rate, seconds = 1000, 4.0

    def features(self, waveform_L):
        return waveform_L[:4000].unfold(0, 10, 10)


class Ears(nn.Module):
    def __init__(self, *, fault):
        super().__init__()
        self.fault, self.dim, self.audio, self.embed = fault, 8, Loud(), nn.Linear(10, 8)

    def steps(self, frames):
        return COUNTED[self.fault](frames) if self.fault in COUNTED else frames + (self.fault == "steps")

    def forward(self, features_BFM):
        return self.embed(features_BFM)


class Wire(nn.Module):
    def __init__(self, *, in_dim, out_dim, fault):
        super().__init__()
        self.fault, self.readout = fault, nn.Linear(in_dim, out_dim)

    def tokens(self, steps):
        if self.fault in COUNTED:
            return COUNTED[self.fault](-(-steps // 2))
        return 200 if self.fault == "longest_only" else -(-steps // 2)

    def forward(self, features_BAD):
        return self.readout(features_BAD[:, ::2])
