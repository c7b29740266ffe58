"""VideoChat2's first stage begins with UMT's own file and BERT: every tensor of them is accounted for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.bert import WIDTH, WORDS, write_bert
from torch import Tensor
from transformers import BertConfig, BertModel
from vlframe_videochat2.replay import write_language_model

import vlframe
from vlframe import WeightsError, read_json

DIM, BLOCKS = 16, 4
PREFIX = "vision_encoder."


def umt() -> dict[str, Tensor]:
    """UMT's model of its pretraining with texts (multi_modality/models/umt.py), with other sizes."""
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.patch_embed.proj.weight": (DIM, 3, 1, 14, 14), "encoder.patch_embed.proj.bias": (DIM,),
        "encoder.norm.weight": (DIM,), "encoder.norm.bias": (DIM,), "pool_norm.weight": (DIM,),
        "pool_norm.bias": (DIM,), "clip_decoder.0.head.weight": (12, DIM), "clip_decoder.0.norm.bias": (12,),
    }  # fmt: skip
    for number in range(BLOCKS):
        block = f"encoder.blocks.{number}."
        shapes |= {
            f"{block}{name}": (DIM,) for name in ("attn.q_bias", "attn.v_bias", "attn.proj.bias", "mlp.fc2.bias")
        }
        shapes |= {f"{block}{norm}.{name}": (DIM,) for norm in ("norm1", "norm2") for name in ("weight", "bias")}
        shapes |= {
            f"{block}attn.qkv.weight": (3 * DIM, DIM), f"{block}attn.proj.weight": (DIM, DIM),
            f"{block}mlp.fc1.weight": (24, DIM), f"{block}mlp.fc1.bias": (24,), f"{block}mlp.fc2.weight": (DIM, 24),
        }  # fmt: skip
    others = {"text_encoder.bert.pooler.dense.weight": (8, 8), "vision_proj.weight": (10, DIM), "temp": ()}
    draw = torch.Generator().manual_seed(1)
    named = {f"{PREFIX}{name}": shape for name, shape in shapes.items()} | others
    return {name: torch.randn(shape, generator=draw) for name, shape in named.items()}


@pytest.fixture
def official(tmp_path: Path) -> dict[str, Path]:
    write_bert(tmp_path / "bert")
    torch.save({"model": umt()}, tmp_path / "l16_25m.pth")
    write_language_model(tmp_path / "base", "llama", 20)
    (tmp_path / "sizes.json").write_text('{"encoder": 4, "image_size": 28}')
    return {"umt": tmp_path / "l16_25m.pth", "base": tmp_path / "base", "sizes": tmp_path / "sizes.json"}


def begun(folder: Path, sources: dict[str, Path], out: str = "begun") -> Any:
    vlframe.convert(folder / "bert", folder / out, sources=sources, format="videochat2")
    return vlframe.load(folder / out, device="cpu").model.float().eval()


def test_each_tensor_has_a_place_or_is_said_to_have_none(tmp_path: Path, official: dict[str, Path]) -> None:
    model = begun(tmp_path, official)
    became = {row["name"]: row for row in read_json(tmp_path / "begun" / "checkpoint_format.json")["tensors"]}
    left = {name for name, row in became.items() if row["became"] == "unused"}
    beyond = {name for name in umt() if f"blocks.{BLOCKS - 1}." in name}
    assert beyond <= left and {"umt.temp", "umt.vision_proj.weight", f"{PREFIX}pool_norm.bias"} <= left
    assert {"qformer.bert.embeddings.token_type_embeddings.weight", "qformer.cls.seq_relationship.bias"} <= left
    words = became["qformer.bert.embeddings.word_embeddings.weight"]
    assert (words["file"], words["replaced"]) == ("begun", ["source:model.safetensors"])
    encoder, connector = model.parts["encoder"], model.parts["connector"]
    assert len(encoder.blocks()) == BLOCKS - 1 and encoder.grid(4, 28, 28).positions == 4 * 4
    own = umt()[f"{PREFIX}encoder.blocks.2.attn.qkv.weight"]
    assert torch.equal(encoder.encoder.layer[2].attention.attention.value.weight, own[2 * DIM :])
    assert (encoder.vision_layernorm.weight == 1).all() and 0.5 < encoder.frame_embedding.std() < 1.2
    assert connector.query_tokens.shape == (1, 32, WIDTH) and 0.5 < connector.query_tokens.std() < 1.2
    assert not connector.extra_query_tokens.any() and connector.temperature == pytest.approx(0.07)
    assert connector.heads.vision_proj.weight.shape == (768, WIDTH)


def test_a_text_alone_is_read_as_by_bert(tmp_path: Path, official: dict[str, Path]) -> None:
    """Which also adds an embedding of segments; the Q-Former has none."""
    connector = begun(tmp_path, official).parts["connector"]
    bert = BertModel.from_pretrained(tmp_path / "bert", attn_implementation="eager").eval()
    bert.embeddings.token_type_embeddings.weight.data.zero_()
    ids_BI = torch.tensor([[2, 7, 9, WORDS - 1, 3]])
    with torch.no_grad():
        expected = bert(input_ids=ids_BI).last_hidden_state
        torch.testing.assert_close(connector.qformer(input_ids=ids_BI).last_hidden_state, expected, atol=2e-5, rtol=0)
    assert BertConfig.from_pretrained(tmp_path / "bert").num_attention_heads == 4  # which the connector has from it


def test_the_encoder_alone_has_its_names_without_a_prefix(tmp_path: Path, official: dict[str, Path]) -> None:
    whole = begun(tmp_path, official).parts["encoder"].state_dict()
    alone = {name.removeprefix(PREFIX): value for name, value in umt().items() if name.startswith(PREFIX)}
    torch.save(alone, official["umt"])
    again = begun(tmp_path, official, "again").parts["encoder"].state_dict()
    assert whole.keys() == again.keys() and all(torch.equal(value, again[name]) for name, value in whole.items())


def test_the_beginning_is_written_as_the_file_of_the_first_stage(tmp_path: Path, official: dict[str, Path]) -> None:
    parts = begun(tmp_path, official).parts
    vlframe.export(tmp_path / "begun", tmp_path / "back")
    sources = {"base": official["base"], "sizes": tmp_path / "back" / "sizes.json"}
    vlframe.convert(tmp_path / "back" / "umt_l16_qformer.pth", tmp_path / "second", sources=sources)
    second = vlframe.load(tmp_path / "second", device="cpu").model.parts
    for part in ("encoder", "connector"):
        first = parts[part].state_dict()
        assert all(torch.equal(value, first[name]) for name, value in second[part].state_dict().items())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"umt": None}, r"bert is a folder, which the first stage begins with; give sources\.umt="),
        ({"stage2": "l16_25m.pth"}, r"sources\.stage2 is of a later one; leave it out"),
        ({"umt": "sizes.json"}, r"has no encoder\.patch_embed\.proj\.weight; it is UMT"),
        ({"umt": "gone.pth"}, "there is no such file"),
    ],
)
def test_what_does_not_begin_the_first_stage(
    tmp_path: Path, official: dict[str, Path], change: dict[str, str | None], said: str
) -> None:
    given = {role: tmp_path / name for role, name in change.items() if name is not None}
    sources = {role: path for role, path in official.items() if role not in change} | given
    with pytest.raises(WeightsError, match=said):
        vlframe.convert(tmp_path / "bert", tmp_path / "ours", sources=sources, format="videochat2")


@pytest.mark.parametrize(
    "name", [f"{PREFIX}encoder.blocks.1.mlp.fc3.weight", f"{PREFIX}encoder.pos_embed", "head.bias"]
)
def test_a_tensor_that_nothing_expects_is_an_error(tmp_path: Path, official: dict[str, Path], name: str) -> None:
    torch.save({"model": {**umt(), name: torch.zeros(3)}}, official["umt"])
    with pytest.raises(WeightsError, match=f"unexpected: .*{name.rpartition('.')[2]}"):
        begun(tmp_path, official)


def test_a_missing_tensor_is_an_error(tmp_path: Path, official: dict[str, Path]) -> None:
    gone = f"{PREFIX}encoder.blocks.0.attn.q_bias"
    torch.save({"model": {name: value for name, value in umt().items() if name != gone}}, official["umt"])
    with pytest.raises(WeightsError, match=r"missing: vision_encoder\.encoder\.blocks\.0\.attn\.q_bias"):
        begun(tmp_path, official)
