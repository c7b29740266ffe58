"""Measures the operations and bytes of one forward and backward pass by running it on the meta device.

Nothing is computed or stored: every tensor there has a shape, a type and a lifetime, and those are counted. B batch, S
sequence.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch._meta_registrations  # registers attention's outputs on the meta device
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map
from torch.utils.flop_counter import flop_registry

if TYPE_CHECKING:
    from vlframe.contracts.batch import Batch
    from vlframe.contracts.language_model import Loss
    from vlframe.model.video_llm import VideoLLM

# The functions that torch.autocast runs in 16 bits and in float32 (its CUDA lists), by the names that modules use.
IN_LOW = (
    (F, "linear conv1d conv2d conv3d scaled_dot_product_attention"),
    (torch, "matmul bmm mm addmm baddbmm einsum"),
    (Tensor, "matmul __matmul__"),
)
IN_F32 = (
    (F, "layer_norm group_norm softmax log_softmax cross_entropy"),
    (torch, "softmax rsqrt pow"),
    (Tensor, "softmax pow"),
)


@dataclass(frozen=True)
class PassCost:
    """The cost of a forward and a backward pass of one micro-batch on one device.

    ``flops`` counts multiplications and additions separately, in matrix products, convolutions and attention, including
    recomputation. ``activations`` is the peak of bytes besides weights, optimizer state and gradients; ``peak`` also
    includes the gradients computed by then.
    """

    flops: int
    activations: int
    peak: int


def pass_cost(
    model: VideoLLM,
    batch: Batch,
    *,
    low: torch.dtype | None,
    accumulates: bool = False,
    loss: Callable[[VideoLLM, Batch], Loss] | None = None,
    known: Looked | None = None,
) -> PassCost:
    """Return the cost of a model on a batch, with the ``loss`` of an objective (None: the cross-entropy). The model may
    be real or on the meta device: only shapes, types and requires_grad matter. ``low``: the type of 16 bits of
    autocast, if any. ``accumulates``: gradients of an earlier micro-batch already exist. ``known``: what other passes
    have found out, for similar ones.
    """
    twin = on_meta(model)
    batch = batch_on_meta(batch)
    trained = [parameter for parameter in twin.parameters() if parameter.requires_grad]
    if accumulates:
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter)
    watch, autocast = Watch(known), Autocast(low or torch.bfloat16)
    with watch, attention_of_devices(), autocast.on() if low is not None else nullcontext():
        total = (twin(batch) if loss is None else loss(twin, batch)).total
        autocast.forget()
        if total.requires_grad:
            with _watch_gradients(watch, trained):
                total.backward()
    return PassCost(watch.flops, watch.most_activations, watch.most)


def on_meta(model: nn.Module) -> Any:
    """Copy a model to the meta device: equal shapes, types, modes and hooks, without data."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        held = torch.empty_like(parameter, device="meta")
        memo[id(parameter)] = nn.Parameter(held, requires_grad=parameter.requires_grad)
    memo |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in model.buffers()}
    return copy.deepcopy(model, memo)


def batch_on_meta(batch: Batch) -> Batch:
    """Return the same batch without data."""
    return batch.to("meta")


class Watch(TorchDispatchMode):
    """Counts operations, and the bytes of their results while these are alive."""

    def __init__(self, known: Looked | None = None) -> None:
        super().__init__()
        self.flops = 0
        self.live: dict[int, int] = {}  # bytes of each live storage
        self.now = self.most = self.most_activations = 0
        self.gradients = 0
        self.known: Looked = {} if known is None else known

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = self._result(func, args, kwargs or {})
        for item in (out,) if isinstance(out, Tensor) else tree_iter(out):
            if isinstance(item, Tensor):
                self._meet(item.untyped_storage())
        return out

    def _result(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return what a function gives. Blocks repeat each other, and torch takes ten times as long to find a shape as
        to look it up.
        """
        try:
            key: Hashable = (func, *map(_written, args), *((name, _written(item)) for name, item in kwargs.items()))
            known = self.known.get(key)
        except TypeError:  # an argument that has values, or cannot be a key
            return self._computed(func, args, kwargs)[0]
        if known is not None:
            self.flops += known.flops
            return known.results()
        out, flops = self._computed(func, args, kwargs)
        if key not in self.known:
            self.known[key] = Known.of(func, args, out, flops)
        return out

    def _computed(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, int]:
        out = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        flops = 0 if formula is None else int(formula(*args, **kwargs, out_val=out))
        self.flops += flops
        return out, flops

    def _meet(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self.live:
            self.live[key] = size = storage.nbytes()
            self.now += size
            weakref.finalize(storage, self._gone, key)
            self.most = max(self.most, self.now)
            self.most_activations = max(self.most_activations, self.now - self.gradients)

    def _gone(self, key: int) -> None:
        self.now -= self.live.pop(key)


class Form(NamedTuple):
    """What a tensor on the meta device is known by."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> Form:
        return cls(tuple(tensor.shape), tensor.stride(), tensor.dtype)

    def made(self) -> Tensor:
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="meta")


class Known(NamedTuple):
    """What a function gives for arguments of some forms: tensors of its own, and the operations it takes."""

    forms: tuple[Form | None, ...]
    several: bool
    flops: int

    @classmethod
    def of(cls, func: Any, args: Sequence[Any], out: Any, flops: int) -> Known | None:
        """Return it; None if the function changes or shares its arguments, or gives anything but whole tensors."""
        several = isinstance(out, tuple)
        outs = out if several else (out,)
        schema = func._schema
        if any(item.alias_info is not None for item in (*schema.arguments, *schema.returns)):
            return None
        taken = {item.untyped_storage()._cdata for item in tree_iter(args) if isinstance(item, Tensor)}
        if not all(item is None or _is_whole(item, taken) for item in outs):
            return None
        return cls(tuple(None if item is None else Form.of(item) for item in outs), several, flops)

    def results(self) -> Any:
        made = tuple(None if form is None else form.made() for form in self.forms)
        return made if self.several else made[0]


def _is_whole(item: Any, taken: Container[int]) -> bool:
    """Return whether a result is a tensor on the meta device with a storage of its own, no larger than itself."""
    if not isinstance(item, Tensor) or not item.is_meta:
        return False
    storage = item.untyped_storage()
    return storage._cdata not in taken and storage.nbytes() == Form.of(item).made().untyped_storage().nbytes()


def _written(item: Any) -> Hashable:
    """Return an argument as part of a key. TypeError: its values may matter."""
    if isinstance(item, Tensor):
        if not item.is_meta:
            raise TypeError("a tensor with values")
        return Form.of(item)
    if isinstance(item, list | tuple):
        return tuple(map(_written, item))
    return type(item), item  # 1, 1.0 and True are equal, and give other types


Looked = dict[Hashable, Known | None]  # by function and arguments; None: to be computed each time


@contextmanager
def _watch_gradients(watch: Watch, trained: list[nn.Parameter]) -> Iterator[None]:
    """Report to the watch each gradient that is final and kept."""

    def made(parameter: Tensor) -> None:
        gradient = parameter.grad
        if gradient is not None:
            watch.gradients += watch.live.get(gradient.untyped_storage()._cdata, 0)

    handles = [parameter.register_post_accumulate_grad_hook(made) for parameter in trained]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _in_place(replacements: list[tuple[Any, str, Callable[..., Any]]]) -> Iterator[None]:
    """Replace functions of torch inside the context. Torch's function modes are not active while a block is recomputed
    in a backward pass.
    """
    before = [(owner, name, vars(owner).get(name)) for owner, name, _ in replacements]
    try:
        for owner, name, function in replacements:
            setattr(owner, name, function)
        yield
    finally:
        for owner, name, function in before:
            if function is None:  # it was inherited
                delattr(owner, name)
            else:
                setattr(owner, name, function)


def attention_of_devices() -> AbstractContextManager[None]:
    """Replace attention by one that does not store all weights, like the fused kernels of every device. The meta device
    has no kernel and would use the plain formula, which does.
    """
    return _in_place([(F, "scaled_dot_product_attention", _fused)])


_PLAIN_ATTENTION = F.scaled_dot_product_attention


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if enable_gqa:
        times = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(times, -3), value.repeat_interleave(times, -3)
    learned = attn_mask is not None and attn_mask.requires_grad  # a trainable bias: no fused CPU kernel supports it
    if query.ndim != 4 or query.shape[-1] != value.shape[-1] or learned:
        return _PLAIN_ATTENTION(query, key, value, attn_mask, dropout_p, is_causal, scale=scale)
    if attn_mask is not None:
        attn_mask = attn_mask.to(query.dtype)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return kernel(query, key, value, 0.0, is_causal, attn_mask=attn_mask, scale=scale)[0]


class Autocast:
    """``torch.autocast`` to a type of 16 bits, which does not apply to the meta device. A weight is cast once in
    the forward pass, and again where a block is recomputed.
    """

    def __init__(self, low: torch.dtype) -> None:
        self.low = low
        self.cast: dict[int, Tensor] | None = {}

    def forget(self) -> None:
        """Release the cast weights, as the end of autocast does."""
        self.cast = None

    def on(self) -> AbstractContextManager[None]:
        changed = []
        for functions, to in ((IN_LOW, self._low), (IN_F32, _high)):
            for owner, names in functions:
                changed += [(owner, name, _with(to, getattr(owner, name))) for name in names.split()]
        return _in_place(changed)

    def _low(self, item: Any) -> Any:
        if not isinstance(item, Tensor) or item.dtype != torch.float32:
            return item
        if self.cast is None or not (item.is_leaf and item.requires_grad):
            return item.to(self.low)
        if id(item) not in self.cast:
            self.cast[id(item)] = item.to(self.low)
        return self.cast[id(item)]


def _high(item: Any) -> Any:
    return item.float() if isinstance(item, Tensor) and item.dtype in (torch.bfloat16, torch.float16) else item


def _with(to: Callable[[Any], Any], function: Callable[..., Any]) -> Callable[..., Any]:
    def cast(*args: Any, **kwargs: Any) -> Any:
        return function(*tree_map(to, args), **tree_map(to, kwargs))

    return cast
