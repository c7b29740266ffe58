"""What parts promise of shapes is held against what they give while planning, and against what is built."""

from pathlib import Path

import pytest
from helpers.runs import manifest, training

from vlframe import testing
from vlframe.cli import main
from vlframe.commands.plan import describe
from vlframe.composer.compose import compose, open_registry
from vlframe.distributed.devices import this_cpu
from vlframe.errors import PluginError
from vlframe.inference.pipeline import build_pipeline
from vlframe.model.assemble import compose_on_meta
from vlframe.testing.subject import ContractError
from vlframe.training.cost_report import report
from vlframe.training.run import train

PLUGIN = Path(__file__).parent / "outside" / "broken_promises.py"
PARTS = ["encoder=wrong", "connector=wrong", "audio_encoder=wrong", "audio_connector=wrong", "llm=tiny"]
WORDS = [f"plugins.paths=[{PLUGIN}]", *PARTS, "media.frames=4"]


def composed(*words: str):
    registry = open_registry([str(PLUGIN)])
    return compose("train", [*WORDS, *words], registry), registry


def test_kept_promises_pass() -> None:
    config, registry = composed()
    plan = compose_on_meta(config, registry)
    assert plan.budget.tokens("video", (4, 3, 16, 16)) == 16 and plan.model.training
    build_pipeline(config, registry)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("encoder.fault=grid", r"encoder 'wrong' of plugin .*broken_promises.py promises 4x3x4 features of width 8 for "
         r"4 frames of 16x16 pixels and gives 4x4x4 features of width 8; its grid"),
        ("encoder.fault=image_grid", r"promises 1x3x4 features .* for 1 frame .* and gives 1x4x4"),
        ("encoder.fault=joint_image_grid", r"promises 1x3x4 features .* for an image .* and gives 1x4x4"),
        ("encoder.fault=dim", r"promises 4x4x4 features of width 8 .* gives 4x4x4 features of width 6; .*dim is wrong"),
        ("encoder.fault=fails", r"encoder 'wrong' of plugin .* fails on 4 frames of 16x16 pixels: RuntimeError"),
        ("connector.fault=planned_only", r"connector 'wrong' of plugin .* promises 16 tokens for 2 frames .* gives 8"),
        ("connector.fault=image", r"promises 3 tokens for 1 frame .* and gives 4; its tokens\(\) is wrong"),
        ("connector.fault=expanded", r"promises 17 tokens for 4 frames .* and gives 16"),
        ("connector.fault=out_dim", r"gives tokens of width 127 .* language model's are 128 wide \(out_dim\)"),
        ("connector.fault=batch", r"gives a tensor of shape \(32, 128\) for 2 items of 4 frames .*\(2, 16, 128\)"),
        ("connector.fault=tuple", r"gives a tuple for 4 frames"),
        ("audio_encoder.fault=steps", r"audio_encoder 'wrong' .* promises 401 features of width 8 for 4 s of sound and "
         r"gives 400"),
        ("audio_connector.fault=longest_only", r"promises 200 tokens for 1 s of sound and gives 50"),
    ],
)  # fmt: skip
def test_a_broken_promise_is_one_sentence_while_planning(word: str, said: str) -> None:
    with pytest.raises(PluginError, match=said) as caught:
        compose_on_meta(*composed(word))
    assert "\n" not in str(caught.value)


ENCODERS = [
    ("float_grid", r"Eyes\.grid\(\S+, 16, 16\) gives VideoGrid\(.*height=4\.0.*whole numbers.*divide with //"),
    ("tuple_grid", r"Eyes\.grid\(\S+, 16, 16\) gives \(\d, 4, 4\); it must be a vlframe\.VideoGrid"),
    ("none_grid", r"Eyes\.grid\(\S+, 16, 16\) gives None; it must be a vlframe\.VideoGrid"),
    ("no_grid", r"Eyes\.grid is None; it must be a method"),
    ("crash_grid", r"Eyes\.grid\(\S+, 16, 16\) fails with KeyError: \d; .*vlframe\.ConfigError that says why"),
    ("float_dim", r"Eyes\.dim is 8\.0; it must be a whole number"),
    ("no_dim", r"Eyes\.dim is None; it must be a whole number"),
]  # fmt: skip
COUNTS = [
    ("float", r"gives \d+\.0; it must be a whole number, at least 1 \(divide with //"), ("none", "gives None"),
    ("zero", "gives 0; it must be a whole number, at least 1"), ("yes", "gives True"), ("text", r"gives '\d+'"),
    ("crash", "fails with IndexError"),
]  # fmt: skip
DECLARATIONS = [
    *(("encoder", fault, said) for fault, said in ENCODERS),
    *(("connector", fault, rf"Bridge\.tokens\(\S+\) {said}") for fault, said in COUNTS),
    *(("audio_encoder", fault, rf"Ears\.steps\(\d+\) {said}") for fault, said in COUNTS),
    *(("audio_connector", fault, rf"Wire\.tokens\(\d+\) {said}") for fault, said in COUNTS),
]


@pytest.mark.parametrize(("kind", "fault", "said"), DECLARATIONS, ids=[" ".join(item[:2]) for item in DECLARATIONS])
def test_a_declaration_that_is_none_is_named_by_the_plan_and_by_the_kit(kind: str, fault: str, said: str) -> None:
    with pytest.raises(PluginError, match=rf"{kind} 'wrong' of plugin .*broken_promises.py: {said}") as caught:
        compose_on_meta(*composed(f"{kind}.fault={fault}"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ContractError, match=f"{kind} 'wrong': {said}"):
        getattr(testing, f"check_{kind}")("wrong", {"fault": fault}, plugins=[str(PLUGIN)])


def test_numbers_of_numpy_are_whole_numbers() -> None:
    words = [f"{kind}.fault=numpy" for kind in ("encoder", "connector", "audio_encoder", "audio_connector")]
    plan = compose_on_meta(*composed(*words))
    assert type(plan.budget.tokens("video", (4, 3, 16, 16))) is int


def test_a_wrong_declaration_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word for word in training(manifest(tmp_path)) if word.partition("=")[0] not in ("encoder", "connector")]
    words = [word for word in words if not word.startswith(("encoder.", "connector."))]
    more = ["encoder=wrong", "connector=wrong", "connector.fault=float", f"plugins.paths=[{PLUGIN}]"]
    assert main(["train", *words, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Bridge.tokens(4x4x4) gives 16.0" in line and not (tmp_path / "runs").exists()


def test_a_part_that_looks_at_numbers_is_left_to_the_first_step(tmp_path: Path) -> None:
    """The plan and the run's log say so; the costs of stages, too, are not predicted in silence."""
    config, registry = composed("encoder.fault=looks")
    plan = compose_on_meta(config, registry)
    (said,) = plan.unchecked
    assert said.startswith("encoder 'wrong' of plugin ") and "only in the first step" in said
    assert f"not checked: {said}" in describe(plan, config, registry)
    words = ["+stage@stages.main=everything", "stages.main.steps=1", "dataset=conversations", f"runs={tmp_path}"]
    data = [f"dataset.path={manifest(tmp_path)}", "encoder.fault=looks", "audio_encoder=null", "audio_connector=null"]
    config, registry = composed(*words, *data)
    assert "stage main: its cost is not predicted: a part cannot be tried" in report(
        compose_on_meta(config, registry), config, this_cpu()
    )
    assert f"not checked: {said}" in train(config, registry).log.read_text()
    assert compose_on_meta(*composed()).unchecked == ()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("encoder.fault=built_otherwise", r"encoder 'wrong' of plugin .* is built with other parameters than were "
         r"planned: embed.bias is of shape \[9\], and was planned as of shape \[8\] \(2 differ\)"),
        ("connector.fault=built_tokens", r"connector 'wrong' .* gives 20 tokens for 4 frames .*, and 16 were planned"),
    ],
)  # fmt: skip
def test_a_part_that_is_built_otherwise_than_planned(word: str, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        build_pipeline(*composed(word))
