"""The kit for plugin authors: what a plugin may not do when it is listed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.refusals import refusal

from vlframe.contracts.modalities import forget_plugins_modalities
from vlframe.testing import check_plugin
from vlframe.testing.subject import listening

ROWS = """
import vlframe

@vlframe.hookimpl
def vlframe_components():
    return []
"""


def test_a_light_one_passes(tmp_path: Path) -> None:
    file = tmp_path / "light_door.py"
    file.write_text(ROWS)
    check_plugin(str(file))


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("prints", "print('torch')", "prints 'torch' when it is listed"),
        ("sets", "import os; os.environ['MINE'] = '1'", "changes the environment variables MINE when it is listed"),
        ("asks", "import socket; socket.getaddrinfo('localhost', 9)", "asks for the network when it is listed"),
        ("starts", "import subprocess; subprocess.run(['true'])", "asks for another process when it is listed"),
        ("imports", "import numpy, torch", "imports torch when it is listed"),
        (
            "computes",
            "import time\nwhile time.process_time() < 9: sum(range(1000))",
            "s when it is listed",
        ),
    ],
)
def test_what_is_done_at_import_is_named(
    name: str, line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "0")  # put back after the test
    file = tmp_path / f"{name}_door.py"
    file.write_text(f"{line if name != 'computes' else ''}\n{ROWS}")
    if name == "computes":  # in the other process only: this one has computed for longer already
        file.write_text("import sys\nif sys.argv[0] == '-c':\n    " + line.replace("\n", "\n    ") + ROWS)
    assert said in refusal(check_plugin, str(file))


HEAT = """
import vlframe

@vlframe.hookimpl
def vlframe_modalities():
    kind = vlframe.MediaKind("heat", -311, "CLASSES:DECODER")
    yield vlframe.Modality("heat", (kind,), "heat_encoder", "heat_connector", "CLASSES:BRANCH")

@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("heat_encoder", "heat_tiny", "CLASSES:Part", None, "an encoder of heat maps")
    yield vlframe.Component("heat_connector", "heat_map", "CLASSES:Part", None, "a connector of heat maps")
"""
HEAT_CLASSES = """
import vlframe

class Part:
    def __init__(self, **widths): pass

class Decoder:
    def timeline(self, media, source, generator): pass
    def decode(self, timeline, source): pass

class Half:
    def timeline(self, media, source, generator): pass

class Asks(Decoder):
    def __init__(self, scale): pass

class Branch(vlframe.Branch):
    front_end = None
    def tokens(self, kind, shape, tiles=1): return 1

class Countless(vlframe.Branch):
    front_end = None
"""


@pytest.fixture
def heat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    forget_plugins_modalities()


def heat_plugin(folder: Path, name: str, decoder: str, branch: str, rows: str = HEAT) -> str:
    classes = f"heat_of_{name}"
    Path(folder, f"{classes}.py").write_text(HEAT_CLASSES)
    file = Path(folder, f"{name}_heat_door.py")
    file.write_text(rows.replace("CLASSES", classes).replace("DECODER", decoder).replace("BRANCH", branch))
    return str(file)


def test_a_modality_with_all_it_needs_passes(heat: Path) -> None:
    with listening() as steps:
        check_plugin(heat_plugin(heat, "whole", "Decoder", "Branch"))
    assert "every modality has a branch, decoders, and components of both its kinds" in steps.passed


@pytest.mark.parametrize(
    ("name", "decoder", "branch", "said"),
    [
        ("lost", "Decodes", "Branch", "the decoder of media of the kind 'heat'"),
        ("half", "Half", "Branch", "has no decode, which every decoder has"),
        ("asking", "Asks", "Branch", "a decoder is built without parameters; that fails with TypeError"),
        ("stray", "Decoder", "Part", "is no vlframe.Branch"),
        ("countless", "Decoder", "Countless", "has no tokens of its own"),
    ],
)
def test_what_a_modality_lacks_is_named(name: str, decoder: str, branch: str, said: str, heat: Path) -> None:
    message = refusal(check_plugin, heat_plugin(heat, name, decoder, branch))
    assert message.startswith("modality 'heat': ")
    assert said in message


def test_a_modality_without_a_connector_is_named(heat: Path) -> None:
    rows = "\n".join(line for line in HEAT.splitlines() if '"heat_map"' not in line)
    message = refusal(check_plugin, heat_plugin(heat, "unconnected", "Decoder", "Branch", rows))
    assert "there is no component of the kind heat_connector" in message
