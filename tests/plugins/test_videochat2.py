"""VideoChat2 beside the official code: recorded numbers, frames, data, checkpoints, its stages."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.clips import ClipSpec, write_clip
from helpers.recipes import check_answers, check_recipe, tensors
from helpers.twins import small
from safetensors.torch import load_file
from vlframe_videochat2 import dataset
from vlframe_videochat2.checkpoint_format import Format
from vlframe_videochat2.replay import write_language_model, write_official
from vlframe_videochat2.sampler import Sampler

import vlframe
from vlframe import DataError, Media, MediaError, VideoInfo
from vlframe import WeightsError as Wrong
from vlframe.composer.compose import compose
from vlframe.config.schema import part_settings
from vlframe.contracts.grids import TYPICAL
from vlframe.conversion.verify import verify
from vlframe.model.adapters import alpha_of
from vlframe.model.assemble import compose_on_meta
from vlframe.runs.checkpoint import checkpoints

PRIOR = Path(__file__).parents[1] / "recordings" / "prior"
RECORDINGS = [PRIOR / "videochat2.safetensors", PRIOR / "videochat2_hd.safetensors"]
TABLES = json.loads((PRIOR / "frame_sampling.json").read_text())["tables"]
TOLERANCE = 2e-5


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_recorded_outputs_are_met(recording: Path, registry) -> None:
    (found,) = verify([str(recording)], registry=registry)
    outputs = [name for name in load_file(recording) if name.startswith("out/")]
    assert found.compared >= len(outputs) and found.passed, found.rows
    assert max(row.difference for row in found.rows) < TOLERANCE


# --- frames ---


def asked(
    frames: int, count: int, *, training: bool = False, seed: int = 0, fps: float = 25.0, **bounds: Any
) -> list[int]:
    info, generator = VideoInfo(count, fps, 64, 48, False), np.random.default_rng(seed)
    given = {"skip_last": bounds.pop("skip_last", True)}
    bounds = {"start": None, "end": None} | bounds
    return Sampler(frames=frames, **given).indices(info, **bounds, training=training, generator=generator)


def test_frames_of_questions_are_those_of_the_official_tables() -> None:
    for row in TABLES["videochat_chat_get_index"]:
        assert asked(row["n"], row["total"]) == row["indices"], row
    rows = [row for row in TABLES["mvbench_get_index"] if row["indices"] == sorted(row["indices"])]
    assert len(rows) >= 16
    for row in rows:
        start, end = row["bound"] or (None, None)
        assert asked(row["n"], row["max_frame"] + 1, fps=row["fps"], start=start, end=end) == row["indices"], row


def test_bounds_without_a_frame_are_refused() -> None:
    for training in (False, True):
        with pytest.raises(MediaError, match="no frame from start=9"):
            asked(8, 20, start=9.0, end=12.0, training=training)


@pytest.mark.parametrize("training", [False, True])
def test_bounds_where_the_rate_varies_are_the_frames_on_display(training: bool) -> None:
    times = (*[k / 2 for k in range(8)], *[4 + k / 20 for k in range(80)])
    info = VideoInfo(88, 11.0, 64, 48, False, times=times, end=8.0)
    for start, end in ((0.0, 4.0), (4.0, 8.0), (None, 4.0), (4.0, None)):
        found = Sampler(frames=4, skip_last=True).indices(
            info, start, end, training=training, generator=np.random.default_rng(0)
        )
        assert len(found) == 4 and all((start or 0) <= times[index] < (end or 8) for index in found), found


@pytest.mark.parametrize(("frames", "count"), [(8, 100), (8, 17), (4, 4), (8, 3), (1, 1), (8, 8)])
def test_training_draws_a_frame_of_each_part(frames: int, count: int) -> None:
    seen = [asked(frames, count, training=True, seed=seed) for seed in range(30)]
    borders = np.linspace(0, count, min(frames, count) + 1).astype(int)
    for indices in seen:
        drawn = indices[: len(borders) - 1]
        assert len(indices) == frames and indices == sorted(indices) and set(indices[len(drawn) :]) <= {drawn[-1]}
        if min(np.diff(borders)) > 1:
            assert all(low <= index < high - 1 for index, low, high in zip(drawn, borders, borders[1:], strict=False))
        else:
            assert len(set(drawn)) == len(drawn) and max(drawn) < count
    every = {asked(8, 100, training=True, seed=seed, skip_last=False)[-1] for seed in range(300)}
    assert 99 in every and max(indices[-1] for indices in seen) < count
    spans = [asked(4, 100, training=True, seed=seed, start=1.0, end=2.0) for seed in range(20)]
    assert {index for indices in spans for index in indices} <= set(range(25, 50))


# --- data ---

ROWS = [
    {"video": "a/1.mp4", "QA": [{"i": "Watch.", "q": "What is <image>?", "a": "A tag."}], "start": 1, "end": 2.5},
    {"image": "2.jpg", "QA": [{"i": "", "q": "", "a": "A tree."}]},
    {"QA": [{"i": "", "q": "Hello?", "a": "Hello."}]},
    {"video": "3.mp4", "QA": [{"i": f"i{n}", "q": f"q{n}", "a": f"a{n}"} for n in range(6)]},
]


def file_of(folder: Path, content: Any, name: str = "rows.json") -> str:
    (folder / name).write_text(json.dumps(content))
    return str(folder / name)


def test_the_official_layouts_become_samples(tmp_path: Path) -> None:
    captions = [{"video": "5.mp4", "caption": "a cat"}, {"image": "6.jpg", "caption": "a <video>"}]
    data = dataset.Mixture(parts=[
        {"layout": "videochat2_qa", "path": file_of(tmp_path, ROWS)},
        {"layout": "videochat2_captions", "path": file_of(tmp_path, captions, "captions.json")},
    ])  # fmt: skip
    assert [(part.start, part.stop, part.weight) for part in data.subsets] == [(0, 4, 4), (4, 6, 2)]
    clip, tree, talk, many, cat, word = (data[number] for number in range(len(data)))
    assert clip.media == (Media("video", tmp_path / "a" / "1.mp4", 1.0, 2.5),)
    assert [(turn.role, turn.text) for turn in clip.turns] == [
        ("system", "Watch."), ("user", "<video>\nWhat is \\<image>?"), ("assistant", "A tag."),
    ]  # fmt: skip
    assert tree.turns[0].text == "<image>\n" and tree.media[0].kind == "image" and not talk.media
    asks = [turn.text for turn in many.turns if turn.role == "user"]
    assert sorted(asks, key=lambda words: words[-1]) != asks and asks[0].startswith("<video>\nq")
    assert many.turns[0].text == f"i{asks[0][-1]}" and data[3] == many and many.turns[-1].text == f"a{asks[-1][-1]}"
    plain = dataset.Instructions(path=str(tmp_path / "rows.json"), media_root=None, shuffle=False)
    assert [turn.text[-2:] for turn in plain[3].turns if turn.role == "user"] == [f"q{n}" for n in range(6)]
    assert cat.category == "caption" and cat.answer == "a cat" and word.turns[1].text == "a <video>"
    entries = list(dataset.Mixture.entries(parts=[{"layout": "videochat2_qa", "path": str(tmp_path / "rows.json")}]))
    assert len(entries) == 4 and all(entry.sample is not None and not entry.problems for entry in entries)


@pytest.mark.parametrize(
    ("row", "piece"),
    [
        ({"video": "1.mp4", "image": "1.jpg", "QA": ROWS[1]["QA"]}, "video and image"),
        ({"video": "1.mp4", "QA": []}, "list of questions"),
        ({"video": "1.mp4", "QA": [{"q": "?"}]}, "'a' among them"),
        ({"video": "1.mp4", "QA": [{"q": 3, "a": "x"}]}, "'q' must be text"),
        ({"video": "1.mp4", "QA": ROWS[1]["QA"], "start": "0", "end": 1}, "number of seconds"),
        ({"video": "1.mp4", "QA": ROWS[1]["QA"], "fps": 1}, "this has video, QA, fps"),
        ({"video": " ", "QA": ROWS[1]["QA"]}, "'video' is text"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: Any, piece: str) -> None:
    data = dataset.Instructions(path=file_of(tmp_path, [ROWS[1], row]), media_root=None, shuffle=True)
    with pytest.raises(DataError, match=r"row 2: ") as caught:
        data[1]
    assert piece in str(caught.value)


# --- checkpoints ---

Files = tuple[Path, dict[str, Path]]


def official(folder: Path, name: str) -> Files:
    said = json.loads((PRIOR / f"{name}.json").read_text())["config"]
    return write_official(folder, said, load_file(PRIOR / f"{name}.safetensors"))


def with_adapters(
    files: Files, layers: tuple[str, ...] = ("self_attn.q_proj", "self_attn.v_proj")
) -> dict[str, torch.Tensor]:
    """Low-rank adapters and buffers in a file of stage 3, as peft names them; and everything else of the model."""
    source, sources = files
    family = source.stem.split("_")[-2]
    state = torch.load(sources["vit_qformer"]) | torch.load(source)["model"]
    base = load_file(sources["base"] / "model.safetensors")
    for layer in layers:
        key = "lm_head" if layer == "lm_head" else f"model.layers.0.{layer}"
        rows, columns = base[f"{key}.weight"].shape
        wrapped = f"{family}_model.base_model.model.{key}"
        state[f"{wrapped}.lora_A.default.weight"] = torch.randn(4, columns)
        state[f"{wrapped}.lora_B.default.weight"] = torch.randn(rows, 4)
    buffer = f"{family}_model.base_model.model.model.layers.0.self_attn.rotary_emb.inv_freq"
    state[buffer] = torch.ones(2)
    torch.save({"model": state, "optimizer": {"state": {}}, "epoch": 2}, source)
    return state


def fates(folder: Path) -> dict[str, tuple[str, str, list[str]]]:
    about = json.loads((folder / "checkpoint_format.json").read_text())
    return {row["name"]: (row["became"], row["file"], row["replaced"]) for row in about["tensors"]}


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_files_lie_over_each_other_and_the_last_comes_back(tmp_path: Path) -> None:
    source, sources = official(tmp_path, "videochat2")
    first = torch.load(sources["vit_qformer"]) | {
        "vision_temp_embed": torch.ones(1, 4, 1, 32), "temp": torch.ones([]), "vision_proj.weight": torch.ones(2, 2),
        "qformer.cls.predictions.bias": torch.ones(3), "query_tokens": torch.ones(1, 5, 48),
    }  # fmt: skip
    torch.save(first, sources["vit_qformer"])
    vlframe.convert(source, tmp_path / "ours", sources=sources)
    found = fates(tmp_path / "ours")
    under, over = "vit_qformer:umt_l16_qformer.pth", f"source:{source.name}"
    assert found["query_tokens"] == ("loaded", over, [under]) and found["llama_proj.bias"] == ("loaded", over, [])
    assert found["vision_encoder.encoder.blocks.0.attn.qkv.weight"] == ("loaded", under, [])
    assert found["vision_temp_embed"][0] == found["temp"][0] == found["qformer.cls.predictions.bias"][0] == "unused"
    assert found["qformer.bert.embeddings.position_ids"] == ("buffer", under, [])
    connector = vlframe.load(tmp_path / "ours", device="cpu").model.parts["connector"]
    assert torch.equal(connector.query_tokens, torch.load(source)["model"]["query_tokens"])
    assert vlframe.export(tmp_path / "ours", tmp_path / "back") == "videochat2"
    same(torch.load(tmp_path / "back" / source.name)["model"], torch.load(source)["model"])
    assert json.loads((tmp_path / "back" / "sizes.json").read_text())["connector"] == 4


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("videochat2", ("self_attn.q_proj", "self_attn.v_proj")),
        ("videochat2_hd", ("self_attn.o_proj", "mlp.up_proj", "lm_head")),
    ],
)
def test_adapters_of_stage_3_and_4_are_read_and_come_back(tmp_path: Path, name: str, layers: tuple[str, ...]) -> None:
    files = official(tmp_path, name)
    state = with_adapters(files, layers)
    source, sources = files
    vlframe.convert(source, tmp_path / "ours", sources={"sizes": sources["sizes"], "base": sources["base"]})
    assert all(file == f"source:{source.name}" for _, file, _ in fates(tmp_path / "ours").values())
    chat = vlframe.load(tmp_path / "ours", device="cpu")
    lora = chat.pipeline.config.stages["converted"].llm.lora
    assert (lora.rank, lora.alpha, len(lora.targets)) == (4, 32.0, len(layers))
    adapted = {key for key, _ in chat.model.llm.named_parameters() if "lora_A" in key}
    assert len(adapted) == len(layers)
    vlframe.export(tmp_path / "ours", tmp_path / "back")
    same(torch.load(tmp_path / "back" / source.name)["model"], state)


def test_an_hd_file_is_asked_in_tiles(tmp_path: Path) -> None:
    source, sources = official(tmp_path, "videochat2_hd")
    vlframe.convert(source, tmp_path / "hd", sources=sources)
    config = vlframe.load(tmp_path / "hd", device="cpu").pipeline.config
    assert config.pixels["name"] == "tiles" and config.pixels["arithmetic"] == "float"
    assert config.encoder["colours"] == "imagenet" and config.processor["template"] == "mistral"
    plain = source.rename(source.with_name("videochat2_mistral_7b_stage3.pth"))
    vlframe.convert(plain, tmp_path / "plain", sources=sources)
    config = vlframe.load(tmp_path / "plain", device="cpu").pipeline.config
    assert config.pixels["name"] == "centre_crop" and config.encoder["colours"] == "clip"
    assert config.processor["time_stamps"] == "never" and config.media.frames == 16


def test_stage_2_begins_with_the_file_of_the_first(tmp_path: Path) -> None:
    _, sources = official(tmp_path, "videochat2")
    source = sources.pop("vit_qformer")
    vlframe.convert(source, tmp_path / "ours", sources=sources)
    connector = vlframe.load(tmp_path / "ours", device="cpu").model.parts["connector"]
    assert connector.extra_query_tokens.shape[1] == 64 and not connector.extra_query_tokens.any()
    assert connector.projection.weight.shape == (40, 48) and 0 < connector.projection.weight.abs().max() < 0.2
    vlframe.export(tmp_path / "ours", tmp_path / "back")
    assert {"extra_query_tokens", "llama_proj.bias"} <= set(torch.load(tmp_path / "back" / "videochat2.pth")["model"])


def test_what_is_absent_or_of_another_model_is_named(tmp_path: Path) -> None:
    source, sources = official(tmp_path, "videochat2")
    for roles, piece in ((("base",), r"sources\.base="), (("vit_qformer",), r"sources\.vit_qformer=")):
        given = {role: path for role, path in sources.items() if role not in roles}
        with pytest.raises(Wrong, match=piece):
            vlframe.convert(source, tmp_path / "ours", sources=given)
    write_language_model(tmp_path / "other", "mistral", 40)
    with pytest.raises(Wrong, match=r"before llama, and sources\.base is a mistral"):
        vlframe.convert(source, tmp_path / "ours", sources=sources | {"base": tmp_path / "other"})
    sources["sizes"].write_text(json.dumps({"depth": 3}))
    with pytest.raises(Wrong, match=r"sources\.sizes has"):
        vlframe.convert(source, tmp_path / "ours", sources=sources)
    sources["sizes"].write_text(json.dumps({"encoder": 4, "connector": 4}))
    state = torch.load(source)["model"] | {"qformer.bert.pooler.dense.weight": torch.ones(1)}
    torch.save({"model": state}, source)
    with pytest.raises(Wrong, match=r"unexpected: qformer\.bert\.pooler"):
        vlframe.convert(source, tmp_path / "ours", sources=sources)
    assert not Format().recognises(tmp_path / "model.pth") and Format().recognises(source)


# --- training ---


@pytest.mark.parametrize(
    ("name", "batch", "lr", "end", "epochs", "climb", "frames", "parts"),
    [
        ("stage2", 4, 1e-4, 0.01, 1, 0.2, 8, 7),
        ("stage2_mistral", 16, 1e-4, 0.01, 1, 0.2, 4, 2),
        ("stage2_phi3", 20, 1e-4, 0.01, 1, 0.2, 4, 2),
        ("stage3", 4, 2e-5, 0.25, 3, 0.2, 8, 36),
        ("stage3_mistral", 4, 2e-5, 0.25, 3, 0.2, 8, 37),
        ("stage3_phi3", 8, 2e-5, 0.25, 3, 0.2, 8, 37),
        ("stage4_hd", 3, 1e-5, 0.01, 1, 0.0, 8, 51),
    ],
)
def test_the_official_numbers_are_carried(
    registry, name: str, batch: int, lr: float, end: float, epochs: int, climb: float, frames: int, parts: int
) -> None:
    config = compose("train", [f"experiment=videochat2/{name}"], registry)
    stage = config.stages[name.split("_")[0]]
    assert (stage.batch_size, stage.lr, stage.final_lr_ratio, stage.epochs) == (batch, lr, end, epochs)
    assert (stage.warmup_ratio, stage.weight_decay, tuple(stage.betas)) == (climb, 0.02, (0.9, 0.999))
    assert (stage.schedule, stage.max_grad_norm, config.media.frames) == ("cosine_floor", 0, frames)
    assert len(stage.data["parts"]) == parts and config.connector["text"] == (not name.startswith("stage2"))
    modes = {part: settings.train for part, settings in part_settings(stage).items()}
    assert config.connector["drop_path"] == 0.2 and modes["encoder"] == modes["connector"] == "full"
    if name.startswith("stage2"):
        assert modes["llm"] == "frozen" and config.processor["caption_tokens"] == (512 if name == "stage2" else 32)
        return
    assert (stage.llm.lora.rank, alpha_of(stage.llm.lora), stage.llm.lora.dropout) == (16, 32, 0.1)
    assert len(stage.llm.lora.targets) == (8 if config.llm["architecture"]["model_type"] == "mistral" else
                                           2 if name == "stage3" else 3)  # fmt: skip
    assert config.processor["text_tokens"] == 512


@pytest.mark.parametrize(
    ("model", "tokens"), [("vicuna_7b", {96}), ("mistral_7b", {96}), ("phi3", {96}), ("hd", {288, 480, 672})]
)
def test_a_plan_has_the_official_counts(registry, model: str, tokens: set[int]) -> None:
    config = compose("train", [f"model=videochat2_{model}"], registry)
    branch = compose_on_meta(config, registry).model.branches["video"]
    found = set()
    for frames, kind in ((16, "video"), (1, "image")):
        for size in TYPICAL:
            layout = branch.front_end.layout(*size, frames)
            shape = (frames * layout.tiles, 3, layout.height, layout.width)
            found.add(branch.tokens(kind, shape, layout.tiles))
            assert branch.tokens(kind, shape, layout.tiles) == 96 * layout.tiles
    assert found == tokens


QUERIES = [
    "encoder.*", "connector.query_tokens", "connector.extra_query_tokens", "connector.projection.*",
    "connector.qformer.embeddings.layernorm.*", "connector.qformer.encoder.layer.?.*attention.*",
    "connector.qformer.encoder.layer.?.intermediate_query.*", "connector.qformer.encoder.layer.?.output_query.*",
]  # fmt: skip
# What the last layer makes of the instruction is not used: its biases and norm have no gradient, its weights decay.
READS = [
    "encoder.*", "connector.query_tokens", "connector.extra_query_tokens", "connector.projection.*",
    "connector.qformer.embeddings.*", "connector.qformer.encoder.layer.0.*", "connector.qformer.*attention*",
    "connector.qformer.*_query.*", "connector.qformer.encoder.layer.1.*.dense.weight",
]  # fmt: skip
FAST = ["trainer.precision=32", "trainer.gradient_checkpointing=false"]


def exported(run: Any, folder: Path, registry: Any) -> set[str]:
    vlframe.export(run.path, folder, format="videochat2", registry=registry)
    return set(torch.load(folder / "videochat2.pth")["model"])


def test_the_twins_of_all_stages(tmp_path: Path, registry) -> None:
    """With Mistral, each from the run of the one before."""
    model, before = "videochat2_mistral_tiny", []
    names: dict[str, set[str]] = {}
    runs: list[dict[str, torch.Tensor]] = []
    for name, stage, learns in (
        ("stage2_mistral", "stage2", QUERIES),
        ("stage3_mistral", "stage3", [*READS, "llm.*.lora_*"]),
        ("stage4_hd", "stage4", [*READS, "llm.*.lora_*", "llm.*proj.weight", "llm.*lm_head.weight"]),
    ):
        model = "videochat2_hd_tiny" if stage == "stage4" else model
        own = ["connector=qformer_instruct_tiny", "connector.text=false"] if stage == "stage2" else []
        words = small(f"videochat2/{name}", model, {stage: "motionqa_few"}, *FAST, *own, *before)
        folder = tmp_path / stage
        folder.mkdir()
        run = check_recipe([*words, f"stages.{stage}.warmup_ratio=0.1"], {stage: learns}, folder, registry)
        before, names[stage] = [f"init.run={run.path}"], exported(run, folder / "official", registry)
        assert (folder / "official" / "language_model").is_dir() == (stage != "stage2")
        runs.append(tensors(checkpoints(run)[-1]))
    # Stage 4 starts from the language model with the adapters of stage 3 merged, which is what it differs by.
    for layer in ("lm_head", "model.layers.1.mlp.up_proj"):
        low_A, low_B = (runs[1][f"llm.lm.{layer}.lora_{matrix}.default.weight"] for matrix in "AB")
        merged = runs[0][f"llm.lm.{layer}.weight"] + 2.0 * low_B @ low_A
        torch.testing.assert_close(runs[2][f"llm.lm.{layer}.weight"], merged, atol=1e-6, rtol=0)
    assert names["stage2"] == names["stage4"] and "mistral_proj.weight" in names["stage4"]
    write_clip(tmp_path, ClipSpec("clip.mp4"))
    check_answers(run, tmp_path / "clip.mp4", registry)


@pytest.mark.slow
def test_the_twin_with_vicuna(tmp_path: Path, registry) -> None:
    words = small("videochat2/stage3", "videochat2_tiny", {"stage3": "motionqa_few"}, *FAST)
    learns = {"stage3": [*READS, "llm.*q_proj.lora_*", "llm.*v_proj.lora_*"]}
    run = check_recipe([*words, "stages.stage3.warmup_ratio=0.1"], learns, tmp_path, registry)
    write_clip(tmp_path, ClipSpec("clip.mp4"))
    check_answers(run, tmp_path / "clip.mp4", registry)
    assert "llama_proj.weight" in exported(run, tmp_path / "official", registry)
