"""The source of a whole plugin in one module; tests of failures change one thing about it."""

GOOD = """
from dataclasses import dataclass

import vlframe


@dataclass
class Params:
    queries: int = 4
    mode: str = "mean"


class Made:
    expands_images = False

    def __init__(self, *, queries: int, mode: str, **neighbours: int) -> None:
        self.queries = queries

    def tokens(self, grid):
        return self.queries

    def forward(self, features_BTHWD):
        return features_BTHWD.flatten(1, 3)[:, : self.queries]


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("connector", "NAME", __name__ + ":Made", Params, "made up")
"""


def good(name: str) -> str:
    """The source of a module that offers the connector ``name``."""
    return GOOD.replace("NAME", name)
