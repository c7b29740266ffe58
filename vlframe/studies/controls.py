"""What became of a cell's score with something taken away, over its seeds."""

from __future__ import annotations

from collections.abc import Sequence

from vlframe.errors import ConfigError
from vlframe.evaluation.controls import Control, control_over_seeds
from vlframe.studies.recorded import Answer, Recorded


def controls_of(runs: Sequence[Recorded]) -> dict[str, Control]:
    """Return each control that every run was asked under, by the primary metric of the first benchmark, on the
    questions that all have; none where the answers cannot be read."""
    try:
        answers = [run.answers for run in runs]
    except ConfigError:
        return {}
    names = dict.fromkeys(name for item in answers[0].values() for name in item.controls) if answers else {}
    found = {}
    for name in names:
        ids = [key for key in answers[0] if all(_has(run.get(key), name) for run in answers)]
        if ids:
            plain = [[worth for key in ids if (worth := run[key].worth) is not None] for run in answers]
            taken = [[run[key].controls[name] for key in ids] for run in answers]
            clips = [answers[0][key].clip or frozenset([key]) for key in ids]
            graded = any(run[key].graded for run in answers for key in ids)
            found[name] = control_over_seeds(plain, taken, clips, shares=not graded)
    return found


def _has(answer: Answer | None, control: str) -> bool:
    return answer is not None and answer.worth is not None and control in answer.controls
