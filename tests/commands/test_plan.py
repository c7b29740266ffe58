"""What a plan says of pictures that the parts refuse, and that a run with such data does not begin."""

import json
from pathlib import Path

import httpx
import pytest
from helpers.clips import ClipSpec, write_clip
from huggingface_hub import constants
from PIL import Image

from vlframe.cli import main

REASON = "this connector shows an image to the language model as a clip of equal frames"
JOINT = ["encoder=vit_joint_tiny", "encoder.size=16", "encoder.dim=32", "encoder.heads=2", "llm=tiny", "media.frames=4"]


def test_a_refusal_is_a_word_in_the_table_and_a_reason_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *JOINT, "connector=stc_tiny", "pixels=tiles"]) == 0
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines() if line[:1].isdigit() and "x" in line.split()[0]]
    assert len(rows) == 5 and all(row[3] == "no" and row[5].isdigit() for row in rows)
    assert said.count(REASON) == 1


PICKY = """
import vlframe
from torch import nn

class Short(nn.Module):
    expands_images = False
    def __init__(self, *, in_dim, out_dim):
        super().__init__()
        self.map = nn.Linear(in_dim, out_dim)
    def tokens(self, grid):
        if grid.width > grid.height + 1:
            raise vlframe.ConfigError("takes nothing wide")
        return grid.positions
    def forward(self, features_BTHWD):
        return self.map(features_BTHWD.flatten(1, 3))

@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("connector", "picky", __name__ + ":Short", None, "takes no wide pictures")
"""


def test_a_reason_that_the_lines_above_do_not_give_follows_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "picky_sizes.py"
    file.write_text(PICKY)
    words = ["plan", "encoder=siglip2_naflex_tiny", "connector=picky", "llm=tiny", f"plugins.paths=[{file}]"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line[:1].isdigit() and "x" in line.split()[0]]
    for column in (3, 5):  # of images, and of clips
        assert [row[column] == "no" for row in rows] == [False, True, False, True, True]
        assert rows[0][column].isdigit()
    assert lines.count("no: takes nothing wide") == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("image", REASON),
        ("audio", "the model has no audio_encoder; choose one (audio_encoder=…) or leave it out"),
    ],
)
@pytest.mark.parametrize("place", ["dataset", "validation.dataset"])
def test_a_run_whose_data_the_parts_refuse_does_not_begin(
    given: str,
    said: str,
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path, ClipSpec("clip.mp4", sound="aac"))
    Image.new("RGB", (40, 30)).save("picture.png")
    files = {"video": "clip.mp4", "image": "picture.png", "audio": "clip.mp4"}

    def rows(name: str, *kinds: str) -> str:
        made = []
        for number, kind in enumerate(kinds):
            turns = [{"from": "human", "value": f"<{kind}>\nwhat?"}, {"from": "gpt", "value": "red"}]
            made.append({"id": f"{name}{number}", kind: files[kind], "conversations": turns})
        (tmp_path / f"{name}.json").write_text(json.dumps(made))
        return f"{name}.json"

    good, bad = rows("good", "video", "video"), rows("bad", "video", given)
    train = bad if place == "dataset" else good
    words = [
        *JOINT, "connector=stc_tiny", "dataset=conversations", f"dataset.path={train}", "+stage@stages.main=everything",
        "stages.main.steps=1", "trainer.progress=false",
    ]  # fmt: skip
    if place != "dataset":
        words += ["validation.dataset=conversations", f"validation.dataset.path={bad}"]
    assert main(["train", *words]) == 2
    text = capsys.readouterr().err
    assert "sample 'bad1'" in text and said in text and f"media.withhold=[{given}]" in text
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stages.main.llm.train=full", "stages.main.llm.trainable=[norms]"], "stages.main.llm.trainable has 'norms'"),
        (["stages.main.connector={train: full, frozen: ['*']}"], "stages.main.connector trains nothing"),
        (["stages.main.audio_encoder={train: full, frozen: [a]}"], "stages.main.audio_encoder.frozen is set, and"),
    ],
)
def test_a_refusal_about_a_stage_names_it(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "experiment=quickstart", *words]) == 2
    assert capsys.readouterr().err.startswith(f"vlframe: {said}")


def test_a_plan_asks_no_hub(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a tokenizer that is not on this machine neither: without a network each try is a wait."""
    asked = []

    def send(self: httpx.Client, request: httpx.Request, **_: object) -> httpx.Response:
        asked.append(str(request.url))
        raise httpx.ConnectError("no network")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(httpx.Client, "send", send)
    absent = ["llm.source=someone/nowhere", "llm.tokenizer=null", "stages.main.llm.train=full"]
    assert main(["plan", "experiment=quickstart", "device=h100", *absent]) == 0
    said = capsys.readouterr().out
    assert "to download: about" in said and "llm someone/nowhere" in said and "stage main: trains" in said
    assert not asked and not constants.HF_HUB_OFFLINE
