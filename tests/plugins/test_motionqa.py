"""MotionQA: balanced, disjoint, repeatable, safe to write, and answerable from the files it writes."""

import functools
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vlframe_motionqa import MotionQAParams
from vlframe_motionqa import folder as folders
from vlframe_motionqa.dataset import MotionQA, draw_clips
from vlframe_motionqa.questions import COUNTS, QUESTIONS, vocabulary
from vlframe_motionqa.rendering import RGB, Clip, frames_of
from vlframe_motionqa.scenes import SLOTS, split_of

from vlframe import ConfigError, Sample

ALL = list(QUESTIONS)
KINDS = ["motion", "blink", "switch", "beep"]


def make(folder: Path | None = None, **changed: object) -> MotionQA:
    values = {**asdict(MotionQAParams()), "folder": None if folder is None else str(folder), **changed}
    return MotionQA(**values)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> MotionQA:
    """160 validation clips, 32 of each kind and as many again with motion."""
    return make(tmp_path_factory.mktemp("motionqa") / "clips", split="validation", clips=160, questions=ALL)


def sampled(frames: int, count: int = SLOTS) -> list[int]:
    """The frames that `uniform` sampling shows: midpoints of equal parts."""
    part = (frames - 1) / count
    return [(round(part * index) + round(part * (index + 1))) // 2 for index in range(count)]


def seen(path: Path) -> np.ndarray:
    """The eight frames a model is shown, float in 0..1."""
    with av.open(str(path)) as container:
        frames_TYXC = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    return frames_TYXC[sampled(len(frames_TYXC))] / 255


def masks(frames_TYXC: np.ndarray) -> dict[str, np.ndarray]:
    """Where each colour is, by nearness to it: ``mask_TYX`` for every colour that is somewhere."""
    distance = {name: np.abs(frames_TYXC - np.array(rgb) / 255).max(-1) for name, rgb in RGB.items()}
    found = {name: near < 0.25 for name, near in distance.items()}
    return {name: mask for name, mask in found.items() if mask.sum(axis=(1, 2)).max() > 40}


def samples_of(data: MotionQA, category: str) -> list[Sample]:
    return [data[index] for index in range(len(data)) if data[index].category == category]


# What is asked


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("clips", [120, 131])
def test_answers_are_balanced_so_that_a_blind_answer_is_at_chance(split: str, clips: int) -> None:
    given_answers = defaultdict(Counter)
    for clip in draw_clips(split, clips, KINDS, seed=3):
        for category, answer in clip.scene.answers().items():
            given_answers[QUESTIONS[category].text][answer] += 1
    for question in QUESTIONS.values():
        counts = [given_answers[question.text][option] for option in question.options]
        assert sum(counts) == sum(given_answers[question.text].values())  # no answer outside the options
        # Each kind is balanced by itself; a flash comes twice, with a beep before it and after it.
        kinds = 2 if question is QUESTIONS["flash"] else len(question.scenes)
        if question is QUESTIONS["beep"]:  # before or after flashes that are balanced: one of six is the best bet
            assert max(counts) <= sum(counts) / 6 + 2
            continue
        assert max(counts) - min(counts) <= kinds
        assert max(counts) < sum(counts) / len(question.options) + kinds  # the best constant answer is at chance


@pytest.mark.parametrize("kind", ["motion", "blink", "beep"])
def test_two_questions_about_a_clip_do_not_answer_each_other(kind: str) -> None:
    pairs = Counter(tuple(clip.scene.answers().values()) for clip in draw_clips("train", 768, [kind], seed=0))
    assert len(set(pairs.values())) == 1


def test_splits_share_no_scene_under_any_seed() -> None:
    train = {clip.scene for seed in (0, 1) for clip in draw_clips("train", 1000, KINDS, seed)}
    validation = {clip.scene for seed in (0, 1) for clip in draw_clips("validation", 1000, KINDS, seed)}
    assert len(train) > 1900 and len(validation) > 1700
    assert not train & validation
    assert {split_of(scene) for scene in train} == {"train"}


def test_no_scene_twice_in_a_split() -> None:
    scenes = [clip.scene for clip in draw_clips("validation", 800, KINDS, seed=0)]
    assert len(set(scenes)) == 800


@functools.cache
def drawn(split: str, kind: str) -> list[Clip]:
    return draw_clips(split, 3000 if split == "train" else 1000, [kind], seed=0)


def bets_right(kind: str, category: str, look: Callable[[Clip], Hashable]) -> float:
    """How often the most frequent answer for what ``look`` sees in training clips is right in validation clips."""
    learnt = defaultdict(Counter)
    for clip in drawn("train", kind):
        learnt[look(clip)][clip.scene.answers()[category]] += 1
    best = {view: counts.most_common(1)[0][0] for view, counts in learnt.items()}
    right = [best.get(look(clip)) == clip.scene.answers()[category] for clip in drawn("validation", kind)]
    return float(np.mean(right))


@pytest.mark.parametrize("slot", range(SLOTS))
def test_the_place_in_one_slot_does_not_tell_the_direction(slot: int) -> None:
    """In the middle nothing, at the ends a hint: a bet on the place is right less than half of the time."""

    def place(clip: Clip) -> tuple[int, int]:
        spot = clip.scene.spots(slot)[0]
        return int((spot.x + clip.shift[0]) * 6) % 6, int((spot.y + clip.shift[1]) * 6) % 6

    def phase(clip: Clip) -> tuple[int, int]:  # below the grid that starts are drawn on
        spot = clip.scene.spots(slot)[0]
        return int((spot.x + clip.shift[0]) * 64) % 4, int((spot.y + clip.shift[1]) * 64) % 4

    assert bets_right("motion", "direction", place) < (0.33 if slot in (3, 4) else 0.5)  # chance is 0.25
    assert bets_right("motion", "direction", phase) < 0.32


def test_one_moment_and_the_mean_do_not_tell_the_count() -> None:
    for slot in range(SLOTS):
        assert bets_right("blink", "count", lambda clip, slot=slot: clip.scene.rhythm[slot]) < 0.31
    assert bets_right("blink", "count", lambda clip: sum(clip.scene.rhythm)) < 0.31


@pytest.mark.parametrize("slot", range(SLOTS))
def test_one_moment_does_not_tell_the_order(slot: int) -> None:
    """Whoever sees both colours has one guess in two right, whoever sees one or none has less; never more."""

    def there(clip: Clip) -> Hashable:
        return frozenset(spot.colour for spot in clip.scene.spots(slot))

    assert bets_right("switch", "order", there) < 0.5


@pytest.mark.parametrize(("kind", "category"), [("motion", "direction"), ("switch", "order")])
def test_the_frames_without_their_order_do_not_tell(kind: str, category: str) -> None:
    """Each scene has a twin with the same frames in the opposite order, and another answer."""
    told = defaultdict(set)
    for split in ("train", "validation"):
        for clip in drawn(split, kind):
            scene = clip.scene
            seen_there = (
                [(s.shape, s.colour, round(s.x, 6), round(s.y, 6)) for s in scene.spots(slot)] for slot in range(SLOTS)
            )
            bag = frozenset(Counter(map(str, seen_there)).items())
            told[bag].add(scene.answers()[category])
    shared = [answers for answers in told.values() if len(answers) > 1]
    assert len(shared) > 50


def test_the_picture_alone_does_not_tell_before_from_after() -> None:
    assert bets_right("beep", "sound", lambda clip: clip.scene.flash) < 0.56
    assert bets_right("beep", "sound", lambda clip: clip.beep) < 0.72  # the sound alone: two in three


def test_vocabulary_is_all_that_samples_say(written: MotionQA) -> None:
    questions, answers = vocabulary()
    said = {sample.turns[0].text.split("\n")[1] for sample in map(written.__getitem__, range(len(written)))}
    assert said == set(questions)
    assert {written[index].answer for index in range(len(written))} == set(answers)
    assert all(answer.isalpha() and answer.islower() for answer in answers)
    assert all(len(question.split()) <= 12 for question in questions)


def test_samples_hold_media_for_their_tags(written: MotionQA) -> None:
    for sample in map(written.__getitem__, range(len(written))):
        heard = sample.category in ("sound", "beep")
        assert sample.turns[0].text.startswith("<video><audio>\n" if heard else "<video>\n")
        assert [(item.kind, item.track) for item in sample.media] == [("video", False), ("audio", True)][: 1 + heard]
        assert all(item.path.is_file() for item in sample.media)
        assert sample.turns[1].text == sample.answer
        assert sample.answer in sample.options
        assert sample.id == f"motionqa/validation/{sample.media[0].path.stem}/{sample.category}"
    assert len({written[index].id for index in range(len(written))}) == len(written)


def test_only_what_is_asked_for(tmp_path: Path) -> None:
    data = make(tmp_path / "clips", clips=4, questions=["shape", "order"])
    assert Counter(data[index].category for index in range(len(data))) == {"shape": 3, "order": 1}


def test_weights_say_how_often_a_category_is_drawn(written: MotionQA) -> None:
    data = make(
        written.folder,
        split="validation",
        clips=len(written.clips),
        questions=ALL,
        weights={"order": 3.0, "shape": 0.0},
    )
    assert written.subsets is None
    names = [{data[index].category for index in range(part.start, part.stop)} for part in data.subsets]
    assert names == [{category} for category in ALL]
    assert [part.weight for part in data.subsets] == [{"order": 3.0, "shape": 0.0}.get(name, 1.0) for name in ALL]
    assert sum(part.stop - part.start for part in data.subsets) == len(data)


def test_other_questions_follow_where_the_clip_answers_them(tmp_path: Path) -> None:
    data = make(tmp_path / "clips", clips=8, also=["shape", "count"])
    plain = make(tmp_path / "clips", clips=8)
    followers = {
        "direction": ["shape"],
        "shape": ["count"],
        "count": ["shape"],
        "colour": ["shape", "count"],
        "order": [],
    }
    met = set()
    for index in range(len(data)):
        sample, alone = data[index], plain[index]
        assert (sample.id, sample.answer, sample.media) == (alone.id, alone.answer, alone.media)
        assert sample.turns[:2] == alone.turns  # the question that the sample is named by comes first
        answers = data.clips[int(sample.id.split("/")[2])].scene.answers()
        expected = [name for name in followers[sample.category] if name in answers]
        met.add((sample.category, *expected))
        asked = [QUESTIONS[name].text for name in expected]
        assert [turn.text for turn in sample.turns[2::2]] == asked
        assert [turn.text for turn in sample.turns[3::2]] == [answers[name] for name in expected]
    assert len(met) == 7  # colour and shape are asked about clips with a count and clips without


# What is in the files


def test_files_are_h264_with_aac(written: MotionQA) -> None:
    for index in range(0, 160, 20):
        with av.open(str(folders.clip_path(written.folder, index))) as container:
            video, sound = container.streams.video[0], container.streams.audio[0]
            assert (video.codec.name, video.pix_fmt, sound.codec.name) == ("h264", "yuv420p", "aac")
            assert (video.width, video.height, video.frames, float(video.average_rate)) == (64, 64, 16, 8.0)


@given(frames_per_slot=st.integers(2, 60))
@settings(max_examples=30, deadline=None)
def test_each_sampled_frame_lies_in_its_own_slot(frames_per_slot: int) -> None:
    assert [index // frames_per_slot for index in sampled(SLOTS * frames_per_slot)] == list(range(SLOTS))


def test_direction_can_be_seen(written: MotionQA) -> None:
    """The way along which each picture must be rolled to lie on the next."""
    ways = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
    for sample in samples_of(written, "direction"):
        (mask_TYX,) = masks(seen(sample.media[0].path)).values()
        overlaps = dict.fromkeys(ways, 0)
        for now, then in itertools.pairwise(mask_TYX):
            for way, (down, right) in ways.items():
                rolled = (np.roll(now, (step * down, step * right), (0, 1)) & then for step in range(4, 20))
                overlaps[way] += max(mask.sum() for mask in rolled)
        assert max(overlaps, key=overlaps.get) == sample.answer


def test_count_can_be_seen(written: MotionQA) -> None:
    for sample in samples_of(written, "count"):
        (mask_TYX,) = masks(seen(sample.media[0].path)).values()
        on = [False, *(mask_TYX.sum(axis=(1, 2)) > 40)]
        assert sum(on) == SLOTS // 2
        assert COUNTS[sum(now and not before for before, now in itertools.pairwise(on)) - 1] == sample.answer


def test_order_can_be_seen(written: MotionQA) -> None:
    for sample in samples_of(written, "order"):
        changes = {}
        for colour, mask_TYX in masks(seen(sample.media[0].path)).items():
            there = (mask_TYX.sum(axis=(1, 2)) > 40).astype(int)
            (changes[colour],) = np.flatnonzero(np.diff(there))  # exactly one
        assert len(changes) == 2
        assert min(changes, key=changes.get) == sample.answer


def test_colour_can_be_seen(written: MotionQA) -> None:
    for sample in samples_of(written, "colour"):
        assert list(masks(seen(sample.media[0].path))) == [sample.answer]


def centred(mask_YX: np.ndarray) -> np.ndarray:
    """Rolled so that a shape that leaves on one side and enters on the other is whole in the middle."""
    for axis, size in enumerate(mask_YX.shape):
        turns = np.exp(2j * np.pi * np.arange(size) / size)
        middle = np.angle((mask_YX.sum(axis=1 - axis) * turns).sum()) / (2 * np.pi) * size
        mask_YX = np.roll(mask_YX, round(size / 2 - middle), axis)
    return mask_YX


def test_shape_can_be_seen(written: MotionQA) -> None:
    """By how much of its bounding box a shape fills, and how wide it is at the bottom."""
    for sample in samples_of(written, "shape"):
        (mask_TYX,) = masks(seen(sample.media[0].path)).values()
        mask_YX = centred(next(mask_YX for mask_YX in mask_TYX if mask_YX.any()))  # it may blink
        rows, columns = np.nonzero(mask_YX)
        box = mask_YX[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        if box.mean() > 0.65:
            shape = "square" if box.mean() > 0.9 else "circle"
        else:
            shape = "triangle" if box[-3:].mean() > 0.6 else "cross"
        assert shape == sample.answer


def test_sound_can_be_heard_and_seen(written: MotionQA) -> None:
    for sample in samples_of(written, "sound"):
        (mask_TYX,) = masks(seen(sample.media[0].path)).values()
        flash = int(np.argmax(mask_TYX.sum(axis=(1, 2))))
        with av.open(str(sample.media[1].path)) as container:
            wave_L = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        energy = [(part**2).mean() for part in np.array_split(wave_L[: 2 * 16_000], SLOTS)]
        beep = int(np.argmax(energy))
        assert energy[beep] > 50 * np.median(energy)
        assert abs(beep - flash) == 1
        assert ("before" if beep < flash else "after") == sample.answer


def test_every_clip_has_a_beep(written: MotionQA) -> None:
    """So that the sound of a clip does not say what will be asked about it."""
    for index in range(0, 160, 10):
        with av.open(str(folders.clip_path(written.folder, index))) as container:
            wave_L = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        energy = [(part**2).mean() for part in np.array_split(wave_L[: 2 * 16_000], SLOTS)]
        assert int(np.argmax(energy)) == written.clips[index].beep


def test_other_sizes_and_rates(tmp_path: Path) -> None:
    data = make(tmp_path / "clips", clips=2, size=112, seconds=3.0, fps=16, questions=["count"])
    frames_TYXC = seen(data[0].media[0].path)
    assert frames_TYXC.shape == (8, 112, 112, 3)
    on = next(iter(masks(frames_TYXC).values())).any(axis=(1, 2))
    assert tuple(on.astype(int)) == data.clips[0].scene.rhythm


# How it is written


def test_same_parameters_give_the_same_clips(tmp_path: Path) -> None:
    first, second = (make(tmp_path / name, clips=8, questions=ALL, seed=5) for name in "ab")
    assert (first.folder / "manifest.json").read_bytes() == (second.folder / "manifest.json").read_bytes()
    for index in range(8):
        one, two = (folders.clip_path(data.folder, index) for data in (first, second))
        np.testing.assert_array_equal(seen(one), seen(two))
    other = make(tmp_path / "c", clips=8, questions=ALL, seed=6)
    assert (other.folder / "manifest.json").read_bytes() != (first.folder / "manifest.json").read_bytes()
    assert [clip.scene for clip in other.clips] != [clip.scene for clip in first.clips]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="clips are shared among forked processes")
def test_several_writers_give_the_files_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    alone = make(tmp_path / "alone", clips=8)
    monkeypatch.setattr(folders, "WORTH_SHARING", 1)
    shared = make(tmp_path / "shared", clips=8)
    files = [{path.name: path.read_bytes() for path in data.folder.rglob("*.mp4")} for data in (alone, shared)]
    assert len(files[0]) == 8 and files[0] == files[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="clips are shared among forked processes")
def test_a_writer_that_dies_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    this = os.getpid()
    write = folders.write_mp4
    monkeypatch.setattr(folders, "write_mp4", lambda *given: write(*given) if os.getpid() == this else os._exit(7))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(folders, "WORTH_SHARING", 1)
    with pytest.raises(RuntimeError, match="exit code 7"):
        make(tmp_path / "clips", clips=4)
    assert not (tmp_path / "clips").exists()


def test_frames_of_the_files_are_those_that_were_drawn(written: MotionQA) -> None:
    for index in range(0, 160, 16):
        drawn_TYXC = frames_of(written.clips[index], 64, 16)[sampled(16)] / 255
        assert np.abs(seen(folders.clip_path(written.folder, index)) - drawn_TYXC).mean() < 0.02


def test_written_once_and_silently_used_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    make(tmp_path / "clips", clips=3)
    assert capsys.readouterr().err.count("\n") == 1
    clip = folders.clip_path(tmp_path / "clips", 0)
    before = clip.stat().st_mtime_ns
    again = make(tmp_path / "clips", clips=3)
    assert capsys.readouterr().err == ""
    assert clip.stat().st_mtime_ns == before
    assert again[0].media[0].path == clip


def test_questions_of_the_same_scenes_share_the_cached_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLFRAME_CACHE", str(tmp_path))
    one, two = make(clips=2, questions=["direction"]), make(clips=2, questions=["shape"])
    assert one.folder == two.folder and one.folder.is_relative_to(tmp_path)
    assert make(clips=2, questions=["direction"], split="validation").folder != one.folder


@pytest.mark.parametrize("harm", ["no manifest", "half a manifest", "a clip is gone", "a clip is empty", "all is gone"])
def test_a_torn_folder_is_made_again(tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "clips"
    data = make(folder, clips=3)
    manifest, clip = folder / "manifest.json", folders.clip_path(folder, 1)
    text = manifest.read_text()
    whole = seen(clip)
    if harm == "no manifest":
        manifest.unlink()
    elif harm == "half a manifest":
        manifest.write_text(text[: len(text) // 2])
    elif harm == "a clip is gone":
        clip.unlink()
    elif harm == "a clip is empty":
        clip.write_bytes(b"")
    else:
        manifest.unlink()
        for path in (folder / "clips").iterdir():
            path.unlink()
    assert len(make(folder, clips=3)) == len(data)
    assert manifest.read_text() == text
    np.testing.assert_array_equal(seen(clip), whole)


def test_what_a_killed_writer_left_is_not_in_the_way(tmp_path: Path) -> None:
    part = tmp_path / ".clips.part" / "clips"
    part.mkdir(parents=True)
    (part / "000000.mp4").write_bytes(b"half")
    (part / "000099.mp4").write_bytes(b"of another size")
    make(tmp_path / "clips", clips=2)
    assert sorted(path.name for path in (tmp_path / "clips" / "clips").iterdir()) == ["000000.mp4", "000001.mp4"]
    assert not part.parent.exists()


def test_two_processes_at_once_make_one_folder(tmp_path: Path) -> None:
    """Both see every file whole, and one of them waits for the other."""
    code = f"""
import av, sys, time
from vlframe_motionqa.dataset import MotionQA
print("ready", flush=True)
sys.stdin.readline()
data = MotionQA(split="train", clips=40, questions=["count"], size=64, seconds=2.0, fps=8, seed=0, travel=0.3,
                folder={str(tmp_path / "clips")!r}, weights={{}}, also=[])
for sample in map(data.__getitem__, range(len(data))):
    with av.open(str(sample.media[0].path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 16
"""
    start = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    processes = [subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ), **start) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    errors = []
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        errors.append(process.communicate(timeout=120)[1])
        assert process.returncode == 0, errors[-1]
    assert "".join(errors).count("writing 40 train clips") == 1
    assert len(json.loads((tmp_path / "clips" / "manifest.json").read_text())["clips"]) == 40


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match=r"thesis\.tex"):
        make(tmp_path, clips=2)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_folder_made_with_other_parameters_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "clips", clips=2)
    with pytest.raises(ConfigError, match="seed: 0 there, 1 asked"):
        make(tmp_path / "clips", clips=2, seed=1)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"split": "test"}, "train, validation"),
        ({"clips": 0}, "at least 1"),
        ({"questions": ["direction", "smell"]}, "'smell'; there are direction, shape"),
        ({"questions": []}, "questions is empty"),
        ({"questions": ["direction", "shape"], "also": ["count"]}, "need no sound: direction, shape"),
        ({"questions": ["sound", "flash"], "also": ["sound"]}, "need no sound: flash"),
        ({"split": "validation", "also": ["shape"]}, "set split to train, or also to"),
        ({"size": 65}, "even number"),
        ({"size": 4096}, "48 to 256"),
        ({"fps": 0}, "fps is 0"),
        ({"seconds": -1.0}, "multiple of 8"),
        ({"seconds": 1.9}, r"1.9 \* 8 = 15.2 frames"),
        ({"seconds": 1.0}, "at least 16"),
    ],
)
def test_impossible_parameters_are_explained(tmp_path: Path, changed: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(tmp_path / "clips", **changed)
    assert not (tmp_path / "clips").exists()


def test_more_clips_than_scenes_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlframe_motionqa.dataset.DRAWS", 8)  # so that they run out early
    with pytest.raises(ConfigError, match="not enough different 'beep' scenes in the validation split"):
        make(tmp_path / "clips", questions=["sound"], split="validation", clips=10**6)


def test_a_clip_costs_little(tmp_path: Path) -> None:
    """1800 clips in a minute leaves 33 ms for one; the processor's time, so that neighbours do not count."""
    started = time.process_time()
    make(tmp_path / "clips", clips=30)
    assert (time.process_time() - started) / 30 < 0.033
