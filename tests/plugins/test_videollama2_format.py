"""Official VideoLLaMA 2 checkpoints: recorded outputs, both ways, every form, and what is refused."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from helpers.runs import save_as_run
from helpers.twins import open_with_twins
from safetensors.torch import load_file, save_file
from vlframe_videollama2.recording import other_sources, write_official
from vlframe_videollama2.replay import verify

import vlframe
from vlframe.cli import main
from vlframe.composer.compose import compose, open_registry
from vlframe.data.collate import Collate
from vlframe.data.prepare import PreparedMedia, PreparedSample
from vlframe.errors import ConfigError, WeightsError
from vlframe.inference.pipeline import build_pipeline, load_run

SHIPPED = sorted((Path(__file__).parents[1] / "recordings" / "models").glob("*.safetensors"))
MORE = sorted(Path(os.environ.get("VLFRAME_RECORDINGS", "../shared/goldens/videollama2/models")).glob("*.safetensors"))
STEMS = [path.stem for path in SHIPPED]
RECORDINGS = [
    *(pytest.param(path, id=path.stem) for path in SHIPPED),
    *(pytest.param(path, id=path.stem, marks=pytest.mark.slow) for path in MORE if path.stem not in STEMS),
]
AV = next(path for path in SHIPPED if path.stem.startswith("av_"))
MAIN = next(path for path in SHIPPED if path.stem.startswith("main_"))


@pytest.mark.parametrize("recording", RECORDINGS)
def test_recorded_outputs_are_met(recording: Path) -> None:
    rows = list(verify(recording))
    compared = [row for row in rows if row.difference is not None]
    assert len(compared) > 20
    assert not [row for row in rows if not row.passed]
    for row in rows:
        if row.difference is None:  # said why, and never one of what the language model gives
            assert row.note and row.name.startswith(("vision/", "beats/"))


def test_verify_prints_every_tensor_and_fails_beyond_tolerance(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["verify", str(MAIN)]) == 0
    printed = capsys.readouterr().out
    recorded = load_file(MAIN)
    outputs = [name for name in recorded if name.startswith(("vision/", "case/")) and "/grad" not in name]
    inputs = ("/input_ids", "/attention_mask", "/labels")
    assert all(name in printed for name in outputs if not name.endswith(inputs))
    recorded["case/gen_text/logits"][0, 3, 7] += 1e-3
    save_file(recorded, tmp_path / "wrong.safetensors")
    (tmp_path / "wrong.json").write_text(MAIN.with_suffix(".json").read_text())
    assert main(["verify", str(tmp_path / "wrong.safetensors")]) == 1
    assert "TOO LARGE" in capsys.readouterr().out


def official(folder: Path, recording: Path = MAIN) -> Path:
    write_official(folder, json.loads(recording.with_suffix(".json").read_text()), load_file(recording))
    return folder


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    state = {}
    for file in folder.glob("model*.safetensors"):
        state |= load_file(file)
    for file in folder.glob("*.bin"):
        content = torch.load(file, weights_only=True)
        content = content["model"] if "cfg" in content else content
        state |= {f"{file.name}:{name}": tensor for name, tensor in content.items()}
    return state


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor), name


@pytest.mark.parametrize("recording", RECORDINGS)
def test_round_trip_is_bit_identical_key_for_key(recording: Path, tmp_path: Path) -> None:
    source = official(tmp_path / "official", recording)
    vlframe.convert(source, tmp_path / "ours", sources=other_sources(source))
    vlframe.export(tmp_path / "ours", tmp_path / "back")
    assert_same(state_of(tmp_path / "back"), state_of(source))
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == json.loads(
        (source / "config.json").read_text()
    )


def shard(folder: Path, pickled: bool) -> None:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, where = sorted(state), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"pytorch_model-0000{number}-of-00002.bin" if pickled else f"model-0000{number}-of-00002.safetensors"
        tensors = {name: state[name].clone() for name in part}
        torch.save(tensors, folder / file) if pickled else save_file(tensors, folder / file)
        where |= dict.fromkeys(part, file)
    index = "pytorch_model.bin.index.json" if pickled else "model.safetensors.index.json"
    (folder / index).write_text(json.dumps({"weight_map": where}))


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
def test_shards_are_read(pickled: bool, tmp_path: Path) -> None:
    whole = official(tmp_path / "whole")
    source = official(tmp_path / "shards")
    shard(source, pickled)
    vlframe.convert(source, tmp_path / "ours", sources=other_sources(source))
    vlframe.export(tmp_path / "ours", tmp_path / "back")
    assert_same(state_of(tmp_path / "back"), state_of(whole))


def language_model(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    """The language model of an official state, as a checkpoint of its own."""
    config = json.loads((folder / "config.json").read_text())
    base = folder.with_name("base_lm")
    base.mkdir()
    kept = {
        name: value for name, value in state.items() if not name.startswith(("model.vision", "model.mm", "model.au"))
    }
    save_file(
        {name: value.clone() for name, value in kept.items()}, base / "model.safetensors", metadata={"format": "pt"}
    )
    said = {name: value for name, value in config.items() if not name.startswith("mm_")} | {"model_type": "mistral"}
    if said.get("sliding_window"):
        said["sliding_window"] += 1
    (base / "config.json").write_text(json.dumps(said))
    return base


def tower(folder: Path, state: dict[str, torch.Tensor]) -> None:
    prefix = "model.vision_tower.vision_tower."
    kept = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    save_file({name: value.clone() for name, value in kept.items()}, folder / "model.safetensors", {"format": "pt"})


def logits(folder: Path) -> torch.Tensor:
    model = vlframe.load(folder, device="cpu").model.float()
    ids_BS = torch.arange(1, 13).reshape(2, 6)
    size = model.parts["encoder"].pixels.size
    pixels = torch.randint(0, 256, (8, 3, size, size), dtype=torch.uint8, generator=torch.manual_seed(0))
    count = model.branches["video"].tokens("video", (8, 3, size, size))
    rows = [
        PreparedSample(str(key), [-201] * count + words, [False] * (count + 6), (_media(pixels, key, count),))
        for key, words in enumerate(ids_BS.tolist())
    ]
    batch = Collate()(rows)
    with torch.no_grad():
        media_NE = model.connect(model.encode(batch.files), batch.uses)
        embeds_BSE = vlframe.place(model.llm.embed(batch.ids_BS), media_NE, batch.slots_N)
        return model.llm.logits(model.llm(embeds_BSE, batch.layout))


def _media(pixels: torch.Tensor, key: int, tokens: int) -> PreparedMedia:
    return PreparedMedia(vlframe.MediaFile("video", pixels, key), tokens)


def test_base_form(tmp_path: Path) -> None:
    """config.json and mm_projector.bin; tower and language model are checkpoints of their own."""
    whole = official(tmp_path / "whole")
    vlframe.convert(whole, tmp_path / "ours", sources=other_sources(whole))
    state = load_file(whole / "model.safetensors")
    source = official(tmp_path / "base_form")
    (source / "model.safetensors").unlink()
    torch.save({k: v for k, v in state.items() if ".mm_projector." in k}, source / "mm_projector.bin")
    tower(source / "vision", state)
    base = language_model(source, state)
    report = vlframe.convert(source, tmp_path / "mine", sources={"base": base, **other_sources(source)})
    assert {row.part: bool(row.source) for row in report} == {"encoder": True, "connector": False, "llm": True}
    assert sorted(p.stem for p in (tmp_path / "mine" / "checkpoints").glob("*/*.safetensors")) == ["connector"]
    torch.testing.assert_close(logits(tmp_path / "mine"), logits(tmp_path / "ours"), rtol=0, atol=0)
    vlframe.export(tmp_path / "mine", tmp_path / "back", format="videollama2")
    assert_same(state_of(tmp_path / "back"), state_of(source))


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """An official LoRA folder on top of ``base_lm``, as peft and the official trainer write it."""
    source = official(tmp_path / "lora_form")
    state = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    tower(source / "vision", state)
    base = language_model(source, state)
    adapter, generator = {}, torch.manual_seed(1)
    for layer in range(2):
        for module in ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"):
            out_dim, in_dim = state[f"model.layers.{layer}.{module}.weight"].shape
            name = f"base_model.model.model.layers.{layer}.{module}"
            adapter[f"{name}.lora_A.weight"] = (0.1 * torch.randn(4, in_dim, generator=generator)).half().float()
            adapter[f"{name}.lora_B.weight"] = torch.randn(out_dim, 4, generator=generator).half().float()
    save_file(adapter, source / "adapter_model.safetensors", {"format": "pt"})
    said = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.05, "base_model_name_or_path": str(base), "peft_type": "LORA"}
    (source / "adapter_config.json").write_text(
        json.dumps(said | {"target_modules": ["q_proj", "v_proj", "down_proj"]})
    )
    rest = {f"base_model.model.{name}": value for name, value in state.items() if ".mm_projector." in name}
    torch.save(rest, source / "non_lora_trainables.bin")
    return source


def test_lora_form(lora: Path, tmp_path: Path) -> None:
    vlframe.convert(lora, tmp_path / "mine", sources=other_sources(lora))
    merged = load_file(tmp_path / "base_lm" / "model.safetensors")
    adapter = load_file(lora / "adapter_model.safetensors")
    for name in list(adapter):
        if name.endswith("lora_A.weight"):
            module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            low_B = adapter[name.replace("lora_A", "lora_B")]
            merged[f"{module}.weight"] = merged[f"{module}.weight"].float() + 2.0 * low_B @ adapter[name]
    model = vlframe.load(tmp_path / "mine", device="cpu").model
    lm = model.llm.lm.float()
    ids = torch.arange(1, 12)[None]
    plain = build_pipeline(
        load_run(str(tmp_path / "mine"), open_registry())[0].config, open_registry()
    ).model.llm.lm.float()
    plain.load_state_dict({k: v.float() for k, v in merged.items()})
    torch.testing.assert_close(lm(ids).logits, plain.eval()(ids).logits, rtol=0, atol=2e-4)
    vlframe.export(tmp_path / "mine", tmp_path / "back", format="videollama2")
    assert_same(state_of(tmp_path / "back"), state_of(lora))
    assert_same(load_file(tmp_path / "back" / "adapter_model.safetensors"), adapter)


def test_audio_files_beside_a_whole_state(tmp_path: Path) -> None:
    """BEATs with its cfg in audio_tower.bin, the audio projector in mm_projector_a.bin."""
    source = official(tmp_path / "official", AV)
    state = load_file(source / "model.safetensors")
    cfg = torch.load(source / "beats.pt", weights_only=True)["cfg"]
    (source / "beats.pt").unlink()
    tower = {k.removeprefix("model.audio_tower."): v for k, v in state.items() if ".audio_tower." in k}
    torch.save({"cfg": cfg, "model": tower}, source / "audio_tower.bin")
    torch.save({k: v for k, v in state.items() if ".mm_projector_a." in k}, source / "mm_projector_a.bin")
    rest = {k: v for k, v in state.items() if ".audio_tower." not in k and ".mm_projector_a." not in k}
    save_file(rest, source / "model.safetensors")
    whole = official(tmp_path / "whole", AV)
    vlframe.convert(source, tmp_path / "a", sources={"vision": source / "vision"})
    vlframe.convert(whole, tmp_path / "b", sources=other_sources(whole))
    for part in ("audio_encoder", "audio_connector", "llm", "connector", "encoder"):
        one, two = (load_file(next(tmp_path.glob(f"{run}/checkpoints/*/{part}.safetensors"))) for run in "ab")
        assert_same(one, two)
    vlframe.export(tmp_path / "a", tmp_path / "back", format="videollama2")
    assert_same(state_of(tmp_path / "back"), state_of(source))  # each tensor in the file it came in, and in no other
    assert torch.load(tmp_path / "back" / "audio_tower.bin", weights_only=True)["cfg"].items() >= {
        ("activation_fn", "gelu"), ("layer_norm_first", False)
    }  # fmt: skip
    torch.save({"cfg": {**cfg, "layer_norm_first": True}, "model": tower}, source / "audio_tower.bin")
    with pytest.raises(ConfigError, match="layer_norm_first=True cannot be built"):
        vlframe.convert(source, tmp_path / "c", sources={"vision": source / "vision"})
    assert not (tmp_path / "c").exists()


# --- shapes that were not recorded: our own random models, out and in again ---

VARIANTS = {
    "tied": ["model=videollama2_1_tiny", "llm.architecture.tie_word_embeddings=true"],
    "mixtral": ["model=videollama2_tiny", "connector=stp", "llm=tiny_mixtral"],
    "cls_patch": ["model=videollama2_tiny", "connector=linear", "encoder.select=cls_patch"],
    "odd_frames": ["model=videollama2_tiny", "connector=stc", "media.frames=5"],
    "equal_widths": ["model=videollama2_tiny", "connector=stc_v35", "encoder.architecture.hidden_size=128"],
    "mlp3": ["model=videollama2_tiny", "connector=mlp", "connector.depth=3"],
    "av": ["model=videollama2_av_tiny"],
    "beats_without_projection": [
        "model=videollama2_av_tiny", "audio_encoder.embed_dim=${audio_encoder.encoder_embed_dim}",
    ],
    "beats_without_gate": ["model=videollama2_av_tiny", "audio_encoder.gru_rel_pos=false"],
    "av_linear": ["model=videollama2_av_tiny", "audio_connector=linear"],
}  # fmt: skip


OFTEN = ("tied", "mixtral", "odd_frames", "av", "beats_without_gate")  # the others take as long


@pytest.mark.parametrize(
    "variant", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]
)
def test_our_models_leave_and_return(variant: str, tmp_path: Path) -> None:
    registry = open_with_twins()
    config = compose("train", VARIANTS[variant], registry)
    pipeline = build_pipeline(config, registry)
    run = save_as_run(pipeline, tmp_path / "run")
    vlframe.export(run, tmp_path / "official", format="videollama2")
    extra = {"vision": str(tmp_path / "official" / "vision_tower")}
    vlframe.convert(tmp_path / "official", tmp_path / "ours", sources=extra)
    theirs = vlframe.load(tmp_path / "ours", device="cpu").model
    for part, module in pipeline.model.parts.items():
        assert_same(dict(theirs.parts[part].state_dict()), dict(module.state_dict()))
    vlframe.export(tmp_path / "ours", tmp_path / "again")
    assert_same(state_of(tmp_path / "again"), state_of(tmp_path / "official"))


# --- what is refused ---


def test_nothing_missing_unexpected_or_misshapen_goes_unsaid(tmp_path: Path) -> None:
    source = official(tmp_path / "official")
    state = load_file(source / "model.safetensors")
    state["model.layers.0.mlp.secret.weight"] = torch.zeros(2)
    state["model.norm.weight"] = torch.zeros(7)
    del state["model.mm_projector.weight"]
    save_file(state, source / "model.safetensors")
    with pytest.raises(WeightsError) as error:
        vlframe.convert(source, tmp_path / "ours", sources=other_sources(source))
    for word in ("unexpected: model.layers.0.mlp.secret.weight", "missing: model.mm_projector.weight", "not (96,)"):
        assert word in str(error.value)
    assert not (tmp_path / "ours").exists()


def test_a_part_that_the_config_does_not_have(tmp_path: Path) -> None:
    source = official(tmp_path / "official")
    state = load_file(source / "model.safetensors") | {"model.audio_tower.layer_norm.weight": torch.zeros(3)}
    save_file(state, source / "model.safetensors")
    with pytest.raises(WeightsError, match=r"1 unexpected: model\.audio_tower\.layer_norm"):
        vlframe.convert(source, tmp_path / "ours", sources=other_sources(source))


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    source = official(tmp_path / "official")
    (source / "model.safetensors").unlink()
    with open(source / "pytorch_model.bin", "wb") as file:
        pickle.dump({"model.norm.weight": Evil(tmp_path / "ran")}, file)
    with pytest.raises(WeightsError, match="could run code, and is refused"):
        vlframe.convert(source, tmp_path / "ours", sources=other_sources(source))
    assert not (tmp_path / "ran").exists()


def test_an_index_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    source = official(tmp_path / "official")
    (source / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    index = {"weight_map": {"model.norm.weight": "../elsewhere.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="not in the same folder"):
        vlframe.convert(source, tmp_path / "ours", sources=other_sources(source))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llava"}, "model_type is 'llava'; the official ones are videollama2_mistral"),
        ({"mm_projector_type": "resampler"}, "mm_projector_type is 'resampler'; the official ones are"),
        ({"mm_vision_tower": "somebody/unheard-of"}, "neither a folder nor the source of an encoder preset"),
    ],
)
def test_a_config_that_says_something_else(change: dict[str, str], message: str, tmp_path: Path) -> None:
    source = official(tmp_path / "official")
    config = json.loads((source / "config.json").read_text()) | change
    (source / "config.json").write_text(json.dumps(config))
    vision = {} if "mm_vision_tower" in change else {"vision": str(source / "vision")}
    with pytest.raises(WeightsError, match=message):
        vlframe.convert(source, tmp_path / "ours", sources=vision, format="videollama2")


def test_what_the_official_code_could_not_read_is_not_written(tmp_path: Path) -> None:
    registry = open_with_twins()
    pipeline = build_pipeline(compose("train", ["model=videollama2_tiny", "connector=stc_tiny"], registry), registry)
    run = save_as_run(pipeline, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"this connector has \{'depth': 1\}"):
        vlframe.export(run, tmp_path / "official", format="videollama2")


def test_an_audio_tower_without_its_cfg(tmp_path: Path) -> None:
    source = official(tmp_path / "official", AV)
    with pytest.raises(WeightsError, match=r"give sources\.audio=<BEATs \.pt>"):
        vlframe.convert(source, tmp_path / "ours", sources={"vision": source / "vision"})


def test_a_folder_is_not_written_over(tmp_path: Path) -> None:
    source = official(tmp_path / "official")
    with pytest.raises(ConfigError, match="not empty"):
        vlframe.convert(source, source, sources=other_sources(source))


def test_the_command_prints_its_account(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = official(tmp_path / "official", AV)
    words = [f"sources.{key}={value}" for key, value in other_sources(source).items()]
    assert main(["convert", f"source={source}", f"out={tmp_path / 'ours'}", *words]) == 0
    printed = capsys.readouterr().out
    assert "audio_encoder" in printed and "unused" in printed and "init.run=" in printed
    assert main(["export", f"run={tmp_path / 'ours'}", f"out={tmp_path / 'back'}"]) == 0
    assert_same(state_of(tmp_path / "back"), state_of(source))
