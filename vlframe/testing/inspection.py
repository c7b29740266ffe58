"""Runs the kit on components with what they declare, and says what was tried and what passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vlframe.config.asking import keys_of_every
from vlframe.contracts.modalities import parts
from vlframe.contracts.sample import Sample, Turn
from vlframe.errors import UnknownName, UserError, did_you_mean, named_line
from vlframe.registry.registry import Registry, Row
from vlframe.testing import plugin
from vlframe.testing.audio import check_audio_connector, check_audio_encoder
from vlframe.testing.benchmark import check_benchmark
from vlframe.testing.checkpoint_format import check_checkpoint_format
from vlframe.testing.dataset import check_dataset
from vlframe.testing.language import check_llm
from vlframe.testing.objective import check_objective
from vlframe.testing.pixels import check_pixels
from vlframe.testing.processor import check_processor
from vlframe.testing.reader import check_reader
from vlframe.testing.sampler import check_sampler
from vlframe.testing.subject import ContractError, listening
from vlframe.testing.video import check_connector, check_encoder
from vlframe.testing.watching import check_callback, check_logger

CHECKS: Mapping[str, Callable[..., None]] = {
    "encoder": check_encoder,
    "connector": check_connector,
    "audio_encoder": check_audio_encoder,
    "audio_connector": check_audio_connector,
    "llm": check_llm,
    "pixels": check_pixels,
    "sampler": check_sampler,
    "reader": check_reader,
    "objective": check_objective,
    "processor": check_processor,
    "dataset": check_dataset,
    "benchmark": check_benchmark,
    "checkpoint_format": check_checkpoint_format,
    "callback": check_callback,
    "logger": check_logger,
}
ON_A_RUN = ("objective", "processor")  # checked on a composition
COLOURS = ("red", "green", "blue")
QUESTIONS = tuple(
    Sample(colour, (Turn("user", "Which colour is it?"),), answer=colour, options=COLOURS) for colour in COLOURS
)
PACKAGE = "package"  # stands where others have their kind


@dataclass(frozen=True)
class Finding:
    """What the kit found of one component, or of a whole package.

    ``broken`` is the promise that is not kept, ``untried`` why nothing could be tried; "" = neither. ``passed`` and
    ``left_out`` are steps in words, up to the first that failed.
    """

    kind: str
    name: str
    parameters: Mapping[str, Any]
    passed: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    broken: str = ""
    untried: str = ""

    @property
    def kept(self) -> bool:
        return not self.broken and not self.untried

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Request:
    """What is to be checked: the plugins, and parameters besides those they declare, by kind.

    ``paths`` are single files. ``run`` are overrides of ``train`` for what is checked on a composition.
    """

    registry: Registry
    paths: Sequence[str] = ()
    values: Mapping[str, Mapping[str, Any]] | None = None
    run: Sequence[str] = ()


def findings(request: Request, what: str, kind: str | None = None) -> Iterator[Finding]:
    """Yield the finding of each component that ``what`` names: a distribution or a single file, with the finding of
    the package first, or a component, of one ``kind`` or of all that have the name. UnknownName: there is none.
    """
    rows = list(request.registry.rows())
    if kind is None and what in {item.distribution for item in request.registry.plugins}:
        yield _found(PACKAGE, what, {}, lambda: plugin.check_plugin(what))
        named = [row for row in rows if row.plugin.distribution == what]
    else:
        named = [row for row in rows if row.component.name == what and kind in (None, row.component.kind)]
        if not named:
            raise UnknownName(_unknown(request.registry, what, kind))
    for row in named:
        yield _of(row, request)


def _unknown(registry: Registry, what: str, kind: str | None) -> str:
    if kind is not None:
        return registry.unknown(kind, what, registry.names(kind))
    packages = sorted({item.distribution for item in registry.plugins})
    names = sorted({row.component.name for row in registry.rows()})
    return (
        f"{what!r} is neither an installed package ({', '.join(packages)}), nor the name of a component, nor a file "
        f"that ends in .py{did_you_mean(what, [*packages, *names])}; vlframe list shows what there is"
    )


def _of(row: Row, request: Request) -> Finding:
    """Check one component with its example parameters (its defaults, if it has none) and those of the request."""
    kind, name = row.component.kind, row.component.name
    given = dict((request.values or {}).get(kind, {}))
    parameters = {**(row.example or {}), **given}
    if reason := _cannot(row, parameters, request):
        return Finding(kind, name, parameters, untried=reason)
    options: dict[str, Any] = {"plugins": request.paths}
    if kind in ON_A_RUN:
        options["run"] = request.run
    if kind == "benchmark" and "dataset" in row.inner_kinds:
        options["dataset"] = parameters.pop("dataset", None) or QUESTIONS
    return _found(kind, name, parameters, lambda: CHECKS[kind](name, parameters, **options))


def _cannot(row: Row, parameters: Mapping[str, Any], request: Request) -> str:
    """Return why a component cannot be tried, and what to do about it; "" = it can."""
    kind, name = row.component.kind, row.component.name
    if kind not in CHECKS:
        return f"the kit has no checks of {kind}s"
    own = [key for key in row.schema.__dataclass_fields__ if key not in ("name", *keys_of_every(kind))]
    if kind in parts() and own and not parameters:
        return (
            f"its row has no example= of small parameters, and its defaults may be large; add one, or give some here, "
            f"like {kind}.{own[0]}=…"
        )
    supplied = {"dataset": "built"} if kind == "benchmark" and "dataset" in row.inner_kinds else {}
    try:
        request.registry.check(kind, {"name": name, **parameters}, complete=not supplied)
    except UserError as error:
        return f"{error}; give it in example= of its row, or here, like {kind}.{own[0] if own else 'key'}=…"
    return ""


def _found(kind: str, name: str, parameters: Mapping[str, Any], check: Callable[[], None]) -> Finding:
    broken = untried = ""
    with listening() as steps:
        try:
            check()
        except ContractError as error:
            broken = str(error)
        except UserError as error:
            untried = str(error)
        except Exception as error:  # neither the kit nor the component foresaw it; the other components are checked
            broken = f"{kind} {name!r}: a check ends with {named_line(error)}"
    return Finding(kind, name, dict(parameters), tuple(steps.passed), tuple(steps.left_out), broken, untried)
