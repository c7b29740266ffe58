"""The source of a whole plugin in one module; tests of failures change one thing about it."""

GOOD = """
from dataclasses import dataclass

import vlframe


@dataclass
class Params:
    queries: int = 4
    mode: str = "mean"


class Made:
    def __init__(self, *, queries: int, mode: str, **neighbours: int) -> None:
        self.queries = queries


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("connector", "NAME", __name__ + ":Made", Params, "made up")
"""


def good(name: str) -> str:
    """The source of a module that offers the connector ``name``."""
    return GOOD.replace("NAME", name)
