"""Video-ChatGPT beside the official code: recorded numbers, frames, texts, labels; checkpoints both ways; its stage."""

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
from vlframe_pixels.nearest import Nearest
from vlframe_videochatgpt.dataset import VideoInstruct
from vlframe_videochatgpt.processor import Processor
from vlframe_videochatgpt.replay import write_official
from vlframe_videochatgpt.sampler import Sampler, middles
from vlframe_videochatgpt.settings import ADDED_TOKENS
from vlframe_videochatgpt.text import CONVERSATIONS, MEDIUM, Pieces

import vlframe
from vlframe import ConfigError, DataError, Media, Sample, SquarePixels, Turn, VideoInfo, WeightsError
from vlframe.conversion.verify import verify

PRIOR = Path(__file__).parents[1] / "recordings" / "prior"
RECORDING = PRIOR / "videochatgpt.safetensors"
START, PATCH, END = "<vid_start>", "<vid_patch>", "<vid_end>"


def test_recorded_outputs_are_met(registry) -> None:
    (found,) = verify([str(RECORDING)], registry=registry)
    assert found.compared == 7 and found.passed, found.rows


# --- frames ---


def test_frames_are_those_of_the_official_table() -> None:
    rows = json.loads((PRIOR / "frame_sampling.json").read_text())["tables"]["videochatgpt_seq"]
    assert len(rows) > 5
    for row in rows:
        assert middles(row["total"], row["n"]) == row["indices"], row
        info = VideoInfo(row["total"], 25.0, 64, 48, False)
        rng = np.random.default_rng(0)
        asked = Sampler(frames=row["n"]).indices(info, None, None, training=False, generator=rng)
        assert asked == row["indices"] or row["n"] > row["total"]


def test_a_short_clip_gives_fewer_frames() -> None:
    info = VideoInfo(7, 25.0, 64, 48, False)
    asked = Sampler(frames=100).indices(info, None, None, training=False, generator=np.random.default_rng(0))
    assert asked == middles(7, 7) and len(asked) == 7


def test_frames_are_resized_as_recorded() -> None:
    recorded = load_file(PRIOR / "image_transforms.safetensors")
    front = Nearest(SquarePixels(56, (0.5,) * 3, (0.5,) * 3))
    for name in ("0", "1"):
        ours = front.prepare(recorded[f"in/frames{name}_thwc"].numpy())
        assert torch.equal(ours.permute(0, 2, 3, 1), recorded[f"out/videochatgpt_resize{name}_thwc"])


# --- texts ---


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED["bundled:tiny"])
    tokenizer.add_tokens(list(ADDED_TOKENS), special_tokens=True)
    return tokenizer


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_prompts_are_those_of_the_official_code(name: str) -> None:
    recorded = json.loads((PRIOR / "prompts.json").read_text())["prompts"]
    key = f"videochatgpt_{name}"
    conversation = CONVERSATIONS[name]
    ours = conversation.written(conversation.system, [("user", f"What is happening?\n{MEDIUM}")])
    assert ours.replace(MEDIUM, f"{START}{PATCH * 2}{END}") == recorded[key]


def test_the_training_text_is_that_of_the_official_code() -> None:
    recorded = json.loads((PRIOR / "prompts.json").read_text())["prompts"]["videochatgpt_training_text"]
    conversation = CONVERSATIONS["vicuna_v1_1"]
    talk = [("user", f"What?\n{MEDIUM}"), ("assistant", "A dog.")]
    assert conversation.written(conversation.system, talk, opening=False).replace(MEDIUM, "<video>") == recorded


def sample(*turns: tuple[str, str], media: int = 1) -> Sample:
    files = tuple(Media("video", Path(f"{number}.mp4")) for number in range(media))
    return Sample("s", tuple(Turn(role, text) for role, text in turns), files)


def written(tokenizer: Any, item: Sample, *, training: bool, **settings: Any) -> tuple[list[int], list[bool]]:
    found = Processor(**settings).write(item, (), tokenizer, None, training=training)
    assert found is not None and found.media == item.media
    return found.ids, found.supervised


def test_a_question_is_tokenised_piece_by_piece(tokenizer) -> None:
    """White space beside an added token is dropped, as the slow tokenizer of transformers 4.28 does."""
    ids, supervised = written(tokenizer, sample(("user", "<video>\nWhat is it?")), training=False)
    lead = CONVERSATIONS["video-chatgpt_v1"].system + " USER: What is it?"
    words = [tokenizer.encode(text, add_special_tokens=False) for text in (lead, "ASSISTANT:")]
    start, end = tokenizer.convert_tokens_to_ids([START, END])
    beginning = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    assert ids == [*beginning, *words[0], start, vlframe.PLACEHOLDERS["video"], end, *words[1]]
    assert not any(supervised)


def test_a_tag_may_stay_where_it_stands(tokenizer) -> None:
    item = sample(("user", "Look: <video>\nWhat is it?"))
    kept, _ = written(tokenizer, item, training=False, tags="keep")
    moved, _ = written(tokenizer, item, training=False)
    place = vlframe.PLACEHOLDERS["video"]
    assert kept.index(place) < moved.index(place) and sorted(kept)[:3] == sorted(moved)[:3]


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_answers_and_their_ends_are_learnt(tokenizer, rounds: int) -> None:
    turns = [("user", "What?\n<video>"), ("assistant", "A dog.")]
    turns += [("user", "Why?"), ("assistant", "It barks.")] * (rounds - 1)
    ids, supervised = written(tokenizer, sample(*turns), training=True)
    pieces, learnt = [], []
    for number, token in enumerate(ids):
        if supervised[number]:
            learnt.append(token)
        elif learnt:
            pieces.append(learnt)
            learnt = []
    pieces.append(learnt)
    texts = [tokenizer.decode(piece) for piece in pieces if piece]
    ends = [text.removesuffix("</s>").strip() for text in texts]
    assert ends == ["A dog.", *["It barks."] * (rounds - 1)] and all(text.endswith("</s>") for text in texts)


def test_what_the_official_code_learns_nothing_of_is_refused(tokenizer) -> None:
    item = sample(("user", "What?\n<video>"), ("assistant", "A USER said ASSISTANT: no."))
    with pytest.raises(DataError, match="would learn nothing of it"):
        written(tokenizer, item, training=True)


def test_turns_out_of_order_and_missing_tokens_are_named(tokenizer) -> None:
    with pytest.raises(DataError, match="take turns"):
        written(tokenizer, sample(("user", "<video>"), ("user", "What?")), training=True)
    plain = AutoTokenizer.from_pretrained(BUNDLED["bundled:tiny"])
    with pytest.raises(ConfigError, match=r"llm\.added_tokens"):
        written(plain, sample(("user", "<video>")), training=False)
    with pytest.raises(ConfigError, match=r"processor\.tags is 'head'"):
        Processor(tags="head")


def test_users_cannot_write_the_mark_of_a_medium(tokenizer) -> None:
    pieces = Pieces(tokenizer, ["video"], True)
    assert pieces.ids(f"a{MEDIUM}b", start=False).count(vlframe.PLACEHOLDERS["video"]) == 1


# --- data ---


def test_rows_become_samples_with_the_clip_on_either_side(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for name in ("v_a.mkv", "v_b.mp4"):
        (tmp_path / "clips" / name).touch()
    rows = [{"video_id": "v_a", "q": "What?", "a": "A dog."}, {"video_id": "v_b", "q": "The <video>?", "a": "A cat."}]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([*rows, {"video_id": "v_gone", "q": "?", "a": "!"}]))
    data = VideoInstruct(path=str(file), media_root=str(tmp_path / "clips"), order="alternate")
    assert [data[number].turns[0].text for number in range(2)] == ["What?\n<video>", "<video>\nThe \\<video>?"]
    assert [item.media[0].path.name for item in data] == ["v_a.mkv", "v_b.mp4", "v_gone.mp4"]
    assert [item.id for item in data] == ["v_a/1", "v_b/2", "v_gone/3"] and data[0].answer == "A dog."


@pytest.mark.parametrize(
    ("row", "piece"),
    [
        ({"video_id": "a", "q": "?"}, "video_id, q, a"),
        ({"video_id": "a", "q": "?", "a": "!", "b": 1}, "video_id, q, a, b"),
        ({"video_id": "a", "q": 3, "a": "!"}, "q must be text"),
        (["a"], "video_id, q, a"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: Any, piece: str) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"video_id": "v", "q": "?", "a": "!"}, row]))
    with pytest.raises(DataError, match="row 2") as caught:
        VideoInstruct(path=str(file), media_root=None, order="after")[1]
    assert piece in str(caught.value)
    entries = list(VideoInstruct.entries(path=str(file), media_root=None, order="after"))
    assert entries[0].sample is not None and piece in entries[1].problems[0].text


# --- checkpoints ---


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("official")
    said = json.loads(RECORDING.with_suffix(".json").read_text())
    write_official(folder / "full", folder / "vision", said, load_file(RECORDING))
    state = load_file(folder / "full" / "model.safetensors")
    rest = {name: value for name, value in state.items() if "mm_projector" not in name}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        rest[name] = rest[name][:-3].clone()
    (folder / "base").mkdir()
    save_file(rest, folder / "base" / "model.safetensors")
    config = json.loads((folder / "full" / "config.json").read_text())
    (folder / "base" / "config.json").write_text(json.dumps(config | {"model_type": "llava", "vocab_size": 80}))
    kept = {name: value for name, value in state.items() if "mm_projector" in name or "embed_tokens" in name}
    torch.save(kept, folder / "video_chatgpt-7B.bin")
    return folder


def test_a_full_folder_comes_back_bit_for_bit(official: Path, tmp_path: Path) -> None:
    vlframe.convert(official / "full", tmp_path / "ours", sources={"vision": official / "vision"})
    vlframe.export(tmp_path / "ours", tmp_path / "back")
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "back", official / "full"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == json.loads(
        (official / "full" / "config.json").read_text()
    )


def test_a_projector_file_lies_over_its_base_and_comes_back(official: Path, tmp_path: Path) -> None:
    sources = {"vision": official / "vision", "base": official / "base"}
    vlframe.convert(official / "video_chatgpt-7B.bin", tmp_path / "ours", sources=sources)
    about = json.loads((tmp_path / "ours" / "checkpoint_format.json").read_text())
    rows = {row["name"]: row for row in about["tensors"]}
    assert rows["model.embed_tokens.weight"]["file"] == "source:video_chatgpt-7B.bin"
    head = vlframe.load(tmp_path / "ours", device="cpu").model.parts["llm"].lm.lm_head.weight
    base = load_file(official / "base" / "model.safetensors")["lm_head.weight"]
    assert torch.equal(head[:80], base) and torch.allclose(head[80:], base.mean(0).expand(3, -1))
    vlframe.export(tmp_path / "ours", tmp_path / "back")
    back, theirs = (
        torch.load(folder / "video_chatgpt-7B.bin", weights_only=True) for folder in (tmp_path / "back", official)
    )
    assert back.keys() == theirs.keys() and all(torch.equal(back[name], value) for name, value in theirs.items())


def test_training_begins_from_llava(official: Path, tmp_path: Path) -> None:
    """Its projector and tables as they are; a row of the mean for each added token."""
    llava = tmp_path / "llava"
    llava.mkdir()
    state = load_file(official / "base" / "model.safetensors")
    whole = load_file(official / "full" / "model.safetensors")
    state |= {name: value for name, value in whole.items() if "mm_projector" in name}
    save_file(state, llava / "model.safetensors")
    (llava / "config.json").write_text((official / "base" / "config.json").read_text())
    vlframe.convert(llava, tmp_path / "ours", sources={"vision": official / "vision"}, format="videochatgpt")
    parts = vlframe.load(tmp_path / "ours", device="cpu").model.parts
    table = parts["llm"].lm.model.embed_tokens.weight
    before = state["model.embed_tokens.weight"]
    assert torch.equal(table[:80], before) and torch.allclose(table[80:], before.mean(0).expand(3, -1))
    assert torch.equal(parts["connector"].projector.weight, state["model.mm_projector.weight"])


def test_a_projector_file_without_its_base_is_one_sentence(official: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"sources\.base="):
        vlframe.convert(official / "video_chatgpt-7B.bin", tmp_path / "ours", format="videochatgpt")


# --- training ---


def test_the_official_numbers_are_carried(registry) -> None:
    from vlframe.composer.compose import compose

    config = compose("train", ["experiment=videochatgpt/train", "stages.train.data.path=x.json"], registry)
    stage = config.stages["train"]
    assert (stage.lr, stage.epochs, stage.batch_size, config.trainer.devices) == (2e-5, 3, 4, 8)
    assert (stage.warmup_ratio, stage.weight_decay, config.text.max_length) == (0.03, 0.0, 2048)
    assert config.media.frames == 100 and config.trainer.precision == "bf16"


def test_the_twin_learns_the_projector_and_two_rows(tmp_path: Path, registry) -> None:
    words = small("videochatgpt/train", "videochatgpt_tiny", {"train": "motionqa_few"})
    learns = {"train": ["connector.projector.*", "llm.lm.model.embed_tokens.weight"]}
    run = check_recipe(words, learns, tmp_path, registry)
    (table,) = [load_file(file) for file in (run.path / "checkpoints").glob("*end/llm.safetensors")]
    rows = table["lm.model.embed_tokens.weight"]
    pipeline_rows = first_rows(words, registry)
    moved = (rows != pipeline_rows).any(1).nonzero()[:, 0].tolist()
    assert moved == [rows.shape[0] - 2, rows.shape[0] - 1]  # <vid_start> and <vid_end>
    write_clip(tmp_path, ClipSpec("clip.mp4"))
    check_answers(run, tmp_path / "clip.mp4", registry)


def first_rows(words: list[str], registry: Any) -> torch.Tensor:
    from vlframe.composer.compose import compose
    from vlframe.inference.pipeline import build_pipeline

    model = build_pipeline(compose("train", words, registry), registry).model
    return model.parts["llm"].lm.get_input_embeddings().weight.detach()
