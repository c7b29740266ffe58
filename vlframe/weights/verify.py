"""``vlframe verify``: recorded outputs of the original code beside ours, tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vlframe.errors import WeightsError
from vlframe.table import render


def verify_command(files: Sequence[str], layout: str) -> int:
    """Print the largest difference of each recorded tensor. 1 if any is beyond its tolerance."""
    from vlframe.app import open_registry

    reader = open_registry().build("layout", {"name": layout})
    failed = []
    for file in files:
        if not Path(file).is_file():
            raise WeightsError(f"there is no recording {file}")
        rows = list(reader.verify(Path(file)))
        table = [
            {
                "recorded": row.name,
                "difference": "" if row.difference is None else f"{row.difference:.2e}",
                "tolerance": "" if row.difference is None else f"{row.tolerance:.0e}",
                "": row.note or ("ok" if row.passed else "TOO LARGE"),
            }
            for row in rows
        ]
        bad = [row for row in rows if not row.passed]
        compared = sum(row.difference is not None for row in rows)
        print(f"{file}\n{render(table)}\n{compared} compared, {len(bad)} beyond tolerance\n")
        if bad or not compared:
            failed.append(file)
    print(f"{len(files) - len(failed)} of {len(files)} recordings match")
    return 1 if failed else 0
