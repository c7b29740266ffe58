"""From a command line to a frozen config: nested choices, the group debug, what was chosen."""

from typing import Any

import pytest

from vlframe.composer.compose import compose
from vlframe.contracts.modalities import parts
from vlframe.distributed.launch import check_launch
from vlframe.errors import ConfigError, UserError
from vlframe.model.assemble import build_model, compose_on_meta
from vlframe.registry.checked import CheckedComponent
from vlframe.registry.presets import preset_files
from vlframe.registry.registry import Registry
from vlframe.training.asked import check_device
from vlframe.training.loss_scale import check_precision
from vlframe.training.preflight import check_memory
from vlframe.training.trainable import check_parts

QUICK = "experiment=quickstart"
EXPERIMENTS = sorted(preset_files("experiment", Registry.installed()))


def test_components_are_checked_once_and_not_changed(registry) -> None:
    config = compose("train", [QUICK], registry)
    for settings in (config.encoder, config.benchmark, config.benchmark["dataset"], config.stages["motion"].data):
        assert isinstance(settings, CheckedComponent)
        with pytest.raises(TypeError, match="not changed"):
            settings["name"] = "other"
    assert registry.check("encoder", config.encoder) is config.encoder


def test_presets_that_were_chosen_are_in_the_config(registry) -> None:
    config = compose("train", [QUICK, "connector=stc_small"], registry)
    assert config.connector["name"] == "stc" and config.choices["connector"] == "stc_small"
    assert config.choices["dataset@stages.motion.data"] == "motionqa_motion_train"
    assert "logger" not in config.choices and not [key for key in config.choices if key.startswith("hydra")]


@pytest.mark.parametrize(
    "words",
    [
        [QUICK, "benchmark.dataset=motionqa_few", "benchmark.dataset.clips=3"],  # in place of the preset's choice
        ["benchmark=exact_match", "benchmark.dataset=motionqa", "benchmark.dataset.clips=3"],  # nothing chosen yet
    ],
)
def test_a_component_is_chosen_inside_another(words: list[str], registry) -> None:
    dataset = compose("train", words, registry).benchmark["dataset"]
    assert (dataset["name"], dataset["clips"]) == ("motionqa", 3)


def test_a_sampler_is_chosen_for_a_run(registry) -> None:
    assert compose("train", ["media.sampler=fps", "media.sampler.fps=2"], registry).media.sampler["fps"] == 2.0


def test_data_is_chosen_for_a_stage(registry) -> None:
    config = compose("train", [QUICK, "stages.main.data=motionqa_few", "stages.motion.data=null"], registry)
    assert config.stages["main"].data["clips"] == 16 and config.stages["motion"].data is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stages.main.steps=3"], r"no stage 'main'; the run has none; .*\+stage@stages\.main=everything"),
        (["+stages.main.steps=3"], r"no stage 'main'.*\+stage@stages\.main=everything stages\.main\.steps"),
        (["stage=tune_lora"], r"\+stage@stages\.main=everything"),
        ([QUICK, "stages.mian.steps=3"], r"no stage 'mian'.*Did you mean 'main'"),
        ([QUICK, "stages.main.epochs=1"], r"stages\.main\.steps=null stages\.main\.epochs=1"),
        ([QUICK, "stages.main.llm.trainable=norm"], r"trainable is a list.*trainable=\["),
        (["media=clip.mp4"], r"media is a group of keys; change one of them, like media\.sampler"),
        (
            ["benchmark=exact_match", "benchmark.dataset.path=v"],
            r"like benchmark\.dataset=conversations .*=exact_match_file",
        ),
        (
            ["benchmark=exact_match", "benchmark.dataset=motoinqa"],
            "no dataset named 'motoinqa'.*Did you mean 'motionqa",
        ),
        (["llm=Qwen/Qwen2-0.5B"], r"no llm named 'Qwen/Qwen2-0.5B'.*llm=causal_lm llm\.source=Qwen/Qwen2-0.5B"),
        (["experiment=quickstrat"], "no experiment named 'quickstrat'.*Did you mean 'quickstart"),
        (["experiment=videollama2/fintune"], "no experiment named 'videollama2/fintune'.*mean 'videollama2/finetune'"),
        (["experiment=videochatgpt"], "no experiment named 'videochatgpt'; there are .*mean 'videochatgpt/train'"),
        (["experiment=stage4_hd"], "Did you mean 'videochat2/stage4_hd'"),
        (["experiment=videollama2/nothing"], "no experiment named 'videollama2/nothing'; there are .*blip2/stage1, "),
        (["encoder="], "no encoder named ''; there are clip, [^;]*$"),
        (["+encoder=vit_tiny"], "encoder is chosen twice; choose it with encoder=<name>, without"),
        (["+model=blip2"], "model is chosen twice"),
        (["stage@stages.mine=tune"], r"no stage 'mine'; add it with \+stage@stages\.mine="),
        ([QUICK, "~stages.nope"], r"~stages\.nope takes out a key that is not there: nothing sets stages\.nope"),
        (["~llm.architecture.window"], r"nothing sets llm\.architecture\.window"),
        (
            ["~llm.architecture"],
            r"llm\.architecture always has a value\. Give it another one \(llm\.architecture=<value>",
        ),
        (["~trainer.devices"], r"~trainer\.devices cannot be: trainer\.devices always has a value"),
    ],
)
def test_a_mistake_names_the_word_that_works(words: list[str], message: str, registry) -> None:
    with pytest.raises(UserError, match=message):
        compose("train", words, registry)


@pytest.mark.parametrize("group", ["model", "experiment", "debug", "logger"])
def test_null_chooses_nothing_in_a_group(group: str, registry) -> None:
    config = compose("train", [f"{group}=null"], registry)
    assert group not in config.choices and not config.stages and not config.logger
    assert config.encoder["name"] == compose("train", [], registry).encoder["name"]


def test_the_last_word_of_a_group_counts(registry) -> None:
    assert compose("train", [QUICK, "experiment=null"], registry).stages == {}
    assert compose("train", ["experiment=null", QUICK], registry).choices["experiment"] == "quickstart"


@pytest.mark.parametrize(
    ("command", "word", "message"),
    [
        ("train", "callbacks=null", "callbacks is a group of keys, and takes no value as a whole"),
        ("train", "stage=null", r"add it with \+stage@stages\.main"),
        ("train", "stages=null", "stages cannot be null"),
        ("train", "encoder=null", "there is no encoder; choose one of"),
        ("train", "stage@stages.main=null", "there is no stage 'main'|cannot be chosen here"),
        ("train", "trainer=null", "trainer cannot be null"),
        ("evaluate", "experiment=null", "'experiment' cannot be chosen here; .* those of the run"),
        ("evaluate", "model=null", "'model' cannot be chosen here"),
        ("evaluate", "encoder=null", "no key 'encoder'"),
        ("predict", "debug=null", "'debug' cannot be chosen here"),
        ("convert", "logger=null", "'logger' cannot be chosen here"),
    ],
)
def test_null_where_something_has_to_be_chosen(command: str, word: str, message: str, registry) -> None:
    with pytest.raises(UserError, match=message):
        config = compose(command, [word], registry)
        compose_on_meta(config, registry)


@pytest.mark.parametrize("word", ["dataset=null", "benchmark=null", "objective=null", "audio_encoder=null"])
def test_null_takes_a_component_out(word: str, registry) -> None:
    config = compose("train", ["experiment=quickstart_av", word], registry)
    assert getattr(config, word.partition("=")[0]) is None


def test_debug_fast_and_overfit(registry) -> None:
    fast = compose("train", [QUICK, "stages.main.steps=null", "stages.main.epochs=3", "debug=fast"], registry)
    assert {name: (stage.steps, stage.epochs) for name, stage in fast.stages.items()} == {
        "motion": (2, None),
        "main": (2, None),
    }
    assert fast.debug.questions == 8 and fast.choices["debug"] == "fast"
    lora = ["stages.main.llm.train=lora", "stages.main.llm.weight_decay=0.1"]
    stage = compose("train", [QUICK, *lora, "debug=overfit"], registry).stages["main"]
    assert (stage.weight_decay, stage.llm.weight_decay, stage.llm.lora.dropout, stage.steps) == (0.0, None, 0.0, 720)


def half(first: int) -> list[Any]:
    """All experiments; every second one only where slow tests are asked for."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (at % 2 != first)) for at, name in enumerate(EXPERIMENTS)]


@pytest.mark.parametrize("experiment", half(1))
def test_debug_tiny_makes_any_experiment_small(experiment: str, registry) -> None:
    config = compose("train", [f"experiment={experiment}", "debug=tiny"], registry)
    plan = compose_on_meta(config, registry)
    assert sum(plan.parameters.values()) < 1_500_000
    assert (config.trainer.devices, config.trainer.accelerator) == (1, "cpu")
    check_launch(config.trainer, None)  # and the checks before a run, but those of data that a user has to name
    check_device(config.trainer)
    check_precision(config.trainer)
    check_parts(plan.model, config.stages)
    check_memory(plan, config)


@pytest.mark.parametrize("experiment", ["videollama2/finetune_qlora", "videollama2_av/joint"])
def test_what_debug_tiny_made_small_is_built(experiment: str, registry) -> None:
    config = compose("train", [f"experiment={experiment}", "debug=tiny"], registry)
    assert build_model(config, registry).llm.dim == compose_on_meta(config, registry).model.llm.dim


@pytest.mark.parametrize("experiment", half(0))
def test_one_override_swaps_a_part_of_any_experiment(experiment: str, registry) -> None:
    """Keys of one component stand in presets of it; in an experiment they would be keys that the next one lacks."""
    for encoder, connector in (("vit_tiny", "pool"), ("clip_tiny", "qformer")):
        words = [f"encoder={encoder}", f"connector={connector}", "llm=tiny"]
        config = compose("train", [f"experiment={experiment}", *words], registry)
        assert (config.connector["name"], config.choices["llm"]) == (connector, "tiny")


def test_a_preset_that_sets_a_key_of_another_component_is_named(registry, tmp_path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults: [{override /encoder: vit_tiny}, _self_]\nencoder: {size: 32}\n"
    (tmp_path / "experiment/mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"experiment/mine sets encoder\.size .*encoder has architecture, "):
        compose("train", ["--config-dir", str(tmp_path), "experiment=mine", "encoder=clip_tiny"], registry)


def test_every_first_party_part_has_an_example_that_builds(registry) -> None:
    for kind in parts():
        for row in registry.rows(kind):
            if row.plugin.distribution != "vlframe":
                continue
            assert row.component.example is not None, row.component.name
            between = {"in_dim": 24, "out_dim": 16} if kind.endswith("connector") else {}
            built = registry.build(kind, {"name": row.component.name, **row.component.example}, **between)
            assert sum(parameter.numel() for parameter in built.parameters()) < 1_500_000, row.component.name
