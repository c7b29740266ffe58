"""``vlframe data check``: one manifest with everything wrong in it, and every finding at its place."""

import json
import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.clips import ClipSpec, write_clip, write_sound
from helpers.compositions import TINY, tiny_pipeline
from helpers.processes import vlframe
from PIL import Image

from vlframe.cli import main
from vlframe.composer.compose import compose, open_registry
from vlframe.data.prepare import PreparedSample
from vlframe.datacheck.check import Check
from vlframe.datacheck.report import SHOWN, Report
from vlframe.datacheck.sources import configured_sources, manifest_sources
from vlframe.datacheck.workers import Died, Workers
from vlframe.errors import ConfigError, DataError, UserError
from vlframe.registry.registry import Registry

HEARING = [*TINY, "audio_encoder=beats_tiny", "text.max_length=512"]
MEDIA = {"video": "<video>", "image": "<image>", "audio": "<audio>"}


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with sound, the same under another name, one without sound, one that is cut short, a sound, a picture."""
    folder = tmp_path_factory.mktemp("media")
    clip = write_clip(folder, ClipSpec("loud.mp4", frames=25, sound="aac"))
    (folder / "again.mp4").write_bytes(clip.read_bytes())
    silent = write_clip(folder, ClipSpec("silent.mp4", frames=50))
    (folder / "cut.mp4").write_bytes(silent.read_bytes()[:-500])
    write_sound(folder / "tone.wav", "pcm_s16le", seconds=1.5)
    Image.linear_gradient("L").save(folder / "grey.png")
    (folder / "text.png").write_text("not a picture")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("VLFRAME_CACHE", str(folder))
    return folder


def row(name: str, answer: str | None = "Rain.", words: str = "What?", **fields: Any) -> dict[str, Any]:
    tags = "".join(tag for kind, tag in MEDIA.items() if kind in fields)
    turns = [{"from": "human", "value": f"{tags}{words}"}]
    if answer is not None:
        turns.append({"from": "gpt", "value": answer})
    return {"id": name, **fields, "conversations": turns}


GOOD = [
    row("clip", video="loud.mp4"),
    row("picture", image="grey.png"),
    row("sound", audio="tone.wav"),
    row("both", video="loud.mp4") | {"conversations": row("", words="<video><audio>Why?")["conversations"]},
    row("text", words="How are you?"),
]


def everything_wrong() -> list[str | bytes]:
    """The lines of a manifest; what is wrong with each stands in ``EXPECTED``."""
    lines: list[Any] = [
        row("one", video="loud.mp4"),  # 1
        "",
        '{"id": "cut", "conversations": [',  # 3
        '{"id": "comma", "conversations": [],,}',  # 4
        "[1, 2]",  # 5
        '{"id": "caf\u00e9"}'.encode("latin-1"),  # 6
        row("seven", video="gone.mp4", source="web"),  # 7
        row("one", words="Again?"),  # 8
        row("nine", words="<video>") | {"video": []},  # 9
        row("ten", image="grey.png"),  # 10
        row("eleven", image="grey.png"),  # 11
        row("twelve", video="again.mp4", words="And now?"),  # 12
        row("thirteen", video="cut.mp4"),  # 13
        row("fourteen", image="text.png"),  # 14
        row("fifteen", video="silent.mp4", words="<audio>Loud?"),  # 15
        row("sixteen", words="why " * 600),  # 16
        row("seventeen", answer=None),  # 17
        row("eighteen", audio="tone.wav"),  # 18
        row("nineteen", video={"path": "loud.mp4", "start": 90}),  # 19
        row("twenty", video="../../secret.mp4"),  # 20
        row("twenty-one", video="cut.mp4", words="Well?"),  # 21
        {**row("twenty-two"), "conversations": [{"from": "gpt", "value": "Rain."}]},  # 22
        row("twenty-three", words="And then?", answer=" "),  # 23
    ]
    return [line if isinstance(line, str | bytes) else json.dumps(line) for line in lines]


EXPECTED = [
    ("error", "syntax", "3"),
    ("error", "syntax", "4"),
    ("error", "syntax", "5"),
    ("error", "syntax", "6"),
    ("error", "unknown_field", "7"),
    ("error", "row", "9"),
    ("error", "row", "20"),
    ("error", "row", "22"),
    ("error", "duplicate_id", "1 8"),
    ("error", "missing_file", "7"),
    ("error", "unreadable_file", "19"),
    ("error", "unreadable_file", "13 21"),
    ("error", "unreadable_file", "14"),
    ("error", "no_sound", "15"),
    ("error", "too_long", "16"),
    ("error", "nothing_to_learn", "17"),
    ("note", "empty_answer", "23"),
    ("note", "same_content", "10 11"),
    ("note", "same_file", "1 19 12"),
]


def write(folder: Path, lines: list[Any], name: str = "rows.jsonl") -> Path:
    path = folder / name
    plain = [line if isinstance(line, str | bytes) else json.dumps(line) for line in lines]
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in plain))
    return path


def check(
    registry: Registry, manifest: Path, media: Path, *overrides: str, composed: bool = True, workers: int = 0
) -> Report:
    composition = HEARING if composed else []
    given = ["dataset=conversations_file", f"dataset.media_root={media}", *composition, *overrides]
    config = compose("train", given, registry)
    check = Check(config, registry, composed=composed, workers=workers)
    return check(manifest_sources([str(manifest)], config, registry))


def found(report: Report) -> list[tuple[str, str, str]]:
    """Level, kind and line numbers of each finding."""
    return [
        (item.level, item.kind, " ".join(place.rpartition(" ")[2] for place in item.places)) for item in report.findings
    ]


def kinds(report: Report) -> set[tuple[str, str]]:
    return {(item.level, item.kind) for item in report.findings}


# --- what is found ---


def test_every_problem_at_its_line_whoever_looks(
    registry: Registry, tmp_path: Path, media: Path, own_cache: Path
) -> None:
    manifest = write(tmp_path, everything_wrong())
    alone = check(registry, manifest, media)
    assert found(alone) == EXPECTED
    assert alone.exit_code == 1
    assert alone.sources[0] == {
        "data": str(manifest), "rows": 22, "samples": 15, "text_only": 4,
        "video": 7, "image": 3, "audio": 1, "tracks": 1,
    }  # fmt: skip
    (own_cache / "data_check" / "files.sqlite").unlink()
    together = check(registry, manifest, media, workers=2)
    assert together.findings == alone.findings
    assert (together.sources, together.files, together.tokens) == (alone.sources, alone.files, alone.tokens)


def test_a_clean_manifest(registry: Registry, tmp_path: Path, media: Path) -> None:
    report = check(registry, write(tmp_path, GOOD), media)
    assert (report.findings, report.exit_code) == ([], 0)
    rows = {row["files"]: row for row in report.files}
    assert rows["video"]["longest_s"] == pytest.approx(1.0) and rows["audio"]["median_s"] == pytest.approx(1.5)
    assert {kind: (row["named"], row["good"]) for kind, row in rows.items()} == {
        "video": (1, 1), "image": (1, 1), "audio": (1, 1), "tracks of videos": (1, 1),
    }  # fmt: skip


@pytest.mark.parametrize(
    "more", [[], ["sampler@media.sampler=fps", "media.sampler.fps=3"], ["processor=videollama2_av", "llm=tiny_qwen2"]]
)
def test_lengths_are_those_of_training(registry: Registry, tmp_path: Path, media: Path, more: list[str]) -> None:
    manifest = write(tmp_path, GOOD)
    overrides = [
        *HEARING,
        *more,
        "dataset=conversations_file",
        f"dataset.path={manifest}",
        f"dataset.media_root={media}",
    ]
    pipeline = tiny_pipeline(registry, *overrides[len(TINY) :])
    samples = registry.build("dataset", pipeline.config.dataset)
    prepared = [pipeline.prepared(samples, answers=True)[index] for index in range(len(GOOD))]
    lengths = sorted(len(item.ids) for item in prepared if isinstance(item, PreparedSample))
    tokens = check(registry, manifest, media, *more).tokens
    assert tokens is not None and len(lengths) == tokens["counted"] == tokens["samples"] == 5
    assert (tokens["shortest"], tokens["median"], tokens["longest"]) == (lengths[0], lengths[2], lengths[4])
    supervised = sum(sum(item.supervised) for item in prepared if isinstance(item, PreparedSample))
    assert tokens["supervised_tokens"] == supervised
    placeholders = sum(token < 0 for item in prepared if isinstance(item, PreparedSample) for token in item.ids)
    assert tokens["media_tokens"] == placeholders


LONG, SILENT = ("error", "too_long"), ("error", "no_sound")


@pytest.mark.parametrize(
    ("policy", "expected", "said"),
    [
        ("media.missing_audio=drop", {("note", "no_sound"), LONG}, "its samples are quarantined"),
        ("media.missing_audio=silence", {("note", "no_sound"), LONG}, "silence takes its place"),
        ("media.withhold=[audio]", {LONG}, "withheld (media.withhold): audio"),
        ("text.too_long=drop", {SILENT, ("note", "too_long")}, "it is quarantined"),
        ("text.too_long=trim_text", {SILENT, ("note", "too_long")}, "it is shortened"),
        ("audio_encoder=null", {SILENT, ("error", "no_encoder"), LONG}, "choose one (audio_encoder=…)"),
    ],
)
def test_policies_decide_what_is_an_error(
    registry: Registry, tmp_path: Path, media: Path, policy: str, expected: set[tuple[str, str]], said: str
) -> None:
    lines = [row("a", video="silent.mp4", words="<audio>Loud?"), row("b", words="why " * 600), *GOOD]
    report = check(registry, write(tmp_path, lines), media, policy)
    assert kinds(report) == expected
    assert said in str(report)


def test_what_cannot_be_shortened_is_an_error(registry: Registry, tmp_path: Path, media: Path) -> None:
    several = row("a", video=["loud.mp4", "silent.mp4"]) | {
        "conversations": row("", words="<video>" * 2)["conversations"]
    }
    report = check(registry, write(tmp_path, [several]), media, "text.too_long=trim_text", "text.max_length=64")
    assert kinds(report) == {LONG} and "media never" in report.findings[0].text


def test_without_a_composition_lengths_are_left_out_and_that_is_said(
    registry: Registry, tmp_path: Path, media: Path
) -> None:
    manifest = write(tmp_path, everything_wrong())
    report = check(registry, manifest, media, composed=False)
    assert report.tokens is None
    assert [item for item in EXPECTED if item[1] != "too_long"] == found(report)
    said = str(report)
    assert "token lengths were not counted" in said and "16000 Hz" in said


def test_what_is_no_error_is_what_training_can_read(registry: Registry, tmp_path: Path, media: Path) -> None:
    """Row by row: an error of the check where training would stop, and nowhere else."""
    lines = [line for line in everything_wrong() if isinstance(line, str) and line.startswith("{") and line[-1] == "}"]
    manifest = write(tmp_path, lines)
    errors = {
        int(place.rpartition(" ")[2])
        for item in check(registry, manifest, media).findings
        for place in item.places
        if item.level == "error" and item.kind != "duplicate_id"
    }
    data = ["dataset=conversations_file", f"dataset.path={manifest}", f"dataset.media_root={media}"]
    pipeline = tiny_pipeline(registry, *HEARING[len(TINY) :], *data)
    rows = pipeline.prepared(registry.build("dataset", pipeline.config.dataset), answers=True)
    stopped = set()
    for index in range(len(lines)):
        try:
            assert isinstance(rows[index], PreparedSample)
        except UserError:
            stopped.add(index + 1)
    assert errors == stopped and 0 < len(stopped) < len(lines)


def test_texts_and_names_that_no_file_and_no_tokenizer_takes(registry: Registry, tmp_path: Path, media: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    odd = [row("a", video="nul\0.mp4"), row("b", words="half \ud800"), row("c\ud800", video="x" * 300)]
    odd += [row(name, video=f"{name}.mp4") for name in ("\ud800", "pipe")]
    report = check(registry, write(tmp_path, [*odd, *GOOD[4:]]), tmp_path)
    assert {kind for _, kind in kinds(report)} == {"unreadable_file", "row"}
    assert sorted(place.rpartition(" ")[2] for item in report.findings for place in item.places) == list("12345")
    assert report.tokens is not None and report.tokens["counted"] == 1


# --- the cache ---


def test_a_second_look_reads_only_what_failed(registry: Registry, tmp_path: Path, media: Path) -> None:
    manifest = write(tmp_path, everything_wrong())
    first = check(registry, manifest, media)
    second = check(registry, manifest, media)
    failures = 3  # cut.mp4, text.png, a stretch of loud.mp4; gone.mp4 is not opened, and silence is remembered
    assert (second.decoded, second.findings) == (failures, first.findings)
    assert (first.files, first.tokens) == (second.files, second.tokens)
    assert "3 taken from files now, 6 known by content" in str(second)
    assert check(registry, manifest, media, "media.frames=5").decoded > second.decoded
    assert check(registry, manifest, media, "reader=pyav").decoded > second.decoded


def test_a_file_that_changed_is_read_again(registry: Registry, tmp_path: Path, media: Path) -> None:
    for name in ("loud.mp4", "grey.png", "tone.wav"):
        (tmp_path / name).write_bytes((media / name).read_bytes())
    manifest = write(tmp_path, GOOD)
    assert check(registry, manifest, media).decoded == 4
    moved = check(registry, manifest, tmp_path)
    assert (moved.decoded, moved.findings) == (0, [])  # the same contents in another folder
    clip = tmp_path / "loud.mp4"
    content = clip.read_bytes()
    clip.write_bytes(bytes(len(content)))
    broken = check(registry, manifest, tmp_path)
    assert kinds(broken) == {("error", "unreadable_file")} and broken.decoded == 2
    clip.write_bytes(content)
    assert check(registry, manifest, tmp_path).findings == []


def test_a_cache_that_is_no_cache(registry: Registry, tmp_path: Path, media: Path, own_cache: Path) -> None:
    (own_cache / "data_check").mkdir()
    (own_cache / "data_check" / "files.sqlite").write_text("not a database, and long enough to be taken for one" * 50)
    with pytest.raises(ConfigError, match=r"files\.sqlite cannot be used .*delete the file"):
        check(registry, write(tmp_path, GOOD), media)


# --- other data than manifests ---

PLUGIN = """
import os
import signal
from pathlib import Path

import vlframe
from vlframe_readers.pyav import PyavReader


class Deadly(PyavReader):
    def info(self, path):
        if path.name == "cut.mp4":
            os.kill(os.getpid(), signal.SIGKILL)
        if path.name == "silent.mp4":
            raise RuntimeError("a bug of this reader")
        return super().info(path)


class Shaky:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 1:
            raise vlframe.DataError("this one is no good")
        if index == 2:
            raise KeyError("oops")
        turns = (vlframe.Turn("user", f"<video>{index}?"), vlframe.Turn("assistant", "Yes."))
        return vlframe.Sample("same", turns, (vlframe.Media("video", Path("gone.mp4")),), answer="Yes.")


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("reader", "deadly", __name__ + ":Deadly")
    yield vlframe.Component("dataset", "shaky", __name__ + ":Shaky")
"""


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    file = tmp_path_factory.mktemp("plugin") / "strange_parts.py"
    file.write_text(PLUGIN)
    return open_registry([str(file)], strict=True)


def test_a_file_that_kills_its_reader_is_named_and_the_others_are_read(
    strange: Registry, tmp_path: Path, media: Path
) -> None:
    manifest = write(tmp_path, [row("a", video="cut.mp4"), row("b", video="silent.mp4"), *GOOD])
    report = check(strange, manifest, media, "reader=deadly", workers=2)
    assert found(report) == [("error", "unreadable_file", "1"), ("error", "unreadable_file", "2")]
    assert "cut.mp4: the process that read it was killed by SIGKILL" in report.findings[0].text
    assert "silent.mp4: RuntimeError: a bug of this reader" in report.findings[1].text


def configured(registry: Registry, *overrides: str) -> Report:
    config = compose("train", [*TINY, *overrides], registry)
    return Check(config, registry, composed=True, workers=0)(configured_sources(config, registry))


def test_a_data_set_without_entries_is_asked_sample_by_sample(strange: Registry) -> None:
    report = configured(strange, "dataset=shaky")
    assert found(report) == [
        ("error", "row", "1"), ("error", "row", "2"),
        ("error", "duplicate_id", "0 3"), ("error", "missing_file", "0 3"),
    ]  # fmt: skip
    assert [item.text for item in report.findings[:2]] == ["this one is no good", "KeyError: 'oops'"]


def test_an_experiment_is_its_stages_and_its_benchmark(registry: Registry) -> None:
    few = ["stages.motion.data.clips=4", "dataset.clips=4", "benchmark.dataset.clips=4"]
    report = configured(registry, "experiment=quickstart", *few)
    assert report.findings == []
    assert [row["data"] for row in report.sources] == [
        "motion (motionqa)",
        "main (motionqa)",
        "benchmark (exact_match)",
    ]
    assert report.tokens is not None and report.tokens["counted"] == sum(row["rows"] for row in report.sources)


def test_questions_of_which_all_are_faulty_are_not_called_none(registry: Registry, tmp_path: Path) -> None:
    manifest = write(tmp_path, [{"id": "a", "messages": None}])
    report = configured(registry, "benchmark=exact_match_file", f"benchmark.dataset.path={manifest}")
    (finding,) = report.findings
    assert "'messages' is a list of turns, and here it is null" in str(finding)


def test_questions_are_checked_as_the_benchmark_asks_them(registry: Registry, tmp_path: Path) -> None:
    good = {**row("a", answer=None), "answer": "yes", "options": ["yes", "no"]}
    manifest = write(tmp_path, [good])
    asked = ["benchmark=multiple_choice_file", f"benchmark.dataset.path={manifest}"]
    plain = configured(registry, "benchmark=exact_match_file", asked[1]).tokens
    listed = configured(registry, *asked)
    assert listed.findings == [] and plain is not None and listed.tokens is not None
    assert listed.tokens["longest"] > plain["longest"]  # the options are part of the question
    write(tmp_path, [{**good, "id": "b", "answer": "maybe"}, good, {**good, "id": "c", "answer": None}])
    refused = configured(registry, *asked)
    assert [(item.kind, item.places) for item in refused.findings] == [
        ("row", (f"{manifest}, line {line}",)) for line in (1, 3)
    ]


def test_a_data_set_that_reads_no_manifest(registry: Registry, tmp_path: Path) -> None:
    config = compose("train", ["dataset=motionqa"], registry)
    with pytest.raises(ConfigError, match="'motionqa' reads no manifest"):
        manifest_sources([str(write(tmp_path, GOOD))], config, registry)
    with pytest.raises(DataError, match="no manifest gone"):
        manifest_sources(["gone.jsonl"], config, registry)


def test_two_manifests_may_have_the_same_ids_and_equal_rows_are_noted(
    registry: Registry, tmp_path: Path, media: Path
) -> None:
    paths = [str(write(tmp_path, GOOD[:1], name)) for name in ("a.jsonl", "b.jsonl")]
    config = compose("train", [*HEARING, "dataset=conversations_file", f"dataset.media_root={media}"], registry)
    report = Check(config, registry, composed=True, workers=0)(manifest_sources(paths, config, registry))
    assert found(report) == [("note", "same_content", "1 1")]


# --- the report, and the command as a process ---


def test_many_findings_are_counted_and_none_is_lost(registry: Registry, tmp_path: Path, media: Path) -> None:
    report = check(registry, write(tmp_path, ["{"] * 25 + [GOOD[0]]), media)
    assert f"… and {25 - SHOWN} more; --json lists all" in str(report)
    assert len(report.as_json()["findings"]) == report.as_json()["errors"] == 25
    shared = check(registry, write(tmp_path, [row(f"{n}", video="gone.mp4") for n in range(5)]), media)
    assert "line 3 and 2 more: " in str(shared)


def test_the_command_and_its_exit_codes(
    tmp_path: Path, media: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    options = [f"dataset.media_root={media}", *HEARING]
    wrong = write(tmp_path, everything_wrong(), "wrong, 'really'.jsonl")
    done = vlframe("data", "check", wrong.name, *options, "--json", cwd=tmp_path, check=False)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert [
        (item["level"], item["kind"], " ".join(place.rpartition(" ")[2] for place in item["places"]))
        for item in told["findings"]
    ] == EXPECTED
    assert (told["errors"], told["notes"]) == (16, 3)
    clean = write(tmp_path, GOOD, "clean.jsonl")
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", clean.name, f"dataset.media_root={media}", "loader.workers=0"]) == 0
    told = capsys.readouterr().out
    assert "0 error(s), 0 note(s)" in told and "token lengths were not counted" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean.jsonl", wrong.name]


# --- the workers ---


def double(number: int) -> int:
    if number == 13:
        raise DataError("unlucky")
    if number == 14:
        raise ZeroDivisionError("a bug")
    if number == 15:
        os._exit(3)
    if number == 16:
        time.sleep(60)
    return 2 * number


@pytest.mark.parametrize("count", [0, 3])
def test_all_jobs_are_done(count: int) -> None:
    with Workers(double, count) as workers:
        assert dict(workers.run(range(13))) == {number: 2 * number for number in range(13)}
        assert dict(workers.run([100])) == {100: 200}
        with pytest.raises(DataError, match="unlucky"):
            list(workers.run([13]))


def test_a_worker_that_ends_takes_only_its_job_with_it() -> None:
    with Workers(double, 2) as workers:
        assert dict(workers.run([1, 15, 2, 15, 3])) == {1: 2, 2: 4, 3: 6, 15: Died(3)}
        with pytest.raises(RuntimeError, match=r"(?s)a worker failed.*ZeroDivisionError: a bug"):
            list(workers.run([14]))


def test_workers_are_ended_in_the_middle_of_a_job() -> None:
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Workers(double, 2) as workers:
        for _ in workers.run([16, 1]):
            processes = list(workers._processes.values())
            raise KeyboardInterrupt
    assert not any(process.is_alive() for process in processes) and time.monotonic() - started < 30


def test_the_work_can_be_handed_to_a_new_process(registry: Registry) -> None:
    """Where processes are spawned, not forked, it travels as a pickle."""
    config = compose("train", HEARING, registry)
    task = Check(config, registry, composed=True, workers=0).task
    assert pickle.loads(pickle.dumps(task)).measurer.budget.max_length == 512


def test_data_that_moved_is_checked_where_it_is(tmp_path: Path) -> None:
    from helpers.cases import checked

    new = tmp_path / "new"
    new.mkdir()
    write_clip(new, ClipSpec("clip.mp4", frames=4))
    turns = [{"from": "human", "value": "<video>q"}, {"from": "gpt", "value": "a"}]
    rows = [{"id": "a", "video": f"{tmp_path}/old/clip.mp4", "conversations": turns}]
    (new / "t.json").write_text(json.dumps(rows))
    words = ["dataset=conversations", f"dataset.path={tmp_path}/old/t.json"]
    report = checked(tmp_path, *words, f"moved={{{tmp_path}/old: {new}}}")
    assert report["errors"] == 0 and report["files"][0]["good"] == 1
