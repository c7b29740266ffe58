"""``vlframe prove-resume``: check that an interrupted and resumed run equals an uninterrupted one, bit for bit."""

from __future__ import annotations

from vlframe.errors import ConfigError

USAGE = (("prove-resume experiment=… cut=11", "cut and resumed = straight through, bit for bit?"),)
FLAGS = ("--config-dir", "-cd")
HELP = """\
vlframe prove-resume [steps=20] [cut=11] [key=value …] [--config-dir <folder>]

  vlframe prove-resume experiment=quickstart           a run of 20 steps, and one that is cut after step 11 and resumed
  vlframe prove-resume experiment=mine steps=6 cut=3.5     killed inside step 4
  vlframe prove-resume experiment=mine trainer.devices=2   with any key of `vlframe train`

Exit code: 0 if all that both runs wrote is equal, bit for bit; 1 if not; 2 if a run could not be made.
"""


def main(words: list[str]) -> int:
    from vlframe.composer.command_line import parse

    line = parse("prove-resume", words)
    if line.flags.help or not words:
        print(HELP, end="")
        return 0 if words else 2
    if strange := [word for word in words if word.startswith("-") and word.partition("=")[0] not in FLAGS]:
        raise ConfigError(
            f"vlframe prove-resume has no option {strange[0]}; it compares two runs of one config, and takes "
            f"{FLAGS[0]} and --help"
        )
    given = {"steps": 20, "cut": 11} | {key: line.value(key) for key in ("steps", "cut") if key in line.keys}
    steps, cut = given["steps"], given["cut"]
    if type(steps) is not int or type(cut) not in (int, float):
        raise ConfigError(
            f"steps is {steps} and cut is {cut}; both count optimizer steps, like steps=20 cut=11 (cut=11.5: killed "
            f"inside step 12)"
        )
    from vlframe.composer.compose import compose_line
    from vlframe.composer.offer import open_registry
    from vlframe.table import render
    from vlframe.training.prove_resume import prove

    config = compose_line("train", line.without(["steps", "cut"]), open_registry(line.plugin_paths, line.strict))
    rows = prove(config, steps, cut)
    print(render(rows))
    good = all(row["different"] == 0 and row["compared"] > 0 for row in rows)
    where = f"in the middle of step {int(cut) + 1}" if cut % 1 else f"after step {int(cut)}"
    print(f"cut {where} of {steps}: {'equal, bit for bit' if good else 'NOT EQUAL'}")
    return 0 if good else 1
