"""``trainer.strategy=fsdp``: the language model is sharded (FSDP2), each rank holding one share of every tensor.

The media parts stay whole on every rank. A rank runs them only when its batch has media, but FSDP's collectives inside
forward and backward passes need all ranks at once; so their gradients are averaged at the end of a step, as with
replicas. The language model runs on every rank in every micro-batch, if necessary on an empty row.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from vlframe.contracts.batch import Batch
from vlframe.contracts.language_model import padded_layout
from vlframe.distributed.replicas import ReplicatedStrategy, same_everywhere
from vlframe.errors import ConfigError
from vlframe.model.selection import blocks_of
from vlframe.model.video_llm import VideoLLM

if TYPE_CHECKING:
    from torch.optim import Optimizer


class ShardedStrategy(ReplicatedStrategy):
    """Replaces the module's model by its sharded twin during training."""

    whole: VideoLLM | None = None  # the original model; its language model is empty while the twin trains

    def model_to_device(self) -> None:
        """Shard the language model before the rest is moved: a GPU may not hold all of it."""
        module: Any = self.lightning_module
        self.whole = module.model
        same_everywhere(module.model, self.root_device)
        module.model = shard(module.model, init_device_mesh(self.root_device.type, (self.world_size,)))
        DDPStrategy.model_to_device(self)

    @contextmanager
    def made_whole(self) -> Iterator[None]:
        """Give the module's original model all its tensors inside the context, on every rank, to evaluate it while its
        twin trains. All ranks call this.
        """
        module: Any = self.lightning_module
        assert self.whole is not None
        gather_into(self.whole.llm, module.model.llm)
        try:
            yield
        finally:
            for parameter in self.whole.llm.parameters():
                parameter.data = torch.empty(0, dtype=parameter.dtype)

    def on_train_end(self) -> None:
        """Give the module its original model back, with the trained weights, on every rank."""
        module: Any = self.lightning_module
        assert self.whole is not None
        gather_into(self.whole.llm, module.model.llm)
        module.model, self.whole = self.whole, None

    def teardown(self) -> None:
        """Drop the sharded model; Lightning would move it to the CPU, where nothing needs it."""
        module: Any = self.lightning_module
        self.optimizers = []
        if self.whole is not None:  # training failed, and other ranks may be gone: nothing can be gathered
            module.model, self.whole = self.whole, None
        super().teardown()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the state as a single process would have it, on the first rank. All ranks call this."""
        state: dict[str, Any] = super().optimizer_state(optimizer)
        state["state"] = {
            number: {key: whole_tensor(value) for key, value in entry.items()}
            for number, entry in state["state"].items()
        }
        return state if self.is_global_zero else {}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load a state that a single process would have written."""
        states = []
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            entries = {number: _in_shards(entry, parameters[number]) for number, entry in state["state"].items()}
            states.append({**state, "state": entries})
        super().load_optimizer_state_dict({"optimizer_states": states})


def shard(model: VideoLLM, mesh: DeviceMesh) -> VideoLLM:
    """Return the twin of a model: the same media parts, and its language model sharded block by block.

    The modules of the language model are copies; their tensors are removed from the original as they are sharded, so
    that memory never holds them twice. ``gather_into`` restores them.
    """
    if not all(parameter.is_floating_point() for parameter in model.llm.parameters()):
        raise ConfigError("llm is quantised and cannot be sharded; use trainer.strategy=ddp, or leave llm.quantise out")
    llm = copy.deepcopy(model.llm, {id(parameter): parameter for parameter in model.llm.parameters()})
    llm.register_forward_pre_hook(_with_gradient)
    twin = VideoLLM(dict(model.branches.items()), llm)
    media = {parameter for branch in model.branches.values() for parameter in branch.parameters()}
    for module in [*blocks_of(twin.llm), twin]:
        taken = [item for item in module.parameters() if item not in media and not isinstance(item, DTensor)]
        fully_shard(module, mesh=mesh, ignored_params=media)
        for parameter in taken:
            parameter.data = torch.empty(0, dtype=parameter.dtype)
    return twin


def _with_gradient(llm: nn.Module, given: tuple[Tensor, Any]) -> tuple[Tensor, Any]:
    """Make the inputs require gradients: the backward pass of shards involves all ranks, even one whose batch trains
    nothing before the language model.
    """
    embeds_BSE, layout = given
    return (embeds_BSE if embeds_BSE.requires_grad else embeds_BSE.detach().requires_grad_()), layout


def gather_into(llm: nn.Module, sharded: nn.Module) -> None:
    """Fill an emptied language model with the tensors of its sharded twin, on the CPU. All ranks call this."""
    shares = dict(sharded.named_parameters())
    for name, parameter in llm.named_parameters():
        share = shares[name]
        assert isinstance(share, DTensor)
        parameter.data = _together(share).cpu()
    for name, buffer in sharded.named_buffers():
        llm.get_buffer(name).copy_(buffer)


def whole_tensor(share: Tensor) -> Tensor | None:
    """Gather a sharded tensor on the CPU of the first rank; None on the others. All ranks call this. An unsharded
    tensor is returned unchanged.
    """
    if not isinstance(share, DTensor):
        return share
    whole = _together(share)
    return whole.cpu() if torch.distributed.get_rank() == 0 else None


def _together(share: DTensor) -> Tensor:
    detached: Any = share.detach()
    return detached.full_tensor()


def local(tensor: Tensor) -> Tensor:
    """Return this rank's share of a tensor; the tensor itself if it is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _in_shards(entry: Mapping[str, Any], parameter: Tensor) -> dict[str, Any]:
    """Shard one parameter's optimizer state like the parameter."""
    if not isinstance(parameter, DTensor):
        return dict(entry)
    mesh, placements = parameter.device_mesh, parameter.placements
    return {
        key: distribute_tensor(value.to(mesh.device_type), mesh, placements, src_data_rank=None)
        if value.ndim
        else value
        for key, value in entry.items()
    }


def idle_batch(device: torch.device) -> Batch:
    """Return an empty row, for a rank whose samples were all quarantined."""
    ids_BS = torch.zeros(1, 2, dtype=torch.long)
    none = torch.zeros(0, dtype=torch.long)
    return Batch(ids_BS, padded_layout(torch.ones_like(ids_BS, dtype=torch.bool)), none, none, none).to(device)


def clip(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Scale gradients down to a global norm of ``largest``, as ``torch.nn.utils.clip_grad_norm_`` does for one
    process."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return
    squares = torch.zeros(2, device=local(gradients[0]).device)  # of shards, of unsharded gradients
    for gradient in gradients:
        squares[0 if isinstance(gradient, DTensor) else 1] += local(gradient).float().square().sum()
    torch.distributed.all_reduce(squares[:1])
    factor = (largest / (squares.sum().sqrt() + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_([local(gradient) for gradient in gradients], factor)
