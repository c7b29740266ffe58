"""The kit for plugin authors: what a plugin may not do when it is listed."""

from pathlib import Path

import pytest
from helpers.refusals import refusal

from vlframe.testing import check_plugin

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
