"""Video-LLaMA beside the official code: recorded numbers, frames, texts, labels; data; checkpoints; its four stages."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.clips import ClipSpec, write_clip
from helpers.recipes import check_answers, check_recipe
from helpers.twins import small
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from vlframe_causal_lm.text import BUNDLED
from vlframe_videollama import dataset, layout, text
from vlframe_videollama.processor import Processor
from vlframe_videollama.sampler import HeadTail, Uniform, spread
from vlframe_videollama.sound import first_channel

import vlframe
from vlframe import PLACEHOLDERS, ConfigError, DataError, Media, NoAudioTrack, Sample, Timeline, Turn, VideoInfo
from vlframe import WeightsError as Wrong
from vlframe.composer.compose import compose
from vlframe.conversion.verify import verify

PRIOR = Path(__file__).parents[1] / "recordings" / "prior"
BRANCHES = [PRIOR / "videollama_visual_branch.safetensors", PRIOR / "videollama_audio_branch.safetensors"]
ALL = Path(os.environ.get("VLFRAME_PRIOR_RECORDINGS", "../shared/goldens/prior"))
MORE = sorted({*ALL.glob("videollama_audio*_*.safetensors"), *ALL.glob("imagebind_*.safetensors")})
STEMS = [path.stem for path in BRANCHES]
RECORDINGS = [
    *(pytest.param(path, id=path.stem) for path in BRANCHES),
    *(pytest.param(path, id=path.stem, marks=pytest.mark.slow) for path in MORE if path.stem not in STEMS),
]
PROMPTS = json.loads((PRIOR / "prompts.json").read_text())["prompts"]


@pytest.mark.parametrize("recording", RECORDINGS)
def test_recorded_outputs_are_met(recording: Path, registry) -> None:
    (found,) = verify([str(recording)], registry=registry)
    outputs = [name for name in load_file(recording) if name.startswith("out/")]
    assert found.compared >= len(outputs) and found.passed, found.rows


# --- frames ---


def asked(sampler: Any, count: int, *, training: bool = False, seed: int = 0) -> list[int]:
    info = VideoInfo(count, 25.0, 64, 48, False)
    return sampler.indices(info, None, None, training=training, generator=np.random.default_rng(seed))


def test_frames_and_their_seconds_are_those_of_the_official_table() -> None:
    rows = json.loads((PRIOR / "frame_sampling.json").read_text())["tables"]["videollama_uniform"]
    assert len(rows) > 5
    for row in rows:
        assert asked(Uniform(frames=row["n"]), row["total"]) == row["indices"], row
        assert text.stamped([index / row["fps"] for index in row["indices"]]) == row["msg"]


def test_a_frame_more_of_rounding_is_left_out() -> None:
    """The official list of 7 of 61 frames has 8; that of 17 has one which there is not."""
    assert spread(61, 7)[-2:] == [52, 60] and len(spread(61, 7)) == 8
    assert asked(Uniform(frames=7), 61) == spread(61, 7)[:7]
    assert asked(Uniform(frames=7), 17) == [0, 2, 4, 7, 9, 12, 14]


@pytest.mark.parametrize(("frames", "count", "found"), [(8, 100, 8), (7, 100, 6), (8, 5, 4), (8, 1, 1), (1, 9, 1)])
def test_head_and_tail_have_as_many_frames(frames: int, count: int, found: int) -> None:
    sampler = HeadTail(frames=frames)
    seen = [asked(sampler, count, training=True, seed=seed) for seed in range(20)]
    for indices in seen:
        assert len(indices) == len(set(indices)) == found and indices == sorted(indices)
        assert found == 1 or sum(index < count // 2 for index in indices) == found // 2
    assert {index for indices in seen for index in indices} <= set(range(count)) and (count < 6 or len(seen) > 1)
    assert asked(sampler, count) == spread(count, frames)[:frames]


# --- texts ---


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(BUNDLED["bundled:tiny"])


SECONDS = (0.0, 1.25, 2.5, 3.75, 5.0, 6.25, 7.5, 8.75)


def sample(*turns: tuple[str, str], kinds: tuple[str, ...] = ("video",), category: str = "") -> Sample:
    files = tuple(Media(kind, Path(f"{number}.mp4")) for number, kind in enumerate(kinds))
    return Sample("s", tuple(Turn(role, words) for role, words in turns), files, category=category)


def question(
    item: Sample, seconds: tuple[float, ...] = (0.0, 1.3, 2.5, 3.8, 5.0, 6.3, 7.5, 8.8), **settings: Any
) -> str:
    """The text that is tokenised, with the official mark for media."""
    seen = []

    class Written(text.Pieces):
        def ids(self, words: str, kinds: Any, *, start: bool = True) -> list[int]:
            seen.append(words)
            return super().ids(words, kinds, start=start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlframe_videollama.text.Pieces", Written)
        timelines = [Timeline(media, seconds=seconds) for media in item.media]
        tokens = AutoTokenizer.from_pretrained(BUNDLED["bundled:tiny"])
        Processor(**settings).write(item, timelines, tokens, None, training=False)
    return seen[0].replace(text.MEDIUM, "<ImageHere>")


@pytest.mark.parametrize("template", ["vicuna", "llama_2"])
def test_prompts_are_those_of_the_official_code(template: str) -> None:
    video = sample(("user", "<video>\nWhat is happening?"))
    assert question(video, template=template) == PROMPTS[f"videollama_{template.replace('_', '')}_video"]["prompt"]
    both = sample(("user", "<video><audio>\nWhat is happening?"), kinds=("video", "audio"))
    recorded = PROMPTS[f"videollama_{template.replace('_', '')}_audio_video"]
    assert question(both, template=template) == recorded["prompt"] and recorded["media_order"] == ["A", "V"]


def test_training_texts_are_those_of_the_official_code() -> None:
    clip = text.FRAMED["video"].replace(text.MEDIUM, "<ImageHere>" * 2)
    stamps = text.stamped([0.0]).replace("1 frames", "8 frames")
    talk = [
        ("user", f"{clip} {stamps}What is shown?"), ("assistant", "A dog."), ("user", "Colour?"),
        ("assistant", "Brown."),
    ]  # fmt: skip
    vicuna = "\n\n" + "".join(text.vicuna_turns(talk)) + text.MARK
    assert vicuna == PROMPTS["videollama_vicuna_training_text"]
    assert text.llama_2(" ", talk) == PROMPTS["videollama_llama2_training_text"]


def test_questions_of_every_shape() -> None:
    image = sample(("user", "<image>\nWhat?"), kinds=("image",))
    assert question(image) == "###Human: <Image><ImageHere></Image>  What?###Assistant:"
    talk = sample(("system", "Be short."), ("user", "<video>Why?"), ("assistant", "So."), ("user", "And?"))
    assert question(talk, time_stamps=False) == (
        "Be short.###Human: <Video><ImageHere></Video>  Why?###Assistant: So.###Human: And?###Assistant:"
    )
    broken = question(talk, time_stamps=False, line_breaks=True)
    assert broken.endswith("\n###Assistant: So.\n###Human: And?\n###Assistant:") and broken.startswith("Be short.\n\n#")
    two = sample(("user", "<image><image>\nWhich?"), kinds=("image", "image"))
    assert question(two) == (
        "###Human: <Image><ImageHere></Image> ###Human: <Image><ImageHere></Image>  Which?###Assistant:"
    )
    sound = sample(("user", "<audio>What?"), kinds=("audio",))
    assert question(sound) == f"###Human: {text.HEARD.replace(text.MEDIUM, '<ImageHere>')} What?###Assistant:"


def test_sound_stands_before_its_clip(tokenizer) -> None:
    item = sample(("user", "<video><audio>\nWhat?"), kinds=("video", "audio"))
    timelines = [Timeline(media, seconds=SECONDS) for media in item.media]
    found = Processor().write(item, timelines, tokenizer, None, training=False)
    assert found is not None and [media.kind for media in found.media] == ["audio", "video"]
    assert [token for token in found.ids if token < 0] == [PLACEHOLDERS["audio"], PLACEHOLDERS["video"]]


def taught(tokenizer: Any, item: Sample, **settings: Any) -> tuple[list[int], list[bool]]:
    timelines = [Timeline(media, seconds=SECONDS) for media in item.media]
    found = Processor(**settings).write(item, timelines, tokenizer, None, training=True)
    assert found is not None and len(found.ids) == len(found.supervised)
    return found.ids, found.supervised


def official_mask(tokenizer: Any, item: Sample, learnt: int) -> list[bool]:
    """``_mask_targets`` written anew over whole texts: lengths of turns with a beginning each."""
    pieces = text.Pieces(tokenizer)
    clip = text.FRAMED["video"] + " " + text.stamped(SECONDS)
    words = [turn.text.replace("<video>\n", clip) for turn in item.turns]
    turns = [f"###{'Human' if n % 2 == 0 else 'Assistant'}: {said}\n" for n, said in enumerate(words)]
    lengths = [len(pieces.ids(said, ["video"])) for said in ["\n\n", *turns]]
    labels = [True] * len(pieces.ids("\n\n" + "".join(turns) + "###", ["video"]))
    at = lengths[0]
    labels[:at] = [False] * at
    for number, length in enumerate(lengths[1:]):
        if number % 2 == 0:
            span = labels[at + learnt : at + length]
            labels[at + learnt : at + length] = [False] * len(span)
        at += length
    return labels


@pytest.mark.parametrize("learnt", [2, 0])
@pytest.mark.parametrize("rounds", [1, 3])
def test_answers_and_the_beginnings_of_questions_are_learnt(tokenizer, rounds: int, learnt: int) -> None:
    turns = [("user", "<video>\nWhat?"), ("assistant", "A dog.")] + [("user", "Why?"), ("assistant", "It barks.")] * (
        rounds - 1
    )
    item = sample(*turns)
    ids, supervised = taught(tokenizer, item, learnt_of_questions=learnt)
    assert supervised == official_mask(tokenizer, item, learnt)
    told = tokenizer.decode([token for token, kept in zip(ids, supervised, strict=True) if kept and token >= 0])
    assert told.count("It barks.") == rounds - 1 and "A dog." in told and "Why?" not in told
    assert tokenizer.decode(ids[-3:]).endswith("###") and supervised[-1]


@pytest.mark.parametrize("rounds", [1, 3])
def test_llama_2_learns_answers_and_their_ends(tokenizer, rounds: int) -> None:
    turns = [("user", "<image>\nWhat?"), ("assistant", "A dog.")] + [("user", "Why?"), ("assistant", "It barks.")] * (
        rounds - 1
    )
    ids, supervised = taught(tokenizer, sample(*turns, kinds=("image",)), template="llama_2")
    runs: list[list[int]] = [[]]
    for token, kept in zip(ids, supervised, strict=True):
        runs = [*runs[:-1], [*runs[-1], token]] if kept else [*runs, []] if runs[-1] else runs
    told = [tokenizer.decode(run) for run in runs if run]
    assert len(told) == rounds and all(said.endswith(tokenizer.eos_token) for said in told)
    assert "A dog." in told[0] and all("Why?" not in said for said in told)
    with pytest.raises(DataError, match="take turns"):
        taught(tokenizer, sample(("user", "a"), ("user", "b"), kinds=()), template="llama_2")


def test_captions_are_learnt_with_their_ends(tokenizer) -> None:
    item = sample(("user", "<video>"), ("assistant", "a dog barks at a cat"), category="caption")
    ids, supervised = taught(tokenizer, item, captions="bare", caption_tokens=32)
    lead = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    assert ids[: len(lead) + 1] == [*lead, PLACEHOLDERS["video"]] and supervised == [False] * (len(lead) + 1) + [
        True
    ] * (len(ids) - len(lead) - 1)
    assert tokenizer.decode(ids[len(lead) + 1 :]).strip(" ") == "a dog barks at a cat\n"
    short, _ = taught(tokenizer, item, captions="bare", caption_tokens=2)
    assert len(short) == len(lead) + 3
    for template, end in (("vicuna", "###"), ("llama_2", "</s>")):
        ids, supervised = taught(tokenizer, item, template=template)
        told = tokenizer.decode([token for token, kept in zip(ids, supervised, strict=True) if kept])
        assert told.strip() == f"a dog barks at a cat{end}"
        before = tokenizer.decode([token for token in ids[: supervised.index(True)] if token >= 0])
        assert any(prompt in before for prompt in text.CAPTION_PROMPTS)
    with pytest.raises(DataError, match="no caption"):
        taught(tokenizer, sample(("user", "x"), ("assistant", "y"), kinds=(), category="caption"))


def test_a_sample_without_a_question_or_an_answer_is_named(tokenizer) -> None:
    with pytest.raises(DataError, match="no user turn"):
        Processor().write(sample(("system", "x"), kinds=()), (), tokenizer, None, training=False)
    with pytest.raises(DataError, match="no answer to learn"):
        taught(tokenizer, sample(("user", "<video>\nWhat?")))
    for settings, piece in (({"template": "x"}, "llama_2"), ({"learnt_of_questions": -1}, "at least 0")):
        with pytest.raises(ConfigError, match=piece):
            Processor(**settings)


# --- sound ---


def test_sound_is_its_first_channel(tmp_path: Path) -> None:
    import av

    file = tmp_path / "two.wav"
    wave = np.stack([np.arange(8000) % 200, np.zeros(8000)], 1).astype(np.int16)
    with av.open(str(file), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    heard_L, rate = first_channel(Media("audio", file))
    assert rate == 8000 and torch.equal((heard_L * 32768).round(), torch.from_numpy(wave[:, 0]).float())
    assert len(first_channel(Media("audio", file, start=0.5, end=0.75))[0]) == 2000
    clip = write_clip(tmp_path, ClipSpec("mute.mp4"))
    track = Media("audio", clip, track=True)
    source: Any = SimpleNamespace(config=SimpleNamespace(missing_audio="silence"))
    assert Processor().read(Timeline(track), source) is None
    source.config.missing_audio = "error"
    with pytest.raises(NoAudioTrack):
        Processor().read(Timeline(track), source)


# --- data ---


def written(file: Path, content: Any) -> str:
    file.parent.mkdir(exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(file)


WEBVID = (
    'videoid,contentUrl,page_dir,name\n7,http://x,001_050,"A Dog, running! (slow: motion)"\n8,y,001_050,Two cats.\n'
)
CAPTIONS = {"annotations": [{"image_id": "GCC_1", "caption": "a tree"}]}
LLAVA = [{"id": "1", "image": "a.jpg", "conversations": [
    {"from": "human", "value": "Which <video>?\n<image>"}, {"from": "gpt", "value": "None."},
]}]  # fmt: skip
QA = [{"video": "1.mp4", "QA": [{"q": "What is <image>?", "a": "A tag."}, {"q": "Sure?", "a": "Yes."}]}]


def parts(folder: Path) -> list[dict[str, Any]]:
    (folder / "cc" / "image").mkdir(parents=True)
    return [
        {"layout": "webvid", "path": written(folder / "webvid" / "0.csv", WEBVID), "weight": 100},
        {"layout": "filter_cap", "path": written(folder / "cc" / "filter_cap.json", CAPTIONS), "weight": 24},
        {"layout": "llava_instruct", "path": written(folder / "llava.json", LLAVA), "media_root": str(folder)},
        {"layout": "video_qa", "path": written(folder / "qa.json", QA)},
    ]


def test_the_official_layouts_become_samples(tmp_path: Path) -> None:
    data = dataset.Mixture(parts=parts(tmp_path))
    assert [(part.start, part.stop, part.weight) for part in data.subsets] == [
        (0, 2, 100), (2, 3, 24), (3, 4, 1), (4, 5, 1)
    ]  # fmt: skip
    clip, cats, tree, chat, asks = (data[number] for number in range(len(data)))
    assert clip.answer == "a dog, running slow motion" and cats.answer == "two cats"
    assert clip.media == (Media("video", tmp_path / "webvid" / "001_050" / "7.mp4"),) and clip.category == "caption"
    assert tree.media == (Media("image", tmp_path / "cc" / "image" / "GCC_1.jpg"),) and tree.answer == "a tree"
    assert chat.turns[0].text == "Which \\<video>?\n<image>" and not chat.category
    assert chat.media == (Media("image", tmp_path / "COCO_train2014_a.jpg"),)
    assert [turn.text for turn in asks.turns] == ["<video>\nWhat is \\<image>?", "A tag.", "Sure?", "Yes."]
    assert data[-1] == asks and len({data[number].id for number in range(5)}) == 5
    entries = list(dataset.Mixture.entries(parts=parts(tmp_path / "again")))
    assert len(entries) == 5 and all(entry.sample is not None and not entry.problems for entry in entries)
    folder = dataset.Webvid(path=str(tmp_path / "webvid"), media_root=None, plain_captions=False)
    assert len(folder) == 2 and folder[1].answer == "Two cats."


@pytest.mark.parametrize(
    ("cls", "content", "piece"),
    [
        (dataset.Webvid, "videoid,page_dir,name\n1,a,x\n2,a, \n", "'name' is text"),
        (dataset.Webvid, "videoid,page_dir,name\n1,a,x\n2,a,...\n", "nothing is left"),
        (dataset.FilterCap, {"annotations": [CAPTIONS["annotations"][0], {"image_id": 1}]}, "image_id, caption"),
        (dataset.LlavaInstruct, [LLAVA[0], {"image": "b", "conversations": []}], "a list of turns"),
        (dataset.LlavaInstruct, [LLAVA[0], LLAVA[0] | {"conversations": LLAVA[0]["conversations"][1:]}], "not 0"),
        (dataset.VideoQA, [QA[0], {"video": "2.mp4", "QA": [{"q": "?", "a": 3}]}], "'a' is text"),
        (dataset.VideoQA, [QA[0], {"video": "2.mp4", "QA": {}}], "a list of questions"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, cls: Any, content: Any, piece: str) -> None:
    given = {"path": written(tmp_path / "rows.json", content), "media_root": str(tmp_path)}
    given |= {"plain_captions": True} if cls is dataset.Webvid else {"prefix": ""} if "Llava" in cls.__name__ else {}
    with pytest.raises(DataError, match=r"row 2: ") as caught:
        cls(**given)[1]
    entries = list(cls.entries(**given))
    assert piece in str(caught.value) and entries[0].sample is not None and piece in entries[1].problems[0].text


@pytest.mark.parametrize(
    ("given", "piece"),
    [
        ([], "no parts"),
        ([{"layout": "csv", "path": "x"}], "it can be webvid"),
        ([{"layout": "video_qa", "file": "x"}], "'file'"),
        ([{"layout": "video_qa", "path": "x", "weight": 0}], "weight above 0"),
        ([{"layout": "video_qa", "path": "gone.json"}], "no such file"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(given: list[dict[str, Any]], piece: str) -> None:
    with pytest.raises(ConfigError, match=piece):
        dataset.Mixture(parts=given)


# --- checkpoints ---


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of both branches, with what the released ones hold beside: an unrun block, buffers, t5_proj."""
    folder = tmp_path_factory.mktemp("official")
    state = layout.weights({**load_file(BRANCHES[0]), **load_file(BRANCHES[1])})
    state["t5_proj.bias"] = torch.ones(3)
    heads = {"encoder": 4, "connector": 4, "audio_encoder": 4}
    source, sources = layout.write(folder, state, heads, 40, through_vision=False)
    blip2 = torch.load(sources["blip2"])
    torch.save({"model": blip2["model"] | {"t5_proj.bias": torch.ones(3)}}, sources["blip2"])
    branch = torch.load(source)
    branch["model"]["Qformer.bert.embeddings.position_ids"] = torch.arange(9)[None]
    torch.save(branch | {"epoch": 4, "optimizer": {"state": {}}}, source)
    return {"source": source, **sources}


def without(files: dict[str, Path], *roles: str) -> dict[str, Path]:
    return {role: path for role, path in files.items() if role not in ("source", *roles)}


def saved(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=True)["model"]


def test_both_branches_come_back_bit_for_bit(official: dict[str, Path], tmp_path: Path) -> None:
    vlframe.convert(official["source"], tmp_path / "ours", sources=without(official))
    about = json.loads((tmp_path / "ours" / "checkpoint_format.json").read_text())
    fates = {row["name"]: (row["became"], row["file"]) for row in about["tensors"]}
    assert fates["t5_proj.bias"] == ("unused", "blip2:blip2_pretrained_flant5xxl.pth")
    assert fates["llama_proj.bias"] == ("loaded", "source:VL.pth")
    assert fates["Qformer.bert.embeddings.position_ids"] == ("buffer", "source:VL.pth")
    scale = "audio_encoder.modality_postprocessors.audio.1.log_logit_scale"
    assert fates[scale] == ("buffer", "imagebind:imagebind_huge.pth")
    vlframe.export(tmp_path / "ours", tmp_path / "back")
    for name in ("VL.pth", "AL.pth"):
        ours, theirs = saved(tmp_path / "back" / name), saved(official["source"].with_name(name))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], value) for key, value in theirs.items())
    assert json.loads((tmp_path / "back" / "sizes.json").read_text())["connector"] == 4


def test_the_branch_that_sees_stands_alone_and_training_begins_with_a_projection(
    official: dict[str, Path], tmp_path: Path
) -> None:
    sources = without(official, "imagebind", "audio")
    vlframe.convert(official["source"], tmp_path / "ours", sources=sources)
    assert set(vlframe.load(tmp_path / "ours", device="cpu").model.parts) == {"encoder", "connector", "llm"}
    projection = {name: value for name, value in saved(official["source"]).items() if name.startswith("llama_proj")}
    torch.save({"model": projection}, tmp_path / "pretrained_minigpt4_7b.pth")
    vlframe.convert(tmp_path / "pretrained_minigpt4_7b.pth", tmp_path / "begun", sources=sources)
    connector = vlframe.load(tmp_path / "begun", device="cpu").model.parts["connector"]
    assert torch.equal(connector.projection.weight, projection["llama_proj.weight"])
    assert connector.video_query_tokens.shape[1] == connector.frame_position.num_embeddings == 32
    assert 0.01 < connector.video_query_tokens.std() < 0.03


@pytest.mark.parametrize(
    ("roles", "piece"),
    [
        (("base",), r"sources\.base="),
        (("vit", "blip2"), r"sources\.vit=.*sources\.blip2="),
        (("imagebind",), "together"),
    ],
)
def test_what_is_absent_is_named(official: dict[str, Path], tmp_path: Path, roles: tuple[str, ...], piece: str) -> None:
    with pytest.raises(Wrong, match=piece):
        vlframe.convert(official["source"], tmp_path / "ours", sources=without(official, *roles), format="videollama")


def test_a_block_too_many_is_refused(official: dict[str, Path], tmp_path: Path) -> None:
    torn = {name: value for name, value in saved(official["source"]).items() if "layer.1.crossattention" not in name}
    torch.save({"model": torn}, tmp_path / "VL_torn.pth")
    with pytest.raises(Wrong, match="missing: video_Qformer"):
        vlframe.convert(tmp_path / "VL_torn.pth", tmp_path / "ours", sources=without(official, "imagebind", "audio"))


# --- training ---

PATHS = {
    "1": ["parts.0.path=a.csv", "parts.1.path=b/filter_cap.json"],
    "2": ["parts.0.path=b/filter_cap.json", "parts.1.path=c.json", "parts.2.path=d.json"],
}


@pytest.mark.parametrize(
    ("name", "steps", "batch", "lr", "end", "warmup", "caption"),
    [
        ("vl1", 12500, 256, 1e-4, 8e-5, 2500, 32),
        ("vl2", 3000, 32, 3e-5, 1e-5, 1000, 320),
        ("al1", 25000, 256, 1e-4, 8e-5, 5000, 32),
        ("al2", 3000, 32, 3e-5, 1e-5, 400, 512),
    ],
)
def test_the_official_numbers_are_carried(
    registry, name: str, steps: int, batch: int, lr: float, end: float, warmup: int, caption: int
) -> None:
    paths = [f"stages.{name}.data.{path}" for path in PATHS[name[-1]]]
    config = compose("train", [f"experiment=videollama/{name}", *paths], registry)
    stage = config.stages[name]
    assert (stage.steps, stage.batch_size * config.trainer.devices, stage.lr) == (steps, batch, lr)
    assert stage.lr * stage.final_lr_ratio == pytest.approx(end)
    assert stage.lr * stage.warmup_start_ratio == pytest.approx(1e-6)
    assert (stage.warmup_steps, stage.weight_decay, tuple(stage.betas)) == (warmup, 0.05, (0.9, 0.999))
    assert config.processor["caption_tokens"] == caption and config.media.frames == 8
    assert config.encoder["name"] == ("eva_vit_g" if name.startswith("vl") else "imagebind_vision")
    assert config.media.sampler["name"] == ("headtail" if name.endswith("1") else "videollama")
    assert [part.get("weight") for part in stage.data["parts"]][:2] == ([100, 24] if name[-1] == "1" else [None, None])


VISUAL = [
    "connector.video_query_tokens", "connector.frame_position.weight", "connector.video_qformer.*",
    "connector.projection.*",
]  # fmt: skip


def test_the_twin_of_the_branch_that_sees(tmp_path: Path, registry) -> None:
    words = [*small("videollama/vl2", "videollama_tiny", {"vl2": "motionqa_few"}), "stages.vl2.warmup_steps=1"]
    run = check_recipe(words, {"vl2": VISUAL}, tmp_path, registry)
    write_clip(tmp_path, ClipSpec("clip.mp4"))
    check_answers(run, tmp_path / "clip.mp4", registry)
    vlframe.export(run.path, tmp_path / "official", format="videollama", registry=registry)
    names = set(saved(tmp_path / "official" / "VL.pth"))
    assert {"llama_proj.weight", "video_query_tokens"} <= names and not any(name.startswith("Q") for name in names)


def test_the_twin_of_the_branch_that_hears(tmp_path: Path, registry) -> None:
    words = small("videollama/al1", "videollama_audio_training_tiny", {"al1": "motionqa_few"})
    run = check_recipe([*words, "stages.al1.warmup_steps=1"], {"al1": ["connector.*"]}, tmp_path, registry)
    vlframe.export(run.path, tmp_path / "official", format="videollama", registry=registry)
    assert set(saved(tmp_path / "official" / "AL.pth")) >= {"audio_llama_proj.weight", "audio_query_tokens"}
