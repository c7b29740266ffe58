"""What queries need beside an encoder of text."""

from pathlib import Path

import pytest
import torch
from helpers.bert import LAYERS, WIDTH, WORDS, write_bert

from vlframe import NameTable, Route, TensorLayers, TensorNames, WeightsError, query_path


def test_queries_begin_with_copies_and_read_keys_with_new_matrices(tmp_path: Path) -> None:
    text = {f"a.{name}": value for name, value in write_bert(tmp_path / "bert").items()}
    found = query_path(text, keys=20, every=2, new_words=2)
    layer = "a.bert.encoder.layer."
    for number in range(LAYERS):
        for part in ("intermediate.dense.weight", "output.dense.bias", "output.LayerNorm.weight"):
            own = part.replace("intermediate", "intermediate_query").replace("output", "output_query")
            assert torch.equal(found[f"{layer}{number}.{own}"], text[f"{layer}{number}.{part}"])
        assert not any(name.startswith(f"{layer}{number}.attention.") for name in found)
        reads = f"{layer}{number}.crossattention.self.key.weight" in found
        assert reads == (number % 2 == 0)
    key = found[f"{layer}2.crossattention.self.key.weight"]
    assert key.shape == (WIDTH, 20) and 0.01 < key.std() < 0.03
    assert not found[f"{layer}0.crossattention.output.dense.bias"].any()
    assert (found[f"{layer}0.crossattention.output.LayerNorm.weight"] == 1).all()
    words, bias = (found[f"a.{name}"] for name in ("bert.embeddings.word_embeddings.weight", "cls.predictions.bias"))
    assert torch.equal(words[:WORDS], text["a.bert.embeddings.word_embeddings.weight"]) and len(words) == WORDS + 2
    assert len(bias) == WORDS + 2 and not bias[WORDS:].any()
    assert torch.equal(found["a.cls.predictions.decoder.weight"], words)
    again = query_path(text, keys=20, every=2, new_words=2)
    assert all(torch.equal(value, again[name]) for name, value in found.items())


def test_an_encoder_without_its_head_is_refused(tmp_path: Path) -> None:
    text = {name: value for name, value in write_bert(tmp_path / "bert").items() if not name.startswith("cls.")}
    with pytest.raises(WeightsError, match=r"no tensor is called …predictions\.bias; give a whole encoder of text"):
        query_path(text, keys=20, every=2, new_words=1)


def test_norms_may_have_their_early_names(tmp_path: Path) -> None:
    state = write_bert(tmp_path / "bert")
    layers = TensorLayers(NameTable(TensorNames((Route("q.{rest:path}", "connector", "{rest:path}"),))))
    added = layers.add_folder("source", tmp_path / "bert", under="q.")
    assert set(added) == {f"q.{name}" for name in state} == layers.tensors.keys()
    assert all(torch.equal(layers.tensors[f"q.{name}"].tensor, value) for name, value in state.items())
