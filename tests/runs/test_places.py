"""Relative paths of a config, made absolute."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlframe.runs.places import absolute_paths

names = st.text("ab.-_ é=,", min_size=1, max_size=8).filter(lambda name: name.strip(". ") == name and name[0] != "~")


@given(names, names)
def test_keys_that_are_paths_are_absolute_and_stay_so(file: str, folder: str) -> None:
    here = Path("/work here")
    config = {
        "dataset": {"name": "x", "path": file, "media_root": f"../{folder}", "mixture": [{"path": file, "weight": 1}]},
        "init": {"run": None}, "benchmark": {"dataset": {"path": f"/{file}"}}, "llm": {"source": "Org/model"},
        "logger": {"csv": {"path": file}}, "seed": 3, "missing": {"path": "???"}, "later": {"path": "${cache:x}"},
    }  # fmt: skip
    found = absolute_paths(config, here)
    assert found["dataset"]["path"] == found["dataset"]["mixture"][0]["path"] == f"/work here/{file}"
    assert found["dataset"]["media_root"] == f"/work here/../{folder}"
    assert found["benchmark"] == config["benchmark"] and found["llm"] == config["llm"]
    assert all(found[key] == config[key] for key in ("logger", "seed", "missing", "later", "init"))
    assert absolute_paths(found, Path("/elsewhere")) == found


def test_a_source_is_a_path_where_there_is_such_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Org" / "model").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    values = {"llm": {"source": "Org/model", "tokenizer": "./there"}, "dataset": {"path": "~/a.json"}}
    assert absolute_paths(values, tmp_path) == {
        "llm": {"source": f"{tmp_path}/Org/model", "tokenizer": f"{tmp_path}/there"},
        "dataset": {"path": f"{tmp_path}/a.json"},
    }
    long = {"llm": {"source": "a" * 5000}}
    assert absolute_paths(long, tmp_path) == long
