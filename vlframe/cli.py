"""vlframe on the command line. A command's module is imported when it runs; ``--help`` and ``list`` load no torch."""

import json
import os
import sys
from collections.abc import Callable, Sequence

USAGE = """\
vlframe: swappable parts for Video-LLMs

  vlframe train experiment=quickstart             train, then evaluate; any key can be overridden
  vlframe train experiment=quickstart connector=qformer connector.queries=32 seed=2
  vlframe train -m experiment=quickstart connector=stc,qformer,pool
  vlframe train resume=runs/quickstart/<id>       go on where it stopped; keys beside it change what may be changed
  vlframe evaluate run=runs/quickstart/<id>       score a run again
  vlframe predict run=runs/quickstart/<id> media=clip.mp4 prompt="Which way does it move?"
  vlframe plan model=videollama2_7b               check that the parts fit, count tokens; reads no weights
  vlframe data check train.jsonl model=<name>     read all of it as training would, and say what is wrong and where
  vlframe convert source=<folder> out=<folder>    an official VideoLLaMA 2 checkpoint into one of ours
  vlframe export run=<folder> out=<folder>        and back
  vlframe verify <recording.safetensors> …        compare with recorded outputs of the official code
  vlframe prove-resume experiment=… cut=11        cut and resumed = straight through, bit for bit?
  vlframe list [kind] [--json]                    the components that are installed, and who offers them

  vlframe train --help                            the options of every group; --cfg job prints the composed config
  --traceback                                     show the Python traceback of an error
"""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    traceback = "--traceback" in arguments
    arguments = [argument for argument in arguments if argument != "--traceback"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if arguments[0] == "--version":
        from vlframe import __version__

        print(f"vlframe {__version__}")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        shown = [name for name in COMMANDS if not name.startswith("_")]
        print(f"vlframe: there is no command {command!r}; there are {', '.join(shown)}", file=sys.stderr)
        return 2
    if traceback or os.environ.get("VLFRAME_TRACEBACK"):
        return COMMANDS[command](rest)
    return _without_traceback(COMMANDS[command], rest)


def _without_traceback(command: Callable[[list[str]], int], arguments: list[str]) -> int:
    from vlframe.errors import UserError
    from vlframe.secrets import redacted

    try:
        return command(arguments)
    except UserError as error:
        print(redacted(f"vlframe: {error}"), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # outside of training, which has its own way to stop
        print("vlframe: stopped", file=sys.stderr)
        return 130


def _hydra(command: str) -> Callable[[list[str]], int]:
    def run(arguments: list[str]) -> int:
        from vlframe.app import run as run_app

        return run_app(command, arguments)

    return run


def _list(arguments: list[str]) -> int:
    from vlframe.listing import listing, listing_rows
    from vlframe.registry import Registry

    words = [word for word in arguments if not word.startswith("-") and "=" not in word]
    flags = [word for word in arguments if word.startswith("-")]
    if "--help" in flags or "-h" in flags:
        print("vlframe list [kind] [--json] [plugins.paths=[file.py]] [plugins.strict=true]")
        return 0
    unknown = [flag for flag in flags if flag != "--json"]
    if unknown or len(words) > 1:
        print(f"vlframe list: takes one kind and --json, not {' '.join([*unknown, *words[1:]])}", file=sys.stderr)
        return 2
    keys = {word.lstrip("+").partition("=")[0] for word in arguments if "=" in word}
    if strange := sorted(keys - {"plugins.paths", "plugins.strict"}):
        print(
            f"vlframe list: knows the keys plugins.paths and plugins.strict, not {', '.join(strange)}", file=sys.stderr
        )
        return 2
    paths, strict = plugin_arguments(arguments)
    registry = Registry.installed(paths, strict)
    kind = words[0] if words else None
    print(json.dumps(listing_rows(registry, kind), indent=1) if "--json" in flags else listing(registry, kind))
    return 0


def _verify(arguments: list[str]) -> int:
    files = [argument for argument in arguments if not argument.startswith("-") and "=" not in argument]
    options = dict(argument.partition("=")[::2] for argument in arguments if "=" in argument)
    unknown = sorted({*options} - {"layout"} | {item for item in arguments if item.startswith("-")})
    if not files or unknown:
        wrong = f"; it does not know {', '.join(unknown)}" if unknown else ""
        print(f"vlframe verify <recording.safetensors> … [layout=videollama2]{wrong}", file=sys.stderr)
        return 2
    from vlframe.weights.verify import verify_command

    return verify_command(files, options.get("layout", "videollama2"))


def _prove_resume(arguments: list[str]) -> int:
    given = {key: value for key, _, value in (item.partition("=") for item in arguments) if key in ("steps", "cut")}
    overrides = [item for item in arguments if item.partition("=")[0] not in ("steps", "cut")]
    try:
        steps, cut = int(given.get("steps", "20")), float(given.get("cut", "11"))
    except ValueError:
        print("vlframe prove-resume experiment=… steps=20 cut=11   (cut=11.5: killed inside step 12)", file=sys.stderr)
        return 2
    from vlframe.training.prove import prove

    return 0 if prove(overrides, steps, cut) else 1


def _data(arguments: list[str]) -> int:
    from vlframe.data.check.command import USAGE as usage
    from vlframe.data.check.command import check_command

    if arguments[:1] in (["--help"], ["-h"]):
        print(usage, end="")
        return 0
    if arguments[:1] != ["check"]:
        found = f"not {arguments[0]!r}" if arguments else "and nothing came"
        print(f"vlframe data: 'check' comes next, {found}; see vlframe data check --help", file=sys.stderr)
        return 2
    return check_command(arguments[1:])


def _rank(arguments: list[str]) -> int:
    """One of the other processes of a run; started by the first (see ``vlframe.runs.ranks``)."""
    from omegaconf import OmegaConf

    from vlframe.app import open_registry
    from vlframe.training.run import train_rank

    (folder,) = arguments
    plugins = OmegaConf.load(os.path.join(folder, "config.yaml")).plugins
    train_rank(folder, open_registry(list(plugins.paths), plugins.strict))
    return 0


def plugin_arguments(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """``plugins.paths`` and ``plugins.strict`` of a command line: needed before Hydra can know the rows they bring."""
    paths: list[str] = []
    strict = False
    for argument in arguments:
        key, _, value = argument.lstrip("+").partition("=")
        if key == "plugins.paths":
            paths = [path.strip(" '\"") for path in value.strip("[]").split(",") if path.strip(" '\"")]
        if key == "plugins.strict":
            strict = value.lower() in ("true", "1", "yes", "on")
    return paths, strict


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": _hydra("train"),
    "evaluate": _hydra("evaluate"),
    "predict": _hydra("predict"),
    "plan": _hydra("plan"),
    "data": _data,
    "convert": _hydra("convert"),
    "export": _hydra("export"),
    "verify": _verify,
    "prove-resume": _prove_resume,
    "list": _list,
    "_rank": _rank,
}

if __name__ == "__main__":
    sys.exit(main())
