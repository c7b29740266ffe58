"""The LightningModule of one stage."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from vlframe.data.skips import met_and_bad
from vlframe.runs.ranks import of_all_ranks
from vlframe.training.failures import NonFinite
from vlframe.training.optim import gradient_parameters, make_optimizer, warmup_cosine
from vlframe.training.parts import set_modes
from vlframe.training.replicas import average_whole
from vlframe.training.sharding import ShardedStrategy, clip, idle_batch, local

if TYPE_CHECKING:
    from vlframe.config import StageConfig
    from vlframe.data.batch import Batch
    from vlframe.data.skips import BadShare, SkipLog
    from vlframe.model.video_llm import Loss, VideoLLM


class StageModule(LightningModule):
    """Trains a VideoLLM for one stage.

    The loss of an optimizer step is the mean over all its supervised tokens, whichever micro-batch or rank they came
    in: gradients of sums are accumulated, and divided by the number of tokens once, before clipping.
    """

    def __init__(
        self,
        model: VideoLLM,
        stage: StageConfig,
        *,
        name: str,
        number: int,
        steps: int,
        first_step: int,
        skips: SkipLog,
        share: BadShare,
    ) -> None:
        super().__init__()
        self.model = model
        self.stage = stage
        self.name = name
        self.number = number  # of the stage in the run
        self.steps = steps
        self.steps_done = 0
        self.first_step = first_step  # optimizer steps of the stages before
        self.skips = skips
        self.share = share
        self.strict_loading = False  # weights are read beforehand, from the parts' own files
        self.rng: dict[str, Any] | None = None
        self.seconds_before = 0.0  # of training, in the processes before this one
        self.started = time.perf_counter()
        self.window_samples = 0
        self.window_tokens = 0
        self.window_loss = 0.0
        self.window_met, self.window_bad = 0, 0  # samples, and those left out because of their media
        self.batches_done = 0
        self.batch: Batch | None = None  # the one in hand, for whoever has to say what went wrong

    def on_train_start(self) -> None:
        set_modes(self.model, self.stage)
        self.started = time.perf_counter()

    @property
    def finished(self) -> bool:
        return self.steps_done >= self.steps

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        if self.rng is not None:
            set_rng(self.rng)
            self.rng = None
        self.skips.add(batch.skipped)
        met, bad = met_and_bad(batch)
        self.window_met, self.window_bad = self.window_met + met, self.window_bad + bad
        self.batch = batch
        self.window_samples += len(batch)
        loss = self._loss(batch)
        self.batches_done += 1
        if loss is None:
            return torch.zeros((), device=self.device, requires_grad=True)
        value = float(loss.total.detach())
        if not math.isfinite(value):
            raise NonFinite(f"the loss is {value}")
        self.window_tokens += loss.tokens
        self.window_loss += value
        # A frozen language model learns nothing from text alone; its tokens count all the same.
        return loss.total if loss.total.requires_grad else torch.zeros((), device=self.device, requires_grad=True)

    def _loss(self, batch: Batch) -> Loss | None:
        """None where there is nothing to learn and nobody waits for this rank."""
        if self.sharded:  # the other ranks cannot run the language model without this one
            return self.model(batch if len(batch) else idle_batch(self.device))
        loss = self.model(batch) if len(batch) else None
        return loss if loss is not None and loss.tokens else None

    @property
    def sharded(self) -> bool:
        return isinstance(self.trainer.strategy, ShardedStrategy)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """From sums over this rank's tokens, averaged over micro-batches by Lightning and over ranks here (shards: by
        FSDP), to a mean over all tokens of the step. Here all ranks also learn, at once, that too many samples are
        bad."""
        window = [self.window_samples, self.window_tokens, self.window_loss, self.window_met, self.window_bad]
        counts = torch.tensor(window, dtype=torch.float64, device=self.device)
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(counts)
        samples, tokens, loss, met, bad = counts.tolist()
        self.share.count(int(met), int(bad), self.skips)
        scale = self.trainer.accumulate_grad_batches * self.trainer.world_size / max(tokens, 1.0)
        parameters = list(gradient_parameters(self.optimizers().optimizer))
        if self.trainer.world_size > 1:
            average_whole(parameters)
        if not tokens:  # every sample was left out; a gradient of zero would still move Adam
            optimizer.zero_grad(set_to_none=True)
        gradients = [local(p.grad) for p in parameters if p.grad is not None]
        if gradients:
            torch._foreach_mul_(gradients, scale)
        self.window_samples, self.window_tokens, self.window_loss = 0, 0, 0.0
        self.window_met, self.window_bad = 0, 0
        self.steps_done = self.trainer.global_step + 1
        self._log_step(loss / max(tokens, 1.0), tokens, samples)

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any, gradient_clip_algorithm: Any) -> None:
        if self.sharded and gradient_clip_val is not None:
            clip(gradient_parameters(self.optimizers().optimizer), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _log_step(self, loss: float, tokens: float, samples: float) -> None:
        step = self.first_step + self.trainer.global_step + 1
        rate = max(group["lr"] for group in self.optimizers().optimizer.param_groups)
        self.log("loss", loss, prog_bar=True, logger=False)
        self.log("lr", rate, prog_bar=True, logger=False)
        if step % self.trainer.log_every_n_steps == 0 or self.trainer.global_step + 1 == self.steps:
            counts = {"train/step_tokens": tokens, "train/step_samples": samples}
            self.log_dict({"step": float(step), "train/loss": loss, "train/lr": rate, **counts})

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = make_optimizer(self.model, self.stage)
        factor = warmup_cosine(self.steps, self.stage.warmup_ratio, self.stage.final_lr_ratio)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}

    def state(self) -> dict[str, Any]:
        """How far the run is: what ``state.json`` of a checkpoint says."""
        return {
            "stage": self.name,
            "stage_number": self.number,
            "step": self.steps_done,
            "finished": self.finished,
            "seconds": self.seconds_before + time.perf_counter() - self.started,
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = {}  # the parts have files of their own
        checkpoint["parts"] = self.trainer.strategy.checkpoint_io.tensors(self.model)
        checkpoint["vlframe"] = self.state()
        checkpoint["batches_done"] = self.batches_done
        checkpoint["steps_done"] = self.steps_done
        checkpoint["seconds"] = self.state()["seconds"]
        checkpoint["met_and_bad"] = [self.share.met, self.share.bad]
        checkpoint["rng"] = of_all_ranks(get_rng())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches_done = checkpoint["batches_done"]
        self.steps_done = checkpoint["steps_done"]
        self.seconds_before = checkpoint["seconds"]
        self.share.met, self.share.bad = checkpoint.get("met_and_bad", [0, 0])  # older checkpoints have none
        mine = checkpoint["rng"]
        rank = self.trainer.global_rank
        self.rng = mine[rank] if rank < len(mine) else None  # more ranks than before: the new ones begin anew


def get_rng() -> dict[str, Any]:
    """torch's random state, as tensors: nothing else in a run draws random numbers."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_rng(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all([item.cpu() for item in state["cuda"]])
