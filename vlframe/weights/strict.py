"""Loads weights strictly: missing, unexpected or misshapen tensors are reported."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from vlframe.errors import WeightsError, some_of

if TYPE_CHECKING:
    from torch import Tensor, nn


def load_strict(module: "nn.Module", weights: "Mapping[str, Tensor]", source: str, ignore: Iterable[str] = ()) -> None:
    """Copy ``weights`` into ``module``. Every key must match in name and shape, except those named in ``ignore``."""
    ignored = set(ignore)
    ours = module.state_dict()
    theirs = {key: value for key, value in weights.items() if key not in ignored}
    problems = []
    missing = [key for key in ours if key not in theirs and key not in ignored]
    unexpected = [key for key in theirs if key not in ours]
    shapes = [
        f"{key} is {tuple(theirs[key].shape)}, not {tuple(ours[key].shape)}"
        for key in ours
        if key in theirs and theirs[key].shape != ours[key].shape
    ]
    for title, keys in (("missing", missing), ("unexpected", unexpected), ("misshapen", shapes)):
        if keys:
            problems.append(f"{len(keys)} {title}: {some_of(keys)}")
    if problems:
        raise WeightsError(f"{source} does not fit {type(module).__name__}: {'; '.join(problems)}")
    module.load_state_dict(theirs, strict=False)
