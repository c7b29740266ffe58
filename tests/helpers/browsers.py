"""A page in a real browser, if this machine has one."""

import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.sources import ROOT

BROWSERS = runpy.run_path(str(ROOT / "docs/site/picture.py"))


def need_browser() -> None:
    """Skip the test if this machine has none, before anything is made for it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        _program(playwright)


def _program(playwright: Any) -> str:
    found: str | None = BROWSERS["browser_program"](playwright.chromium.executable_path)
    if found is None:
        pytest.skip(f"this machine has no browser ({', '.join(BROWSERS['NAMES'])}, or playwright's own)")
    return found


@contextmanager
def opened(file: Path) -> Iterator[tuple[Any, list[str]]]:
    """Open a file from the disk. Yields the page, and what it complained of or asked the network for so far."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_program(playwright), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        said: list[str] = []
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(f"failed: {request.url[:100]}"))
        page.on("request", lambda request: None if request.url.startswith(("file:", "data:", "blob:"))
                else said.append(f"asked the network: {request.url[:100]}"))  # fmt: skip
        page.goto(file.as_uri())
        yield page, said
        browser.close()
