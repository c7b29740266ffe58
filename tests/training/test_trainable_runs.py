"""Real runs in which some tensors of a part learn: what moves, what is saved, that they go on, that ranks agree."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.compositions import SOUND, tiny_pipeline
from helpers.mixtures import mixture
from helpers.processes import vlframe
from helpers.runs import manifest, only_run, training, weights
from safetensors.torch import load_file
from torch import Tensor

from vlframe.composer.compose import compose, open_registry
from vlframe.errors import ConfigError, DataError, TrainingError, WeightsError
from vlframe.evaluation.run import evaluate_pipeline
from vlframe.inference.pipeline import build_pipeline, load_run
from vlframe.runs.checkpoint import checkpoints, latest
from vlframe.runs.folder import RunFolder
from vlframe.runs.unlogged import Unlogged
from vlframe.training.run import train

FEW = [
    "encoder.depth=3", "stages.main.encoder.train=full", "stages.main.encoder.layers_from_top=1",
    "stages.main.llm.trainable=[lm.model.norm,'*.input_layernorm','*.layers.1.mlp']",
    "stages.main.llm.frozen=['*.up_proj.weight']",
]  # fmt: skip
ADAPTED = [
    "encoder.depth=3", "stages.main.encoder.train=full", "stages.main.encoder.trainable=[norm,blocks.2.mlp]",
    "stages.main.llm.train=lora", "stages.main.llm.lora.rank=2", "stages.main.llm.lora.dropout=0.1",
    "stages.main.llm.layers_from_top=1", "stages.main.llm.trainable=[lm.model.norm]",
]  # fmt: skip
ALWAYS = [
    "stages.main.lr=1e-2",
    "stages.main.warmup_ratio=0",
    "trainer.checkpoint_every=2",
    "trainer.keep_checkpoints=9",
]


def few_learn(name: str) -> bool:
    """Of ``FEW``."""
    part, _, tensor = name.partition("/")
    if part == "encoder":
        return tensor.startswith("blocks.2.")
    chosen = ("norm.weight" in tensor and "post_attention" not in tensor) or ".layers.1.mlp." in tensor
    return part == "connector" or (chosen and "up_proj" not in tensor)


def adapted_learn(name: str) -> bool:
    """Of ``ADAPTED``."""
    part, _, tensor = name.partition("/")
    if part == "encoder":
        return tensor.startswith(("norm.", "blocks.2.mlp."))
    return part == "connector" or "lora_" in tensor or tensor == "lm.model.norm.weight"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model on disk, as a source."""
    folder = tmp_path_factory.mktemp("source")
    tiny_pipeline(open_registry()).model.llm.lm.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("mixture"), ["video", "image", "text", "video", "image", "text"])


def run(folder: Path, arguments: list[str]) -> RunFolder:
    registry = open_registry()
    return train(compose("train", [*arguments, f"runs={folder / 'runs'}"], registry), registry)


def plain(run_weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.replace(".base_layer", ""): value for name, value in run_weights.items()}


def state_of(config_words: list[str]) -> dict[str, Tensor]:
    """The tensors that a run begins with."""
    registry = open_registry()
    model = build_pipeline(compose("train", config_words, registry), registry).model
    return {f"{part}/{key}": value for part, item in model.parts.items() for key, value in item.state_dict().items()}


def cut_to(folder: RunFolder, place: Path, step: int) -> RunFolder:
    copied = RunFolder.open(shutil.copytree(folder.path, place))
    for item in checkpoints(copied):
        if item.step > step:
            shutil.rmtree(item.path)
    return copied


@pytest.mark.parametrize(
    ("words", "learns", "precision"),
    [(FEW, few_learn, "32"), (FEW, few_learn, "bf16"), (ADAPTED, adapted_learn, "bf16")],
    ids=["few", "few in bf16", "adapted in bf16"],
)
def test_what_is_selected_moves_is_saved_and_goes_on(
    tmp_path: Path, source: Path, file: Path, words: list[str], learns: Callable[[str], bool], precision: str
) -> None:
    arguments = training(file, *words, *ALWAYS, f"llm.source={source}", f"trainer.precision={precision}")
    straight = run(tmp_path / "straight", arguments)
    before, after = state_of(arguments), weights(straight)
    # the table
    table = json.loads(straight.parameters.read_text())["main"]
    assert 0 < table["llm"]["trained"] < table["llm"]["parameters"]
    assert {f"encoder/{name}" for name in table["encoder"]["names"]} == {
        name for name in before if name.startswith("encoder/") and learns(name)
    }
    assert "last 1 blocks" in straight.log.read_text()
    # in the checkpoint: parts without a source whole, the sourced one by what was trained
    assert {name for name in after if name.startswith("llm/")} == {
        name for name in after if name.startswith("llm/") and learns(name)
    }
    assert {name for name in plain(after)} >= {name for name in before if not name.startswith("llm/") or learns(name)}
    # element by element
    for name, value in plain(after).items():
        assert value.dtype == torch.float32
        if name in before:
            assert torch.equal(value, before[name]) != learns(name), name
        else:
            assert "lora_" in name and "layers.1." in name and value.abs().max() > 0
    # strictly read back, beside the source's own
    loaded = load_run(str(straight.path), open_registry())[0].model.llm.state_dict()
    for name, value in loaded.items():
        stored = after.get(f"llm/{name}", before.get(f"llm/{name}".replace(".base_layer", "")))
        assert torch.equal(value, stored), name
    # and resumed
    cut = cut_to(straight, tmp_path / "cut", 2)
    registry = open_registry()
    train(compose("train", [f"resume={cut.path}"], registry), registry)
    again = weights(cut)
    assert again.keys() == after.keys() and all(torch.equal(again[name], after[name]) for name in after)
    states = [torch.load(latest(item).path / "training.pt", weights_only=True) for item in (straight, cut)]
    moments = [state["optimizer_states"][0]["state"] for state in states]
    assert moments[0].keys() == moments[1].keys()
    for number, entry in moments[0].items():
        assert all(torch.equal(value, moments[1][number][key]) for key, value in entry.items())


def test_what_is_selected_is_fixed_in_a_stage_and_a_torn_part_is_noticed(
    tmp_path: Path, source: Path, file: Path
) -> None:
    arguments = training(file, *FEW, *ALWAYS, f"llm.source={source}", "stages.main.steps=4")
    cut = cut_to(run(tmp_path, arguments), tmp_path / "cut", 2)
    registry = open_registry()
    for word in ("stages.main.llm.trainable=[lm.model.norm]", "stages.main.encoder.layers_from_top=2"):
        with pytest.raises(ConfigError, match="under way, and its optimizer was made for it"):
            train(compose("train", [f"resume={cut.path}", "resume_changes=allow", word], registry), registry)
    other = training(file, "encoder.depth=3", f"init.run={cut.path}", "init.parts=[llm]", f"runs={tmp_path / 'other'}")
    with pytest.raises(ConfigError, match=r"holds some of the weights for the llm of .*; set llm.source alike"):
        copy = shutil.copytree(source, tmp_path / "copy")
        train(compose("train", [*other, f"llm.source={copy}"], registry), registry)
    from safetensors.torch import save_file

    (checkpoint,) = checkpoints(cut)
    tensors = load_file(checkpoint.path / "llm.safetensors")
    tensors.pop("lm.model.norm.weight")
    save_file(tensors, checkpoint.path / "llm.safetensors")
    (checkpoint.path / "state.json").write_text(
        json.dumps({key: value for key, value in _state(checkpoint.path).items() if key != "files"})
    )
    with pytest.raises(WeightsError, match=r"1 missing: lm\.model\.norm\.weight"):
        load_run(str(cut.path), registry)


def _state(folder: Path) -> dict[str, object]:
    return json.loads((folder / "state.json").read_text())


def test_stages_that_train_other_tensors_add_up(tmp_path: Path, source: Path, file: Path) -> None:
    """Norms, then the top block, then adapters in the other one: the last checkpoint has all three, bit for bit."""
    second = ["+stage@stages.second=tune", "stages.second.steps=2", "stages.second.llm.layers_from_top=1"]
    third = ["+stage@stages.third=tune_lora", "stages.third.steps=2", "stages.third.llm.frozen=['*.layers.1.*']"]
    more = ["stages.second.batch_size=2", "stages.third.batch_size=2", "stages.third.llm.lora.rank=2"]
    words = ["stages.main.steps=2", "stages.main.llm.trainable=[lm.model.norm]", *second, *third, *more]
    folder = run(tmp_path, training(file, *words, *ALWAYS, f"llm.source={source}"))
    ends = {item.stage: load_file(item.path / "llm.safetensors") for item in checkpoints(folder) if item.finished}
    assert set(ends["main"]) == {"lm.model.norm.weight"}
    top = {name for name in ends["second"] if ".layers.1." in name}
    assert len(top) == 9 and set(ends["second"]) == top | {"lm.model.norm.weight"}
    adapters = {name for name in ends["third"] if "lora_" in name}
    assert len(adapters) == 14 and all(".layers.0." in name for name in adapters)
    assert set(ends["third"]) - adapters == set(ends["second"])
    for name, value in ends["second"].items():
        assert torch.equal(ends["third"][name], value)
    assert torch.equal(ends["second"]["lm.model.norm.weight"], ends["main"]["lm.model.norm.weight"])
    load_run(str(folder.path), open_registry())


@pytest.mark.parametrize(
    ("strategy", "words"), [pytest.param("ddp", FEW, marks=pytest.mark.slow), ("fsdp", ADAPTED)], ids=["ddp", "fsdp"]
)
def test_two_ranks_train_what_one_does(tmp_path: Path, source: Path, file: Path, strategy: str, words) -> None:
    """The same tensors, by the same amounts, in the same files."""
    small = ["stages.main.lr=1e-5", "stages.main.warmup_ratio=0", "stages.main.steps=3", f"llm.source={source}"]
    words = [word for word in words if "dropout" not in word] + ["stages.main.llm.lora.dropout=0"]
    one = run(tmp_path / "one", training(file, *words, *small))
    place = tmp_path / strategy
    place.mkdir()
    two = ["trainer.devices=2", "trainer.accelerator=cpu", "stages.main.batch_size=1", f"trainer.strategy={strategy}"]
    vlframe("train", *training(file, *words, *small, *two), cwd=place)
    ours, theirs = weights(one), weights(RunFolder.open(only_run(place)))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(
            theirs[name], value, rtol=0, atol=2e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


# --- runs in which nothing happens ---

EARS = [
    *SOUND,
    "stages.main.connector.train=frozen",
    "stages.main.llm.train=frozen",
    "stages.main.audio_connector.train=full",
]


def test_a_stage_whose_data_reaches_nothing_that_learns_fails(tmp_path: Path, file: Path) -> None:
    words = training(file, *EARS, "stages.main.steps=3", "trainer.checkpoint_every=1")
    said = (
        "stage main has learned nothing in 3 steps: it trains audio_connector, and no gradient has come there from "
        "samples of image, text, video"
    )
    with pytest.raises(TrainingError, match=said):
        run(tmp_path, words)
    folder = RunFolder.open(only_run(tmp_path))
    assert not latest(folder).finished and "done:" not in folder.log.read_text()
    registry = open_registry()
    with pytest.raises(TrainingError, match=said):  # also in a process that has not seen the first steps
        train(compose("train", [f"resume={folder.path}"], registry), registry)


def test_a_long_stage_whose_data_reaches_nothing_fails_early(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("vlframe.training.idle.PATIENCE", 2)
    with pytest.raises(TrainingError, match="learned nothing in 2 steps"):
        run(tmp_path, training(manifest(tmp_path), *EARS, "stages.main.steps=50"))


def test_a_part_that_nothing_reaches_is_named_and_a_late_gradient_counts(tmp_path: Path, monkeypatch) -> None:
    file = mixture(tmp_path, ["text", "text", "text", "audio"])
    folder = run(tmp_path, training(file, *EARS, "stages.main.connector.train=full", "stages.main.batch_size=1"))
    assert "no sample gave a gradient to connector, which stays unchanged" in folder.log.read_text()
    assert latest(folder).finished


def test_too_many_samples_that_are_too_long_stop_a_run_and_a_few_that_are_all_fail_it(tmp_path: Path) -> None:
    words = ["text.max_length=150", "text.too_long=drop"]
    turns = [{"from": "human", "value": "word " * 200}, {"from": "gpt", "value": "red"}]
    rows = [{"id": str(number), "conversations": turns} for number in range(12)]
    (tmp_path / "long.json").write_text(json.dumps(rows))
    arguments = training(tmp_path / "long.json", *words)
    with pytest.raises(DataError, match=r"12 of 12 samples .*\(too_long\), more than media\.max_bad_share=0\.1"):
        run(tmp_path / "many", arguments)
    with pytest.raises(DataError, match=r"stage main had no usable sample: all 4 .*trim_text"):
        run(tmp_path / "few", [*arguments, "stages.main.steps=2"])
    checked = vlframe("data", "check", "long.json", *[word for word in arguments if "stage" not in word and "dataset" not in word], cwd=tmp_path, check=False)  # fmt: skip  # noqa: E501
    assert checked.returncode == 1 and "none of its 12 samples is left: 12 for too_long" in checked.stdout


def test_a_benchmark_of_which_nothing_could_be_asked_fails(tmp_path: Path) -> None:
    file = mixture(tmp_path, ["broken", "broken"])
    rows = [{**row, "answer": "red"} for row in json.loads(file.read_text())]
    file.write_text(json.dumps(rows))
    good = manifest(tmp_path, answer="red")
    words = ["benchmark=exact_match_file", f"benchmark.dataset.path={file}", "media.on_error=skip"]
    with pytest.raises(DataError, match=r"none of the 2 questions of the benchmark could be asked.*2 for media"):
        run(tmp_path, training(good, *words, "stages.main.steps=1"))
    folder = RunFolder.open(only_run(tmp_path))
    assert latest(folder).finished and not folder.metrics_json.is_file()
    pipeline, folder = load_run(str(folder.path), open_registry())
    with pytest.raises(DataError, match="none of the 2 questions"):
        evaluate_pipeline(pipeline, folder, unlogged=Unlogged())
