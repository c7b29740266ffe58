"""A modality that the core does not know, from a single file: planned, checked, trained, saved, resumed and asked."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.compositions import TINY
from helpers.processes import vlframe
from PIL import Image
from safetensors.torch import load_file

from vlframe.contracts.modalities import forget_plugins_modalities

PLUGIN = Path(__file__).parent / "outside" / "depth_maps.py"


def depth_maps(folder: Path) -> Path:
    """Write four depth maps, of one metre to four, and a manifest of questions about them."""
    rows = []
    for number in range(4):
        metres = np.full((20, 30), 1000 * (number + 1), np.uint16)
        Image.fromarray(metres).save(folder / f"{number}.png")
        turns = [{"from": "human", "value": "<depth>\nhow far?"}, {"from": "gpt", "value": f"{number + 1} metres"}]
        rows.append({"id": str(number), "depth": f"{number}.png", "conversations": turns})
    file = folder / "depth.json"
    file.write_text(json.dumps(rows))
    return file


@pytest.fixture(autouse=True)
def table() -> Iterator[None]:
    """Leave the table of modalities as it was: other tests of this process know two."""
    yield
    forget_plugins_modalities()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return depth_maps(tmp_path)


def words_of(manifest: Path) -> list[str]:
    return [
        *TINY, f"plugins.paths=[{PLUGIN}]", "depth_encoder=depth_tiny", "depth_connector=linear",
        "dataset=conversations", f"dataset.path={manifest}", "trainer.progress=false", "trainer.log_every=1",
        "+stage@stages.main=everything", "stages.main.steps=2", "stages.main.batch_size=2",
        "stages.main.connector.train=frozen",
    ]  # fmt: skip


def test_the_plugin_is_short() -> None:
    assert sum(bool(line.strip()) for line in PLUGIN.read_text().splitlines()) < 60


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("depth")
    vlframe("train", *words_of(depth_maps(folder)), cwd=folder)
    (made,) = (folder / "runs" / "default").iterdir()
    return made


def test_it_is_planned_and_its_data_are_checked(manifest: Path, tmp_path: Path) -> None:
    plan = vlframe("plan", *[word for word in words_of(manifest) if "stage" not in word], cwd=tmp_path).stdout
    assert "depth_encoder" in plan and "depth_connector" in plan
    plugin = f"plugins.paths=[{PLUGIN}]"
    parts = ["depth_encoder=depth_tiny", "depth_connector=linear", "llm=tiny"]
    report = json.loads(vlframe("data", "check", str(manifest), plugin, *parts, "--json", cwd=tmp_path).stdout)
    assert [(row["files"], row["named"], row["good"]) for row in report["files"]] == [("depth", 4, 4)]
    assert (report["sources"][0]["depth"], report["tokens"]["media_tokens"], report["errors"]) == (4, 64, 0)
    unread = json.loads(vlframe("data", "check", str(manifest), plugin, "--json", cwd=tmp_path).stdout)
    assert unread["sources"][0]["depth"] == 4 and "files of the kind depth were not read: no depth_encoder" in str(
        unread
    )
    deaf = vlframe("data", "check", str(manifest), plugin, "llm=tiny", "--json", cwd=tmp_path, check=False)
    found = json.loads(deaf.stdout)["findings"]
    assert deaf.returncode == 1 and {(item["level"], item["kind"]) for item in found} == {("error", "no_encoder")}
    assert "choose one (depth_encoder=…)" in found[0]["text"]


@pytest.mark.parametrize(
    ("stage", "learns"),
    [("everything", (True, True)), ("align", (False, True)), ("tune", (False, True)), ("tune_lora", (False, True))],
)
def test_every_preset_of_a_stage_trains_it_like_the_other_modalities(stage: str, learns: tuple[bool, bool]) -> None:
    from vlframe.composer.compose import compose, open_registry
    from vlframe.config.schema import part_settings

    given = [f"+stage@stages.main={stage}", "stages.main.steps=1"]
    config = compose("train", [*TINY, *given], open_registry([str(PLUGIN)]))
    settings = part_settings(config.stages["main"])
    assert tuple(settings[part].train == "full" for part in ("depth_encoder", "depth_connector")) == learns
    assert settings["depth_encoder"].train == settings["encoder"].train == settings["audio_encoder"].train
    assert settings["depth_connector"].train == settings["connector"].train == settings["audio_connector"].train


def test_it_learns_and_is_saved(run: Path) -> None:
    losses = [line for line in (run / "metrics.csv").read_text().splitlines()[1:] if line]
    assert len(losses) == 2
    (checkpoint,) = (run / "checkpoints").iterdir()
    saved = load_file(checkpoint / "depth_encoder.safetensors")
    assert set(saved) == {"patches.weight", "patches.bias"} and (checkpoint / "depth_connector.safetensors").is_file()
    table = json.loads((run / "parameters.json").read_text())["main"]
    assert table["depth_encoder"]["trained"] == sum(tensor.numel() for tensor in saved.values())
    assert table["connector"]["trained"] == 0


def test_it_is_resumed(run: Path) -> None:
    more = ["+stage@stages.more=everything", "stages.more.steps=1", "stages.more.batch_size=2"]
    vlframe("train", f"resume={run}", f"plugins.paths=[{PLUGIN}]", *more, cwd=run.parents[2])
    before, after = sorted((run / "checkpoints").iterdir())
    name = "depth_encoder.safetensors"
    weights = [load_file(folder / name)["patches.weight"] for folder in (before, after)]
    assert not torch.equal(*weights)


def test_it_is_asked(run: Path) -> None:
    """A depth map is a picture by its content; the tag says what it is."""
    asked = ["predict", f"run={run}", f"plugins.paths=[{PLUGIN}]", "media=0.png", "max_new_tokens=2"]
    shown = vlframe(*asked, "prompt=<depth> how far?", "--show-timeline", cwd=run.parents[2]).stdout
    assert "0.png (depth) -> 16 tokens" in shown
    assert "0.png (image" in vlframe(*asked, "prompt=how far?", "--show-timeline", cwd=run.parents[2]).stdout


def test_a_model_without_the_encoder_says_what_to_choose(manifest: Path, tmp_path: Path) -> None:
    refused = [word for word in words_of(manifest) if "depth_encoder" not in word and "depth_connector" not in word]
    done = vlframe("train", *refused, cwd=tmp_path, check=False)
    assert done.returncode == 2 and "no depth_encoder" in done.stderr and "Traceback" not in done.stderr


def test_it_can_be_withheld(manifest: Path) -> None:
    from vlframe import ConfigError
    from vlframe.composer.compose import compose, open_registry

    registry = open_registry([str(PLUGIN)])
    assert compose("train", [*words_of(manifest), "media.withhold=[depth]"], registry).media.withhold == ("depth",)
    with pytest.raises(ConfigError, match=r"media\.withhold is 'smell'; it can be video, image, audio, depth"):
        compose("train", [*words_of(manifest), "media.withhold=[smell]"], registry)


def test_two_maps_have_exact_counts_and_a_gradient(manifest: Path) -> None:
    """Exact counts, and gradients into the encoder of the new modality."""
    from vlframe.composer.compose import compose, open_registry
    from vlframe.data.collate import Collate
    from vlframe.inference.pipeline import build_pipeline

    registry = open_registry([str(PLUGIN)])
    config = compose("train", words_of(manifest), registry)
    pipeline = build_pipeline(config, registry)
    rows = pipeline.prepared(registry.build("dataset", config.dataset), answers=True)
    batch = Collate()([rows[0], rows[1]])
    assert [use.tokens for use in batch.uses] == [16, 16] and len(batch.slots_N) == 32
    pipeline.model(batch).total.backward()
    gradient = pipeline.model.parts["depth_encoder"].patches.weight.grad
    assert gradient is not None and torch.isfinite(gradient).all() and gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("number", "path", "instead", "words"),
    [
        (1, "DepthBranch", "No", r"the branch of the modality 'depth' cannot be imported from odd_depth_1:No: Attrib"),
        (
            2,
            "DepthBranch",
            "DepthEncoder",
            r"branch of the modality 'depth', odd_depth_2:DepthEncoder, is no vlframe\.B",
        ),
        (3, "DepthDecoder", "No", r"the decoder of media of the kind 'depth' cannot be imported from odd_depth_3:No"),
        (4, "DepthDecoder", "DepthFrontEnd", r"odd_depth_4:DepthFrontEnd, has no timeline and no decode"),
    ],
)
def test_a_path_that_leads_to_something_else(
    number: int, path: str, instead: str, words: str, manifest: Path, tmp_path: Path
) -> None:
    """What is at fault is named, and not the file that is read with it."""
    from vlframe.composer.compose import compose, open_registry
    from vlframe.errors import PluginError
    from vlframe.inference.pipeline import build_pipeline

    file = tmp_path / f"odd_depth_{number}.py"
    source = PLUGIN.read_text().replace(f"depth_maps:{path}", f"depth_maps:{instead}")
    file.write_text(source.replace("depth_maps:", f"{file.stem}:"))
    registry = open_registry([str(file)])
    asked = [word for word in words_of(manifest) if not word.startswith("plugins.")]
    config = compose("train", [*asked, f"plugins.paths=[{file}]"], registry)
    with pytest.raises(PluginError, match=words):
        pipeline = build_pipeline(config, registry)
        _ = pipeline.prepared(registry.build("dataset", config.dataset), answers=True)[0]


def test_it_is_chosen_like_the_other_modalities(tmp_path: Path) -> None:
    """By an experiment of its plugin, by another word on the command line, or not at all."""
    from vlframe.composer.command_line import parse, with_plugins_kinds
    from vlframe.composer.compose import compose, open_registry

    file, experiment = tmp_path / "chosen_depth.py", tmp_path / "conf" / "experiment" / "maps.yaml"
    experiment.parent.mkdir(parents=True)
    chosen_there = ["override /depth_encoder: depth_tiny", "override /depth_connector: linear"]
    experiment.write_text("\n  - ".join(["# @package _global_\ndefaults:", *chosen_there]) + "\n")
    conf = "\n\n@vlframe.hookimpl\ndef vlframe_conf():\n    return Path(__file__).parent / 'conf'\n"
    second = '\n    yield vlframe.Component("depth_encoder", "second", "depth_maps:DepthEncoder", None, "another")\n'
    file.write_text((PLUGIN.read_text().rstrip() + second + conf).replace("depth_maps:", f"{file.stem}:"))
    registry = open_registry([str(file)])
    for words, chosen in (
        (["experiment=maps"], ("depth_tiny", "linear")),
        (["experiment=maps", "depth_encoder=second"], ("second", "linear")),
        (["experiment=maps", "depth_encoder=null"], (None, "linear")),
        (["depth_encoder=second", "depth_connector=linear"], ("second", "linear")),
        (["depth_encoder=second", "depth_encoder=null"], (None, None)),
        ([], (None, None)),
    ):
        config = compose("train", [*words, f"plugins.paths=[{file}]"], registry)
        parts = (config.depth_encoder, config.depth_connector)
        assert tuple(part and part["name"] for part in parts) == chosen, words
    swept = with_plugins_kinds(parse("train", ["-m", "depth_encoder=null,second"]))
    assert swept.words == ["depth_encoder=[],second"]


def test_a_run_from_before_the_plugin_goes_on_with_it(tmp_path: Path) -> None:
    """Its config lacks the parts that the plugin adds."""
    from helpers.runs import manifest as of_words
    from helpers.runs import only_run, training

    folder = tmp_path / "before"
    folder.mkdir()
    vlframe("train", *training(of_words(folder), "stages.main.steps=2"), cwd=folder)
    made = only_run(folder)
    more = ["+stage@stages.more=tune", "stages.more.steps=1", "stages.more.batch_size=2"]
    done = vlframe("train", f"resume={made}", f"plugins.paths=[{PLUGIN}]", *more, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((made / "checkpoints").iterdir())) == 2


def test_the_matrix_and_the_tiny_twin_need_no_example_of_a_part_without_parameters(
    capsys: pytest.CaptureFixture,
) -> None:
    from vlframe.cli import main
    from vlframe.composer.compose import compose, open_registry

    assert main(["plugin", "matrix", f"plugins.paths=[{PLUGIN}]", "format=json"]) == 0
    pairs = json.loads(capsys.readouterr().out)["pairs"]
    found = {(*pair["kinds"], *pair["names"]): pair["takes"] for pair in pairs}
    assert found["depth_encoder", "depth_connector", "depth_tiny", "linear"] == ["depth"]
    assert found["depth_connector", "llm", "linear", "causal_lm"] == ["depth"] and len(found) == 2
    parts = ["depth_encoder=depth_tiny", "depth_connector=linear", f"plugins.paths=[{PLUGIN}]"]
    config = compose("train", [*parts, "debug=tiny"], open_registry([str(PLUGIN)]))
    assert config.depth_encoder == {"name": "depth_tiny"} and config.encoder["name"] == "vit_tiny"
