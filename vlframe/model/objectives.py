"""The objectives of a run's stages: built from their configs, and checked against the parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vlframe.config.asking import benchmarks_of
from vlframe.contracts.modalities import MODALITIES
from vlframe.errors import ConfigError

if TYPE_CHECKING:
    from vlframe.config.schema import RunConfig, StageConfig
    from vlframe.contracts.objective import Objective
    from vlframe.model.video_llm import VideoLLM
    from vlframe.registry.registry import Registry


def settings_of(config: RunConfig, stage: StageConfig) -> Any:
    """Return the config of a stage's objective."""
    return config.objective if stage.objective is None else stage.objective


def build_objective(config: RunConfig, stage: StageConfig, registry: Registry) -> Objective:
    """Build the objective of a stage. ConfigError: the run names none."""
    built: Objective = registry.build("objective", settings_of(config, stage))
    return built


def build_objectives(config: RunConfig, registry: Registry) -> dict[str, Objective]:
    """Return the objective of each stage, by its name; none of a run that was saved before there were objectives."""
    named = {name: stage for name, stage in config.stages.items() if settings_of(config, stage) is not None}
    return {name: build_objective(config, stage, registry) for name, stage in named.items()}


def uses_llm(config: RunConfig, stage: StageConfig, registry: Registry) -> bool:
    """Return whether a stage runs the language model. A run that was saved before there were objectives does."""
    chosen = settings_of(config, stage)
    if chosen is None:
        return True
    return bool(getattr(registry.row("objective", chosen["name"]).load_class(), "uses_llm", True))


def needs_llm(config: RunConfig, registry: Registry) -> bool:
    """Return whether a run needs its language model: a stage runs it, or there is no stage, only a model to use."""
    return not config.stages or any(uses_llm(config, stage, registry) for stage in config.stages.values())


def check_objectives(
    objectives: Mapping[str, Objective], model: VideoLLM, config: RunConfig, registry: Registry
) -> None:
    """Raise ConfigError for a stage whose objective does not fit the parts. ``model`` may have no weights."""
    for name, objective in objectives.items():
        stage = config.stages[name]
        _check_needs(name, settings_of(config, stage)["name"], objective, model, config, registry)
        if not objective.uses_llm and stage.llm.train not in (None, "frozen"):
            raise ConfigError(
                f"stages.{name}.llm.train is {stage.llm.train}, and the objective of the stage, "
                f"{settings_of(config, stage)['name']!r}, never runs the language model; leave it out, or choose "
                f"another stages.{name}.objective"
            )
    if needs_llm(config, registry):
        return
    if asked := [item for item in benchmarks_of(config)]:
        raise ConfigError(
            f"the run has {len(asked)} benchmark(s), and no language model to ask: no objective of its stages uses "
            f"one; leave benchmarks out, and train the language model in a run from this one (init.run)"
        )
    if config.trainer.strategy == "fsdp":
        raise ConfigError(
            "trainer.strategy=fsdp shares out the language model, and no stage of this run uses it; say "
            "trainer.strategy=ddp"
        )


def _check_needs(
    stage: str, name: str, objective: Objective, model: VideoLLM, config: RunConfig, registry: Registry
) -> None:
    kind = MODALITIES["video"].connector
    connector, chosen = model.branches["video"].connector, getattr(config, kind)["name"]
    for attribute, words in objective.needs.items():
        if getattr(connector, attribute, None) is not None:
            continue
        able = [row.component.name for row in registry.rows(kind) if hasattr(row.load_class(), attribute)]
        which = f"{', '.join(able)} can have them, by their parameters" if able else "no installed connector has them"
        here = "was built without them" if chosen in able else "has none"
        raise ConfigError(
            f"objective {name!r} of stage {stage!r} needs {words}, and connector {chosen!r} {here}; {which}"
        )
