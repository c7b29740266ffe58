"""Write a recording of the official code as an official folder."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor


def tensors_of(spec: str) -> list[str]:
    """Return the names in ``cat(fbank/fbank0, fbank/fbank1)``, or the one name."""
    return re.findall(r"\w+/\w+", spec)


def other_sources(official: Path) -> dict[str, Path]:
    """Return the sources that ``convert`` needs in addition to the folder of ``write_official``."""
    beats = official / "beats.pt"
    return {"vision": official / "vision", **({"audio": beats} if beats.is_file() else {})}


def write_official(folder: Path, about: dict[str, Any], recorded: dict[str, Tensor]) -> None:
    """Write the recording's weights as an official ``full`` folder, with its tower's config and its BEATs' cfg."""
    (folder / "vision").mkdir(parents=True)
    weights = {name.removeprefix("w/"): tensor for name, tensor in recorded.items() if name.startswith("w/")}
    shared = {name: weights[first].clone() for name, first in about.get("tied_aliases", {}).items() if first in weights}
    save_file({name: tensor.contiguous() for name, tensor in (weights | shared).items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(about["config"]), encoding="utf-8")
    (folder / "vision" / "config.json").write_text(json.dumps(about["vision_config"]), encoding="utf-8")
    if about.get("beats_config"):
        torch.save({"cfg": about["beats_config"], "model": {}}, folder / "beats.pt")
