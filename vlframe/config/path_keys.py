"""Keys that name files and folders: ``composer`` takes their values literally and ``runs`` makes them absolute."""

FILES = ("path", "media_root", "folder", "run")  # a file or a folder, and nothing else
PERHAPS = ("source", "tokenizer")  # a folder or something else, as a hub id
FOLDERS = ("media_root", "folder", "run", "source", "tokenizer")  # of those: usually a folder of its own
PLACES = ("runs", "resume", "out")  # of a command: where it reads or writes
LISTS = ("media", "plugins.paths")  # several paths in brackets, or one
BY_NAME = "sources."  # further files of a checkpoint, by the names that its format gives them


def names_a_path(key: str) -> bool:
    """Return whether the value of a key is a path, or may be one."""
    named = key.rpartition(".")[2] in (*FILES, *PERHAPS, *PLACES) or key.startswith(BY_NAME) or key in LISTS
    return named and not key.startswith("hydra.")
