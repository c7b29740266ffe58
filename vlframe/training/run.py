"""``vlframe train``: an ordered list of stages, then the evaluation."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.profilers import SimpleProfiler

from vlframe.config.asking import benchmarks_of
from vlframe.config.moved import advising_if_moved, relocated
from vlframe.config.schema import RunConfig
from vlframe.config.typed import plain, read_yaml
from vlframe.data.template import no_end_of_turn
from vlframe.distributed.launch import check_launch, started, telling, told_folder
from vlframe.distributed.ranks import devices_of_node, of_all_ranks, own_group, world_size
from vlframe.errors import ConfigError
from vlframe.inference.pipeline import Pipeline, build_pipeline, restore
from vlframe.machine.cpus import cpus, threads_told
from vlframe.model.objectives import build_objectives
from vlframe.registry.registry import Registry
from vlframe.runs.checkpoint import Checkpoint, checkpoints, clear_leftovers
from vlframe.runs.folder import RunFolder, write_json
from vlframe.runs.init import begin, with_init_parts
from vlframe.runs.log import log, log_to
from vlframe.runs.places import located
from vlframe.runs.quarantine import QuarantineLimit, QuarantineLog
from vlframe.runs.resume import Resumption, resumption
from vlframe.runs.sampled import SamplerNotes
from vlframe.runs.saved import checked
from vlframe.runs.sweep import note_run
from vlframe.runs.unlogged import Unlogged
from vlframe.training.callbacks import SaveCheckpoints, Throughput
from vlframe.training.checkpoint_io import PartsCheckpointIO
from vlframe.training.data import StageData, steps_of
from vlframe.training.evaluations import Evaluate
from vlframe.training.failures import explained
from vlframe.training.instantiate import lightning_objects
from vlframe.training.loggers import RunLoggers, check_loggers, facts
from vlframe.training.measured import PredictedAndMeasured
from vlframe.training.module import StageModule
from vlframe.training.named_hooks import configured
from vlframe.training.preflight import OpenedData, check_memory, check_run, open_data
from vlframe.training.progress import ProgressLines
from vlframe.training.rate_changes import Retune
from vlframe.training.record import recorded
from vlframe.training.stopping import Stop, StopAtBoundary, listening
from vlframe.training.trainable import PartSummary, RunPrecision, check_parts, prepare_parts, recompute_activations
from vlframe.training.trainer import make_trainer, quiet_lightning
from vlframe.training.validation import Validation

if TYPE_CHECKING:
    from vlframe.contracts.sample import Sample
    from vlframe.evaluation.questions import Questions
    from vlframe.model.assemble import MetaComposition


def train(
    config: RunConfig, registry: Registry, stop: Stop | None = None, callbacks: Sequence[Callback] = ()
) -> RunFolder:
    """Run every stage of a config in its folder, then its benchmarks. ``resume`` continues where a folder stopped.

    A signal stops it with a checkpoint and SystemExit (see ``vlframe.training.stopping``).
    """
    mine = started()
    check_launch(config.trainer, mine)
    if mine is not None and mine.rank:
        train_rank(told_folder(mine), registry)
        raise SystemExit(0)  # the first process reports the outcome
    with telling(mine) as tell:
        resumed, pipeline, opened, folder = _begin(config, registry)
        tell(folder.path)
    config = pipeline.config
    stop = stop or Stop(_seconds(config.trainer.max_time))
    unlogged = Unlogged(stop.take_interrupt)
    with log_to(folder):
        log.info("run %s", folder.path)
        if mine is not None:
            log.info("%d processes on %d nodes, started by %s", mine.world, config.trainer.num_nodes, mine.by)
        if told := threads_told(config.trainer.threads, devices_of_node(config.trainer)):
            log.info("%s", told)
        for said in pipeline.unchecked:
            log.info("not checked: %s", said)
        if pipeline.writes_chats and (said := no_end_of_turn(pipeline.model.llm.tokenizer)):
            log.warning("%s", said)
        if config.loader.workers > (usable := cpus().usable):
            log.info("loader.workers is %d, and this process may use %d CPU cores", config.loader.workers, usable)
        if resumed:
            resumed.announce()
        with recorded(folder, stop, unlogged) as record:
            record.loggers = loggers = RunLoggers(config, registry, folder, unlogged, facts(config, pipeline.budget))
            with own_group(folder if mine is None and world_size(config.trainer) > 1 else None):
                with listening(stop):
                    record.run = run = Run(pipeline, folder, loggers, stop, opened, callbacks)
                    record.write("running")  # with the steps that are asked for
                    finished = run.stages()
                if finished:
                    _evaluate(pipeline, folder, loggers, unlogged, opened.benchmarks)
                    record.remark = run.remark
                else:
                    record.stopped = stop.why
        log.info("done: %s", folder.path) if finished else log.info(
            "stopped early; continue with resume=%s", folder.path
        )
    if stop.exit_code:
        raise SystemExit(stop.exit_code)
    unlogged.check(folder.path)
    return folder


def _begin(config: RunConfig, registry: Registry) -> tuple[Resumption | None, Pipeline, OpenedData, RunFolder]:
    """Check all that can be checked, and create the run's folder, or open that of the resumed run."""
    resumed = resumption(config, registry) if config.resume else None
    config = resumed.config if resumed else config
    check_run(config)
    if resumed is None:
        config = located(config, registry)
    check_loggers(config.logger, registry)
    lightning_objects("callback", config.callbacks, registry)  # fails early if one cannot be built
    with advising_if_moved(plain(config) if resumed else {}):
        if resumed is None or resumed.reached is None:
            config = with_init_parts(config)
        # No folder is left by a composition that does not fit,
        pipeline = _open(config, registry, lambda plan: _check_plan(plan, config))
    opened = open_data(pipeline)  # or by missing data
    folder = resumed.folder if resumed else RunFolder.create(config, registry)
    clear_leftovers(folder)
    if resumed:
        resumed.record()
    else:
        note_run(config.sweep, folder)
    return resumed, pipeline, opened, folder


def train_rank(path: str, registry: Registry) -> None:
    """Train the stages of a run as one of its other ranks; the first rank writes everything.

    If asked to stop it ends with 0: any other code would make Lightning kill the first rank, which may still be
    writing.
    """
    folder = RunFolder.open(path)
    config = checked(read_yaml(folder.config), registry)
    pipeline = _open(config, registry)
    opened = open_data(pipeline)
    stop = Stop(_seconds(config.trainer.max_time))
    with own_group():
        with listening(stop):
            loggers = RunLoggers(config, registry, folder, Unlogged(stop.take_interrupt))
            finished = Run(pipeline, folder, loggers, stop, opened).stages()
        if finished:
            _evaluate(pipeline, folder, None, Unlogged(), opened.benchmarks)


def _evaluate(
    pipeline: Pipeline,
    folder: RunFolder,
    loggers: RunLoggers | None,
    unlogged: Unlogged,
    opened: Sequence[Questions] | None = None,
) -> None:
    if benchmarks_of(pipeline.config):
        from vlframe.evaluation.run import evaluate_pipeline

        evaluate_pipeline(pipeline, folder, loggers, unlogged=unlogged, opened=opened)


def _check_plan(plan: MetaComposition, config: RunConfig) -> None:
    """Check stages and memory before weights are read."""
    check_parts(plan.model, config.stages)
    check_memory(plan, config)


def _open(config: RunConfig, registry: Registry, check: Callable[[MetaComposition], None] | None = None) -> Pipeline:
    quiet_lightning()
    return build_pipeline(config, registry, check)


class Run:
    """Runs the stages of a pipeline in order, from where its folder left off."""

    def __init__(
        self,
        pipeline: Pipeline,
        folder: RunFolder,
        loggers: RunLoggers,
        stop: Stop,
        opened: OpenedData,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.callbacks = callbacks
        self.opened = opened
        self.datasets = opened.stages
        self.pipeline = pipeline
        self.objectives = build_objectives(pipeline.config, pipeline.registry)
        self.stop = stop
        self.config = pipeline.config
        self.folder = folder
        self.quarantine = QuarantineLog(folder.quarantine, loggers.unlogged)
        self.notes = SamplerNotes()
        found = checkpoints(folder)
        self.ends = {item.stage_number: item for item in found if item.finished}
        self.resumed: Checkpoint | None = found[-1] if found else None
        if self.resumed is not None:
            restore(pipeline, self.resumed)
        else:
            begin(pipeline.model, pipeline.config)
        if self.config.trainer.gradient_checkpointing:
            recompute_activations(pipeline.model)
        self.loggers = loggers
        self.modules: list[StageModule] = []  # of the stages that have begun

    @property
    def steps_done(self) -> int:
        """Return the optimizer steps so far, over all stages."""
        return sum(module.steps_done for module in self.modules)

    @property
    def step_at_work(self) -> int:
        """Return the number of the step in work, over all stages; a stage that is over is at its last."""
        if not self.modules:
            return 0
        current = self.modules[-1]
        return current.first_step + min(current.steps_done + 1, current.steps)

    @property
    def first_step(self) -> int:
        """Return the optimizer steps of the stages before the current one."""
        return self.modules[-1].first_step if self.modules else 0

    @property
    def steps_asked(self) -> int:
        return sum(
            steps_of(stage, len(self.datasets[name]), self._world()) for name, stage in self.config.stages.items()
        )

    @property
    def remark(self) -> str:
        """Say which stages ended before their last step, and which left what they trained as it was."""
        return "; ".join(said for module in self.modules for said in module.remarks)

    def stages(self) -> bool:
        """Run the remaining stages. False if the time was up before the end."""
        first_step = 0
        for number, name in enumerate(self.config.stages):
            outcome = self._stage(number, name, first_step)
            first_step += outcome.steps_done
            # A signal to one rank is for all: none may begin a stage that the others skip.
            self.stop.signal = max(of_all_ranks(self.stop.signal or 0)) or None
            if not outcome.finished or self.stop.signal is not None:
                self._tell_notes()
                return False
        for seen in of_all_ranks(self.quarantine.seen):  # each rank has recorded only its own
            self.quarantine.seen |= seen
        log.info("%s", self.quarantine)
        self._tell_notes()
        return True

    def _tell_notes(self) -> None:
        """Log the samplers' notes of all ranks in one line."""
        notes = SamplerNotes.together(of_all_ranks(self.notes))
        if notes.noted:
            log.info("training: %s", notes)

    def _stage(self, number: int, name: str, first_step: int) -> StageModule:
        stage = self.config.stages[name]
        data = StageData(
            self._prepared(number, name, stage),
            stage,
            self.config.loader,
            seed=self.config.seed + number,
            world=self._world(),
        )
        module = StageModule(
            self.pipeline.model,
            stage,
            objective=self.objectives[name],
            name=name,
            number=number,
            steps=data.steps,
            first_step=first_step,
            quarantine=self.quarantine,
            share=QuarantineLimit(self.config.media.max_bad_share),
            log_every=self.config.trainer.log_every,
            notes=self.notes,
            mixture=[part.name for part in getattr(self.datasets[name], "subsets", None) or ()],
        )
        self.modules.append(module)
        if self.resumed and (self.resumed.stage_number, self.resumed.finished) >= (number, True):
            module.take_end(self.ends.get(number))
            return module
        # New adapters depend only on the seed, whatever was drawn before: one process and several begin with the same.
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(self.config.seed + number)
            summaries = prepare_parts(self.pipeline.model, stage, name)
        self._announce(name, summaries, data)
        precision = RunPrecision(self.pipeline.model, self.config.trainer.precision)
        precision.apply()
        resumed_here = self.resumed if self.resumed and self.resumed.stage_number == number else None
        io = PartsCheckpointIO(self.config, number, precision)
        trainer = self._trainer(name, stage, io, self._retuned(resumed_here, data))
        self.loggers.metrics.cut_after(first_step + (resumed_here.step if resumed_here else 0))
        with explained(module.described, self.folder, self.config.trainer.precision):
            trainer.fit(module, data, ckpt_path=str(resumed_here.path) if resumed_here else None, weights_only=True)
        precision.restore()
        if module.standing.ended:
            log.info("stage %s ends early: no better evaluation since step %d", name, module.standing.step)
        return module

    def _retuned(self, resumed: Checkpoint | None, data: StageData) -> list[Callback]:
        """Return the callbacks for a stage whose config has changed since its checkpoint."""
        if resumed is None or not (resumed.path / "config.yaml").is_file():
            return []
        if data.steps <= resumed.step:
            raise ConfigError(f"stage {resumed.stage} would have {data.steps} steps, and is at {resumed.step} already")
        saved = relocated({**read_yaml(resumed.path / "config.yaml"), "moved": dict(self.config.moved)})
        then = saved["stages"][resumed.stage]
        return [Retune()] if then != plain(self.config.stages[resumed.stage]) else []

    def _prepared(self, number: int, name: str, stage: Any) -> Any:
        given: dict[str, Any] = {"resize": stage.resize, "objective": self.objectives[name]}
        return self.pipeline.prepared(self.datasets[name], answers=True, seed=self.config.seed + number, **given)

    def _world(self) -> int:
        return world_size(self.config.trainer)

    def _trainer(self, name: str, stage: Any, io: PartsCheckpointIO, more: Sequence[Callback] = ()) -> Trainer:
        settings = self.config.trainer
        bar = settings.progress and sys.stderr.isatty()
        throughput = Throughput()
        callbacks = [
            throughput,
            ProgressLines(throughput, terminal=settings.progress and not bar),
            StopAtBoundary(self.stop),  # before the next two: a stopping run is saved, and evaluated once resumed
            *self._evaluations(name, throughput),
            *more,
            *configured(self.config.callbacks, self.pipeline.registry, self.folder.path),
            # After the callbacks whose state it saves, and after any that stop the run, so that it is saved then.
            SaveCheckpoints(
                self.folder,
                every=settings.checkpoint_every,
                keep=settings.keep_checkpoints,
                best=settings.keep_best,
            ),
            PredictedAndMeasured(self.folder, settings.precision, throughput),
            *self.callbacks,
            *([TQDMProgressBar(refresh_rate=10)] if bar else []),
        ]
        return make_trainer(
            self.config, stage, folder=self.folder, loggers=self.loggers.of_trainer, callbacks=callbacks, io=io,
            profiler=self._profiler(name), bar=bar,
        )  # fmt: skip

    def _evaluations(self, name: str, throughput: Throughput) -> list[Callback]:
        """Return the callback for evaluations in a stage, if there are any."""
        benchmarks = self.opened.benchmarks if self.config.evaluation.every is not None else ()
        data = self.opened.validation
        validation = None if data is None else self._validation(name, data)
        if not benchmarks and validation is None:
            return []
        return [Evaluate(self.pipeline, self.loggers, throughput, validation, benchmarks)]

    def _validation(self, name: str, samples: Sequence[Sample]) -> Validation:
        given: dict[str, Any] = {"resize": self.config.stages[name].resize, "objective": self.objectives[name]}
        return Validation(
            self.pipeline.prepared(samples, answers=True, seed=self.config.seed, **given),
            self.config.loader,
            batch_size=self.config.validation.batch_size,
            limit=self.config.media.max_bad_share,
            quarantine=self.quarantine,
        )

    def _profiler(self, stage: str) -> SimpleProfiler | None:
        """Return a profiler that writes ``profile/fit-<stage>.txt`` when the stage ends, if configured."""
        wanted = self.config.debug.profiler
        return SimpleProfiler(self.folder.path / "profile", stage, extended=False) if wanted else None

    def _announce(self, name: str, rows: list[PartSummary], data: StageData) -> None:
        log.info("stage %s: %d steps on %d samples", name, data.steps, len(data.rows))
        for row in rows:
            log.info("  %s", row)
        tables = (
            json.loads(self.folder.parameters.read_text(encoding="utf-8")) if self.folder.parameters.is_file() else {}
        )
        tables[name] = {row.part: {key: value for key, value in asdict(row).items() if key != "part"} for row in rows}
        write_json(self.folder.parameters, tables)


def _seconds(text: str | None) -> float | None:
    """Convert ``trainer.max_time`` (DD:HH:MM:SS) to seconds."""
    if text is None:
        return None
    days, hours, minutes, seconds = (int(part) for part in text.split(":"))
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
