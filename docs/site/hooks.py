"""What MkDocs calls: adds generated pages and those that lie outside ``docs/``, and leads links to where they are."""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "experiments/README.md"]
REPOSITORY = "repository/"  # where pages and pictures from outside docs/ are in the site
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
CODE = re.compile(r"(```.*?^\s*```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def outside() -> list[str]:
    """Return the files outside ``docs/`` that the site has, relative to the repository."""
    studies = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "experiments").glob("*/README.md"))
    pictures = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "experiments").rglob("*.png"))
    return [*OUTSIDE, *studies, *pictures]


def on_files(files: Files, config: Any) -> Files:
    """Add pages to those in ``docs/``."""
    sys.path.insert(0, str(Path(__file__).parent))  # MkDocs takes away what is inserted while a hook is loaded
    from reference import pages

    from vlframe.composer.offer import open_registry

    for path, text in pages(open_registry()).items():
        files.append(File.generated(config, path, content=text))
    for path in outside():
        files.append(File.generated(config, REPOSITORY + path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Lead links to files outside ``docs/`` to their pages; those to files that the site lacks become their names."""
    path = page.file.src_uri
    source = path.removeprefix(REPOSITORY) if path.startswith(REPOSITORY) else f"docs/{path}"
    pieces = CODE.split(markdown)
    return "".join(
        piece if at % 2 else LINK.sub(lambda link: led(link, source, path), piece) for at, piece in enumerate(pieces)
    )


def led(link: re.Match[str], source: str, path: str) -> str:
    """Return a link of the file ``source`` as it has to be in the page ``path`` of the site."""
    sign, words, target, anchor = link[1], link[2], link[3], link[4] or ""
    if "://" in target or target.startswith("mailto:"):
        return link[0]
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if f"{whole}/README.md" in outside():
        whole = f"{whole}/README.md"
    if whole.startswith("docs/"):
        there = whole.removeprefix("docs/")
    elif whole in outside():
        there = REPOSITORY + whole
    else:
        return f"{words} (`{whole}`)" if words != whole else f"`{whole}`"
    return f"{sign}[{words}]({posixpath.relpath(there, posixpath.dirname(path) or '.')}{anchor})"
