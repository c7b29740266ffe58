"""A command line is read once, and says what it holds."""

import os
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vlframe.composer.command_line import parse, words_in_brackets
from vlframe.errors import ConfigError


@pytest.mark.parametrize("place", [0, 1, 2])
def test_flags_stand_anywhere(place: int) -> None:
    words = ["connector=pool,linear", "seed=1"]
    line = parse("train", [*words[:place], "-m", *words[place:]])
    assert line.flags.multirun and line.words == words
    assert line.overrides[0].sweep == ("pool", "linear") and line.overrides[0].value is None
    assert line.value("seed") == 1


def test_a_flag_takes_its_word_with_it() -> None:
    line = parse("train", ["seed=1", "--config-dir", "mine", "name=x", "--cfg", "job"])
    assert (line.flags.config_dir, line.flags.cfg, line.words) == ("mine", "job", ["seed=1", "name=x"])
    with pytest.raises(ConfigError, match="--cfg needs a word"):
        parse("train", ["--cfg"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cfg", "all_of_it"], "--cfg/-c: invalid choice: 'all_of_it' .choose from"),
        (["--cfg=job=x"], "invalid choice: 'job=x'"),
        (["--info", "nothing"], "--info/-i: invalid choice"),
        (["--help=train"], "--help"),
        (["--resolve"], "give both, like --cfg job --resolve"),
        (["-p", "stages"], "give both, like --cfg job --package <key>"),
        (["--version"], "there is no option '--version'"),
    ],
)
def test_a_flag_that_cannot_be_is_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture) -> None:
    """And not the usage of another program."""
    with pytest.raises(ConfigError, match=said):
        parse("train", words)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("[]", []),
        ("seed=1", ["seed=1"]),
        ("[connector=a, media.frames=4]", ["connector=a", "media.frames=4"]),
        ("[media.withhold=[image,audio],seed=1]", ["media.withhold=[image,audio]", "seed=1"]),
        ("media.withhold=[image]", ["media.withhold=[image]"]),
        (
            "[dataset.mixture=[{path: a.json, weight: 2}],seed=1]",
            ["dataset.mixture=[{path: a.json, weight: 2}]", "seed=1"],
        ),
        ("""[prompt='a, b',name="c,d]"]""", ["prompt='a, b'", 'name="c,d]"']),
        ("[seed=choice(1,2),name=x]", ["seed=choice(1,2)", "name=x"]),
    ],
)
def test_overrides_in_brackets(text: str, words: list[str]) -> None:
    assert words_in_brackets("run", text) == words


@pytest.mark.parametrize("text", ["[a=[1,b=2]", "[a='x,b=2]", "a={b: 1"])
def test_overrides_in_brackets_that_do_not_close(text: str) -> None:
    with pytest.raises(ConfigError, match=r"run=.* is not closed"):
        words_in_brackets("run", text)


def test_plugins_and_absent_parts() -> None:
    line = parse("train", ["plugins.paths=[/a/b c.py,'d,e.py']", "plugins.strict=true", "audio_encoder=null"])
    assert line.plugin_paths == ("/a/b c.py", "d,e.py") and line.strict and line.absent == ("audio_encoder",)
    assert line.words == ["plugins.paths=[/a/b c.py,'d,e.py']", "plugins.strict=true"]
    assert parse("train", ["encoder=null", "encoder=vit_tiny"]).absent == ()


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("experiment=null", "experiment=[]"),
        ("+dataset@stages.main.data=null", "+dataset@stages.main.data=[]"),
        ("hydra/launcher=null", "hydra/launcher=[]"),
        ("experiment=null,quickstart", "experiment=[],quickstart"),
        ("~logger", "~logger"),
        ("resume=null", "resume=null"),
    ],
)
def test_null_in_a_group_is_written_as_no_preset(word: str, written: str) -> None:
    assert parse("train", [word, "-m"]).words == [written]


def test_signs_packages_and_the_last_value() -> None:
    line = parse("train", ["+stage@stages.main=tune", "++a.b=1", "~logger", "seed=1", "seed=2", "resume='x y'"])
    assert [(word.sign, word.key) for word in line.overrides[:3]] == [
        ("+", "stage@stages.main"),
        ("++", "a.b"),
        ("~", "logger"),
    ]
    assert line.value("seed") == 2 and line.value("resume") == "x y" and line.value("nothing") is None


@pytest.mark.parametrize("text", ["What, when? it's {here}", "${oc.env:HOME} a=b", 'say "hi"', "a\\'b"])
def test_free_text_is_a_persons(text: str) -> None:
    line = parse("predict", ["run=x", f"prompt={text}"])
    assert line.free == {"prompt": text}
    assert line.overrides[1].key == "prompt" and not line.overrides[1].sweep


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fast"], r"no option '--fast'; keys are given without dashes \(fast=…\)"),
        (["quickstart"], "'quickstart' is not key=value"),
        (["connector.stride=[2,2"], "'connector.stride=\\[2,2' cannot be read"),
        (["logger.wandb.api_key=abcdefgh"], "named like a secret"),
    ],
)
def test_what_cannot_be_read(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse("train", words)


PATHS = st.text("ab/. ,=~'\"()[]{}:;!#%&*+-1\\é", min_size=1, max_size=12)
QUOTED_OR_LISTED = ("''", '""', "[]", "{}")


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["dataset.path", "runs", "init.run", "+llm.source", "sources.vision"]), PATHS)
def test_a_path_is_taken_as_it_stands(key: str, path: str) -> None:
    assume(path[0] + path[-1] not in QUOTED_OR_LISTED and not path.startswith("~") and path not in "'\"")
    line = parse("train", [f"{key}={path}"])
    assert line.overrides[0].value == path and line.overrides[0].key == key.lstrip("+")


@settings(deadline=None, max_examples=60)
@given(st.lists(PATHS, min_size=1, max_size=3))
def test_paths_of_a_list_stand_between_commas(paths: list[str]) -> None:
    assume(not any(set(path) & set(",'\"") or path != path.strip() or path[0] == "~" for path in paths))
    line = parse("predict", [f"media=[{','.join(paths)}]"])
    assert line.value("media") == paths
    several = parse("train", ["-m", f"dataset.path={','.join(paths)}"]).overrides[0]
    listed = len(paths) == 1 and paths[0][0] + paths[0][-1] in QUOTED_OR_LISTED
    assert listed or several.value == paths[0] or len(several.sweep) == len(paths)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("b, c.mp4", "[a].json", "choice(a,b)"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("media=[a=1.mp4,b, c.mp4]", ["a=1.mp4", "b, c.mp4"]),
        ("media=['x, y.mp4',b, c.mp4]", ["x, y.mp4", "b, c.mp4"]),
        ("dataset.path=[a].json", "[a].json"),
        ("dataset.path=choice(a,b)", "choice(a,b)"),
        ("dataset.path=~", "{home}"),
        ("dataset.path=~/x=1, y", "{home}/x=1, y"),
        ("dataset.path='~/x'", "~/x"),
        ("plugins.paths=[~/p=1.py,q.py]", ["{home}/p=1.py", "q.py"]),
        ("dataset.path=${oc.env:HOME}/a, b", "${oc.env:HOME}/a, b"),
        ("runs=1e-3", "1e-3"),
        ("resume=null", None),
        ("encoder.source=${x}", "${x}"),
    ],
)
def test_what_a_path_may_be_beside_its_name(files: Path, word: str, value: object) -> None:
    def filled(item: object) -> object:
        return item.replace("{home}", os.environ["HOME"]) if isinstance(item, str) else item

    wanted = [filled(item) for item in value] if isinstance(value, list) else filled(value)
    assert parse("train", [word]).overrides[0].value == wanted


@pytest.mark.parametrize(
    ("word", "sweep"),
    [
        ("init.run=a,b", ("a", "b")),
        ("dataset.path=b, c.mp4", ()),  # there is such a file
        ("dataset.path=~/a,x=1,b, c.mp4", ("{home}/a", "'x=1'", "'b, c.mp4'")),
        ("dataset.path='a,b','c'", ("'a,b'", "'c'")),
        ("dataset.path=choice(x,y)", ("x", "y")),
    ],
)
def test_several_paths_stand_between_commas(files: Path, word: str, sweep: tuple[str, ...]) -> None:
    found = parse("train", ["-m", word]).overrides[0]
    assert found.sweep == tuple(item.replace("{home}", os.environ["HOME"]) for item in sweep)


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ("[{path: ~/data/t.json, weight: 1}]", ["{home}/data/t.json"]),
        ("[{path: /a/v=2/t (1).json, weight: 1}, {path: b.json, weight: 2}]", ["/a/v=2/t (1).json", "b.json"]),
        ("[{path:~/t.json,weight:1}]", ["{home}/t.json"]),
        ("[{path: '~/b, c.json', weight: 1}]", ["~/b, c.json"]),  # quoted: as typed; the data set expands it
    ],
)
def test_paths_inside_lists_and_mappings_are_taken_as_they_stand(value: str, paths: list[str]) -> None:
    found = parse("train", [f"dataset.mixture={value}"]).value("dataset.mixture")
    home = os.path.expanduser("~")
    assert [item["path"] for item in found] == [path.format(home=home) for path in paths]
    one = parse("train", ["++stages.main.data={name: conversations, path: ~/q.json, media_root: ~/x y}"])
    assert one.value("stages.main.data")["media_root"] == f"{home}/x y"
    assert parse("train", ["reader.readers={avi: pyav}"]).value("reader.readers") == {"avi": "pyav"}


def test_a_mapping_that_cannot_be_read_is_not_quoted_into_a_text() -> None:
    with pytest.raises(ConfigError, match="quote the texts inside it"):
        parse("train", ["dataset.mixture=[{path: a=[.json, weight: 1}]"])


def test_a_path_is_no_override() -> None:
    for path in ("~/data/t.json", "/data/v=2/t.json", "./a=b.json"):
        with pytest.raises(ConfigError, match="is not key=value"):
            parse("train", [path])
