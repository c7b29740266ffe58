"""A recording of frames alone is compared by the front ends of pictures that know it."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from vlframe.conversion.verify import verify

RECORDING = Path(__file__).parents[1] / "recordings" / "prior" / "image_transforms.safetensors"


def test_recorded_frames_are_met(registry: Any) -> None:
    (found,) = verify([str(RECORDING)], registry=registry)
    assert {row.name for row in found.rows} == {name for name in load_file(RECORDING) if name.startswith("out/")}
    assert found.passed and found.compared == 6
    assert all(row.difference == 0 for row in found.rows if row.name.endswith("_thwc"))


def test_an_output_that_no_front_end_knows_is_no_match(tmp_path: Path, registry: Any) -> None:
    tensors = load_file(RECORDING)
    save_file({**tensors, "out/another0": tensors["out/videochat_eval0"].clone()}, tmp_path / "frames.safetensors")
    (tmp_path / "frames.json").write_text(RECORDING.with_suffix(".json").read_text())
    (found,) = verify([str(tmp_path / "frames.safetensors")], registry=registry)
    assert not found.passed and found.failed == 1 and found.compared == 7
