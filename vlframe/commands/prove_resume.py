"""``vlframe prove-resume``: check that an interrupted and resumed run equals an uninterrupted one, bit for bit."""

from __future__ import annotations

import sys

USAGE = (("prove-resume experiment=… cut=11", "cut and resumed = straight through, bit for bit?"),)


def main(words: list[str]) -> int:
    from vlframe.composer.command_line import parse
    from vlframe.composer.compose import compose_line
    from vlframe.composer.offer import open_registry
    from vlframe.table import render
    from vlframe.training.prove_resume import prove

    line = parse("prove-resume", words)
    given = {key: line.value(key) for key in ("steps", "cut") if key in line.keys}
    try:
        steps, cut = int(given.get("steps", 20)), float(given.get("cut", 11))
    except (TypeError, ValueError):
        print("vlframe prove-resume experiment=… steps=20 cut=11   (cut=11.5: killed inside step 12)", file=sys.stderr)
        return 2
    config = compose_line("train", line.without(["steps", "cut"]), open_registry(line.plugin_paths, line.strict))
    rows = prove(config, steps, cut)
    print(render(rows))
    good = all(row["different"] == 0 and row["compared"] > 0 for row in rows)
    where = f"in the middle of step {int(cut) + 1}" if cut % 1 else f"after step {int(cut)}"
    print(f"cut {where} of {steps}: {'equal, bit for bit' if good else 'NOT EQUAL'}")
    return 0 if good else 1
