"""The types of 16 bits that ``trainer.precision`` names."""

import pytest
import torch

from vlframe.config.fields import keys_of
from vlframe.config.schema import TrainerConfig
from vlframe.machine.precision import low_type


@pytest.mark.parametrize(("precision", "expected"), [("32", None), ("bf16", torch.bfloat16), ("16", torch.float16)])
def test_each_precision_has_its_type(precision: str, expected: torch.dtype | None) -> None:
    assert low_type(precision) == expected


def test_no_precision_is_left_out() -> None:
    (law,) = (item.law for item in keys_of(TrainerConfig) if item.name == "precision")
    assert law.choices == ("32", "bf16", "16")
