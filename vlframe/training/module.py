"""The LightningModule of one stage."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from vlframe.contracts.own_loss import added_losses
from vlframe.distributed.ranks import of_all_ranks, summed_over_ranks
from vlframe.distributed.replicas import average_whole
from vlframe.distributed.sharding import ShardedStrategy, clip, idle_batch, local
from vlframe.runs.quarantine import met_and_bad
from vlframe.runs.sampled import SamplerNotes
from vlframe.training.failures import FiniteWatch, describe_batch
from vlframe.training.idle import Idle
from vlframe.training.loss_scale import LossScaling, SkippedSteps
from vlframe.training.optim import gradient_parameters, make_optimizer, rate_factor
from vlframe.training.random_state import get_rng, set_rng
from vlframe.training.standing import Standing
from vlframe.training.trainable import set_modes
from vlframe.training.unchanged import UnchangedParts

if TYPE_CHECKING:
    from vlframe.config.schema import StageConfig
    from vlframe.contracts.batch import Batch
    from vlframe.contracts.language_model import Loss
    from vlframe.contracts.objective import Objective
    from vlframe.model.video_llm import VideoLLM
    from vlframe.runs.checkpoint import Checkpoint
    from vlframe.runs.quarantine import QuarantineLimit, QuarantineLog


@dataclass
class Window:
    """The micro-batches of one optimizer step. ``loss`` is a sum that stays on the device, as do the ``terms`` added by
    parts; ``met`` and ``bad`` count all samples and those quarantined, ``newly_bad`` those not quarantined before.
    """

    samples: int = 0
    tokens: int = 0
    met: int = 0
    bad: int = 0
    newly_bad: int = 0
    loss: Tensor | None = None
    terms: dict[str, Tensor] = field(default_factory=dict)

    def add(self, batch: Batch, loss: Loss | None, terms: Mapping[str, Tensor]) -> None:
        met, bad = met_and_bad(batch)
        self.met, self.bad, self.samples = self.met + met, self.bad + bad, self.samples + len(batch)
        if loss is not None:
            self.tokens += loss.tokens
            total = loss.total.detach().float()
            self.loss = total if self.loss is None else self.loss + total
            for name, term in terms.items():
                self.terms[name] = self.terms[name] + term.detach() if name in self.terms else term.detach()


class StageModule(LightningModule):
    """Trains a VideoLLM for one stage.

    The loss of an optimizer step is the mean over all its supervised tokens, from any micro-batch or rank: gradients of
    sums are accumulated, and divided by the number of tokens once, before clipping. Terms that parts add
    (``vlframe.add_loss``) are sums in addition to that of the objective, by default the cross-entropy.
    """

    def __init__(
        self,
        model: VideoLLM,
        stage: StageConfig,
        *,
        objective: Objective,
        name: str,
        number: int,
        steps: int,
        first_step: int,
        quarantine: QuarantineLog,
        share: QuarantineLimit,
        log_every: int = 1,
        notes: SamplerNotes | None = None,
        mixture: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.stage = stage
        self.objective = objective
        self.itemised = False  # the objective names the terms of its loss
        self.name = name
        self.number = number  # of the stage in the run
        self.steps = steps
        self.steps_done = 0
        self.first_step = first_step  # optimizer steps of the stages before
        self.quarantine = quarantine
        self.share = share
        self.notes = notes or SamplerNotes()
        self.idle = Idle(name, steps, mixture)
        self.unchanged = UnchangedParts(name)
        self.skipped = SkippedSteps(name)
        self.standing = Standing()  # of the evaluations in this stage
        self.log_every = log_every
        self.row_is_due = False  # the metrics of the last step are to be logged
        self.logged: dict[str, float] = {}  # the last logged row
        self.strict_loading = False  # weights have been read from the parts' own files
        self.rng: dict[str, Any] | None = None
        self.seconds_before = 0.0  # of training, in the processes before this one
        self.started = time.perf_counter()
        self.window = Window()
        self.watch = FiniteWatch()
        self.batches_done = 0
        self.batch: Batch | None = None  # the current batch, for error messages

    def on_train_start(self) -> None:
        set_modes(self.model)
        self.unchanged.begin(self.adamw.param_groups)
        self.started = time.perf_counter()

    @property
    def finished(self) -> bool:
        return self.steps_done >= self.steps or self.standing.ended

    @property
    def remarks(self) -> list[str]:
        """Return what is to be known about a finished stage."""
        early = f"stage {self.name} ended early, after {self.steps_done} of {self.steps} steps"
        still = f"stage {self.name} changed no weight of {', '.join(self.unchanged.names)}"
        return [*([early] if self.standing.ended else []), *([still] if self.unchanged.names else [])]

    def take_end(self, end: Checkpoint | None) -> None:
        """Take over how the stage ended in an earlier process; it ended at its last step if its checkpoint is gone."""
        self.steps_done = self.steps if end is None else end.step
        self.standing.ended = self.steps_done < self.steps
        self.unchanged.names = [] if end is None else list(end.unchanged)

    def end_early(self) -> None:
        """End the stage with the last step. It is checked like every end (see ``Idle``)."""
        self.standing.ended = True
        self.idle.steps = self.steps_done
        self.skipped.check(self.steps_done, last=True)
        self.idle.check(self.steps_done, self.adamw.param_groups, self.share, self.quarantine)

    def pause(self, seconds: float) -> None:
        """Exclude these seconds from the stage's training time."""
        self.started += seconds

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        if self.rng is not None:
            set_rng(self.rng)
            self.rng = None
        self.quarantine.add(batch.quarantined)
        self.window.newly_bad += self.share.new(batch.quarantined)
        self.notes.add(batch)
        self.batch = batch
        self.idle.meet(batch)
        loss, terms = self.loss_of(batch)
        self.window.add(batch, loss, terms)
        self.batches_done += 1
        if loss is None:
            return torch.zeros((), device=self.device, requires_grad=True)
        self.watch.add(loss.total.detach(), self.described())
        # With a frozen language model text-only batches have no gradient, but their tokens still count.
        return loss.total if loss.total.requires_grad else torch.zeros((), device=self.device, requires_grad=True)

    def loss_of(self, batch: Batch) -> tuple[Loss | None, Mapping[str, Tensor]]:
        """Return the loss, and its terms: those that parts have added, and those that the objective names; no loss if
        there is nothing to learn and no other rank waits for this one.
        """
        with added_losses() as terms:
            if self.sharded and not self.objective.joint:  # the others cannot run the language model without this one
                waited_for = batch if len(batch) else idle_batch(self.device)
                loss: Loss | None = self.objective.loss(self.model, waited_for)
            else:
                waits = batch.supervised or self.objective.joint
                loss = self.objective.loss(self.model, batch) if waits else None
        if loss is None or not loss.tokens:  # a pass run only for other ranks does not count
            return loss, {}
        self.itemised = loss.terms is not None
        return loss._replace(total=sum(terms.values(), loss.total)), {**terms, **(loss.terms or {})}

    @property
    def sharded(self) -> bool:
        return isinstance(self.trainer.strategy, ShardedStrategy)

    def described(self) -> dict[str, Any]:
        """Describe the current batch for error messages, without reading from the device."""
        return describe_batch(self.batch, self.name, self.steps_done + 1)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Scale gradients to the mean over all tokens of the step.

        They are sums over this rank's tokens, averaged over micro-batches by Lightning and over ranks here (shards: by
        FSDP). All ranks also learn here, together, if too many samples are bad. Counts are exchanged between CPUs:
        nothing waits for the device, unless the loss is to be logged.
        """
        window, self.window = self.window, Window()
        samples, tokens, met, bad, newly_bad = summed_over_ranks(
            (window.samples, window.tokens, window.met, window.bad, window.newly_bad)
        )
        self.share.count(met, bad, self.quarantine, newly_bad)
        scale = self.trainer.accumulate_grad_batches * self.trainer.world_size / max(tokens, 1)
        parameters = list(gradient_parameters(self.adamw))
        if self.trainer.world_size > 1:
            average_whole(parameters)
        if not tokens:  # every sample was quarantined; a gradient of zero would still move Adam
            optimizer.zero_grad(set_to_none=True)
        gradients = [local(p.grad) for p in parameters if p.grad is not None]
        if gradients:
            torch._foreach_mul_(gradients, scale)
        self.steps_done = self.trainer.global_step + 1
        skipped = self.loss_scaling is not None and self.loss_scaling.overflows()
        self.skipped.count(skipped)
        self.skipped.check(self.steps_done, last=self.steps_done >= self.steps)
        self.idle.check(self.steps_done, self.adamw.param_groups, self.share, self.quarantine, skipped=skipped)
        self.row_is_due = self._row_is_due()
        if self.row_is_due:
            self._log_step(window, tokens, samples)

    @property
    def loss_scaling(self) -> LossScaling | None:
        """Return what scales the loss in float16; None in other precisions."""
        plugin = self.trainer.precision_plugin
        return plugin if isinstance(plugin, LossScaling) else None

    @property
    def adamw(self) -> Any:
        """Return the stage's optimizer, without Lightning's wrapper."""
        wrapped: Any = self.optimizers()
        return wrapped.optimizer

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        if self.sharded and gradient_clip_val is not None:
            clip(gradient_parameters(self.adamw), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _row_is_due(self) -> bool:
        """Return whether to log this step: the first, the last, every ``log_every`` of the run, and all of a
        shorter stage.
        """
        every = self.log_every if self.steps >= self.log_every else 1
        return (self.first_step + self.steps_done) % every == 0 or self.steps_done in (1, self.steps)

    def _log_step(self, window: Window, tokens: int, samples: int) -> None:
        """Log the step; reading the loss back waits for the device."""
        names = sorted({name for names in of_all_ranks(list(window.terms)) for name in names})
        nothing = torch.zeros((), device=self.device)
        sums = [nothing if window.loss is None else window.loss, *(window.terms.get(name, nothing) for name in names)]
        sums_X = torch.stack([item.float() for item in sums])  # the loss, and the terms added by parts
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(sums_X)
        self.watch.settle()
        rate = max(group["lr"] for group in self.adamw.param_groups)
        self.log("lr", rate, prog_bar=True, logger=False)
        scalars = {"train/lr": rate, "train/step_tokens": float(tokens), "train/step_samples": float(samples)}
        if self.loss_scaling is not None:
            scale = self.loss_scaling.scaler.get_scale()
            scalars |= {"train/loss_scale": scale, "train/skipped_steps": float(self.skipped.total)}
        if tokens:  # without tokens there is no loss
            total, *terms = (value / tokens for value in sums_X.tolist())
            scalars["train/loss"] = total
            if names:
                if not self.itemised:
                    scalars["train/loss/cross_entropy"] = total - sum(terms)
                scalars |= {f"train/loss/{name}": term for name, term in zip(names, terms, strict=True)}
            self.log("loss", scalars["train/loss"], prog_bar=True, logger=False)
        self.log_dict(scalars, logger=False)  # for callbacks
        self.logged = scalars
        for logger in self.trainer.loggers:  # Lightning would log the last loss again for a step that has none
            logger.log_metrics(scalars, step=self.first_step + self.steps_done)

    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(self.model, self.stage)
        factor = rate_factor(self.stage, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}

    def state(self) -> dict[str, Any]:
        """Return the run's progress: the content of a checkpoint's ``state.json``."""
        return {
            "stage": self.name,
            "stage_number": self.number,
            "step": self.steps_done,
            "finished": self.finished,
            "seconds": self.seconds_before + time.perf_counter() - self.started,
            "unchanged": self.unchanged.names,
        }

    def on_train_end(self) -> None:
        self.watch.settle()
        self.skipped.announce(self.steps_done)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.watch.settle()  # so that no checkpoint contains weights from a failed step
        if self.finished:  # here, so that the stage's last checkpoint has it
            self.unchanged.end(self.adamw.param_groups, self.steps_done, self.idle.moved, self.stage.max_grad_norm)
        checkpoint["state_dict"] = {}  # the parts have their own files
        checkpoint_io: Any = self.trainer.strategy.checkpoint_io
        checkpoint["parts"] = checkpoint_io.tensors(self.model)
        checkpoint["vlframe"] = self.state()
        checkpoint["batches_done"] = self.batches_done
        checkpoint["steps_done"] = self.steps_done
        checkpoint["seconds"] = self.state()["seconds"]
        checkpoint["met_and_bad"] = [self.share.met, self.share.bad, self.share.distinct]
        checkpoint["bad_samples"] = of_all_ranks(sorted(self.share.ids))
        checkpoint["idle"] = self.idle.state()
        checkpoint["began_with"] = self.unchanged.state()
        checkpoint["skipped"] = self.skipped.state()
        checkpoint["standing"] = self.standing.state()
        checkpoint["rng"] = of_all_ranks(get_rng())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches_done = checkpoint["batches_done"]
        self.steps_done = checkpoint["steps_done"]
        self.seconds_before = checkpoint["seconds"]
        counts = checkpoint.get("met_and_bad", [0, 0])  # older checkpoints have none, or no distinct ones
        self.share.met, self.share.bad, self.share.distinct = (*counts, counts[1])[:3]
        self.share.ids = {name for names in checkpoint.get("bad_samples", []) for name in names}
        self.idle.restore(checkpoint["idle"])
        self.unchanged.restore(checkpoint.get("began_with", []))  # older checkpoints have none
        self.skipped.restore(checkpoint.get("skipped", SkippedSteps(self.name).state()))  # older checkpoints have none
        self.standing = Standing(**checkpoint.get("standing", {}))  # older checkpoints have none
        mine = checkpoint["rng"]
        rank = self.trainer.global_rank
        self.rng = mine[rank] if rank < len(mine) else None  # more ranks than before: the new ones start fresh
