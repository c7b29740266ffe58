"""Commands that plugins add."""

import subprocess
import sys
from pathlib import Path

import pytest

from vlframe.cli import main
from vlframe.errors import PluginError

SOURCE = """
import vlframe

@vlframe.hookimpl
def vlframe_commands():
    yield vlframe.Command("NAME", __name__ + ":run", "says its words")

def run(words):
    print("heard", *words)
    return {"three": 3, "done": None, "value": {"a": 1}}[words[0]]
"""


def installed(folder: Path, distribution: str, name: str, source: str = SOURCE) -> Path:
    """A distribution with one plugin that offers the command ``name``."""
    module = distribution.replace("-", "_")
    information = folder / distribution / f"{module}-1.2.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
    (information / "entry_points.txt").write_text(f"[vlframe]\n{module} = {module}\n")
    (folder / distribution / f"{module}.py").write_text(source.replace("NAME", name))
    return folder / distribution


@pytest.mark.parametrize(("word", "code"), [("three", 3), ("done", 0), ("value", 0)])
def test_a_command_of_a_single_file(word: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / f"speaking_{word}.py"
    file.write_text(SOURCE.replace("NAME", "speak"))
    assert main(["speak", word, f"plugins.paths=[{file}]", "a=b"]) == code
    assert capsys.readouterr().out == f"heard {word} a=b\n"
    assert main(["speak", word]) == 2
    assert "there is no command 'speak'; there are train, evaluate" in capsys.readouterr().err


FAULTY = """
import vlframe

@vlframe.hookimpl
def vlframe_commands():
    yield vlframe.Command("crash", __name__ + ":crash", "fails")
    yield vlframe.Command("refuse", __name__ + ":refuse", "explains itself")

def crash(words):
    return {}["x"]

def refuse(words):
    raise vlframe.ConfigError("this needs a film")
"""


def test_commands_of_a_file_are_in_help(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "speaking_in_help.py"
    file.write_text(SOURCE.replace("NAME", "speak"))
    paths = f"plugins.paths=[{file}]"
    for words in (["--help", paths], [paths, "--help"], ["help", paths], [paths]):
        assert main(words) == 0
        text = capsys.readouterr().out
        assert "vlframe speak …" in text and "says its words" in text and "vlframe train" in text
    assert main(["--help"]) == 0
    assert "vlframe speak" not in capsys.readouterr().out
    assert main([paths, "speak", "done"]) == 0
    assert capsys.readouterr().out == "heard done\n"
    assert main(["--help", f"plugins.paths=[{tmp_path}/none.py]"]) == 0
    assert f"the plugin {tmp_path}/none.py cannot be used: there is no such file" in capsys.readouterr().out


def test_a_failure_of_a_command_names_its_plugin(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "faulty_commands.py"
    file.write_text(FAULTY)
    assert main(["crash", f"plugins.paths=[{file}]"]) == 2
    said = capsys.readouterr().err
    assert (
        said.startswith("vlframe: the command 'crash' of plugin ")
        and "faulty_commands.py failed: KeyError: 'x'" in said
    )
    assert "--traceback" in said and len(said.splitlines()) == 1
    with pytest.raises(PluginError) as caught:
        main(["crash", f"plugins.paths=[{file}]", "--traceback"])
    assert isinstance(caught.value.__cause__, KeyError)
    assert main(["refuse", f"plugins.paths=[{file}]"]) == 2
    assert capsys.readouterr().err == "vlframe: this needs a film\n"


def test_installed_commands_are_in_help_and_clashes_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.syspath_prepend(str(installed(tmp_path, "one-speaker", "speak")))
    assert main(["--help"]) == 0
    assert "vlframe speak …" in (text := capsys.readouterr().out) and "says its words (one-speaker)" in text
    assert main(["speak", "done"]) == 0
    capsys.readouterr()
    monkeypatch.syspath_prepend(str(installed(tmp_path, "two-speaker", "speak")))
    assert main(["speak", "done"]) == 2
    said = capsys.readouterr().err
    assert "two plugins offer the command 'speak'" in said and "one-speaker 1.2" in said and "two-speaker 1.2" in said
    assert main(["--help"]) == 0
    assert "two plugins offer the command 'speak'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (SOURCE, "vlframe speak …"),
        ("from of_elsewhere_speaking import *", "vlframe speak …"),
        ("from of_elsewhere_speaking import vlframe_commands, run", "vlframe speak …"),
        ("vlframe_commands = 1 / 0", "no command of some-speaker:some_speaker: ZeroDivisionError"),
        ("raise SystemExit('imported')", None),
    ],
)
def test_help_imports_the_plugins_that_may_add_commands(
    source: str, shown: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, "some_speaker", raising=False)
    monkeypatch.syspath_prepend(str(installed(tmp_path, "some-speaker", "speak", source)))
    (tmp_path / "some-speaker/of_elsewhere_speaking.py").write_text(SOURCE.replace("NAME", "speak"))
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert ("some-speaker" in text) is (shown is not None) and (shown or "") in text
    assert ("imported" in text) is False


def test_vlframes_own_commands_are_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.syspath_prepend(str(installed(tmp_path, "sly-trainer", "train")))
    assert main(["speak"]) == 2
    assert "sly-trainer 1.2) offers the command 'train', which is vlframe's own" in capsys.readouterr().err


def test_help_and_a_closed_pipe(capsys: pytest.CaptureFixture) -> None:
    assert main(["help", "list"]) == 0
    assert "vlframe list [kind]" in capsys.readouterr().out
    command = f"{sys.executable} -m vlframe list --json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout == "[\n" and not done.stderr


@pytest.mark.parametrize("buffered", ["", "1"])
def test_an_output_that_is_full_is_one_sentence(buffered: str) -> None:
    command = f"PYTHONUNBUFFERED={buffered} {sys.executable} -m vlframe list > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 3
    assert (
        done.stderr.startswith("vlframe: there is no room for what was to be written") and done.stderr.count("\n") == 1
    )


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_fault(closed: str) -> None:
    done = subprocess.run(["bash", "-c", f"{sys.executable} -m vlframe list {closed}"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
