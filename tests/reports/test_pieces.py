"""Parts of a report by themselves: the front, media that browsers do not play, curves, LaTeX."""

import base64
import io
import math
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.clips import ClipSpec, write_clip
from PIL import Image

from vlframe.evaluation.statistics import Interval
from vlframe.registry.registry import Registry
from vlframe.reports.front import front, front_words
from vlframe.reports.media import MediaFolder
from vlframe.reports.tables import difference_words, latex_table, score_words
from vlframe.studies.curves import curve, peak_memory, read_history
from vlframe.studies.results import CellResult, Compared, StudyResults


def results(**cells: tuple[int | None, float]) -> StudyResults:
    made = tuple(
        CellResult(label, {}, (), {"accuracy": Compared("accuracy", Interval(score, score - 0.1, score + 0.1))}, tokens)
        for label, (tokens, score) in cells.items()
    )
    return StudyResults("made up", made[0].label, ("accuracy",), None, made, {}, ())


def test_the_front_names_what_is_dominated_and_by_what() -> None:
    found = {point.label: point.by for point in front(results(
        small=(16, 0.5), large=(64, 0.7), wasteful=(64, 0.6), worse=(90, 0.4), twin=(16, 0.5), unknown=(None, 0.9),
    ), "accuracy")}  # fmt: skip
    assert found == {"small": (), "twin": (), "large": (), "wasteful": ("large",),
                     "worse": ("small", "large", "wasteful", "twin")}  # fmt: skip
    said = front_words(front(results(small=(16, 0.5), worse=(17, 0.5)), "accuracy"))
    assert said == "On the front: small. Dominated: worse (by small)."


def test_what_no_browser_plays_is_written_anew_and_small(tmp_path: Path) -> None:
    media = MediaFolder(tmp_path / "media", 10**7)
    old = write_clip(tmp_path, ClipSpec("old.avi", codec="mpeg4", frames=12, width=1000, height=500))
    shown = media.shown(str(old))
    data = base64.b64decode(shown.src.partition("base64,")[2]) if shown.src.startswith("data:") else (
        tmp_path / shown.src).read_bytes()  # fmt: skip
    with av.open(io.BytesIO(data)) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 480, 240)
        assert sum(1 for _ in film.decode(video=0)) == 12
    assert media.shown(str(old)) is shown and media.spent == len(data), "each is taken once"
    (tmp_path / "text.avi").write_text("no film")
    assert media.shown(str(tmp_path / "text.avi")).why == "text.avi: no browser plays it"
    assert media.shown(str(tmp_path / "gone.mp4")).why == "gone.mp4: is not there any more"


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_what_is_written_anew_is_upright(rotation: int, tmp_path: Path) -> None:
    """As the model saw it: the old film has a matrix that rotates it, the new one has none."""
    old = write_clip(tmp_path, ClipSpec("old.mov", codec="mpeg4", frames=3, rotation=rotation))
    seen_YXC = Registry.installed().build("reader", {"name": "auto"}).frames(old, [0])[0]
    shown = MediaFolder(tmp_path / "media", 10**7).shown(str(old))
    with av.open(io.BytesIO(base64.b64decode(shown.src.partition("base64,")[2]))) as film:
        shown_YXC = next(film.decode(video=0)).to_ndarray(format="rgb24")
    assert shown_YXC.shape == seen_YXC.shape
    assert np.abs(shown_YXC.astype(int) - seen_YXC).mean() < 25, "another rotation differs by about 80"


@pytest.mark.parametrize("name", ["a.bmp", "a.tif", "a.ppm", "a.tga"])
def test_a_picture_that_no_browser_shows_is_a_picture_on_the_page(name: str, tmp_path: Path) -> None:
    Image.effect_noise((900, 300), 90).convert("RGB").save(tmp_path / name)
    shown = MediaFolder(tmp_path / "media", 10**7).shown(str(tmp_path / name))
    data = (tmp_path / shown.src).read_bytes() if shown.src.startswith("media/") else base64.b64decode(
        shown.src.partition("base64,")[2])  # fmt: skip
    assert (shown.kind, Image.open(io.BytesIO(data)).format, Image.open(io.BytesIO(data)).size) == (
        "image", "PNG", (480, 160),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["list.mp4", "list.avi"])
def test_a_list_of_other_files_is_not_opened_for_the_page(name: str, tmp_path: Path) -> None:
    """FFmpeg would play what a playlist names, from this disk or from the network."""
    write_clip(tmp_path, ClipSpec("secret.ts", frames=5))
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / name).write_text(playlist)
    assert MediaFolder(tmp_path / "media", 10**7).shown(str(tmp_path / name)).why == f"{name}: no browser plays it"


def test_large_media_lie_beside_the_page_within_the_budget(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        Image.effect_noise((400, 400), 90 + number).save(path)
    assert paths[0].stat().st_size > 2**16
    media = MediaFolder(tmp_path / "media", sum(path.stat().st_size for path in paths[:2]))
    first, second, third = (media.shown(str(path)) for path in paths)
    assert (tmp_path / first.src).read_bytes() == paths[0].read_bytes() and second.src.startswith("media/")
    assert (third.src, third.why) == ("", "2.png: left out, media_mb is spent")
    assert len(list((tmp_path / "media").iterdir())) == 2


def test_curves_are_thinned_by_means_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    rows = [f"{step},{step / 10},{step % 3 or ''}" for step in range(1, 101)]
    file.write_text("step,train/loss,train/peak_memory_gib\n" + "\n".join(rows) + "\n101,0.")
    history = read_history(file)
    assert len(history) == 100 and peak_memory(history) == 2 and peak_memory([]) is None
    assert curve(history, "train/loss") == [(float(step), step / 10) for step in range(1, 101)]
    thinned = curve(history, "train/loss", most=10)
    assert len(thinned) == 10 and thinned[0] == (10.0, pytest.approx(0.55)) and thinned[-1][0] == 100
    assert (
        curve([{"step": 1.0, "train/loss": math.nan}], "train/loss") == [] and read_history(tmp_path / "no.csv") == []
    )


def test_words_and_latex() -> None:
    assert score_words(Interval(0.5, 0.25, 0.75)) == "0.500 (0.250–0.750)" and score_words(None) == ""
    assert score_words(Interval(0.5, math.nan, math.nan)) == "0.500" and difference_words(Compared("accuracy")) == ""
    table = latex_table([{"cell": "a_b & 50%", "difference": "-0.1 (-0.2 to +0.1)", "state": "x"}], "c", "l")
    assert r"a\_b \& 50\% & $-$0.1 ($-$0.2 to +0.1) \\" in table and "state" not in table
