"""Takes a picture of a page that lies on the disk, in a browser without a window.

.venv/bin/python docs/site/picture.py PAGE PICTURE [WIDTH HEIGHT]
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome", "google-chrome-stable")
SECOND = 0.8  # of every film, so that the same page gives the same picture
STILL = f"""() => Promise.all([...document.querySelectorAll("video")].map(film => new Promise(done => {{
    film.autoplay = false
    film.controls = false
    film.pause()
    film.addEventListener("seeked", done)
    film.addEventListener("error", done)
    film.currentTime = {SECOND}
}})))"""


def browser_program(own: str) -> str | None:
    """Return the path of a Chromium: of the system, or ``own``, where ``playwright install chromium`` puts one. None
    where there is neither.
    """
    return next(filter(None, map(shutil.which, (*NAMES, own))), None)


def take(page: Path, picture: Path, width: int = 1200, height: int = 900) -> None:
    """Write ``picture`` (PNG), the first ``width`` x ``height`` pixels of a page, with its films at ``SECOND``."""
    with sync_playwright() as playwright:
        program = browser_program(playwright.chromium.executable_path)
        if program is None:
            sys.exit(f"there is no browser ({', '.join(NAMES)}); run: python -m playwright install chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": width, "height": height})
        shown.goto(page.resolve().as_uri())
        shown.evaluate(STILL)
        shown.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) not in (3, 5):
        sys.exit(str(__doc__))
    take(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
