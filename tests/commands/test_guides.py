"""The ten-minute guides, the installation page and the questions: their commands are run as they stand."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from helpers.clips import ClipSpec, write_clip
from helpers.editable import forget_modules, install_editable
from helpers.guides import BLOCK, commands
from helpers.runs import save_as_run
from helpers.sources import ROOT
from helpers.twins import open_with_twins

import vlframe
from vlframe.cli import main
from vlframe.composer.compose import compose
from vlframe.inference.pipeline import build_pipeline

DOCS = ROOT / "docs"
PAGES = [*sorted((DOCS / "guides").glob("*.md")), DOCS / "install.md", DOCS / "faq.md"]
FAILS = " || true"  # a line that shows a refusal


def with_run(command: str) -> str:
    """A command about the newest run of a name."""
    for name in re.findall(r"runs/(\w+)/<id>", command):
        command = command.replace("<id>", sorted(path.name for path in Path("runs", name).iterdir())[-1])
    return command


def official(folder: Path) -> None:
    """Write a small checkpoint in the layout of VideoLLaMA 2's, with the tower beside it."""
    registry = open_with_twins()
    pipeline = build_pipeline(compose("train", ["model=videollama2_tiny", "connector=stc"], registry), registry)
    vlframe.export(save_as_run(pipeline, folder / "small"), folder / "VideoLLaMA2-7B", format="videollama2")
    pipeline.model.llm.tokenizer.save_pretrained(folder / "VideoLLaMA2-7B")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_guide_works(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path, ClipSpec(name, frames=20 + 4 * (name == "b.mp4"), sound="aac"))
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert blocks and {language for language, _ in blocks} <= {"sh", "text"}
    if "VideoLLaMA2-7B" in page.read_text(encoding="utf-8"):
        official(tmp_path)
    said = ""
    for language, block in blocks:
        if language == "text":
            assert all(line in said for line in block.splitlines()), said
            continue
        said = ""
        for command in map(with_run, commands(block)):
            if command.startswith("pip install -e "):
                install_editable(tmp_path / command.rpartition(" ")[2], monkeypatch)
                continue
            if not command.startswith("vlframe "):
                subprocess.run(["bash", "-c", command], check=True)
                forget_modules(tmp_path)  # it may have changed a file of a package
                continue
            capsys.readouterr()
            code = main(shlex.split(command.removesuffix(FAILS))[1:])
            shown = capsys.readouterr()
            said += shown.out
            assert (code != 0) == command.endswith(FAILS), f"{command}\n{shown.out}\n{shown.err}"
    forget_modules(tmp_path)
