"""From names, or from a run's folder, to a model and everything its data needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vlframe.checks import check_values
from vlframe.config import RunConfig
from vlframe.contracts import DataProtocol
from vlframe.data.prepare import Prepare
from vlframe.data.sample import Sample
from vlframe.errors import ConfigError, UnknownName
from vlframe.media.loader import MediaLoader
from vlframe.model.compose import Plan, build, make_plan
from vlframe.model.video_llm import VideoLLM
from vlframe.registry import Registry
from vlframe.runs.checkpoint import Checkpoint, latest, read_weights
from vlframe.runs.folder import RunFolder
from vlframe.secrets import refuse_secret_values

LEAST_CACHE_MB = 256  # of decoded media, in evaluation


@dataclass
class Session:
    """A composition that is built, with its plan and config."""

    config: DictConfig
    registry: Registry
    plan: Plan
    model: VideoLLM
    protocol: DataProtocol | None = None

    def rows(
        self,
        samples: Sequence[Sample],
        *,
        answers: bool,
        withhold: Sequence[str] | None = None,
        fit: str | None = None,
    ) -> Prepare:
        """Samples ready for batching. ``withhold`` replaces that of the config, ``fit`` that of the encoder."""
        changes: dict[str, Any] = {} if withhold is None else {"withhold": list(withhold)}
        if not answers:  # questions about one clip follow each other; decode it once
            changes["cache_mb"] = max(self.config.media.cache_mb, LEAST_CACHE_MB)
        # Plain objects: read for every sample, and sent to data workers.
        media = OmegaConf.to_object(OmegaConf.merge(self.config.media, changes))
        loader = MediaLoader(
            self.registry.build("reader", self.config.reader),
            media,
            replace(self.plan.pixels, fit=fit) if fit else self.plan.pixels,  # type: ignore[arg-type]
            self.plan.audio,
            protocol=self.protocol,
            training=answers,
            reader_name=self.config.reader.name,
        )
        return Prepare(
            samples,
            plan=self.plan,
            loader=loader,
            tokenizer=self.model.llm.tokenizer,
            media=media,
            text=OmegaConf.to_object(self.config.text),
            answers=answers,
            protocol=self.protocol,
        )


def open_session(config: DictConfig, registry: Registry) -> Session:
    """Check that the parts fit, then build them. Seeds torch, so that random weights are the seed's."""
    registry.check("reader", config.reader)
    protocol = None if config.protocol is None else registry.build("protocol", config.protocol)
    plan = make_plan(config, registry)
    torch.manual_seed(config.seed)
    return Session(config, registry, plan, build(config, registry), protocol)


def load_run(path: str, registry: Registry, changes: dict[str, Any] | None = None) -> tuple[Session, RunFolder]:
    """A finished (or unfinished) run with the weights of its newest checkpoint, in eval mode."""
    folder = RunFolder.open(path)
    config = checked(folder.read_config(), changes or {}, registry)
    checkpoint = latest(folder)
    session = open_session(config, registry)
    restore(session, checkpoint)
    session.model.eval().requires_grad_(False)
    return session, folder


def restore(session: Session, checkpoint: Checkpoint) -> None:
    read_weights(checkpoint, session.model, session.config)


def checked(saved: DictConfig, changes: dict[str, Any], registry: Registry) -> DictConfig:
    """A saved config, typed again, with some keys changed. A benchmark comes in place of the saved one."""
    saved = OmegaConf.masked_copy(saved, [key for key in saved if key != "benchmark" or key not in changes])
    try:
        typed = OmegaConf.merge(OmegaConf.structured(RunConfig), saved, {key: value for key, value in changes.items()})
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"the config of the run: {error.full_key}: {str(error.msg or error).splitlines()[0]}"
        ) from error
    assert isinstance(typed, DictConfig)
    refuse_secret_values(typed)
    check_values(typed, RunConfig, saved=True)
    for kind in ("encoder", "connector", "audio_encoder", "audio_connector", "llm", "reader", "protocol"):
        if typed[kind] is not None:
            try:
                registry.row(kind, typed[kind].name)
            except UnknownName as error:
                paths = ", ".join(typed.plugins.paths)
                hint = f"; the run was made with plugins.paths=[{paths}]: give that again" if paths else ""
                raise UnknownName(f"{error}{hint}") from error
    return typed


def pick_device(config: DictConfig) -> torch.device:
    """The device that inference runs on: a GPU where the config allows one and there is one."""
    wanted = config.trainer.accelerator
    if wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")


@contextmanager
def inference(config: DictConfig, device: torch.device) -> Iterator[None]:
    """No gradients, in the run's precision."""
    low = config.trainer.precision == "bf16"
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=low):
        yield
