"""``trainer.precision=16``: the loss is scaled up, so that gradients in float16 do not vanish, and a step whose scaled
gradients overflow is skipped, with a smaller scale after it (Micikevicius et al. 2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor

from vlframe.distributed.ranks import of_all_ranks, place
from vlframe.distributed.sharding import local
from vlframe.errors import ConfigError, TrainingError
from vlframe.runs.log import log
from vlframe.training.optim import gradient_parameters

if TYPE_CHECKING:
    from vlframe.config.schema import TrainerConfig

FIRST_SCALE = 2.0**16  # of the mean over tokens, torch's own default
# Skipped steps in a row that end a stage: by then the scale is 2**-40 of what it was, and gradients that still overflow
# are not finite by themselves.
PATIENCE = 40


def check_precision(settings: TrainerConfig) -> None:
    """Raise ConfigError for float16 without a GPU that scales losses."""
    if settings.precision != "16" or (settings.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()):
        return
    raise ConfigError(
        f"trainer.precision is 16 (float16 with loss scaling), which is for GPUs of NVIDIA or AMD, and this run has "
        f"none (trainer.accelerator is {settings.accelerator!r}, torch finds {torch.cuda.device_count()} GPU(s)); say "
        "trainer.precision=32, or bf16, which every device computes"
    )


class RanksScaler(torch.amp.GradScaler):
    """torch's scaler, for sharded gradients and for ranks that have none: all ranks skip a step if one of them must."""

    overflow: Tensor | None = None  # 1 if the gradients of the current step are not all finite

    def _unscale_grads_(
        self, optimizer: Any, inv_scale: Tensor, found_inf: Tensor, allow_fp16: bool
    ) -> dict[torch.device, Tensor]:
        gradients = [local(item.grad) for item in gradient_parameters(optimizer) if item.grad is not None]
        if gradients := [item for item in gradients if item.numel()]:
            torch._amp_foreach_non_finite_check_and_unscale_(gradients, found_inf, inv_scale)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(found_inf, torch.distributed.ReduceOp.MAX)
        self.overflow = found_inf
        return {found_inf.device: found_inf}


class LossScaling(MixedPrecision):
    """Lightning's ``16-mixed``. The losses of steps are sums over tokens, so the first scale is that of a mean divided
    by the tokens of the first micro-batch. Its state is in checkpoints.
    """

    scaler: RanksScaler

    def __init__(self, device: str) -> None:
        super().__init__("16-mixed", device, RanksScaler(device, init_scale=FIRST_SCALE))
        self.begun = False

    def pre_backward(self, tensor: Tensor, module: Any) -> Tensor:
        if not self.begun and (tokens := max(of_all_ranks(module.window.tokens))):
            first = FIRST_SCALE / 2 ** (tokens - 1).bit_length()  # powers of two change no digit of a gradient
            self.load_state_dict({**self.scaler.state_dict(), "scale": first})
        return super().pre_backward(tensor, module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.begun = True

    def overflows(self) -> bool:
        """Return whether the step at work will be skipped. Waits for the device."""
        return self.scaler.overflow is not None and bool(self.scaler.overflow)


class SkippedSteps:
    """Counts the steps of a stage that were skipped because gradients overflowed in float16."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.total = 0
        self.in_a_row = 0

    def count(self, skipped: bool) -> None:
        self.total, self.in_a_row = self.total + skipped, self.in_a_row + 1 if skipped else 0

    def check(self, step: int, *, last: bool) -> None:
        """Raise TrainingError if all steps up to this one were skipped and it is the last, or ``PATIENCE`` in a row."""
        if not (self.in_a_row >= PATIENCE or (last and self.total == step)):
            return
        count = "every" if self.total == step else f"each of the last {self.in_a_row}"
        raise TrainingError(
            f"stage {self.stage} learned nothing in {count} step up to step {step}: the gradients were not finite in "
            "float16, and each step was skipped (trainer.precision=16); the model may not be made for float16, whose "
            "largest number is 65504: say trainer.precision=bf16 or 32, or try a smaller lr, or more steps if there "
            "were only a few"
        )

    def announce(self, steps: int) -> None:
        """Log the count at the end of a stage."""
        if self.total and place()[0] == 0:
            log.info(
                "stage %s: %d of %d steps were skipped, their gradients overflowed in float16",
                self.stage, self.total, steps,
            )  # fmt: skip

    def state(self) -> dict[str, int]:
        return {"total": self.total, "in_a_row": self.in_a_row}

    def restore(self, state: Mapping[str, int]) -> None:
        self.total, self.in_a_row = state["total"], state["in_a_row"]
