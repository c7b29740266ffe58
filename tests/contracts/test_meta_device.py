"""Results that a meta build gives at once: shape, type and layout as the CPU's, and PyTorch's own refusals."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vlframe.contracts.meta import meta_build
from vlframe.contracts.meta_device import _RESULTS

SIZES = st.integers(1, 5)
TYPES = st.sampled_from([torch.float32, torch.bfloat16])
Function = Callable[..., Tensor]


def both(function: Function, *given: object, **options: object) -> tuple[Tensor, Tensor]:
    """What the CPU gives, and what a meta build gives without a reference implementation."""

    def there(item: object) -> object:
        return item.to("meta") if isinstance(item, Tensor) else item

    with torch.no_grad():
        real = function(*given, **options)
        with meta_build():
            planned = function(*map(there, given), **{key: there(item) for key, item in options.items()})
    return real, planned


def layout(tensor: Tensor) -> list[int]:
    """The strides of sides longer than one; any other stride means nothing."""
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


def check_alike(function: Function, *given: object, **options: object) -> None:
    real, planned = both(function, *given, **options)
    assert planned.is_meta
    assert (planned.shape, planned.dtype, layout(planned)) == (real.shape, real.dtype, layout(real))


@settings(deadline=None, max_examples=60)
@given(st.lists(SIZES, min_size=2, max_size=4), SIZES, TYPES, st.booleans())
def test_linear_and_norm(shape: list[int], width: int, dtype: torch.dtype, bias: bool) -> None:
    tensor = torch.zeros(shape, dtype=dtype)
    check_alike(F.linear, tensor, torch.zeros(width, shape[-1], dtype=dtype), torch.zeros(width, dtype=dtype))
    scale = torch.zeros(shape[-1], dtype=dtype)
    check_alike(F.layer_norm, tensor, shape[-1:], scale, scale if bias else None)
    check_alike(F.layer_norm, tensor.transpose(0, 1).contiguous().transpose(0, 1), shape[-1:])


@settings(deadline=None, max_examples=60)
@given(st.lists(SIZES, min_size=1, max_size=4), TYPES, st.sampled_from(["none", "tanh"]))
def test_elementwise(shape: list[int], dtype: torch.dtype, approximate: str) -> None:
    tensor = torch.zeros(shape, dtype=dtype).transpose(0, -1)
    check_alike(F.gelu, tensor, approximate=approximate)
    for function in (Tensor.add, Tensor.mul, Tensor.__add__, Tensor.__mul__, Tensor.__rmul__):
        check_alike(function, tensor, torch.zeros_like(tensor))
        check_alike(function, tensor, 2.5)
        check_alike(function, tensor, torch.zeros(1, dtype=dtype))


@settings(deadline=None, max_examples=60)
@given(st.lists(SIZES, min_size=1, max_size=2), SIZES, SIZES, SIZES, TYPES, st.sampled_from([None, "all", "one"]))
def test_attention(
    batch: list[int], queries: int, keys: int, width: int, dtype: torch.dtype, masked: str | None
) -> None:
    query, key = torch.zeros(*batch, queries, width, dtype=dtype), torch.zeros(*batch, keys, width, dtype=dtype)
    mask = {None: None, "all": torch.zeros(*batch, queries, keys), "one": torch.ones(queries, keys).bool()}[masked]
    mask = mask.to(dtype) if masked == "all" and mask is not None else mask
    real, planned = both(F.scaled_dot_product_attention, query, key, key, attn_mask=mask)
    assert (planned.shape, planned.dtype) == (real.shape, real.dtype)
    turned = torch.zeros(2, queries, 3, 4, dtype=dtype).transpose(1, 2)  # heads, as towers have them
    check_alike(F.scaled_dot_product_attention, turned, turned, turned)


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (F.linear, ((2, 3), (4, 5))),
        (F.linear, ((2, 3), (4, 3), (5,))),
        (F.layer_norm, ((2, 3), (4,))),
        (Tensor.add, ((2, 3), (4,))),
        (Tensor.__mul__, ((2, 3), (4,))),
        (F.scaled_dot_product_attention, ((2, 3, 4), (2, 3, 4), (2, 5, 4))),
        (F.scaled_dot_product_attention, ((2, 3, 4), (2, 3, 5), (2, 3, 5))),
        (F.scaled_dot_product_attention, ((2, 3, 4), (2, 3, 4), (2, 3, 4), (2, 3, 5))),
    ],
)
def test_what_does_not_fit_is_refused_as_by_pytorch(function: Function, given: tuple[tuple[int, ...], ...]) -> None:
    tensors = [torch.zeros(shape, device="meta") for shape in given]
    if function is F.layer_norm:
        tensors[1:] = [given[1]]  # type: ignore[list-item]
    with meta_build(), torch.no_grad(), pytest.raises(RuntimeError):
        function(*tensors)


def test_gradients_are_recorded_where_they_are_asked_for() -> None:
    with meta_build():
        weight = torch.nn.Parameter(torch.zeros(4, 3))
        assert F.linear(torch.zeros(2, 3), weight).requires_grad
        assert F.layer_norm(torch.zeros(2, 4), [4], weight[:, 0]).requires_grad


def test_every_shortcut_is_tried_here() -> None:
    assert {*_RESULTS} == {
        *(F.linear, F.layer_norm, F.gelu, F.scaled_dot_product_attention),
        *(Tensor.add, Tensor.mul, Tensor.__add__, Tensor.__mul__, Tensor.__rmul__),
    }
