"""``vlframe train``: an ordered list of stages, then the evaluation."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from omegaconf import DictConfig, OmegaConf

from vlframe.data.module import StageData
from vlframe.data.skips import BadShare, SkipLog
from vlframe.errors import ConfigError
from vlframe.registry import Registry
from vlframe.runs.checkpoint import Checkpoint, checkpoints, clear_leftovers
from vlframe.runs.folder import RunFolder, read_yaml, write_json
from vlframe.runs.log import log, log_to
from vlframe.runs.ranks import of_all_ranks, own_group, refuse_strangers
from vlframe.runs.resume import resumption
from vlframe.runs.session import Session, checked, open_session, restore
from vlframe.runs.start import begin, settle
from vlframe.training.before import check_stages, open_data, stage_data
from vlframe.training.callbacks import SaveCheckpoints, Throughput
from vlframe.training.checkpoint import PartsCheckpointIO
from vlframe.training.failures import explained
from vlframe.training.metrics_file import MetricsFile
from vlframe.training.module import StageModule
from vlframe.training.named_classes import instantiate
from vlframe.training.parts import PartSummary, RunPrecision, prepare_parts, recompute_activations
from vlframe.training.replicas import ReplicatedStrategy
from vlframe.training.retune import Retune
from vlframe.training.sharding import ShardedStrategy
from vlframe.training.stopping import Stop, StopAtBoundary, listening

PRECISION = {"32": "32-true", "bf16": "bf16-mixed"}


def train(
    config: DictConfig, registry: Registry, stop: Stop | None = None, callbacks: Sequence[Callback] = ()
) -> RunFolder:
    """Run every stage of a config in its folder, then its benchmark. ``resume`` goes on where a folder stopped.

    A signal stops it with a checkpoint and SystemExit (see ``vlframe.training.stopping``).
    """
    resumed = resumption(config, registry) if config.resume else None
    config = resumed.config if resumed else config
    check_stages(config)
    if resumed is None or resumed.reached is None:
        settle(config)
    devices = int(config.trainer.devices)
    refuse_strangers(devices)
    session = _open(config, registry)  # neither a composition that does not fit
    datasets = open_data(session)  # nor data that is not there leaves a folder behind
    folder = resumed.folder if resumed else RunFolder.create(config, registry)
    clear_leftovers(folder)
    if resumed:
        resumed.record()
    stop = stop or Stop(_seconds(config.trainer.max_time))
    with log_to(folder):
        log.info("run %s", folder.path)
        if resumed:
            resumed.announce()
        loggers = make_loggers(config, folder)
        with own_group(folder if devices > 1 else None):
            with listening(stop):
                finished = Run(session, folder, loggers, stop, callbacks, datasets).stages()
            if finished:
                _evaluate(session, folder, loggers)
        close_loggers(loggers)
        log.info("done: %s", folder.path) if finished else log.info("stopped early; go on with resume=%s", folder.path)
    if stop.exit_code:
        raise SystemExit(stop.exit_code)
    return folder


def train_rank(path: str, registry: Registry) -> None:
    """The stages of a run as one of its other ranks: what it computes goes to the first, which writes everything.

    One that was told to stop has done what it was told: it ends with 0. Any other code would make Lightning kill the
    first rank, which may still be writing.
    """
    folder = RunFolder.open(path)
    config = checked(folder.read_config(), {}, registry)
    session = _open(config, registry)
    stop = Stop(_seconds(config.trainer.max_time))
    with own_group():
        with listening(stop):
            finished = Run(session, folder, make_loggers(config, folder), stop).stages()
        if finished:
            _evaluate(session, folder, [])


def _evaluate(session: Session, folder: RunFolder, loggers: list[Any]) -> None:
    if session.config.benchmark is not None:
        from vlframe.evaluation.run import evaluate_session

        evaluate_session(session, folder, loggers)


def _open(config: DictConfig, registry: Registry) -> Session:
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    quiet_lightning()
    return open_session(config, registry)


class Run:
    """The stages of a session, in order, from wherever its folder says it is."""

    def __init__(
        self,
        session: Session,
        folder: RunFolder,
        loggers: list[Any],
        stop: Stop,
        callbacks: Sequence[Callback] = (),
        datasets: Mapping[str, Any] | None = None,
    ) -> None:
        self.callbacks = callbacks
        self.datasets = stage_data(session) if datasets is None else datasets
        self.session = session
        self.stop = stop
        self.config = session.config
        self.folder = folder
        self.skips = SkipLog(folder.quarantine)
        found = checkpoints(folder)
        self.resumed: Checkpoint | None = found[-1] if found else None
        if self.resumed is not None:
            restore(session, self.resumed)
        else:
            begin(session.model, session.config)
        if self.config.trainer.gradient_checkpointing:
            recompute_activations(session.model)
        self.loggers = loggers

    def stages(self) -> bool:
        """Run what is left. False when the time was up before the end."""
        first_step = 0
        for number, name in enumerate(self.config.stages):
            outcome = self._stage(number, name, first_step)
            first_step += outcome.steps
            # A signal that one rank heard is one for all: none may begin what the others leave.
            self.stop.signal = max(of_all_ranks(self.stop.signal or 0)) or None
            if not outcome.finished or self.stop.signal is not None:
                return False
        for seen in of_all_ranks(self.skips.seen):  # each rank has written its own to the quarantine
            self.skips.seen |= seen
        log.info("%s", self.skips)
        return True

    def _stage(self, number: int, name: str, first_step: int) -> StageModule:
        stage = self.config.stages[name]
        data = StageData(
            self._rows(name, stage), stage, self.config.loader, seed=self.config.seed + number, world=self._world()
        )
        module = StageModule(
            self.session.model,
            stage,
            name=name,
            number=number,
            steps=data.steps,
            first_step=first_step,
            skips=self.skips,
            share=BadShare(self.config.media.max_bad_share),
        )
        if self.resumed and (self.resumed.stage_number, self.resumed.finished) >= (number, True):
            module.steps_done = data.steps
            return module
        # New adapters are the seed's, whatever was drawn before them: one process and several begin with the same.
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(self.config.seed + number)
            summaries = prepare_parts(self.session.model, stage)
        self._announce(name, summaries, data)
        precision = RunPrecision(self.session.model, self.config.trainer.precision)
        precision.apply()
        resumed_here = self.resumed if self.resumed and self.resumed.stage_number == number else None
        io = PartsCheckpointIO(self.config, number, precision)
        trainer = self._trainer(stage, io, self._retuned(resumed_here, data))
        self.loggers[0].cut_after(first_step + (resumed_here.step if resumed_here else 0))
        with explained(module, self.folder):
            trainer.fit(module, data, ckpt_path=str(resumed_here.path) if resumed_here else None, weights_only=True)
        precision.restore()
        return module

    def _retuned(self, resumed: Checkpoint | None, data: StageData) -> list[Callback]:
        """For a stage that goes on otherwise than its checkpoint says it began."""
        if resumed is None or not (resumed.path / "config.yaml").is_file():
            return []
        if data.steps <= resumed.step:
            raise ConfigError(f"stage {resumed.stage} would have {data.steps} steps, and is at {resumed.step} already")
        then = read_yaml(resumed.path / "config.yaml").stages[resumed.stage]
        return [Retune()] if then != self.config.stages[resumed.stage] else []

    def _rows(self, name: str, stage: Any) -> Any:
        return self.session.rows(self.datasets[name], answers=True, fit=stage.fit)

    def _world(self) -> int:
        return max(1, int(self.config.trainer.devices))

    def _trainer(self, stage: Any, io: PartsCheckpointIO, more: Sequence[Callback] = ()) -> Trainer:
        settings = self.config.trainer
        callbacks = [
            StopAtBoundary(self.stop),  # before the next, which saves a run that stops
            SaveCheckpoints(self.folder, every=settings.checkpoint_every, keep=settings.keep_checkpoints),
            Throughput(),
            *more,
            *self.callbacks,
            *instantiate(self.config.callbacks),
        ]
        if settings.progress:
            callbacks.append(TQDMProgressBar(refresh_rate=10 if sys.stderr.isatty() else 100))
        return Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            strategy=_strategy(settings),
            precision=PRECISION[settings.precision],
            max_epochs=1,
            accumulate_grad_batches=stage.accumulate,
            gradient_clip_val=stage.clip or None,
            log_every_n_steps=settings.log_every,
            logger=self.loggers,
            callbacks=callbacks,
            plugins=[io],
            default_root_dir=str(self.folder.path),
            enable_checkpointing=False,
            enable_progress_bar=settings.progress,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )

    def _announce(self, name: str, rows: list[PartSummary], data: StageData) -> None:
        log.info("stage %s: %d steps on %d samples", name, data.steps, len(data.rows))
        for row in rows:
            counts = f"{row.trained:>13,} of {row.parameters:>13,} parameters"
            log.info("  %-16s %-7s %s%s", row.part, row.mode, counts, f"  lr {row.lr:g}" if row.trained else "")
        tables = json.loads(self.folder.parameters.read_text()) if self.folder.parameters.is_file() else {}
        tables[name] = {row.part: {key: value for key, value in asdict(row).items() if key != "part"} for row in rows}
        write_json(self.folder.parameters, tables)


def _strategy(settings: Any) -> Any:
    """Ranks may have batches without video, without sound, or without anything: none keeps the others waiting."""
    if settings.strategy == "fsdp":
        return ShardedStrategy()
    return ReplicatedStrategy() if settings.strategy == "ddp" or int(settings.devices) > 1 else "auto"


def make_loggers(config: DictConfig, folder: RunFolder) -> list[Any]:
    """The CSV that is always there, then the configured ones with the run's config."""
    own = {"save_dir": str(folder.path), "version": folder.path.name}
    loggers = [MetricsFile(folder.metrics_csv), *instantiate(config.logger, own)]
    for logger in loggers[1:]:
        logger.log_hyperparams(OmegaConf.to_container(config, resolve=True))
    return loggers


def close_loggers(loggers: list[Any]) -> None:
    """A W&B run stays open until told, and would swallow the next job of a multirun."""
    for logger in loggers:
        logger.finalize("success")
        if type(logger).__name__ == "WandbLogger":
            logger.experiment.finish()


def _seconds(text: str | None) -> float | None:
    """Of ``trainer.max_time``."""
    if text is None:
        return None
    try:
        days, hours, minutes, seconds = (int(part) for part in text.split(":"))
    except ValueError as error:
        raise ConfigError(f"trainer.max_time is {text!r}; write DD:HH:MM:SS") from error
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def quiet_lightning() -> None:
    """Without its reports of devices that were not found, and advice that does not apply here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it; it asks for kernels that nothing needs
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")  # our data module is
    warnings.filterwarnings("ignore", message=".*module.s. in eval mode at the start.*")  # frozen parts are
