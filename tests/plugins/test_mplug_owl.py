"""mPLUG-Owl beside the official code: recorded numbers, frames, texts, labels; checkpoints both ways; its training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.clips import ClipSpec, write_clip
from helpers.recipes import check_answers, check_recipe
from helpers.twins import small
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from vlframe_causal_lm.text import BUNDLED
from vlframe_mplug_owl.abstractor import Abstractor, mlp_width
from vlframe_mplug_owl.dataset import JsonLines
from vlframe_mplug_owl.processor import MEDIUM, Processor, tokens, written
from vlframe_mplug_owl.replay import write_official
from vlframe_mplug_owl.sampler import Sampler
from vlframe_mplug_owl.settings import TowerParams
from vlframe_mplug_owl.tower import Tower

import vlframe
from vlframe import PLACEHOLDERS, ConfigError, DataError, Media, Sample, Turn, VideoInfo
from vlframe.composer.compose import compose
from vlframe.conversion.verify import verify
from vlframe.model.adapters import alpha_of

PRIOR = Path(__file__).parents[1] / "recordings" / "prior"
RECORDING = PRIOR / "mplugowl_video.safetensors"


def test_recorded_outputs_are_met(registry) -> None:
    (found,) = verify([str(RECORDING)], registry=registry)
    assert found.compared == 11 and found.passed, found.rows


# --- tower and abstractor ---


def tower(**changes: Any) -> Tower:
    sizes = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 28,
    }  # fmt: skip
    torch.manual_seed(0)
    return Tower(**{**vars(TowerParams()), **sizes, **changes}).eval()


def pixels(frames: int) -> torch.Tensor:
    return torch.randn(1, frames, 3, 28, 28, generator=torch.Generator().manual_seed(1))


def test_frames_see_each_other_only_through_the_modules_over_time() -> None:
    clip, other = pixels(4), pixels(4).clone()
    other[:, 3] += 1
    joint, alone = tower(), tower(temporal=False)
    for module in joint.modules():
        if hasattr(module, "up_proj"):
            torch.nn.init.normal_(module.up_proj.weight)  # it begins at zero
    with torch.no_grad():
        assert not torch.equal(joint(clip)[:, 1], joint(other)[:, 1]) and not joint.per_frame
        assert torch.equal(alone(clip)[:, 1], alone(other)[:, 1]) and alone.per_frame
        assert torch.allclose(alone(clip)[:, 1:2], alone(clip[:, 1:2]), atol=1e-6)


def test_an_image_has_no_time_and_patches_may_be_a_plane() -> None:
    both, patches = tower(), tower(select="patch")
    with torch.no_grad():
        sequence, plane = both(pixels(1)), patches(pixels(1))
    assert both.grid(1, 28, 28).sequence and sequence.shape == (1, 1, 1, 5, 16)
    assert not patches.grid(1, 28, 28).sequence and torch.equal(sequence[:, :, 0, 1:].unflatten(2, (2, 2)), plane)


def test_recomputing_changes_no_gradient() -> None:
    gradients = []
    for again in (False, True):
        part = tower()
        if again:
            part.enable_gradient_checkpointing()
        part(pixels(3)).square().sum().backward()
        gradients.append([parameter.grad for parameter in part.parameters() if parameter.grad is not None])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("changes", "piece"),
    [({"num_attention_heads": 3}, "multiple"), ({"select": "all"}, "cls_patch, patch"), ({"resize": "x"}, "squash")],
)
def test_a_tower_that_cannot_be_is_refused(changes: dict[str, Any], piece: str) -> None:
    with pytest.raises(ConfigError, match=piece):
        tower(**changes)


def abstractor(**changes: Any) -> Abstractor:
    values = {
        "in_dim": 16, "out_dim": 24, "queries": 3, "depth": 2, "heads": 4, "width": None, "intermediate_size": 32,
        "layer_norm_eps": 1e-6, "dropout": 0.1, "temporal": True,
    }  # fmt: skip
    return Abstractor(**{**values, **changes}).eval()


@pytest.mark.parametrize("width", [None, 8])
def test_queries_of_time_are_for_more_than_one_frame(width: int | None) -> None:
    part = abstractor(width=width)
    clip, image = torch.randn(2, 3, 2, 2, 16), torch.randn(2, 1, 2, 2, 16)
    with torch.no_grad():
        assert part.read(clip).shape[1] == 6 and part.read(image).shape[1] == 3
        assert part(clip).shape == part(image).shape == (2, 4, 24)
        assert torch.equal(part(clip)[:, 3], part.vit_eos.expand(2, 1, -1)[:, 0])
    assert (part.input is None) == (width is None)
    with torch.no_grad():
        assert abstractor(temporal=False).read(clip).shape[1] == 3


def test_widths_of_the_mlps() -> None:
    assert [mlp_width(size) for size in (2816, 4096, 384, 385)] == [2816, 2816, 256, 256]
    with pytest.raises(ConfigError, match=r"connector\.width"):
        abstractor(width=6)


# --- frames ---


def test_frames_are_those_of_the_official_table() -> None:
    rows = json.loads((PRIOR / "frame_sampling.json").read_text())["tables"]["mplugowl_get_index"]
    assert len(rows) > 5
    for row in rows:
        info = VideoInfo(row["total"], 25.0, 64, 48, False)
        rng = np.random.default_rng(0)
        asked = Sampler(frames=row["n"]).indices(info, None, None, training=False, generator=rng)
        assert asked == row["indices"], row


# --- texts ---


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(BUNDLED["bundled:tiny"])


class Characters:
    """The tokenizer that the official prompts were recorded with: a character is its code point and 100."""

    bos_token_id, eos_token_id = 1, 2
    kinds = ("image", "video")

    def encode(self, text: str, add_special_tokens: bool) -> Any:
        return type("Encoding", (), {"ids": [ord(letter) + 100 for letter in text]})


def test_prompts_are_those_of_the_official_code(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = json.loads((PRIOR / "prompts.json").read_text())["prompts"]
    monkeypatch.setattr("vlframe_mplug_owl.processor.transformers4_tokenizer", lambda tokenizer: tokenizer)
    video = recorded["mplugowl_video"]
    text = written([Turn("user", "<video>\nWhat is the woman doing in the video?")], Processor().settings.system)
    assert text.replace(MEDIUM, "<|video|>") == video["prompt"]
    ids, _ = tokens(text, ["video"], Characters(), training=False)
    spread = [number for token in ids for number in ([-2] * 65 if token == PLACEHOLDERS["video"] else [token])]
    assert spread == video["ids_with_char_tokenizer"]
    both = recorded["mplugowl_image_video"]
    text = written([Turn("user", "<image><video>")], "")
    assert text.replace(MEDIUM, "<image>", 1).replace(MEDIUM, "<|video|>").removeprefix("\n") == both["prompt"]


def sample(*turns: tuple[str, str], kinds: tuple[str, ...] = ("video",)) -> Sample:
    files = tuple(Media(kind, Path(f"{number}.mp4")) for number, kind in enumerate(kinds))
    return Sample("s", tuple(Turn(role, text) for role, text in turns), files)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_answers_and_their_ends_are_learnt(tokenizer, rounds: int) -> None:
    turns = [("user", "<video>\nWhat?"), ("assistant", "A dog.")]
    turns += [("user", "Why?"), ("assistant", "It barks.")] * (rounds - 1)
    found = Processor().write(sample(*turns), (), tokenizer, None, training=True)
    assert found is not None and found.ids.count(PLACEHOLDERS["video"]) == 1
    pieces: list[list[int]] = [[]]
    for token, learnt in zip(found.ids, found.supervised, strict=True):
        pieces = [*pieces[:-1], [*pieces[-1], token]] if learnt else [*pieces, []] if pieces[-1] else pieces
    texts = [tokenizer.decode(piece) for piece in pieces if piece]
    assert [text.removesuffix(tokenizer.eos_token).strip() for text in texts] == [
        "A dog.", *["It barks."] * (rounds - 1)
    ]  # fmt: skip
    assert all(text.endswith(tokenizer.eos_token) for text in texts)


def test_a_system_turn_takes_the_place_of_the_first_line() -> None:
    assert written([Turn("system", "Be short."), Turn("user", "Why?")], "official") == "Be short.\nHuman: Why?\nAI: "


def test_a_sample_without_a_question_or_an_answer_is_named(tokenizer) -> None:
    with pytest.raises(DataError, match="no user turn"):
        Processor().write(sample(("system", "x"), kinds=()), (), tokenizer, None, training=False)
    with pytest.raises(DataError, match="no answer to learn"):
        Processor().write(sample(("user", "<video>")), (), tokenizer, None, training=True)


# --- data ---


def lines(folder: Path, *rows: Any) -> JsonLines:
    file = folder / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return JsonLines(path=str(file), media_root=None, ignore_fields=["task_type"])


def test_a_line_becomes_a_sample(tmp_path: Path) -> None:
    text = "A talk.\nHuman: <image>\nHuman: What, <video>?\nAI: A dog.\nHuman: Why?\nAI: It barks.\nLoud."
    (item,) = lines(tmp_path, {"image": ["1.jpg"], "text": text, "task_type": "llava_sft"})
    assert [(turn.role, turn.text) for turn in item.turns] == [
        ("system", "A talk."), ("user", "<image>\nWhat, \\<video>?"), ("assistant", "A dog."), ("user", "Why?"),
        ("assistant", "It barks.\nLoud."),
    ]  # fmt: skip
    assert item.media == (Media("image", tmp_path / "1.jpg"),) and item.id == "rows/1"
    assert written(item.turns, "").replace(MEDIUM, "<image>").replace("\\<video>", "<video>") == text


@pytest.mark.parametrize(
    ("row", "piece"),
    [
        ({"image": ["1.jpg"], "text": "Human: hi\nAI: ho"}, "0 tags for 1"),
        ({"image": [], "text": "Human: <image>\nAI: ho"}, "1 tags for 0"),
        ({"text": "Human: hi"}, "end with an answer"),
        ({"text": 3}, "in one text"),
        ({"images": ["1.jpg"], "text": "AI: x"}, "unknown field 'images'"),
        ({"image": 3, "text": "AI: x"}, "a path or a list"),
        (["x"], "a JSON object"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, row: Any, piece: str) -> None:
    data = lines(tmp_path, {"text": "Human: hi\nAI: ho"}, row)
    with pytest.raises(DataError, match="line 2") as caught:
        data[1]
    entries = list(JsonLines.entries(path=str(data.file), media_root=None, ignore_fields=["task_type"]))
    assert piece in str(caught.value) and entries[0].sample is not None and piece in entries[1].problems[0].text


# --- checkpoints ---


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("official")
    write_official(folder / "video", json.loads(RECORDING.with_suffix(".json").read_text()), load_file(RECORDING))
    state = load_file(folder / "video" / "model.safetensors")
    (folder / "image").mkdir()
    kept = {name: value for name, value in state.items() if "temporal" not in name}
    save_file(kept, folder / "image" / "model.safetensors")
    (folder / "image" / "config.json").write_text((folder / "video" / "config.json").read_text())
    return folder


@pytest.mark.parametrize("kind", ["video", "image"])
def test_a_folder_comes_back_bit_for_bit(official: Path, tmp_path: Path, kind: str) -> None:
    vlframe.convert(official / kind, tmp_path / "ours")
    parts = vlframe.load(tmp_path / "ours", device="cpu").model.parts
    assert parts["encoder"].per_frame == (kind == "image")
    vlframe.export(tmp_path / "ours", tmp_path / "back")
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "back", official / kind))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == json.loads(
        (official / kind / "config.json").read_text()
    )


# --- training ---


@pytest.mark.parametrize(
    ("name", "lr", "local", "decay"), [("lora", 2e-5, 4, 1e-4), ("full", 1e-5, 1, 1e-4)], ids=["lora", "full"]
)
def test_the_official_numbers_are_carried(registry, name: str, lr: float, local: int, decay: float) -> None:
    config = compose("train", [f"experiment=mplug_owl/{name}", "stages.sft.data.path=x.jsonl"], registry)
    stage = config.stages["sft"]
    assert (stage.lr, stage.epochs, stage.batch_size, stage.weight_decay) == (lr, 3, local, decay)
    assert local * stage.accumulate_grad_batches * config.trainer.devices == 256
    assert (stage.warmup_steps, stage.schedule, stage.max_grad_norm) == (50, "linear", 1.0)
    if name == "lora":
        lora = stage.llm.lora
        assert (lora.rank, alpha_of(lora), lora.dropout, list(lora.targets)) == (8, 32, 0.05, ["q_proj", "v_proj"])
    assert not config.encoder["temporal"] and config.text.max_length == 2048


@pytest.mark.parametrize(
    ("name", "learns"),
    [("lora", ["llm.*q_proj.lora_*", "llm.*v_proj.lora_*"]), ("full", ["llm.*"])],
    ids=["lora", "full"],
)
def test_the_twin_trains_its_language_model_alone(tmp_path: Path, registry, name: str, learns: list[str]) -> None:
    words = [*small(f"mplug_owl/{name}", "mplug_owl_tiny", {"sft": "motionqa_few"}), "stages.sft.warmup_steps=1"]
    run = check_recipe(words, {"sft": learns}, tmp_path, registry)
    write_clip(tmp_path, ClipSpec("clip.mp4"))
    check_answers(run, tmp_path / "clip.mp4", registry)
