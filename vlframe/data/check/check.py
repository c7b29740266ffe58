"""The three looks at data: at its rows, its files, its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from vlframe.contracts import plan as planning
from vlframe.data.check.cache import Cache, settings_key
from vlframe.data.check.contents import Contents, same_files
from vlframe.data.check.files import SMALL, Ear, Examiner, FileJob, FileResult, Taken
from vlframe.data.check.findings import sorted_findings
from vlframe.data.check.lengths import Counted, Measurer
from vlframe.data.check.outcomes import file_findings, file_rows
from vlframe.data.check.report import Report
from vlframe.data.check.survey import COUNTED, Ask, Survey
from vlframe.data.check.tokens import Tokens
from vlframe.data.check.workers import Died, Workers
from vlframe.errors import ConfigError
from vlframe.model.compose import make_plan

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from tqdm import tqdm

    from vlframe.contracts import LanguageModel
    from vlframe.data.check.sources import Source
    from vlframe.registry import Registry

CHUNK = 64  # samples that a worker counts at a time


class Task:
    """What workers do: look into a file, or count the tokens of some samples."""

    def __init__(self, examiner: Examiner, measurer: Measurer) -> None:
        self.examiner = examiner
        self.measurer = measurer

    def __call__(self, job: FileJob | list[Counted]) -> Any:
        return self.examiner(job) if isinstance(job, FileJob) else self.measurer(job)


class Check:
    """Reads everything that training with this config would read; no weights.

    ``composed`` says that somebody chose the composition: token lengths are then compared with its context. ``workers``
    are processes; 0: this one.
    """

    def __init__(self, config: DictConfig, registry: Registry, *, composed: bool, workers: int) -> None:
        self.config = config
        self.workers = workers
        self.protocol = None if config.protocol is None else registry.build("protocol", config.protocol)
        self.plan = make_plan(config, registry) if composed else None
        if self.plan is not None:
            llm = self.plan.model.llm
        else:
            with planning():
                llm = registry.build("llm", config.llm)
        self.hears = self.plan is not None and self.plan.audio is not None
        media, text = (OmegaConf.create(OmegaConf.to_container(config[key], resolve=True)) for key in ("media", "text"))
        examiner = Examiner(
            registry.build("reader", config.reader),
            media,
            SMALL if self.plan is None else self.plan.pixels,
            self.plan.audio if self.plan is not None and self.hears else Ear(),
            self.protocol,
            settings_key(config, registry),
        )
        self.task = Task(examiner, Measurer(_tokenizer(llm), self.plan, text, self.protocol))
        self.decoded = self.known = 0

    def __call__(self, sources: Sequence[Source]) -> Report:
        survey = Survey(self.config.media.withhold, trains_apart=self.protocol is not None)
        with self._bar("rows", None) as bar:
            for source in sources:
                survey.source(source, bar.update)
        with Workers(self.task, self.workers) as workers:
            taken, contents = self._files(survey, workers)
            same = Contents(contents)
            tokens = Tokens(self.plan)
            self._tokens(sources, survey, taken, same, tokens, workers)
        rows = {path: [place for places in asks.values() for place in places] for path, asks in survey.wanted.items()}
        findings = [
            *survey.findings,
            *file_findings(survey.wanted, taken, self.config.media.missing_audio),
            *tokens.findings(),
            *same.findings(),
            *same_files(contents, rows),
        ]
        return Report(
            [{"data": name, **{key: count[key] for key in COUNTED}} for name, count in survey.counts.items()],
            file_rows(taken),
            tokens.summary(),
            self._remarks(survey),
            sorted_findings(findings),
            self.decoded,
            self.known,
        )

    def _files(self, survey: Survey, workers: Workers) -> tuple[dict[Ask, Taken], dict[Path, str | None]]:
        """What each file gives, and its content, both in the order of the rows."""
        jobs = [FileJob(path, tuple(asks)) for path, asks in survey.wanted.items()]
        results: dict[Path, FileResult] = {}
        with Cache() as cache, self._bar("files", len(jobs)) as bar:
            for job, result in workers.run(jobs):
                if isinstance(result, Died):
                    lost = Taken(problem="unreadable_file", text=str(result))
                    result = FileResult("", None, dict.fromkeys(job.asks, lost), {}, len(job.asks), 0)
                if result.sha256 is not None:
                    cache.remember(job.path, result.state, result.sha256, result.new.items())
                results[job.path] = result
                self.decoded += result.decoded
                self.known += result.known
                bar.update()
        taken = {ask: results[job.path].taken[ask] for job in jobs for ask in job.asks}
        return taken, {job.path: results[job.path].sha256 for job in jobs}

    def _tokens(
        self,
        sources: Sequence[Source],
        survey: Survey,
        taken: dict[Ask, Taken],
        same: Contents,
        tokens: Tokens,
        workers: Workers,
    ) -> None:
        total = sum(count["samples"] for count in survey.counts.values())
        counted = self._counted(sources, survey, taken, same, tokens)
        with self._bar("samples", total) as bar:
            for chunk, lengths in workers.run(_chunks(counted)):
                if isinstance(lengths, Died):
                    raise RuntimeError(f"while tokens were counted, {lengths}; is there too little memory?")
                for item, length in zip(chunk, lengths, strict=True):
                    tokens.add(item, length)
                bar.update(len(chunk))

    def _counted(
        self, sources: Sequence[Source], survey: Survey, taken: dict[Ask, Taken], same: Contents, tokens: Tokens
    ) -> Iterator[Counted]:
        """The samples once more, with the lengths of their media."""
        number = 0
        for source in sources:
            for entry in source.entries():
                if entry.sample is None:
                    continue
                sample = survey.shown(entry.sample)
                same.add(source.scope, entry.where, sample)
                lengths = {item: taken.get(survey.ask(source, item), Taken()).length for item in sample.media}
                if not self.hears and any(item.kind == "audio" for item in sample.media):
                    tokens.unheard(number, entry.where, sample.id)
                    lengths |= {item: None for item in sample.media if item.kind == "audio"}
                yield Counted(number, entry.where, sample, source.answers, lengths)
                number += 1

    def _remarks(self, survey: Survey) -> list[str]:
        media, reader = self.config.media, self.config.reader.name
        rate = f" media.fps={media.fps:g}" if media.sampling == "fps" else ""
        remarks = [f"read with reader={reader} media.sampling={media.sampling} media.frames={media.frames}{rate}"]
        if self.plan is None:
            remarks.append("token lengths were not counted: no composition was named (model=…, experiment=… or llm=…)")
        if not self.hears and any(ask.media.kind == "audio" for asks in survey.wanted.values() for ask in asks):
            remarks.append(f"sound was read at {Ear().sampling_rate} Hz, at most {Ear().seconds:g} s: no audio_encoder")
        if media.withhold:
            remarks.append(f"left aside by media.withhold: {', '.join(media.withhold)}")
        return remarks

    def _bar(self, what: str, total: int | None) -> tqdm[Any]:
        """On a terminal only; ``trainer.progress=false`` turns it off there, too."""
        from tqdm import tqdm

        return tqdm(desc=what, total=total, leave=False, disable=None if self.config.trainer.progress else True)


def _tokenizer(llm: LanguageModel) -> Any:
    try:
        return llm.tokenizer
    except ConfigError as error:
        raise ConfigError(
            f"{error}. A check fetches nothing: name a folder (llm.tokenizer=…), or leave the composition out, and "
            "token lengths are not counted"
        ) from error


def _chunks(items: Iterable[Counted]) -> Iterator[list[Counted]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
