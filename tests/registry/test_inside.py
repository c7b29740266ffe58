"""Components among the parameters of others: one, or a table of them."""

import pytest

from vlframe.composer.compose import compose, open_registry
from vlframe.errors import ConfigError, UnknownName

PLUGIN = '''
from dataclasses import dataclass
from typing import Any

import vlframe


@dataclass
class LoggedParams:
    reader: Any
    note: str = "read"


class Logged:
    """A reader that wraps another and keeps what was asked."""

    def __init__(self, *, reader, note):
        self.reader, self.note, self.asked = reader, note, []

    def info(self, path):
        self.asked.append(str(path))
        return self.reader.info(path)

    def frames(self, path, indices):
        return self.reader.frames(path, indices)

    def audio(self, path, sampling_rate, start, end):
        return self.reader.audio(path, sampling_rate, start, end)


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("reader", "logged", "logged_reader:Logged", LoggedParams, "wraps another")
'''


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    import sys

    file = tmp_path_factory.mktemp("plugin") / "logged_reader.py"
    file.write_text(PLUGIN)
    yield open_registry([str(file)])
    sys.modules.pop("logged_reader", None)


def composed(registry, *words):
    path = next(plugin.name for plugin in registry.plugins if plugin.version == "file")
    return compose("train", [f"plugins.paths=[{path}]", *words], registry)


def test_a_reader_wraps_another(registry) -> None:
    config = composed(registry, "reader=logged", "reader.reader=pyav", "reader.reader.picture_fps=2")
    built = registry.build("reader", config.reader)
    assert (type(built).__name__, built.note, built.reader.picture_fps) == ("Logged", "read", 2.0)
    assert [row.component.name for row in registry.rows_in("reader", config.reader)] == ["logged", "pyav"]


def test_a_reader_by_suffix_reads_each_file_by_its_own(registry, tmp_path) -> None:
    from helpers.clips import ClipSpec, write_clip

    config = composed(
        registry,
        "reader=by_suffix",
        "reader.readers.mp4=logged",
        "reader.readers.mp4.reader=decord",
        "reader.reader=pyav",
    )
    built = registry.build("reader", config.reader)
    clips = [write_clip(tmp_path, ClipSpec(name, frames=4)) for name in ("a.mp4", "b.MP4", "c.mkv")]
    assert [built.info(clip).frames for clip in clips] == [4, 4, 4]
    assert built.readers["mp4"].asked == [str(clip) for clip in clips[:2]]
    assert type(built.readers["mp4"].reader).__name__ == "DecordReader"


def test_it_works_where_files_have_a_time_limit(registry, tmp_path) -> None:
    """The process that decodes finds the file of the plugin inside."""
    from helpers.clips import ClipSpec, write_clip

    from vlframe.media.process import guarded

    config = composed(registry, "reader=by_suffix", "reader.readers={mp4: {name: logged, reader: {name: pyav}}}")
    held = guarded(registry.build("reader", config.reader), 60, "by_suffix")
    try:
        assert held.info(write_clip(tmp_path, ClipSpec("a.mp4", frames=4))).frames == 4
    finally:
        held.close()


@pytest.mark.parametrize(
    "words, error, message",
    [
        (["reader=by_suffix", "reader.readers.mp4=nope"], UnknownName, "no reader named 'nope'"),
        (["reader=by_suffix", "reader.readers={mp4: {name: pyav, fps: 3}}"], ConfigError, "fps"),
        (["reader=logged", "reader.reader=pyav", "reader.reader.fps=3"], ConfigError, "reader.reader.fps"),
    ],
)
def test_what_is_wrong_inside_is_said(registry, words, error, message) -> None:
    with pytest.raises(error, match=message):
        composed(registry, *words)


def test_what_is_missing_inside_is_said(registry) -> None:
    with pytest.raises(ConfigError, match="needs a value for reader"):
        registry.check("reader", composed(registry, "reader=logged").reader)


def test_a_suffix_with_a_dot_is_refused(registry) -> None:
    config = composed(registry, "reader=by_suffix", "reader.readers={.MP4: pyav}")
    with pytest.raises(ConfigError, match=r"has '\.MP4'"):
        registry.build("reader", config.reader)
