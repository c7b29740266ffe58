"""Names that are accepted come out right; settings mean what they say."""

import runpy
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.cases import one_sentence, runs_in, train
from helpers.processes import vlframe

Case = Callable[[str], Path]


def test_generation_settings(case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder = case("generation-settings")
    assert train(folder, "dataset.path=train.json").returncode == 0
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["ask.py", str(runs_in(folder)[0])])
    script = (folder / "ask.py").read_text()
    # a list for each question would be as good; vlframe refuses, and the script's one unguarded call is that
    (folder / "ask.py").write_text(script.replace("print(len(model.chat_batch", "ask and print(len(model.chat_batch"))
    with pytest.raises(Exception, match="num_return_sequences"):
        runpy.run_path("ask.py")
    lines = [line.split(" ", 1) for line in capsys.readouterr().out.splitlines()]
    hot = [rest for label, rest in lines if label == "temperature=5"]
    assert len(set(hot)) > 1 and all(rest.startswith("->") for rest in hot)
    (stopped,) = (rest for label, rest in lines if label == "stop_strings")
    assert stopped.startswith("->") and "a" not in stopped[3:-1]
    (several,) = (rest for label, rest in lines if label == "num_return_sequences=2")
    assert "ConfigError" in several and "one answer" in several


def commands(folder: Path) -> list[list[str]]:
    """The commands of the case, with its words in place of its shell variables."""
    lines = (folder / "commands.sh").read_text().splitlines()
    words = dict(line.split("=", 1) for line in lines[:2])
    filled = [
        line.replace("$base", words["base"].strip('"')).replace("$size", words["size"].strip('"')) for line in lines[2:]
    ]
    return [shlex.split(line)[1:] for line in filled]


SAID = [
    ("llama4_text", ["llama4_text"]),
    ("falcon_h1", ["falcon_h1"]),
    ("bloom", ["bloom", "llm.attention=eager"]),
    ("gpt_oss", ["gpt_oss", "llm.attention=eager"]),
]


@pytest.mark.parametrize(
    ("number", "pieces"), [(at, pieces) for at, (_, pieces) in enumerate(SAID)], ids=[name for name, _ in SAID]
)
def test_llm_families(case: Case, number: int, pieces: list[str]) -> None:
    folder = case("llm-families")
    done = vlframe(*commands(folder)[number], cwd=folder, check=False)
    one_sentence(done, *pieces)
    assert runs_in(folder) == []


@pytest.mark.parametrize("number", [2, 3])
def test_what_the_refusal_says_works(case: Case, number: int) -> None:
    folder = case("llm-families")
    done = vlframe(*commands(folder)[number], "llm.attention=eager", cwd=folder, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_an_architecture_as_one_word(case: Case) -> None:
    folder = case("llm-families")
    done = vlframe(*commands(folder)[4], cwd=folder, check=False)
    assert done.returncode == 0 or "+llm.architecture.model_type=gpt2" in done.stderr
