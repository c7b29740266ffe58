"""The three passes over data: its rows, its files, its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from vlframe.contracts.meta import meta_build
from vlframe.contracts.modalities import TAGS, modality_of
from vlframe.contracts.reader import ClipPath
from vlframe.data.template import no_end_of_turn
from vlframe.datacheck.cache import Cache, settings_key
from vlframe.datacheck.duplicates import Contents, same_files
from vlframe.datacheck.file_findings import file_findings, file_rows
from vlframe.datacheck.files import ANY, Ear, Examiner, FileJob, FileResult, Taken
from vlframe.datacheck.findings import sorted_findings
from vlframe.datacheck.lengths import Counted, Measurer
from vlframe.datacheck.quarantined import Quarantined
from vlframe.datacheck.report import Report
from vlframe.datacheck.survey import Ask, Survey, counted
from vlframe.datacheck.tokens import Tokens
from vlframe.datacheck.workers import Died, Workers
from vlframe.errors import ConfigError
from vlframe.model.assemble import compose_on_meta

if TYPE_CHECKING:
    from tqdm import tqdm

    from vlframe.config.schema import RunConfig
    from vlframe.contracts.language_model import LanguageModel
    from vlframe.datacheck.sources import Source
    from vlframe.registry.registry import Registry

CHUNK = 64  # samples per job of a worker


class Task:
    """A job for workers: examine a file, or count the tokens of some samples."""

    def __init__(self, examiner: Examiner, measurer: Measurer) -> None:
        self.examiner = examiner
        self.measurer = measurer

    def __call__(self, job: FileJob | list[Counted]) -> Any:
        return self.examiner(job) if isinstance(job, FileJob) else self.measurer(job)


class Check:
    """Reads everything that training with this config would read; no weights.

    ``composed`` means that the user chose the composition: token lengths are then compared with its context.
    ``workers`` are processes; 0: this one.
    """

    def __init__(self, config: RunConfig, registry: Registry, *, composed: bool, workers: int) -> None:
        self.config = config
        self.workers = workers
        self.processor = None if config.processor is None else registry.build("processor", config.processor)
        composition = compose_on_meta(config, registry) if composed else None
        self.budget = None if composition is None else composition.budget
        if composition is not None:
            llm: Any = composition.model.llm
        else:
            with meta_build():
                llm = registry.build("llm", config.llm)
        self.front_ends = {**ANY, **(self.budget.front_ends if self.budget is not None else {})}
        step = 1 if self.budget is None else self.budget.frames_per_step
        examiner = Examiner(
            registry.build("reader", config.reader),
            config.media,
            self.front_ends,
            registry.build("sampler", config.media.sampler, frames=config.media.frames),
            self.processor,
            settings_key(config, registry, self.front_ends, step),
            step,
        )
        tokenizer = _tokenizer(llm)
        self.unended = no_end_of_turn(tokenizer) if composed and self.processor is None else ""
        self.task = Task(examiner, Measurer(tokenizer, self.budget, config.text, self.processor))
        self.decoded = self.known = 0

    def __call__(self, sources: Sequence[Source]) -> Report:
        survey = Survey(self.config.media.withhold, self.front_ends, trains_apart=self.processor is not None)
        with self._bar("rows", None) as bar:
            for source in sources:
                survey.source(source, bar.update)
        with Workers(self.task, self.workers) as workers:
            taken, contents = self._files(survey, workers)
            same = Contents(contents)
            tokens, quarantined = Tokens(self.budget), Quarantined(self.config)
            self._tokens(sources, survey, taken, same, (tokens, quarantined), workers)
        rows = {path: [place for places in asks.values() for place in places] for path, asks in survey.wanted.items()}
        findings = [
            *survey.findings,
            *file_findings(survey.wanted, taken, self.config.media.missing_audio),
            *tokens.findings(),
            *quarantined.findings(),
            *same.findings(),
            *same_files(contents, rows),
        ]
        return Report(
            [{"data": name, **{key: count[key] for key in counted()}} for name, count in survey.counts.items()],
            file_rows(taken),
            tokens.summary(),
            self._remarks(survey),
            sorted_findings(findings),
            self.decoded,
            self.known,
        )

    def _files(self, survey: Survey, workers: Workers) -> tuple[dict[Ask, Taken], dict[ClipPath, str | None]]:
        """Return the result of each file, and its content, both in the order of the rows."""
        jobs = [FileJob(path, tuple(asks)) for path, asks in survey.wanted.items()]
        results: dict[ClipPath, FileResult] = {}
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
        counts: tuple[Tokens, Quarantined],
        workers: Workers,
    ) -> None:
        tokens, quarantined = counts
        total = sum(count["samples"] for count in survey.counts.values())
        counted = self._counted(sources, survey, taken, same, counts)
        with self._bar("samples", total) as bar:
            for chunk, lengths in workers.run(_chunks(counted)):
                if isinstance(lengths, Died):
                    raise RuntimeError(f"while tokens were counted, {lengths}; is there too little memory?")
                for item, length in zip(chunk, lengths, strict=True):
                    tokens.add(item, length)
                    quarantined.count(item.number, length)
                bar.update(len(chunk))

    def _counted(
        self,
        sources: Sequence[Source],
        survey: Survey,
        taken: dict[Ask, Taken],
        same: Contents,
        counts: tuple[Tokens, Quarantined],
    ) -> Iterator[Counted]:
        """Yield the samples again, with the lengths of their media."""
        tokens, quarantined = counts
        number = 0
        for source in sources:
            for entry in source.entries():
                if entry.sample is None:
                    continue
                sample = survey.shown(entry.sample)
                same.add(source.scope, entry.where, sample)
                results = {item: taken.get(survey.ask(source, item), Taken()) for item in sample.media}
                quarantined.meet(source.name, entry.part, list(results.values()))
                unseen = [item for item in sample.media if not self._takes(item.kind)]
                for kind in dict.fromkeys(item.kind for item in unseen):
                    tokens.unseen(number, entry.where, sample.id, kind)
                results |= {item: Taken() for item in unseen}
                yield Counted(number, entry.where, sample, source.answers, results)
                number += 1

    def _takes(self, kind: str) -> bool:
        """Return whether the composition, if there is one, has an encoder for media of this kind."""
        return self.budget is not None and self.budget.has(kind)

    def _remarks(self, survey: Survey) -> list[str]:
        media, reader = self.config.media, self.config.reader["name"]
        sampler = " ".join(
            f"media.sampler{'' if key == 'name' else '.' + str(key)}={value}" for key, value in media.sampler.items()
        )
        remarks = [f"read with reader={reader} {sampler} media.frames={media.frames}"]
        if self.budget is None:
            remarks.append("token lengths were not counted: no composition was named (model=…, experiment=… or llm=…)")
        remarks += [self.unended] if self.unended else []
        counts = survey.counts.values()
        remarks += [
            f"files of the kind {kind} were not read: no {modality_of(kind).encoder}"
            for kind in TAGS
            if kind not in self.front_ends and any(count[kind] for count in counts)
        ]
        if not self._takes("audio") and any(
            ask.media.kind == "audio" for asks in survey.wanted.values() for ask in asks
        ):
            remarks.append(f"sound was read at {Ear().sampling_rate} Hz, at most {Ear().seconds:g} s: no audio_encoder")
        if media.withhold:
            remarks.append(f"withheld (media.withhold): {', '.join(media.withhold)}")
        return remarks

    def _bar(self, what: str, total: int | None) -> tqdm[Any]:
        """Return a progress bar: on a terminal only, and not with ``trainer.progress=false``."""
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
