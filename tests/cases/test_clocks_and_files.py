"""One clock for a file; what a file is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from helpers.cases import HEARING, MODEL, check, checked

Case = Callable[[str], Path]


def frames(path: Path, at: list[int]) -> np.ndarray:
    from vlframe_readers.pyav import PyavReader

    return PyavReader().frames(path, at)


def test_track_shorter_than_picture(case: Case) -> None:
    folder = case("track-shorter-than-picture")
    assert checked(folder, "rows.json", *HEARING, "media.missing_audio=silence")["errors"] == 0
    assert "unreadable_file" not in check(folder, "rows.json", *HEARING, "media.missing_audio=drop").stdout


def test_vfr_start_end(case: Case) -> None:
    from vlframe_readers.pyav import PyavReader

    import vlframe
    from vlframe.registry.registry import Registry

    path = case("vfr-start-end") / "vfr.mp4"
    reader, registry = PyavReader(), Registry.installed()
    assert vlframe.Reader

    def seen(name: str, start: float | None, end: float | None, wanted: int, **more: float) -> list[str]:
        sampler = registry.build("sampler", {"name": name, **more}, frames=wanted)
        chosen = sampler.indices(reader.info(path), start, end, training=False, generator=None)
        found = reader.frames(path, chosen)
        return ["red" if frame[..., 0].mean() > frame[..., 2].mean() else "blue" for frame in found]

    assert seen("uniform", 0, 4, 4) == ["red"] * 4
    assert seen("uniform", 4, 8, 4) == ["blue"] * 4
    assert seen("fps", None, None, 8, fps=1.0) == ["red"] * 4 + ["blue"] * 4


def test_animated_pictures(case: Case) -> None:
    folder = case("animated-pictures")
    assert checked(folder, "as_video.json", *MODEL)["errors"] == 0
    as_image = check(folder, "as_image.json", *MODEL)
    assert as_image.returncode == 1 or "moves" in as_image.stdout


def test_formats_not_opened(case: Case) -> None:
    report = checked(case("formats-not-opened"), "rows.json", *HEARING)
    assert report["errors"] == 0 and sum(row["good"] for row in report["files"]) == 7  # all are read


def test_wav_of_unknown_length(case: Case) -> None:
    report = checked(case("wav-of-unknown-length"), "rows.json", *HEARING)
    refused = {
        Path(finding["text"].split(": ")[0]).name for finding in report["findings"] if finding["level"] == "error"
    }
    assert report["errors"] == 1 and any("cut.wav" in text for text in [str(report["findings"])]), refused


def test_mirrored_display_matrix(case: Case) -> None:
    folder = case("mirrored-display-matrix")

    def sides(name: str) -> str:
        picture = frames(folder / name, [0])[0].astype(int)
        half = picture.shape[1] // 2
        return "".join(
            "r" if side[..., 0].mean() > side[..., 2].mean() else "b" for side in (picture[:, :half], picture[:, half:])
        )

    assert sides("plain.mp4") == "rb" and sides("mirrored.mp4") == "br"
    assert frames(folder / "turned_mirrored.mp4", [0])[0].shape[:2] == (64, 48)


def test_frames_as_a_video(case: Case) -> None:
    report = checked(case("frames-as-a-video"), "rows.json", *MODEL)
    assert report["errors"] == 0 and report["sources"][0]["video"] == report["sources"][0]["rows"]
