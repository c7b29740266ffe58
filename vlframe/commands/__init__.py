"""One module per command.

Each has ``USAGE``, its lines in ``vlframe --help`` (what is typed, what it does), and ``main``, which takes the words
after the command's name and returns an exit code. The work is a function that takes a config and a registry and returns
a value; ``main`` or a ``show`` beside it prints. Importing these modules loads neither torch nor Hydra.
"""

# command -> module; the order is that of --help
MODULES = {
    "train": "train",
    "evaluate": "evaluate",
    "predict": "predict",
    "plan": "plan",
    "compare": "compare",
    "study": "study",
    "data": "data",
    "convert": "convert",
    "export": "export",
    "verify": "verify",
    "prove-resume": "prove_resume",
    "plugin": "plugin",
    "list": "list",
    "doctor": "doctor",
    "_rank": "_rank",  # started by vlframe itself, not shown in help
}
OF_PLUGINS = "plugins."  # how the words begin that name plugins besides the installed ones
