"""``trainer.strategy=fsdp``: the language model in shards (FSDP2), each rank holding one share of every tensor.

The media parts stay whole on every rank. A rank runs them only when its batch has media, and what FSDP does inside a
forward or a backward pass needs all ranks at once; so their gradients are averaged at the end of a step, as with whole
models. The language model runs on every rank in every micro-batch, if need be on a row of nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from vlframe.data.batch import UNLABELLED, Batch
from vlframe.errors import ConfigError
from vlframe.model.video_llm import TokenCache, VideoLLM
from vlframe.training.replicas import ReplicatedStrategy, same_everywhere

if TYPE_CHECKING:
    from torch.optim import Optimizer


class ShardedVideoLLM(VideoLLM):
    """A composition whose language model is in shards. Its backward pass is a matter of all ranks, so it runs on each,
    even where nothing below the language model learns from this batch."""

    def embed(self, batch: Batch, cache: TokenCache | None = None) -> Tensor:
        embeds_BSE = super().embed(batch, cache)
        return embeds_BSE if embeds_BSE.requires_grad else embeds_BSE.detach().requires_grad_()


class ShardedStrategy(ReplicatedStrategy):
    """As with whole models, but the module's model is replaced by its sharded twin while it trains."""

    whole: VideoLLM | None = None  # the model as it was; its language model is empty while the twin trains

    def model_to_device(self) -> None:
        """Cut up before the rest is moved, to a GPU that may have no room for the model as a whole."""
        module: Any = self.lightning_module
        self.whole = module.model
        same_everywhere(module.model, self.root_device)
        module.model = shard(module.model, init_device_mesh(self.root_device.type, (self.world_size,)))
        DDPStrategy.model_to_device(self)

    def on_train_end(self) -> None:
        """The model as it was, with what was learned, on every rank."""
        module: Any = self.lightning_module
        assert self.whole is not None
        gather_into(self.whole.llm, module.model.llm)
        module.model, self.whole = self.whole, None

    def teardown(self) -> None:
        """Lightning would move what is in shards to the CPU; nothing needs it any more."""
        module: Any = self.lightning_module
        self.optimizers = []
        if self.whole is not None:  # the training failed, and other ranks may be gone: nothing can be gathered
            module.model, self.whole = self.whole, None
        super().teardown()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """As one process would have it, on the first rank. All ranks call this."""
        state = super().optimizer_state(optimizer)
        state["state"] = {
            number: {key: whole_tensor(value) for key, value in entry.items()}
            for number, entry in state["state"].items()
        }
        return state if self.is_global_zero else {}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """From what one process would have written."""
        states = []
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            entries = {number: _in_shards(entry, parameters[number]) for number, entry in state["state"].items()}
            states.append({**state, "state": entries})
        super().load_optimizer_state_dict({"optimizer_states": states})


def shard(model: VideoLLM, mesh: DeviceMesh) -> ShardedVideoLLM:
    """The twin of a model: the same media parts, and its language model in shards, block by block.

    The modules of the language model are copies; their tensors are taken away from the original as they are cut up, so
    that they are never there twice. ``gather_into`` gives them back.
    """
    if not all(parameter.is_floating_point() for parameter in model.llm.parameters()):
        raise ConfigError("llm is quantised and cannot be sharded; use trainer.strategy=ddp, or leave llm.quantise out")
    parts = dict(model.parts)
    parts["llm"] = copy.deepcopy(model.llm, {id(parameter): parameter for parameter in model.llm.parameters()})
    twin = ShardedVideoLLM(**parts, frames=model.frames)
    media = {parameter for name, part in parts.items() if name != "llm" for parameter in part.parameters()}
    blocks = twin.llm.blocks() if hasattr(twin.llm, "blocks") else []
    for module in [*blocks, twin]:
        taken = [item for item in module.parameters() if item not in media and not isinstance(item, DTensor)]
        fully_shard(module, mesh=mesh, ignored_params=media)
        for parameter in taken:
            parameter.data = torch.empty(0, dtype=parameter.dtype)
    return twin


def gather_into(llm: nn.Module, sharded: nn.Module) -> None:
    """Give an emptied language model the tensors of its sharded twin, on the CPU. All ranks call this."""
    shares = dict(sharded.named_parameters())
    for name, parameter in llm.named_parameters():
        share = shares[name]
        assert isinstance(share, DTensor)
        parameter.data = share.detach().full_tensor().cpu()
    for name, buffer in sharded.named_buffers():
        llm.get_buffer(name).copy_(buffer)


def whole_tensor(share: Tensor) -> Tensor | None:
    """A sharded tensor put together, on the CPU of the first rank; None on the others. All ranks call this. A tensor
    that is whole comes back as it is."""
    if not isinstance(share, DTensor):
        return share
    whole = share.detach().full_tensor()
    return whole.cpu() if torch.distributed.get_rank() == 0 else None


def local(tensor: Tensor) -> Tensor:
    """This rank's share of a tensor; the tensor itself where there are no shards."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _in_shards(entry: Mapping[str, Any], parameter: Tensor) -> dict[str, Any]:
    """One parameter's optimizer state, cut up as the parameter is."""
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
    """One row of nothing, for a rank whose samples were all left out."""
    ids_BS = torch.zeros(1, 2, dtype=torch.long, device=device)
    return Batch(ids_BS, torch.full_like(ids_BS, UNLABELLED), torch.ones_like(ids_BS, dtype=torch.bool))


def clip(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Scale gradients down to a global norm of ``largest``, as ``torch.nn.utils.clip_grad_norm_`` does for one
    process."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return
    squares = torch.zeros(2, device=local(gradients[0]).device)  # of shares, of what is whole on every rank
    for gradient in gradients:
        squares[0 if isinstance(gradient, DTensor) else 1] += local(gradient).float().square().sum()
    torch.distributed.all_reduce(squares[:1])
    factor = (largest / (squares.sum().sqrt() + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_([local(gradient) for gradient in gradients], factor)
