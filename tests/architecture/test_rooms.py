"""The rooms of vlframe: each imports only those below it, and no two files import each other."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.sources import CORE, ROOT, Import, imports, module_of

# From the ground up. A room may import from those named before it, and from itself.
FLOORS = (
    ("errors", "paths", "table"),
    *[(room,) for room in (
        "machine", "contracts", "config", "registry", "media", "model", "weights", "data", "runs", "datacheck",
        "inference", "conversion", "composer", "distributed", "evaluation", "testing", "training", "studies", "reports",
        "serving",
        "commands", "__init__", "cli", "__main__",
    )],
)  # fmt: skip
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
PACKAGE = ROOT / "vlframe"
PRESENT = sorted({path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in CORE})


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def arrows(of: str) -> Iterator[tuple[Import, str]]:
    """What a room imports from other rooms."""
    for file in CORE:
        if room(file) == of:
            for item in imports(file):
                target = module_of(item.name)
                if target is not None and room(target) != of:
                    yield item, room(target)


def test_every_room_has_a_floor() -> None:
    assert set(PRESENT) <= set(FLOOR), "a new room needs its place in FLOORS"


def test_the_ground_holds_a_handful_of_files() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", "cli", "errors", "paths", "table"}


@pytest.mark.parametrize(
    "name",
    [name for name in PRESENT if name != "__init__"],  # the door fetches names from any room, when they are used
)
def test_a_room_imports_only_from_below(name: str) -> None:
    upward = [str(item) for item, target in arrows(name) if FLOOR[target] >= FLOOR[name]]
    assert not upward, "\n".join(upward)


def test_no_files_import_each_other_in_a_circle() -> None:
    """Inside the rooms; between rooms there is none where all arrows go down."""
    graph = {file: {target for item in imports(file) if (target := module_of(item.name)) and room(target) == room(file)}
             for file in CORE}  # fmt: skip
    for file in graph:
        graph[file] -= {file}
    left = dict(graph)
    while free := [file for file, targets in left.items() if not targets & left.keys()]:
        for file in free:
            del left[file]
    assert not left, f"these files import each other: {sorted(str(file.relative_to(ROOT)) for file in left)}"
