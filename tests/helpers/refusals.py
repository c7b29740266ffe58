"""What the kit for plugin authors is asked about, and what it says of a broken component."""

from typing import Any

import pytest

import vlframe
from vlframe.testing import ContractError


def refusal(check: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(ContractError) as caught:
        check(*arguments, **options)
    return str(caught.value)


def questions(count: int = 4) -> list[vlframe.Sample]:
    options = ("red", "green", "blue")
    return [
        vlframe.Sample(f"q{i}", (vlframe.Turn("user", "Which colour?"),), answer=options[i % 3], options=options)
        for i in range(count)
    ]
