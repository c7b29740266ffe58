"""Replay recorded outputs of the official code on ours: write official files, convert them, load them, run them.

B batch, T frames, C colours, Y X pixels, D features, N tokens, E embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

import vlframe
from vlframe import Comparison, WeightsError, read_json, read_tensors
from vlframe_videochat import layout

TOLERANCE = 2e-5  # closer than the recordings' own
Tensors = dict[str, Tensor]


def verify(recording: Path) -> Iterator[Comparison]:
    """Yield every recorded output with ours, at ``TOLERANCE``, times a tenth of the largest value if that is above 10:
    without a norm, outputs of random towers may grow to millions.
    """
    about = recording.with_suffix(".json")
    if not about.is_file():
        raise WeightsError(f"{recording} has no {about.name} beside it, which says what was recorded")
    said, recorded = read_json(about), read_tensors(recording)
    weights = {name.removeprefix("w/"): value for name, value in recorded.items() if name.startswith("w/")}
    heads = {"encoder": said["config"]["vit_heads"], "connector": said["config"]["heads"]}
    with TemporaryDirectory() as folder, torch.no_grad():
        source, sources = layout.write(Path(folder), weights, heads, said["config"]["llm"])
        ours = Path(folder, "ours")
        vlframe.convert(source, ours, sources=sources, format="videochat")
        model: Any = vlframe.load(ours, device="cpu").model.float().eval()
        outputs = computed(model, recorded["in/video_btchw"].float())
    for name, theirs in recorded.items():
        if name.startswith("out/"):
            tolerance = TOLERANCE * max(1.0, float(theirs.abs().max()) / 10)
            yield Comparison.of(name, outputs.get(name.removeprefix("out/")), theirs, tolerance)


def computed(model: Any, video_BTCYX: Tensor) -> Tensors:
    """Return our outputs, by the names of the recording without their prefix."""
    encoder, connector = model.parts["encoder"], model.parts["connector"]
    features_BTHWD = encoder(video_BTCYX)
    return {
        **encoder.intermediates(video_BTCYX),
        "ln_vision": features_BTHWD.flatten(1, 3),
        "qformer": connector.read(features_BTHWD),
        "inputs_llama": connector(features_BTHWD),
        "inputs_llama_single_frame": connector(encoder(video_BTCYX[:, :1])),
    }
