"""VideoChat beside the official code: recorded numbers, frames, data, checkpoints, its two stages."""

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
from PIL import Image
from safetensors.torch import load_file
from vlframe_pixels.centre_crop import CentreCrop
from vlframe_videochat import dataset, layout, sizes
from vlframe_videochat.processor import Processor
from vlframe_videochat.sampler import Sampler, equal_parts

import vlframe
from vlframe import ConfigError, DataError, Media, SquarePixels, Timeline, VideoInfo
from vlframe import WeightsError as Wrong
from vlframe.composer.compose import compose
from vlframe.conversion.verify import verify
from vlframe.model.assemble import compose_on_meta, typical_tokens

PRIOR = Path(__file__).parents[1] / "recordings" / "prior"
RECORDING = PRIOR / "videochat1.safetensors"
ALL = Path(os.environ.get("VLFRAME_PRIOR_RECORDINGS", "../shared/goldens/prior"))
MORE = [
    pytest.param(path, id=path.stem, marks=pytest.mark.slow) for path in sorted(ALL.glob("videochat1_*.safetensors"))
]
CENTRE: dict[str, Any] = {"training_mean": None, "training_std": None, "training_area": None, "mirror": 0.0}


@pytest.mark.parametrize("recording", [RECORDING, *MORE], ids=lambda path: path.stem)
def test_recorded_outputs_are_met(recording: Path, registry) -> None:
    (found,) = verify([str(recording)], registry=registry)
    assert found.compared == 5 and found.passed, found.rows


# --- frames ---


def asked(sampler: Any, count: int, *, training: bool = False, seed: int = 0) -> list[int]:
    info = VideoInfo(count, 25.0, 64, 48, False)
    return sampler.indices(info, None, None, training=training, generator=np.random.default_rng(seed))


def sampler(frames: int, **changes: Any) -> Sampler:
    return Sampler(**({"frames": frames, "inference": "distances", "skip_last": True} | changes))


@pytest.mark.parametrize(
    ("table", "choice"), [("videochat_chat_get_index", "distances"), ("videochat_middle", "middle")]
)
def test_frames_are_those_of_the_official_tables(table: str, choice: str) -> None:
    rows = json.loads((PRIOR / "frame_sampling.json").read_text())["tables"][table]
    assert len(rows) > 5
    for row in rows:
        assert asked(sampler(row["n"], inference=choice), row["total"]) == row["indices"], row


@pytest.mark.parametrize(("frames", "count"), [(8, 100), (4, 17), (4, 9), (8, 16), (1, 2)])
def test_training_draws_a_frame_of_each_part_but_never_its_last(frames: int, count: int) -> None:
    parts = equal_parts(count, frames)
    seen = [asked(sampler(frames), count, training=True, seed=seed) for seed in range(60)]
    for indices in seen:
        assert all(first <= index < last for index, (first, last) in zip(indices, parts, strict=True))
    for number, (first, last) in enumerate(parts):
        assert {indices[number] for indices in seen} == set(range(first, last)) or last - first > 8
    whole = [asked(sampler(frames, skip_last=False), count, training=True, seed=seed) for seed in range(60)]
    assert any(index == last for indices in whole for index, (_, last) in zip(indices, parts, strict=True))
    assert asked(sampler(frames), count, training=True, seed=3) == seen[3]


def test_parts_of_one_frame_are_drawn_from_the_whole_clip() -> None:
    """Three parts of nine frames in eight have one frame each: officially a range without its end is empty."""
    seen = [asked(sampler(8), 9, training=True, seed=seed) for seed in range(40)]
    assert all(len(set(indices)) == 8 and indices == sorted(indices) for indices in seen)
    assert {index for indices in seen for index in indices} == set(range(9))


def test_a_short_clip_repeats_its_last_choice() -> None:
    indices = asked(sampler(8), 3, training=True)
    assert indices == [0, 1, 2, 2, 2, 2, 2, 2] and len(asked(sampler(8), 3)) == 8
    with pytest.raises(ConfigError, match="distances, middle"):
        sampler(8, inference="first")


# --- pictures ---


def test_frames_are_cropped_as_recorded() -> None:
    recorded = load_file(PRIOR / "image_transforms.safetensors")
    size = json.loads((PRIOR / "image_transforms.json").read_text())["config"]["size"]
    own = SquarePixels(size, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    front_end = CentreCrop(own=own, training_area=None, mirror=0.0, **sizes.COLOURS)
    for number in range(2):
        frames_TCYX = front_end.prepare(recorded[f"in/frames{number}_thwc"].numpy())
        theirs = recorded[f"out/videochat_eval{number}"].unflatten(0, (-1, 3))
        torch.testing.assert_close(front_end.normalise(frames_TCYX), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("crop", [False, True])
def test_pictures_of_questions_are_squashed(tmp_path: Path, crop: bool) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)).save(tmp_path / "a.png")
    own = SquarePixels(16, (0.5,) * 3, (0.5,) * 3, "bicubic", "crop")
    front_end = CentreCrop(own=own, **CENTRE) if crop else own
    timeline = Timeline(Media("image", tmp_path / "a.png"), layout=front_end.layout(30, 50))
    source: Any = SimpleNamespace(front_end=front_end, reader=None, training=False)
    squashed = np.asarray(Image.open(tmp_path / "a.png").resize((16, 16), Image.Resampling.BICUBIC))
    found = Processor().read(timeline, source)
    assert found is not None and np.array_equal(found[0].permute(1, 2, 0).numpy(), squashed)
    assert Processor(images="encoder").read(timeline, source) is None
    assert Processor().read(Timeline(Media("video", tmp_path / "a.mp4")), source) is None
    source.training = True
    assert Processor().read(timeline, source) is None


# --- data ---

ROWS = [{"video": "1.mp4", "QA": [{"q": "What is <image>?", "a": "A tag."}, {"q": "Sure?", "a": "Yes."}]}]
PICTURES = [{"image": "a/1.jpg", "QA": [{"q": "What?", "a": "A dog."}]}] * 2
CAPTIONS = [{"video": "1.mp4", "caption": "A dog."}]


def file_of(folder: Path, name: str, rows: Any) -> str:
    (folder / name).write_text(json.dumps(rows))
    return str(folder / name)


def test_the_official_layouts_become_samples(tmp_path: Path) -> None:
    parts = [
        {"layout": "videochat_qa", "path": file_of(tmp_path, "qa.json", ROWS)},
        {"layout": "videochat_qa", "path": file_of(tmp_path, "pictures.json", PICTURES), "kind": "image"},
        {"layout": "videochat_captions", "path": file_of(tmp_path, "captions.json", CAPTIONS)},
    ]
    data = dataset.Mixture(parts=parts)
    assert [(part.start, part.stop, part.weight) for part in data.subsets] == [(0, 1, 1), (1, 3, 2), (3, 4, 1)]
    asks, picture, _, caption = (data[number] for number in range(len(data)))
    assert [turn.text for turn in asks.turns] == ["<video>\nWhat is \\<image>?", "A tag.", "Sure?", "Yes."]
    assert asks.media == (Media("video", tmp_path / "1.mp4"),) and not asks.category
    assert picture.media == (Media("image", tmp_path / "a" / "1.jpg"),) and picture.turns[0].text == "<image>\nWhat?"
    assert caption.category == "caption" and caption.answer == "A dog." and caption.turns[0].text == "<video>"
    assert all(not entry.problems for entry in dataset.Mixture.entries(parts=parts))


@pytest.mark.parametrize(
    ("cls", "row", "piece"),
    [
        (dataset.QA, {"image": "1.jpg", "QA": []}, "video, QA"),
        (dataset.QA, {"video": "1.mp4", "QA": {}}, "a list of questions"),
        (dataset.QA, {"video": "1.mp4", "QA": [{"q": "?", "a": 3}]}, "'a' is text"),
        (dataset.Captions, {"video": "1.mp4", "caption": " "}, "'caption' is text"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, cls: Any, row: Any, piece: str) -> None:
    good = ROWS if cls is dataset.QA else CAPTIONS
    given = {"path": file_of(tmp_path, "rows.json", [*good, row]), "media_root": None, "kind": "video"}
    with pytest.raises(DataError, match=r"row 2: ") as caught:
        cls(**given)[1]
    entries = list(cls.entries(**given))
    assert piece in str(caught.value) and entries[0].sample is not None and piece in entries[1].problems[0].text
    with pytest.raises(ConfigError, match="video or image"):
        cls(**given | {"kind": "sound"})


# --- checkpoints ---


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files, with what the released ones hold beside: a map of patches of one frame, buffers, t5_proj."""
    folder = tmp_path_factory.mktemp("official")
    recorded = load_file(RECORDING)
    state = {name.removeprefix("w/"): value for name, value in recorded.items() if name.startswith("w/")}
    source, sources = layout.write(folder, state, {"encoder": 4, "connector": 4}, 40)
    vit = torch.load(sources["vit"])
    vit["patch_embed.proj.weight"] = vit["patch_embed.proj.weight"][:, :, 0]
    torch.save(vit | {"norm.weight": torch.ones(3)}, sources["vit"])
    torch.save({"model": torch.load(sources["blip2"])["model"] | {"t5_proj.bias": torch.ones(3)}}, sources["blip2"])
    own = torch.load(source)["model"] | {"Qformer.bert.embeddings.position_ids": torch.arange(9)[None]}
    torch.save({"model": own, "epoch": 2, "optimizer": {"state": {}}}, source)
    return {"source": source, **sources}


def others(files: dict[str, Path], *without: str) -> dict[str, Path]:
    return {role: path for role, path in files.items() if role not in ("source", *without)}


def saved(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=True)["model"]


def test_the_file_comes_back_bit_for_bit(official: dict[str, Path], tmp_path: Path) -> None:
    vlframe.convert(official["source"], tmp_path / "ours", sources=others(official))
    about = json.loads((tmp_path / "ours" / "checkpoint_format.json").read_text())
    fates = {row["name"]: (row["became"], row["file"], row["replaced"]) for row in about["tensors"]}
    assert fates["ln_vision.bias"] == ("loaded", "source:videochat.pth", ["blip2:blip2_pretrained_flant5xxl.pth"])
    assert fates["t5_proj.bias"][0] == fates["visual_encoder.norm.weight"][0] == "unused"
    assert fates["Qformer.bert.embeddings.position_ids"][0] == "buffer"
    assert fates["visual_encoder.patch_embed.proj.weight"][:2] == ("loaded", "vit:eva_vit_g.pth")
    vlframe.export(tmp_path / "ours", tmp_path / "back")
    ours, theirs = saved(tmp_path / "back" / "videochat.pth"), saved(official["source"])
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert json.loads((tmp_path / "back" / "sizes.json").read_text())["connector"] == 4
    pipeline = vlframe.load(tmp_path / "ours", device="cpu")
    assert pipeline.model.branches["video"].pixels.trained.mean == (0.485, 0.456, 0.406)
    weight = pipeline.model.parts["encoder"].visual_encoder.patch_embed.proj.weight
    assert torch.equal(weight[:, :, 0], torch.load(official["vit"])["patch_embed.proj.weight"])


def test_training_begins_with_blip2(official: dict[str, Path], tmp_path: Path) -> None:
    """What no file holds is drawn as officially: the token of all frames, the further queries and last maps are 0."""
    (tmp_path / "sizes.json").write_text('{"encoder": 4, "connector": 4, "halve_frames": true}')
    sources = others(official, "blip2") | {"sizes": tmp_path / "sizes.json"}
    vlframe.convert(official["blip2"], tmp_path / "ours", sources=sources, format="videochat")
    parts = vlframe.load(tmp_path / "ours", device="cpu").model.parts
    tower, connector = parts["encoder"].visual_encoder, parts["connector"]
    assert len(tower.gmhra) == 4 and connector.tokens(None) == 5 + 64
    for zero in (tower.gmhra_cls_token, connector.extra_query_tokens, tower.gmhra[0].mlp["c_proj"].weight):
        assert not zero.any()
    assert tower.gmhra[0].mlp["c_fc"].weight.any() and connector.projection.weight.std() > 0.01
    weight = tower.patch_embed.proj.weight
    assert weight.shape[2] == 3 and not weight[:, :, (0, 2)].any() and weight[:, :, 1].any()


def test_a_further_block_is_left_out_and_other_files_are_not_ours(official: dict[str, Path], tmp_path: Path) -> None:
    from vlframe_videochat.checkpoint_format import Format

    found = {name: Format().recognises(Path(name)) for name in (
        "videochat_7b_stage1.pth", "videochat.pth", "videochat2_7b_stage3.pth", "VL.pth", "videochat",
    )}  # fmt: skip
    assert [name for name, ours in found.items() if ours] == ["videochat_7b_stage1.pth", "videochat.pth"]
    torn = {name: value for name, value in saved(official["source"]).items() if "gmhra.1.attn" not in name}
    torch.save({"model": torn}, tmp_path / "videochat.pth")
    with pytest.raises(Wrong, match=r"missing: visual_encoder\.gmhra"):
        vlframe.convert(tmp_path / "videochat.pth", tmp_path / "ours", sources=others(official))


@pytest.mark.parametrize(
    ("roles", "piece"),
    [(("base",), r"sources\.base="), (("vit", "base"), r"sources\.vit="), (("blip2",), r"sources\.blip2=")],
)
def test_what_is_absent_is_named(official: dict[str, Path], tmp_path: Path, roles: tuple[str, ...], piece: str) -> None:
    with pytest.raises(Wrong, match=piece):
        vlframe.convert(official["source"], tmp_path / "ours", sources=others(official, *roles))


@pytest.mark.parametrize("said", [{"llm": 4}, {"encoder": 0}, {"halve_frames": 1}, {"connector": True}])
def test_sizes_that_cannot_be_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(Wrong, match="attention heads"):
        sizes.hidden(said)


def test_what_divides_a_width_is_found() -> None:
    for width, narrow in ((44, 22), (1408, 704), (36, 24), (100, 33), (7, 7)):
        assert int(width // sizes.reduction(width, narrow)) == narrow and sizes.reduction(width, narrow) >= 1
    assert sizes.reduction(1408, 704) == 2.0


# --- training ---

LEARNS = [
    "encoder.visual_encoder.gmhra*", "encoder.ln_vision.*", "connector.extra_query_tokens", "connector.projection.*",
]  # fmt: skip
PATHS = {"stage1": 6, "stage2": 4}


@pytest.mark.parametrize(
    ("name", "frames", "batch", "epochs", "lr", "floor"),
    [("stage1", 4, 1024, 1, 1e-4, 1e-6), ("stage2", 8, 32, 3, 2e-5, 5e-6)],
)
def test_the_official_numbers_are_carried(
    registry, name: str, frames: int, batch: int, epochs: int, lr: float, floor: float
) -> None:
    paths = [f"stages.{name}.data.parts.{number}.path={number}.json" for number in range(PATHS[name])]
    config = compose("train", [f"experiment=videochat/{name}", *paths], registry)
    stage, trainer = config.stages[name], config.trainer
    assert stage.batch_size * trainer.devices * trainer.num_nodes == batch and stage.epochs == epochs
    assert (stage.lr, stage.lr * stage.final_lr_ratio, stage.schedule) == (lr, pytest.approx(floor), "cosine_floor")
    assert (stage.warmup_ratio, stage.weight_decay, tuple(stage.betas), stage.max_grad_norm) == (
        0.2, 0.02, (0.9, 0.999), 0,
    )  # fmt: skip
    assert config.media.frames == frames and config.seed == 42 and config.media.sampler["name"] == "videochat"
    assert config.pixels["training_mean"] == [0.485, 0.456, 0.406] and config.processor["bos"] == "number"
    assert (config.processor["text_tokens"], config.processor["caption_tokens"]) == (512, 32)
    assert config.encoder["global_layers"] == 8 and config.encoder["local"] == "none"


def clips(folder: Path) -> list[str]:
    """A mixture of two clips and a picture, with captions and with questions about them."""
    for number in range(2):
        write_clip(folder, ClipSpec(f"{number}.mp4"))
    Image.new("RGB", (40, 60), (200, 30, 30)).save(folder / "red.png")
    captions = [{"video": f"{number}.mp4", "caption": "a shape moves to the right"} for number in range(2)]
    talks = [{"image": "red.png", "QA": [{"q": "Which colour?", "a": "Red."}, {"q": "Sure?", "a": "Red, yes."}]}]
    talks_of_clips = [{"video": f"{number}.mp4", "QA": [{"q": "Where to?", "a": "Right."}]} for number in range(2)]
    made = {
        "captions.json": captions,
        "pictures.json": [{"image": "red.png", "caption": "a red wall"}],
        "clips.json": talks_of_clips,
        "talks.json": talks,
    }
    return [file_of(folder, name, rows) for name, rows in made.items()]


def test_the_twin_learns_through_both_stages(tmp_path: Path, registry) -> None:
    files = clips(tmp_path)
    parts = {
        "stage1": f"[{{layout: videochat_captions, path: {files[0]}}}, "
        f"{{layout: videochat_captions, path: {files[1]}, kind: image}}]",
        "stage2": f"[{{layout: videochat_qa, path: {files[2]}}}, "
        f"{{layout: videochat_qa, path: {files[3]}, kind: image}}]",
    }
    begun: list[str] = []
    for name, told in parts.items():
        given = [f"stages.{name}.data.parts={told}", "trainer.num_nodes=1", "trainer.precision=32", "media.frames=4"]
        words = [*small(f"videochat/{name}", "videochat_tiny", {name: "videochat"}), *given, *begun]
        run = check_recipe(words, {name: LEARNS}, tmp_path / name, registry)
        begun = [f"init.run={run.path}"]
    check_answers(run, tmp_path / "0.mp4", registry)
    vlframe.export(run.path, tmp_path / "official", format="videochat", registry=registry)
    held = set(saved(tmp_path / "official" / "videochat.pth"))
    starts = ("visual_encoder.gmhra", "ln_vision.", "extra_query_tokens", "llama_proj.")
    assert held and all(name.startswith(starts) for name in held) and "llama_proj.weight" in held


@pytest.mark.parametrize("model", ["videochat_7b", "videochat_13b"])
def test_a_plan_has_the_official_counts(registry, model: str) -> None:
    """96 tokens of a clip of 8 frames and of an image; LLaMA-7B's and 13B's parameters."""
    config = compose("train", [f"model={model}"], registry)
    composition = compose_on_meta(config, registry)
    for frames, kind in ((8, "video"), (1, "image")):
        assert typical_tokens(composition.budget, kind, frames) == 96
    billions = composition.parameters["llm"] / 1e9
    assert billions == pytest.approx(6.74 if model.endswith("7b") else 13.02, abs=0.01)
