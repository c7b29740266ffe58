"""What a plan says of a stage, beside what training it takes."""

import json
import re

import pytest
import torch
from helpers.compositions import TINY
from helpers.processes import vlframe_anew
from helpers.runs import manifest, only_run, training

from vlframe.commands.plan import show
from vlframe.composer.compose import compose, open_registry
from vlframe.distributed.devices import DEVICES, Device
from vlframe.errors import ConfigError
from vlframe.machine import memory
from vlframe.model.assemble import build_model, compose_on_meta
from vlframe.runs.folder import RunFolder
from vlframe.training import preflight
from vlframe.training.asked import check_asked
from vlframe.training.cost_report import report
from vlframe.training.measured import sentences
from vlframe.training.optim import make_optimizer
from vlframe.training.prediction import example_media, meta_stages, predictions, resident_bytes, sharded_bytes
from vlframe.training.preflight import check_memory
from vlframe.training.run import train
from vlframe.training.trainable import prepare_parts

CHECKS = ["stages.main.steps=4", "trainer.accelerator=cpu"]
WIDE = [
    "llm.architecture.hidden_size=256", "llm.architecture.intermediate_size=1024",
    "llm.architecture.num_attention_heads=8",
]  # fmt: skip
LORA = ["stages.main.llm.train=lora", "stages.main.llm.lora.rank=4"]


@pytest.mark.parametrize("words", [[], LORA, ["stages.main.llm.train=frozen"]])
def test_parameters_and_resident_bytes_are_those_of_the_built_model(registry, tmp_path, words) -> None:
    config = compose("train", [*training(manifest(tmp_path)), *words], registry)
    found = predictions(compose_on_meta(config, registry), config, 2)["main"]
    model = build_model(config, registry)
    rows = prepare_parts(model, config.stages["main"])
    assert (found.trained, found.parameters) == (sum(r.trained for r in rows), sum(r.parameters for r in rows))
    trained = [item for item in model.parameters() if item.requires_grad]
    optimizer = make_optimizer(model, config.stages["main"])
    for item in trained:
        item.grad = torch.zeros_like(item)
    optimizer.step()
    states = [item for state in optimizer.state.values() for item in state.values() if item.ndim]
    size = lambda tensors: sum(item.numel() * item.element_size() for item in tensors)  # noqa: E731
    resident = found.of("ddp", False).resident
    assert resident.weights == size([*model.parameters(), *model.buffers()])
    assert (resident.gradients, resident.optimizer) == (size(trained), size(states))


def test_a_share_of_the_language_model_alone(registry, tmp_path) -> None:
    config = compose("train", training(manifest(tmp_path)), registry)
    model = meta_stages(compose_on_meta(config, registry), config)["main"]
    whole, shared, llm = resident_bytes(model), sharded_bytes(model, 2), resident_bytes(model.llm)
    assert shared.total == pytest.approx(whole.total - llm.total / 2, abs=4)


def test_a_run_on_the_cpu_takes_what_was_predicted(tmp_path) -> None:
    """In a process whose C library gives large blocks back: by default it keeps some for later, a quarter of this run.
    The first stage is there for what torch imports at its first step."""
    long = manifest(tmp_path, rows=64)
    long.write_text(long.read_text().replace("say word", "say word" + " one two three" * 60))
    words = [
        "+stage@stages.first=tune", "stages.first.steps=1", "stages.first.batch_size=1", *training(long), *WIDE,
        "stages.main.batch_size=24", "stages.main.steps=2", "trainer.accelerator=cpu",
    ]  # fmt: skip
    vlframe_anew("train", *words, cwd=tmp_path, MALLOC_MMAP_THRESHOLD_="65536")
    run = RunFolder.open(only_run(tmp_path))
    told = json.loads(run.cost.read_text())
    assert list(told) == ["first", "main"]
    predicted, measured = told["main"]["predicted"], told["main"]["measured"]
    assert predicted["activation_bytes"] > 2e8  # so that the noise of a process is small beside it
    assert measured["peak_bytes"] == pytest.approx(predicted["peak_bytes"], rel=0.15)
    assert measured["tokens_per_micro_batch"] == predicted["tokens_per_micro_batch"]
    assert measured["seconds_per_step"] > 0 and predicted["seconds_per_step"] > 0
    assert told["first"]["measured"]["peak_bytes"] is None, "it grew by what libraries load, too"
    text = run.log.read_text()
    assert "stage first: " in text and "not measured: the first stage of a process also loads libraries" in text
    assert re.search(r"stage main: \d+ MB at once predicted \(.*\), \d+ MB measured \(the weights and the growth", text)


SLOW = """
import time

import vlframe


class Slow:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        time.sleep(0.5)
        return vlframe.Sample(str(index), (vlframe.Turn("user", "a"), vlframe.Turn("assistant", "b")))


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("dataset", "slow", "slow:Slow", None, "each sample takes half a second")
"""


def test_the_seconds_of_a_step_are_apart_from_waiting_for_data(tmp_path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    paths = [str(tmp_path / "slow.py")]
    words = [word for word in training(tmp_path / "none") if not word.startswith("dataset")]
    more = ["dataset=slow", f"plugins.paths={paths}", "stages.main.batch_size=1", f"runs={tmp_path}", *CHECKS]
    registry = open_registry(paths)
    run = train(compose("train", [*words, *more], registry), registry)
    measured = json.loads(run.cost.read_text())["main"]["measured"]
    assert measured["waiting_per_step"] >= 0.5 and measured["steps"] == 3
    assert 0 < measured["seconds_per_step"] < 0.5
    assert re.search(r"a step computed \S+ s \(\S+ s predicted.*\) and waited \S+ s for its data", run.log.read_text())


PREDICTED = {"peak_bytes": 58e6, "seconds_per_step": 0.0578, "tokens_per_micro_batch": 600}
MEASURED = {
    "peak_bytes": 111e6, "seconds_per_step": 0.21, "waiting_per_step": 7.1, "steps": 3, "tokens_per_micro_batch": 700,
}  # fmt: skip


@pytest.mark.parametrize(
    ("predicted", "measured", "on_cpu", "said"),
    [
        ({}, {}, True, "58.0 MB at once predicted (weights, gradients, optimizer states and activations); not "
         "measured: that is little"),
        ({}, {}, False, "111 MB measured (by torch)"),
        ({"peak_bytes": 64e6}, {}, True, "64.0 MB at once predicted"),
        ({"peak_bytes": 64e6}, {}, True, "111 MB measured (the weights and the growth of the process, with what"),
        ({}, {"peak_bytes": None}, True, "the first stage of a process also loads libraries"),
        ({}, {"peak_bytes": None}, False, "the system does not tell"),
        ({"peak_bytes": None}, {}, True, "memory at once is not predicted, 111 MB measured"),
        ({}, {}, True, "a step computed 0.21 s (0.0578 s predicted, at 40% of the device's peak) and waited 7.1 s"),
        ({"seconds_per_step": None}, {}, True, "waited 7.1 s for its data (means; steps after the first: 3)"),
        ({}, {"seconds_per_step": None}, True, "not measured, as the first step warms up"),
        ({}, {}, True, "700 tokens in the largest micro-batch; predicted for the first, of 600"),
    ],
)  # fmt: skip
def test_what_is_compared_can_be_compared(predicted: dict, measured: dict, on_cpu: bool, said: str) -> None:
    text = "; ".join(sentences({**PREDICTED, **predicted}, {**MEASURED, **measured}, on_cpu=on_cpu))
    assert said in text
    assert ("111 MB" in text) == ("measured (" in text)


def test_the_tokens_of_media_are_those_of_the_budget(registry) -> None:
    config = compose("train", [*TINY, "audio_encoder=beats_tiny"], registry)
    composition = compose_on_meta(config, registry)
    video, sound = example_media(composition.budget)
    assert video.tokens == composition.budget.tokens("video", tuple(video.file.tensor.shape))
    assert sound.tokens == composition.budget.tokens("audio", tuple(sound.file.tensor.shape))


def test_a_report_says_what_would_fit(registry) -> None:
    words = ["experiment=videollama2/finetune", "llm.architecture.num_hidden_layers=4", "llm.source=null"]
    config = compose("train", words, registry)
    device = DEVICES["a10"]
    text = report(compose_on_meta(config, registry), config, device)
    assert "global batch 128 = 8 device(s) x 4 samples x 4 micro-batch(es)" in text
    assert "does not fit: needs" in text and "NVIDIA A10 has 24.0 GB" in text and "llm.train=lora" in text


@pytest.mark.parametrize(("free", "verdict"), [(8, "fits: needs"), (7.9, "does not fit: needs")])
def test_all_processes_of_a_machine_share_its_memory(registry, tmp_path, free: float, verdict: str) -> None:
    config = compose("train", [*training(manifest(tmp_path)), "trainer.devices=8"], registry)
    composition = compose_on_meta(config, registry)
    peak = predictions(composition, config, 8)["main"].of("ddp", False).peak
    text = report(composition, config, Device("this machine's CPU", int(free * peak), 1e12, 1e12, 1e12, shared=True))
    assert verdict in text and "(8 processes with " in text and "main memory of a machine" not in text
    assert ("fewer than 8 trainer.devices" in text) == (free < 8)
    alone = report(composition, config, Device("a card", int(free * peak), 1e12, 1e12, 1e12))
    assert "fits: needs" in alone and "each of its 8 processes builds the whole model there" in alone
    steps = [float(re.search(r"about (\S+) s on", said)[1]) for said in (text, alone)]
    assert steps[0] == pytest.approx(8 * steps[1], rel=0.1), "they share its cores, too"


def test_a_plan_says_how_large_adapters_are(registry, tmp_path) -> None:
    config = compose("train", [*training(manifest(tmp_path)), *LORA], registry)
    text = report(compose_on_meta(config, registry), config, DEVICES["a10"])
    assert "adapters of llm: rank 4, scale 2\n" in text and "adapters of connector" not in text


def test_a_stage_that_memory_cannot_hold_is_refused(registry, tmp_path, monkeypatch) -> None:
    config = compose("train", [*training(manifest(tmp_path)), "trainer.accelerator=cpu"], registry)
    composition = compose_on_meta(config, registry)
    need = resident_bytes(meta_stages(composition, config)["main"]).total
    monkeypatch.setattr(preflight, "free_main_memory", lambda: need)
    check_memory(composition, config)
    monkeypatch.setattr(preflight, "free_main_memory", lambda: need - 1)
    with pytest.raises(ConfigError, match=r"stage main needs .* of main memory .*optimizer states .*llm\.train=lora"):
        check_memory(composition, config)


def test_weights_that_memory_cannot_hold_are_refused_before_they_are_made(registry, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(memory, "free_main_memory", lambda: 1000)
    config = compose("train", [*training(manifest(tmp_path)), f"runs={tmp_path / 'runs'}"], registry)
    with pytest.raises(ConfigError, match="weights of this composition need at least"):
        train(config, registry)
    assert not (tmp_path / "runs").exists()


def test_several_devices_without_a_gpu_are_named(registry, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    words = [*training(manifest(tmp_path)), "trainer.devices=8"]
    with pytest.raises(ConfigError, match=r"trainer\.devices is 8, and torch finds no GPU"):
        check_asked(compose("train", words, registry), registry)
    check_asked(compose("train", [*words, "trainer.accelerator=cpu"], registry), registry)


ALIGNED = [
    "encoder=vit_tiny", "connector=qformer_instruct_blip2_tiny", "dataset=motionqa_few", "media.frames=2",
    "+stage@stages.main=align", "stages.main.steps=2", "stages.main.batch_size=8", "objective=blip2_alignment",
    "trainer.accelerator=cpu", "trainer.progress=false",
]  # fmt: skip


def aligned(registry, *words: str):
    """The composition and the config of a stage without a language model."""
    config = compose("train", [*ALIGNED, *words], registry)
    return compose_on_meta(config, registry), config


def test_a_stage_without_a_language_model_is_predicted(registry) -> None:
    """By captions as long as the connector takes them; its vocabulary is not asked for."""
    composition, config = aligned(registry, "connector.tokenizer=nobody/nothing", "connector.caption_tokens=20")
    found = predictions(composition, config, 8)["main"]
    assert found.tokens == 8 * 20 and found.trained == composition.parameters["connector"]
    assert [item.strategy for item in found.held] == ["ddp"] and found.flops[False] > 1e6
    text = report(composition, config, DEVICES["a10"])
    assert "for samples of a clip and a caption of 20 tokens (160 tokens a micro-batch):" in text
    assert "fits: needs" in text and "fsdp" not in text


def test_a_plan_without_a_language_model_is_printed(registry, capsys) -> None:
    """It has no tokenizer whose template could be looked at."""
    _, config = aligned(registry)
    show(config, registry, "a10")
    text = capsys.readouterr().out
    assert "llm: not loaded" in text and "stage main: trains" in text and "fits: needs" in text


def test_each_loss_costs_something(registry) -> None:
    def flops(*words: str) -> int:
        composition, config = aligned(registry, *words)
        return predictions(composition, config, 8)["main"].flops[False]

    whole = flops()
    for loss in ("matching", "captioning"):
        assert flops(f"objective.{loss}=0") < whole, loss


def test_what_is_gathered_from_other_devices_is_counted(registry) -> None:
    """Of all media where negatives are drawn from all ranks; elsewhere only of what is compared."""

    def activations(devices: int, negatives: str) -> int:
        composition, config = aligned(registry, f"trainer.devices={devices}", f"objective.negatives={negatives}")
        return predictions(composition, config, 8)["main"].of("ddp", False).activations

    alone = activations(1, "all_ranks")
    assert activations(1, "own_rank") == pytest.approx(alone, rel=1e-3)
    assert activations(4, "all_ranks") > activations(4, "own_rank") > alone


def test_a_run_without_a_language_model_is_compared_with_its_prediction(registry, tmp_path) -> None:
    config = compose("train", [*ALIGNED, f"runs={tmp_path}"], registry)
    run = train(config, registry)
    told = json.loads(run.cost.read_text())["main"]
    assert told["predicted"]["flops_per_step"] > 0 and told["predicted"]["activation_bytes"] > 0
    assert told["predicted"]["tokens_per_micro_batch"] <= told["measured"]["tokens_per_micro_batch"]
    assert "its cost is not predicted" not in run.log.read_text()
