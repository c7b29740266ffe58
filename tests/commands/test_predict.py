"""What a model is shown is said before it is asked, and clips that a sampler cuts are said wherever they are used."""

from pathlib import Path

import pytest
import torch
from helpers.clips import ClipSpec, write_clip
from helpers.runs import manifest, only_run, training

from vlframe.cli import main
from vlframe.contracts.batch import MediaFile
from vlframe.contracts.grids import PixelLayout
from vlframe.contracts.sample import Media, Sample, Turn
from vlframe.contracts.timeline import Timeline
from vlframe.data.prepare import PreparedMedia, PreparedSample
from vlframe.inference.described import timeline_table

FPS = ["media.sampler=fps", "media.sampler.fps=10"]
CUT = "16 frames at 10 fps, cut to 4 by media.frames"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose clips are cut, and ``clip.mp4`` of 40 frames at 25 a second."""
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path, ClipSpec("clip.mp4"))
    turns = [{"from": "human", "value": "<video>\nwhat?"}, {"from": "gpt", "value": "red"}]
    file = manifest(tmp_path, 4, video="clip.mp4", conversations=turns)
    asked = ["benchmark=exact_match_file", f"benchmark.dataset.path={file}", "benchmark.max_new_tokens=2"]
    assert main(["train", *training(file, *FPS, *asked, "stages.main.steps=4", "trainer.accelerator=cpu")]) == 0
    return only_run(tmp_path)


def test_what_is_shown_comes_before_the_answer(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = (run / "run.log").read_text()
    assert log.count(CUT) == 2  # once for the training, once for the benchmark
    assert f"training: 8 of 8 samples had a clip that was cut or filled; the first: {run.parents[2]}/clip.mp4" in log
    assert "benchmark exact_match: 4 of 4 samples" in log
    capsys.readouterr()
    words = ["predict", f"run={run}", "media=clip.mp4", "prompt=what?", "max_new_tokens=2"]
    assert main([*words, "--show-timeline"]) == 0
    shown = capsys.readouterr().out
    assert "clip.mp4 (video, 64x48 pixels, 1.600 s) -> 48 tokens" in shown and f"note: {CUT}" in shown
    assert "each frame becomes 48x48 pixels" in shown and "tokens: 48 of media" in shown
    rows = [line.split() for line in shown.splitlines()]
    assert [row for row in rows if len(row) == 2 and row[0].isdigit() and "." in row[1]] == [
        ["5", "0.200"], ["15", "0.600"], ["24", "0.960"], ["34", "1.360"],
    ]  # fmt: skip
    assert main(["evaluate", f"run={run}", "benchmark.frames=2"]) == 0
    assert "cut to 2 by benchmark.frames" in capsys.readouterr().err
    few = {"": "exact_match_file", ".dataset.path": "text.jsonl", ".frames": 3, ".max_new_tokens": 2}
    assert main(["evaluate", f"run={run}", *(f"benchmarks.few{key}={value}" for key, value in few.items())]) == 0
    assert "cut to 3 by benchmarks.few.frames" in capsys.readouterr().err
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.err == f"clip.mp4: {CUT}\n" and "second" not in said.out
    if not torch.cuda.is_available():  # the run of a machine with GPUs, copied here
        config = run / "config.yaml"
        config.write_text(config.read_text().replace("accelerator: cpu", "accelerator: cuda"))
        assert main(words) == 2
        assert "torch finds no such device here; choose another one" in capsys.readouterr().err
        assert main([*words, "device=cpu"]) == 0
        assert main([*words, "device=gpu"]) == 2
        assert "it can be cpu, cuda" in capsys.readouterr().err


def test_a_plan_says_which_clips_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "encoder=vit_tiny", "connector=pool_tiny", "llm=tiny", "media.frames=100"]
    assert main([*words, "media.sampler=fps"]) == 0
    said = capsys.readouterr().out
    assert "a clip of 120 s: 120 frames at 1 fps, cut to 100 by media.frames" in said and "of 60 s" not in said
    assert main(words) == 0
    assert "a clip of" not in capsys.readouterr().out


def test_a_clip_is_filled_for_an_encoder_of_pairs_and_everything_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path, ClipSpec("clip.mp4"))
    turns = [{"from": "human", "value": "<video>\nwhat?"}, {"from": "gpt", "value": "red"}]
    file = manifest(tmp_path, 4, video="clip.mp4", conversations=turns)
    two = ["media.sampler=fps", "media.sampler.fps=2", "media.frames=8"]  # 3 frames of 1.6 s
    parts = ["encoder=videomae_tiny", "encoder.architecture.num_hidden_layers=1", "connector=qformer_tiny", *two]
    assert main(["plan", "llm=tiny", *parts]) == 0
    planned = capsys.readouterr().out
    assert "the encoder joins 2 frames in a step: other clips are filled with their last frame" in planned
    data = ["dataset=conversations", f"dataset.path={file}", "+stage@stages.main=tune", "stages.main.steps=1"]
    assert main(["train", "llm=tiny", *parts, *data, "trainer.accelerator=cpu", "trainer.progress=false"]) == 0
    run = only_run(tmp_path)
    said = "3 frames, filled to 4 with the last one: the encoder takes pairs"
    assert f"had a clip that was cut or filled; the first: {tmp_path}/clip.mp4: {said}" in (run / "run.log").read_text()
    asked = ["predict", f"run={run}", "media=clip.mp4", "prompt=what?", "max_new_tokens=1", "--show-timeline"]
    capsys.readouterr()
    assert main(asked) == 0
    shown = capsys.readouterr().out
    rows = [line.split() for line in shown.splitlines()]
    times = [row for row in rows if len(row) == 2 and row[0].isdigit() and "." in row[1]]
    assert f"note: {said}" in shown and len(times) == 4 and times[2] == times[3]
    assert main(["plan", "llm=tiny", *parts, "media.frames=7"]) == 2
    assert "media.frames is 7, and encoder 'videomae' joins 2 frames" in capsys.readouterr().err


def test_tiles_and_media_that_are_left_out_are_shown() -> None:
    import torch

    picture, sound = Media("image", Path("a.png")), Media("audio", Path("a.wav"))
    layout = PixelLayout(448, 448, rows=2, columns=3, overview=True)
    timeline = Timeline(picture, height=600, width=900, layout=layout, shape=(7, 3, 448, 448))
    item = PreparedMedia(MediaFile("image", torch.zeros(1), "key", 7), 70, (), timeline)
    sample = Sample("q", (Turn("user", "what?"),), (picture, sound))
    prepared = PreparedSample("q", [0] * 75, [False] * 75, (item,))

    class Budget:
        max_length = 2048

    said = timeline_table(sample, prepared, Budget())  # type: ignore[arg-type]
    assert "a.png (image, 900x600 pixels) -> 70 tokens" in said
    assert "the picture becomes 7 tiles of 448x448 pixels: 2 rows of 3 and an overview" in said
    assert "a.wav (audio): not shown to the model" in said
    assert "75 tokens: 70 of media, 5 of text; the context is 2048" in said
