"""The ledger of a cell, and its lock: what is torn, deleted or left by a dead process loses nothing."""

import fcntl
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from vlframe.errors import ConfigError
from vlframe.runs.folder import RunFolder
from vlframe.runs.outcome import Outcome
from vlframe.studies.ledger import add_event, begin, cell_folder, entries, read_entry
from vlframe.studies.lock import Held, holder_of, locked


def run(folder: Path, name: str, state: str = "done") -> Path:
    made = RunFolder(folder / name)
    made.path.mkdir(parents=True)
    made.config.write_text("seed: 0\n")
    Outcome(state, "", 1, 1).write(made)  # type: ignore[arg-type]
    return made.path


def test_a_cell_from_its_begin_to_its_end(tmp_path: Path) -> None:
    folder = cell_folder(tmp_path, "stc 8/f", 1, "abc")
    assert folder.name == "stc-8-f-seed1-abc" and read_entry(folder).standing == "new"
    begin(folder, {"label": "stc 8/f", "seed": 1})
    begin(folder, {"label": "another"})
    add_event(folder, "begun")
    assert read_entry(folder).standing == "begun" and read_entry(folder).run is None
    first = run(folder, "1", "running")
    add_event(folder, "stopped", why="a signal", seconds=2.0)
    assert (read_entry(folder).standing, read_entry(folder).run, read_entry(folder).why) == (
        "stopped",
        first,
        "a signal",
    )
    add_event(folder, "failed", why="memory", seconds=1.0)
    assert (read_entry(folder).standing, read_entry(folder).seconds) == ("failed", 3.0)
    last = run(folder, "2")
    add_event(folder, "done", run="2", scores={"a": 1})
    entry = read_entry(folder)
    assert (entry.standing, entry.run, entry.label, entry.seed, entry.digest) == ("done", last, "stc 8/f", 1, "abc")
    assert entry.noted_done and entry.scores == {"a": 1} and [item.folder for item in entries(tmp_path)] == [folder]
    assert cell_folder(tmp_path, "renamed", 1, "abc") == folder, "a cell is its digest, whatever it is called"


def test_a_line_that_was_torn_is_said_and_the_run_folder_tells_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "cells" / "a-seed0-abc"
    begin(folder, {"label": "a", "seed": 0})
    add_event(folder, "begun")
    done = run(folder, "1")
    with open(folder / "ledger.jsonl", "a") as file:
        file.write('{"event": "done", "ru')
    entry = read_entry(folder)
    assert (entry.standing, entry.run, entry.noted_done) == ("done", done, False)
    assert entry.notes == (f"line 2 of {folder / 'ledger.jsonl'} cannot be read and is left out",)
    add_event(folder, "done", run="1")
    assert read_entry(folder).noted_done and len(read_entry(folder).notes) == 1
    (folder / "ledger.jsonl").write_text('{"event": "done"}\n["list"]\n{"event": "halved", "stage": "main"}\n\x00\n')
    assert read_entry(folder).standing == "done" and len(read_entry(folder).notes) == 4
    (folder / "identity.json").write_text("{")
    assert read_entry(folder).label == "a-seed0-abc"


def test_a_run_folder_that_was_deleted_leaves_its_scores(tmp_path: Path) -> None:
    folder = tmp_path / "cells" / "a-seed0-abc"
    run(folder, "1")
    add_event(folder, "done", run="1", scores={"main": None})
    (folder / "1" / "config.yaml").unlink()
    entry = read_entry(folder)
    assert entry.standing == "gone" and f"its run folder {folder / '1'} is gone" in entry.why and entry.scores


def _hold(folder: str, ready) -> None:
    with locked(Path(folder)):
        ready.set()
        time.sleep(60)


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), ready))
    other.start()
    assert ready.wait(20)
    with pytest.raises(Held, match=f"process {other.pid} on "), locked(tmp_path):
        raise AssertionError("two have it")
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)
    other.join(20)
    with locked(tmp_path) as dead:
        assert dead is not None and dead.pid == other.pid
        assert holder_of(tmp_path) is not None and holder_of(tmp_path).pid == os.getpid()
    assert holder_of(tmp_path) is None
    with locked(tmp_path) as dead:
        assert dead is None
    (tmp_path / "holder.json").write_text('{"pid": 1')
    with locked(tmp_path) as dead:
        assert dead is None


def test_a_file_system_without_locks_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    message = r"a file system without locks \(No locks available\); put the study's folder"
    with pytest.raises(ConfigError, match=message), locked(tmp_path):
        pass


def test_lines_are_plain_json(tmp_path: Path) -> None:
    add_event(tmp_path, "failed", why="größer\n\ud83d")
    (line,) = (tmp_path / "ledger.jsonl").read_bytes().splitlines()
    assert json.loads(line)["why"] == "größer\n\ud83d" and line.isascii()
