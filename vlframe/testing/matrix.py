"""Tries every pair of neighbouring parts that is installed, at the size of their example parameters."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from vlframe.config.schema import RunConfig
from vlframe.contracts.modalities import MODALITIES, Modality, parts
from vlframe.contracts.reader import FrameList
from vlframe.contracts.sample import Media, Sample, Turn
from vlframe.data.collate import Collate
from vlframe.errors import ConfigError, UserError, one_line
from vlframe.inference.pipeline import build_pipeline
from vlframe.model.assemble import compose_on_meta, refusal
from vlframe.registry.registry import Registry

Only = Callable[[tuple[str, str], tuple[str, str]], bool]  # kinds, names: whether a pair is tried
FRAMES = 4
RATE = 16000
ANSWER = "two red squares"


class NothingToTry(ConfigError):
    """Kinds of which no component that is installed has example parameters."""


@dataclass(frozen=True)
class Pair:
    """Two neighbouring parts, and what they take together.

    ``takes`` are the kinds of media, none if the parts do not compose; ``reasons`` says of the others why not (of all,
    under "", if the parts do not compose). ``trained``: whether a step changed both parts; None if none was tried.
    """

    kinds: tuple[str, str]
    names: tuple[str, str]
    takes: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    trained: bool | None = None

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


def neighbours() -> list[tuple[str, str]]:
    """Return the pairs of kinds that meet in a model: front end and encoder, encoder and connector, connector and
    language model, for every modality.
    """
    found = [("pixels", MODALITIES["video"].encoder)]
    for modality in MODALITIES.values():
        found += [(modality.encoder, modality.connector), (modality.connector, "llm")]
    return found


def matrix(
    base: RunConfig,
    registry: Registry,
    kinds: tuple[str, str],
    *,
    train: bool = False,
    only: Only | None = None,
) -> Iterator[Pair]:
    """Yield every pair of two neighbouring kinds, in the order of their names, or ``only`` those for whose kinds and
    names it returns True; parts without example parameters are left out.

    The other parts are those of ``base``, or the first by name that fit. With ``train``, pairs that fit take a step on
    a clip and a picture, or on a sound. NothingToTry: none of a kind has example parameters. Errors that are no
    ``UserError`` are faults of a part, and are raised.
    """
    examples = {kind: _examples(kind, registry) for kind in (*kinds, *parts())}
    trial = _Trial(base, registry, kinds, examples)
    if missing := [kind for kind in trial.needed if not examples[kind]]:
        raise NothingToTry(f"no {' and no '.join(missing)} that is installed has example parameters")
    with TemporaryDirectory() as folder:
        samples = small_samples(trial.modality.name, Path(folder)) if train else []
        for first in examples[kinds[0]].values():
            for second in examples[kinds[1]].values():
                if only is None or only(kinds, (str(first["name"]), str(second["name"]))):
                    yield trial.pair(first, second, samples)


def _examples(kind: str, registry: Registry) -> dict[str, dict[str, Any]]:
    """Return the config of every component of a kind with its example parameters, by name; of a kind that is no part
    of a model, those without examples with their defaults.
    """
    found = {row.component.name: row.example for row in registry.rows(kind)}
    if kind not in parts():
        found = {name: {} if example is None else example for name, example in found.items()}
    return {
        name: registry.check(kind, {"name": name, **example}) for name, example in found.items() if example is not None
    }


@dataclass
class _Trial:
    """Tries pairs of two kinds, each in a composition of examples."""

    base: RunConfig
    registry: Registry
    kinds: tuple[str, str]
    examples: Mapping[str, Mapping[str, dict[str, Any]]]
    # a connector for each encoder, by modality and name
    fitting: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    @property
    def modality(self) -> Modality:
        mine = [item for item in MODALITIES.values() if {item.encoder, item.connector} & {*self.kinds}]
        return mine[0]

    @property
    def needed(self) -> list[str]:
        """Return the kinds of all parts of a composition with such a pair."""
        branches = [item for item in MODALITIES.values() if item.name in ("video", self.modality.name)]
        of_branches = [kind for item in branches for kind in (item.encoder, item.connector)]
        return list(dict.fromkeys([*self.kinds, *of_branches, "llm"]))

    def pair(self, first: dict[str, Any], second: dict[str, Any], samples: Sequence[Sample]) -> Pair:
        names = (str(first["name"]), str(second["name"]))
        config = self._config({self.kinds[0]: first, self.kinds[1]: second})
        try:
            budget = compose_on_meta(config, self.registry).budget
        except UserError as error:
            return Pair(self.kinds, names, reasons={"": one_line(error)})
        kinds = [kind.name for kind in self.modality.media]
        reasons = {kind: said for kind in kinds if (said := refusal(budget, kind))}
        takes = tuple(kind for kind in kinds if kind not in reasons)
        asked = [sample for sample in samples if sample.id in takes]
        return Pair(self.kinds, names, takes, reasons, self._step(config, asked) if asked else None)

    def _config(self, chosen: Mapping[str, Any]) -> RunConfig:
        """Return the chosen parts among examples, with no modality besides video and the pair's own."""
        values: dict[str, Any] = {"media": replace(self.base.media, frames=FRAMES), **chosen}
        values.setdefault("llm", self._example("llm"))
        for item in MODALITIES.values():
            present = item.name in ("video", self.modality.name)
            values.setdefault(item.encoder, self._example(item.encoder) if present else None)
            if item.connector not in values:
                values[item.connector] = self._connector(item, values) if present else None
        return replace(self.base, **values)

    def _example(self, kind: str) -> dict[str, Any]:
        named = str((getattr(self.base, kind) or {}).get("name"))
        return self.examples[kind].get(named) or next(iter(self.examples[kind].values()))

    def _connector(self, modality: Modality, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the first connector by name that fits an encoder, so that a pair is not refused for a third part."""
        of = (modality.name, str(values[modality.encoder]["name"]))
        if of not in self.fitting:
            known: dict[str, Any] = {
                key: value for key, value in values.items() if key not in self.kinds or key == modality.encoder
            }
            for connector in self.examples[modality.connector].values():
                self.fitting[of] = connector
                with suppress(UserError):
                    compose_on_meta(replace(self.base, **(known | {modality.connector: connector})), self.registry)
                    break
        return self.fitting[of]

    def _step(self, config: RunConfig, samples: Sequence[Sample]) -> bool:
        """Take one step; return whether the loss is finite and each of the two parts that has weights changed."""
        pipeline = build_pipeline(config, self.registry)
        rows = pipeline.prepared(samples, answers=True)
        batch = Collate()([rows[number] for number in range(len(samples))])
        model = pipeline.model.train()
        mine = [dict(part.named_parameters()) for name, part in model.parts.items() if name in self.kinds]
        before = [[p.detach().clone() for p in weights.values()] for weights in mine]
        loss = model(batch)
        (loss.total / loss.tokens).backward()
        torch.optim.SGD(model.parameters(), lr=1.0).step()
        moved = [
            any(not torch.equal(p, old) for p, old in zip(weights.values(), olds, strict=True)) or not olds
            for weights, olds in zip(mine, before, strict=True)
        ]
        return bool(torch.isfinite(loss.total)) and all(moved)


def small_samples(modality: str, folder: Path) -> list[Sample]:
    """Write small media for a step: a clip and a picture, or a sound. A plugin's modality has none, and no step."""
    if modality == "audio":
        return [_sample(Media("audio", _sound(folder / "sound.wav")))]
    if modality == "video":
        clip = FrameList(_picture(folder / f"{number}.png", number) for number in range(FRAMES + 1))
        return [_sample(Media("video", clip)), _sample(Media("image", clip[0]))]
    return []


def _sample(item: Media) -> Sample:
    turns = (Turn("user", f"<{item.kind}>\nWhat is there?"), Turn("assistant", ANSWER))
    return Sample(item.kind, turns, (item,))


def _picture(path: Path, number: int) -> Path:
    pixels_YXC = np.random.default_rng(number).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels_YXC).save(path)
    return path


def _sound(path: Path) -> Path:
    wave_F = np.random.default_rng(0).integers(-3000, 3000, 2 * RATE, dtype=np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(wave_F.tobytes())
    return path
