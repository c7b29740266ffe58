"""VideoChat2's Q-Former, which reads the instruction: recorded outputs, tiles and padding; word pieces; drop path."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BertTokenizer
from vlframe_pixels.tiles import Tiles
from vlframe_qformer.instruct import DropPath, QFormerInstruct
from vlframe_qformer.wordpieces import WordPieces
from vlframe_umt.encoder import Umt
from vlframe_videochat2.names import names

from vlframe import ConfigError, NameTable, PixelLayout, VideoGrid
from vlframe.contracts.meta import meta_build
from vlframe.registry.registry import Registry
from vlframe.testing import check_connector

PRIOR = Path(__file__).parents[1] / "recordings" / "prior"
SMALL = {
    "in_dim": 6, "out_dim": 8, "queries": 3, "extra_queries": 2, "depth": 3, "cross_attention_frequency": 2,
    "width": 16, "heads": 2, "intermediate": 24, "dropout": 0.0, "drop_path": 0.0, "text": True,
    "tokenizer": "letters", "vocabulary": 160, "positions": 32, "longest": 32, "pad_to": 0, "side": "right",
    "alignment": None, "matching": "queries", "caption_tokens": 16, "temperature": 0.07,
}  # fmt: skip


def build(**changes: Any) -> QFormerInstruct:
    torch.manual_seed(0)
    return QFormerInstruct(**(SMALL | changes)).eval()


def recorded(name: str, family: str) -> tuple[dict[str, Tensor], dict[str, Any], Umt, QFormerInstruct]:
    """A recording, what it says, and the encoder and the connector with its weights."""
    recording = load_file(PRIOR / f"{name}.safetensors")
    said = json.loads((PRIOR / f"{name}.json").read_text())["config"]
    encoder = Umt(
        hidden_size=said["vit"], intermediate_size=4 * said["vit"], num_attention_heads=said["vit_heads"],
        num_hidden_layers=said["depth"] + said["return_index"] + 1, image_size=said["img"], patch_size=said["patch"],
        colours="clip", resize="crop", frame_embeddings=0,
    )  # fmt: skip
    connector = build(
        in_dim=said["vit"], out_dim=said["llm"], queries=said["nq"], extra_queries=said["xq"], depth=said["layers"],
        width=said["h"], heads=said["heads"], intermediate=said["inter"], vocabulary=said["vocab"],
        positions=said["maxpos"], longest=said["maxpos"],
    )  # fmt: skip
    weights = {key[2:]: value for key, value in recording.items() if key[:2] == "w/" and "position_ids" not in key}
    joined = NameTable(names(family)).join(weights)
    for part, module in (("encoder", encoder), ("connector", connector)):
        module.load_state_dict({name: item.tensor for name, item in joined[part].items()})
    return recording, said, encoder.eval(), connector


def same(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@torch.no_grad()
def test_queries_read_clip_and_instruction_as_in_videochat2() -> None:
    recording, _, encoder, connector = recorded("videochat2", "llama")
    frames_BTCYX = recording["in/frames_u8_low"].repeat_interleave(8, 3).repeat_interleave(8, 4)
    pixels_BTCYX = encoder.pixels.normalise(frames_BTCYX)
    features, ids = encoder(pixels_BTCYX), recording["in/text_input_ids"]
    same(connector.output(features, ids), recording["out/qformer_all"])
    same(connector(features, ids), recording["out/inputs_llama"])
    same(connector(features), recording["out/inputs_llama_no_text"])
    same(connector(encoder(pixels_BTCYX[:, :1]), ids), recording["out/inputs_llama_single_frame_image_path"])


@torch.no_grad()
def test_tiles_and_padding_on_the_left_as_in_videochat2_hd() -> None:
    recording, said, encoder, connector = recorded("videochat2_hd", "mistral")
    front = Tiles(encoder.pixels, 6, 1, overview=True, overview_of_one=True, video_tiles=6, arithmetic="float")
    ids_BI = recording["in/text_ids_batch_leftpadded"]
    front_end = WordPieces("letters", said["vocab"], said["maxpos"], ids_BI.shape[1], "left")
    size, done = said["local_size"], 0
    for number, (height, width) in enumerate(said["sizes_hw"]):
        layout = PixelLayout(size, size, height // size, width // size, overview=True)
        assert front.layout(height, width, said["num_frames"]) == layout
        tiles_KTCYX = front.cut(recording[f"in/video{number}_tchw"], layout).unflatten(0, (layout.tiles, -1))
        features, told = encoder(tiles_KTCYX), ids_BI[done : done + layout.tiles]
        connector.instruction = front_end
        same(connector(features, told).flatten(0, 1)[None], recording[f"out/video{number}_tokens"])
        connector.instruction = replace(front_end, pad_to=0)
        own = recording[f"in/text_ids{number}"].expand(layout.tiles, -1)
        alone = connector(features, own).flatten(0, 1)[None]
        assert torch.allclose(alone, recording[f"out/video{number}_tokens"], atol=1e-4) == (number == 0)
        done += layout.tiles
    assert done == len(ids_BI)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_the_right_changes_nothing_and_on_the_left_moves_the_words(side: str) -> None:
    plain, padded = build(), build(pad_to=9, side=side)
    features = torch.randn(2, 2, 2, 3, 6)
    ids = [torch.tensor([connector.instruction.encode("why?")] * 2) for connector in (plain, padded)]
    assert ids[0].shape[1] == 6 and ids[1].shape[1] == 9 and (ids[1][0, 0] == 0) == (side == "left")
    same_tokens = torch.allclose(plain(features, ids[0]), padded(features, ids[1]), atol=1e-5)
    assert same_tokens == (side == "right")


@torch.no_grad()
def test_the_instruction_matters_and_can_be_left_out() -> None:
    connector, silent = build(), build(text=False)
    features = torch.randn(1, 1, 1, 7, 6)
    one, other = (torch.tensor([connector.instruction.encode(words)]) for words in ("a dog", "a cat"))
    assert connector.tokens(VideoGrid(1, 1, 7)) == 5 and connector(features, one).shape == (1, 5, 8)
    assert not torch.allclose(connector(features, one), connector(features, other))
    assert silent.instruction is None and torch.equal(silent(features), connector(features))
    assert silent.state_dict().keys() == connector.state_dict().keys()


# --- word pieces ---


def test_an_instruction_is_cut_at_its_beginning() -> None:
    front = WordPieces("letters", 160, 6)
    whole = WordPieces("letters", 160, 99).encode("Which way?")
    assert len(whole) == 11 and front.encode("Which way?") == [whole[0], *whole[-5:]]
    assert WordPieces("letters", 160, 99).encode("which  way?") == whole  # small letters, one space or two
    assert front.encode("") == [2, 3] and WordPieces("letters", 160, 6, 4, "left").encode("") == [0, 0, 2, 3]


def test_a_vocabulary_of_a_folder_is_that_of_transformers(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "is", "the", "do", "##g", "##ing", "?", "a"]
    vocabulary = {word: number for number, word in enumerate(words)}
    theirs = BertTokenizer(vocab=vocabulary, do_lower_case=True)
    theirs.save_pretrained(tmp_path)
    theirs.add_special_tokens({"bos_token": "[DEC]"})
    front = WordPieces(str(tmp_path), 14, 64)
    for text in ("What is the dog doing?", "", "Doing [DEC] a zebra", "a " * 50):
        assert front.encode(text) == theirs(text).input_ids
    assert front.encode("[DEC]") == [2, 13, 3]
    assert WordPieces(str(tmp_path), 14, 8).encode("a " * 50) == [2, *[12] * 6, 3]
    with pytest.raises(ConfigError, match=r"has 14 word pieces .* for 13;.*vocabulary=14"):
        WordPieces(str(tmp_path), 13, 64).encode("a")


def test_a_vocabulary_that_is_none_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read.*folder with BERT's vocabulary"):
        WordPieces(str(tmp_path / "gone"), 13, 64).encode("a")


# --- training ---


def test_drop_path_leaves_whole_branches_out() -> None:
    torch.manual_seed(0)
    path, values = DropPath(0.25), torch.ones(4000, 2, 3)
    assert torch.equal(path.eval()(values), values)
    made = path.train()(values)
    assert {round(float(value), 4) for value in made.unique()} == {0.0, round(4 / 3, 4)}
    assert torch.equal(made, made[:, :1, :1].expand_as(made)) and abs(float(made.mean()) - 1) < 0.05
    layers = build(drop_path=0.2).qformer.encoder.layer
    rates = [[round(m.share, 3) for m in layer.modules() if isinstance(m, DropPath)] for layer in layers]
    assert rates == [[], [0.1] * 3, [0.2] * 4]  # the second layer has no cross-attention


def test_what_reads_texts_learns_nothing_without_one() -> None:
    connector = build(text=False).train()
    connector(torch.randn(1, 2, 2, 2, 6)).square().sum().backward()
    idle = {name for name, item in connector.named_parameters() if item.grad is None}
    texts = re.compile(
        r"qformer\.(embeddings\.(word|position)_embeddings|encoder\.layer\.\d\.(intermediate|output))\..+"
    )
    assert idle == {name for name, _ in connector.named_parameters() if texts.fullmatch(name)} and len(idle) == 20


@pytest.mark.parametrize(
    ("changes", "piece"),
    [
        ({"heads": 3}, "cannot be split"),
        ({"longest": 40}, r"positions=32"),
        ({"pad_to": 33}, r"pad_to=33"),
        ({"side": "both"}, "left, right"),
        ({"drop_path": 1.0}, "below 1"),
        ({"queries": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], piece: str) -> None:
    with pytest.raises(ConfigError, match=piece):
        build(**changes)


def test_the_kit_and_the_released_size(registry: Registry) -> None:
    check_connector("qformer_instruct", {key: SMALL[key] for key in SMALL if key not in ("in_dim", "out_dim")})
    with meta_build():
        released = registry.build("connector", {"name": "qformer_instruct"}, in_dim=1024, out_dim=4096)
    count = sum(item.numel() for name, item in released.qformer.named_parameters())
    assert released.tokens(VideoGrid(16, 14, 14)) == 96 and abs(count - 182.1e6) < 1e5
