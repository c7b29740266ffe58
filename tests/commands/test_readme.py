"""The first page: what it tells a reader to type works as it stands, and every key it and the others name is there."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from helpers.clips import ClipSpec, write_clip
from helpers.sources import ROOT

from vlframe.cli import main
from vlframe.config import schema
from vlframe.config.fields import keys_of

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GROUPS = {
    item.name: {inner.name for inner in keys_of(item.schema)}
    for item in keys_of(schema.RunConfig)
    if item.schema is not None
}


def test_own_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    block = re.search(r"^## Your own clips\n\n```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert block is not None and len(block[1].splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path, ClipSpec(name, frames=8))
    manifest, _, rest = block[1].partition("END\nvlframe")
    subprocess.run(["bash", "-c", f"{manifest}END\n"], check=True)
    for line in f"vlframe{rest}".splitlines():
        if "<id>" in line:
            (run,) = Path("runs/mine").iterdir()
            line = line.replace("<id>", run.name)
        words = shlex.split(line.replace("steps=200", "steps=2"))
        assert words[0] == "vlframe" and main(words[1:]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_key_that_a_page_names_is_there(page: Path) -> None:
    text = re.sub(r"^```python\n.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    named = re.findall(rf"(?<![\w./-])({'|'.join(GROUPS)})\.(\w+)(?![\w/(])", text)
    gone = {f"{group}.{key}" for group, key in named if key not in GROUPS[group] and key not in ("md", "py")}
    assert not gone, f"{page.name} names {', '.join(sorted(gone))}"


def test_after_the_set_up_the_command_is_there() -> None:
    assert "source .venv/bin/activate" in README and "pip install" in README


def test_a_swapped_part_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    block = re.search(r"^## Swap a part\n.*?```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert block is not None
    for line in block[1].splitlines():
        words, _, printed = line.partition("#")
        assert main(shlex.split(words)[1:]) == 0 and printed.strip() in capsys.readouterr().out.splitlines(), line
