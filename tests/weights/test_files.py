"""Files of weights: what is read, and what is refused."""

import io
import json
import os
import pickle
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import vlframe
from vlframe import WeightsError, read_files, read_json, read_pickle, read_tensors, write_tensors

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}


def same(found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == STATE.keys()
    assert all(found[name].dtype == STATE[name].dtype and torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt", ".pth"])
def test_a_file_gives_its_tensors(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"x{suffix}"
    save_file(STATE, file) if suffix == ".safetensors" else torch.save(STATE, file)
    same(read_tensors(file))


def test_tensors_inside_of_a_training_state(tmp_path: Path) -> None:
    torch.save({"model": STATE, "epoch": 3, "config": {"a": [1]}}, tmp_path / "x.pth")
    same(read_tensors(tmp_path / "x.pth", inside=("state_dict", "model")))
    with pytest.raises(WeightsError, match="should map names to tensors"):
        read_tensors(tmp_path / "x.pth")


def test_a_folder_and_its_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tensors(tmp_path, STATE)
    same(read_tensors(tmp_path))
    monkeypatch.setattr("vlframe.weights.files.SHARD", 24)
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    write_tensors(sharded, STATE)
    assert [file.name for file, _ in read_files(sharded)] == [
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    ]  # fmt: skip
    same(read_tensors(sharded))


def test_an_index_that_does_not_keep_its_word(tmp_path: Path) -> None:
    save_file({"b": STATE["b"]}, tmp_path / "x.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a.weight": "x.safetensors", "b": "x.safetensors"}}))
    with pytest.raises(WeightsError, match=r"lists 1 tensors that its shards lack: a\.weight"):
        read_tensors(tmp_path)
    index.write_text(json.dumps({"weight_map": {"b": "../x.safetensors"}}))
    with pytest.raises(WeightsError, match="not in the same folder"):
        read_tensors(tmp_path)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04"])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    for name in ("x.safetensors", "x.bin"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=f"{name} cannot be read"):
            read_tensors(tmp_path / name)


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0))
def test_damaged_bytes_give_tensors_or_an_error_that_names_the_file(
    zipped: bool, changes: list[tuple[int, int]], end: int
) -> None:
    buffer = io.BytesIO()
    torch.save(STATE, buffer, _use_new_zipfile_serialization=zipped)
    damaged = bytearray(buffer.getvalue())
    for place, value in changes:
        damaged[place % len(damaged)] = value
    with TemporaryDirectory() as folder:
        file = Path(folder, "x.bin")
        file.write_bytes(damaged[: end % len(damaged)] if end % 5 == 1 else damaged)
        try:
            assert all(isinstance(tensor, torch.Tensor) for tensor in read_tensors(file).values())
        except WeightsError as error:
            assert str(file) in str(error)


def test_code_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(pickle.dumps({"a": Evil(tmp_path / "ran")}))
    with pytest.raises(WeightsError, match="could run code, and is refused"):
        read_pickle(tmp_path / "x.bin")
    assert not (tmp_path / "ran").exists()


def test_what_is_not_there_or_not_an_object(tmp_path: Path) -> None:
    for read, name in ((read_json, "x.json"), (read_tensors, "x.safetensors"), (read_tensors, "x.bin")):
        with pytest.raises(WeightsError, match=f"{name} cannot be read"):
            read(tmp_path / name)
    with pytest.raises(WeightsError, match=r"has none of model\.safetensors"):
        read_tensors(tmp_path)
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(WeightsError, match="a JSON object, not a list"):
        read_json(tmp_path / "x.json")


def test_defaults_of_an_installed_component_have_one_home() -> None:
    found = vlframe.default_parameters("connector", "stc_v35")
    assert found["padding"] == 0 and found["stride"] == [2, 2, 2] and "name" not in found
    assert "model" not in vlframe.default_parameters("encoder", "timm")  # it has no default


@pytest.mark.parametrize("text", ['{"a": 1}', "<!doctype html>", "version https://git-lfs"])
def test_a_text_is_no_file_of_weights(tmp_path: Path, text: str) -> None:
    file = tmp_path / "model.bin"
    file.write_text(text)
    with pytest.raises(WeightsError, match=r"model\.bin cannot be read as weights: it is a text; name the file"):
        read_pickle(file)


def test_torchs_advice_to_run_code_is_not_passed_on(tmp_path: Path) -> None:
    torch.save({"a": os.path.join}, tmp_path / "saved.pt")
    (tmp_path / "pickled.pt").write_bytes(pickle.dumps({"a": tmp_path}))
    for name in ("saved.pt", "pickled.pt"):
        with pytest.raises(WeightsError, match="could run code, and is refused") as raised:
            read_pickle(tmp_path / name)
        assert "weights_only" not in str(raised.value) and "safe_globals" not in str(raised.value)
