"""The commands of the ten-minute guides."""

import re

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[str]:
    """The commands of a block; one with a text in it (<<'END') has several lines."""
    found: list[str] = []
    inside = False
    for line in block.splitlines():
        if inside:
            found[-1] += f"\n{line}"
        elif line.strip():
            found.append(line)
        inside = (inside or line.endswith("<<'END'")) and line != "END"
    return found
