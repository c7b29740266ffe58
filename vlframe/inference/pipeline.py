"""A loaded model with its processor and device, used by evaluate, predict, chat and training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from vlframe.config.moved import advising_if_moved
from vlframe.config.schema import MediaConfig, RunConfig, parts_of
from vlframe.config.typed import plain, read_yaml
from vlframe.contracts.objective import Objective
from vlframe.contracts.processor import Processor
from vlframe.contracts.sample import Sample
from vlframe.contracts.token_budget import TokenBudget
from vlframe.data.prepare import PreparedSamples
from vlframe.data.template import TELLING_WORDS, ChatTemplate
from vlframe.errors import ConfigError
from vlframe.inference.ending import Ending
from vlframe.machine.cpus import set_threads
from vlframe.machine.devices import process_count
from vlframe.machine.memory import check_main_memory
from vlframe.machine.precision import low_type
from vlframe.media.loader import MediaLoader
from vlframe.media.steps import MOST_FRAMES
from vlframe.model.assemble import MetaComposition, build_model, compose_on_meta
from vlframe.model.objectives import needs_llm
from vlframe.model.promises import check_as_planned
from vlframe.model.video_llm import VideoLLM
from vlframe.registry.registry import Registry
from vlframe.runs.checkpoint import Checkpoint, chosen, read_weights
from vlframe.runs.folder import RunFolder
from vlframe.runs.saved import checked

LEAST_CACHE_MB = 256  # of decoded media, in inference


@dataclass
class Pipeline:
    """A built composition with its token budget and config. ``device`` None: as configured. ``unchecked``: sentences
    about parts whose promises the plan could not check.
    """

    config: RunConfig
    registry: Registry
    budget: TokenBudget
    model: VideoLLM
    processor: Processor | None = None
    device: torch.device | None = None
    unchecked: tuple[str, ...] = ()
    limited_by: str = MOST_FRAMES  # the key that sets the most frames of a clip
    _loaders: dict[Any, MediaLoader] = field(default_factory=dict, repr=False)

    @property
    def ending(self) -> Ending:
        """Return what ends an answer, in addition to the language model's own tokens."""
        if not self.writes_chats:
            return Ending(tuple(getattr(self.processor, "stop_strings", ())))
        end = ChatTemplate(self.model.llm.tokenizer).facts.end
        if end.token:
            return Ending(closing=end.words)
        return Ending((end.words,) if len(end.words) >= TELLING_WORDS else ())

    @property
    def writes_chats(self) -> bool:
        """Return whether vlframe writes conversations by a chat template: no processor does, and a language model
        reads them.
        """
        return self.processor is None and "llm" in self.model.parts

    def prepared(
        self,
        samples: Sequence[Sample],
        *,
        answers: bool,
        training: bool | None = None,
        withhold: Sequence[str] | None = None,
        resize: str | None = None,
        objective: Objective | None = None,
        seed: int = 0,
    ) -> PreparedSamples:
        """Return samples ready for batching. ``training`` (None: if there are answers) says whether samplers may be
        random, seeded by ``seed``; ``withhold`` overrides the config's, ``resize`` the encoder's. An ``objective`` may
        write samples its own way.
        """
        media = self._media(withhold)
        return PreparedSamples(
            samples,
            budget=self.budget,
            loader=self._loader(answers if training is None else training, resize),
            tokenizer=self.model.llm.tokenizer,
            media=media,
            text=self.config.text,
            answers=answers,
            processor=self.processor,
            objective=objective,
            seed=seed,
        )

    def framed(self, frames: int | None, key: str) -> Pipeline:
        """Return the same model with at most this many frames per clip, as ``key`` says (None: unchanged). ConfigError:
        they do not fit.
        """
        if frames in (None, self.budget.frames):
            return self
        config = replace(self.config, media=replace(self.config.media, frames=frames))
        return replace(
            self, config=config, budget=compose_on_meta(config, self.registry).budget, limited_by=key, _loaders={}
        )

    def _media(self, withhold: Sequence[str] | None = None) -> MediaConfig:
        return self.config.media if withhold is None else replace(self.config.media, withhold=tuple(withhold))

    def _loader(self, training: bool, resize: str | None) -> MediaLoader:
        """Return a loader, shared in inference, so that the turns of a conversation find their clip decoded."""
        if (training, resize) not in self._loaders or training:
            media = self._media()
            if not training:  # questions about one clip are adjacent; decode it once
                media = replace(media, cache_mb=max(media.cache_mb, LEAST_CACHE_MB))
            self._loaders[training, resize] = MediaLoader(
                self.registry.build("reader", self.config.reader),
                media,
                self._front_ends(resize),
                self.registry.build("sampler", self.config.media.sampler, frames=self.config.media.frames),
                processor=self.processor,
                training=training,
                reader_name=self.config.reader["name"],
                frames_per_step=self.budget.frames_per_step,
                limited_by=self.limited_by,
            )
        return self._loaders[training, resize]

    def _front_ends(self, resize: str | None) -> dict[str, Any]:
        found = self.budget.front_ends
        if resize is None:
            return found
        wrong = [kind for kind in ("video", "image") if not hasattr(found[kind], "resize")]
        if wrong:
            raise ConfigError(
                f"the stage has resize={resize!r}, and the front end {type(found[wrong[0]]).__name__} does not make "
                "squares of one size; leave it out (resize: null)"
            )
        return {kind: replace(end, resize=resize) if hasattr(end, "resize") else end for kind, end in found.items()}


def build_pipeline(
    config: RunConfig, registry: Registry, check: Callable[[MetaComposition], None] | None = None
) -> Pipeline:
    """Check that the parts fit and this machine's memory holds them, then build them. Sets torch's seed, which
    determines random weights, and its threads. ``check`` is also called with the composition, before any weight is
    read.
    """
    set_threads(config.trainer.threads, process_count(config.trainer.devices, config.trainer.accelerator))
    registry.check("reader", config.reader)
    processor = None if config.processor is None else registry.build("processor", config.processor)
    planned = compose_on_meta(config, registry)
    check_main_memory(
        planned.least_bytes(parts_of(config)),
        "the weights of this composition need at least",
        "choose smaller parts, or a machine with more of it",
    )
    if check is not None:
        check(planned)
    torch.manual_seed(config.seed)
    model = build_model(config, registry)
    if config.trainer.precision == "16":  # packed weights have a type of their own to compute in
        parts: list[Any] = [part for part in model.parts.values() if hasattr(part, "compute_in")]
        for part in parts:
            part.compute_in(torch.float16)
    check_as_planned(planned.model, model, config, registry)
    return Pipeline(config, registry, planned.budget, model, processor, unchecked=planned.unchecked)


def load_run(
    path: str,
    registry: Registry,
    changes: dict[str, Any] | None = None,
    checkpoint: str = "newest",
    *,
    to_ask: bool = True,
) -> tuple[Pipeline, RunFolder]:
    """Load a run, finished or not, with the weights of a checkpoint (see ``chosen``), in eval mode. ConfigError:
    it has no language model, and is ``to_ask`` something.
    """
    folder = RunFolder.open(path)
    config = checked(read_yaml(folder.config), registry, changes)
    if to_ask and not needs_llm(config, registry):
        raise ConfigError(
            f"{path} was trained without its language model, which no objective of its stages uses, so there is "
            f"nothing to ask; train one with it from here: init.run={path}"
        )
    found = chosen(folder, checkpoint)
    with advising_if_moved(plain(config)):
        pipeline = build_pipeline(config, registry)
    restore(pipeline, found)
    pipeline.model.eval().requires_grad_(False)
    return pipeline, folder


def restore(pipeline: Pipeline, checkpoint: Checkpoint) -> None:
    read_weights(checkpoint, pipeline.model, pipeline.config)


def pick_device(pipeline: Pipeline) -> torch.device:
    """Return the device for inference: the configured one, or a GPU if the config allows it and there is one."""
    if pipeline.device is not None:
        return pipeline.device
    wanted = pipeline.config.trainer.accelerator
    if wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if wanted in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    if wanted not in ("auto", "cpu"):
        raise ConfigError(
            f"the run's trainer.accelerator is {wanted!r}, and torch finds no such device here; choose another one: "
            "trainer.accelerator=cpu (vlframe evaluate), device=cpu (vlframe predict, vlframe.load)"
        )
    return torch.device("cpu")


def named_device(name: str) -> torch.device:
    """Return ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. ConfigError for a device that does not exist here."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"there is no device {name!r}; it can be cpu, cuda, cuda:<number> or mps") from error
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= there.get(device.type, 0):
        raise ConfigError(f"the device is {name!r}, and torch finds {there.get(device.type, 0)} of that type here")
    return device


@contextmanager
def inference(pipeline: Pipeline, device: torch.device) -> Iterator[None]:
    """Disable gradients and use the run's precision. torch's inference mode is avoided: tensors that a module keeps
    from it could not be used in training, which continues after an evaluation.
    """
    low = low_type(pipeline.config.trainer.precision)
    with torch.no_grad(), torch.autocast(device.type, low, enabled=low is not None):
        yield
