"""Checks of audio encoders and connectors. B batch, L samples, F audio frames, M audio features, A steps, N tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vlframe.contracts.declared import steps_of, tokens_of
from vlframe.testing.modules import Case, awaken, check_features, check_input_gradient, check_module, noise, run
from vlframe.testing.subject import Subject

WIDTHS = ((24, 32), (40, 16))
STEPS = (12, 1, 7)


def check_audio_encoder(
    component: str | type,
    params: Mapping[str, Any] | None = None,
    *,
    seconds: Sequence[float] = (1.0, 2.5, 0.05, 1.3337),
    unused: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> None:
    """Check an audio encoder on sounds of ``seconds``, of the longest it takes, and longer; choose parameters
    that make that short.
    """
    subject = Subject("audio_encoder", component, params or {}, plugins)
    planned, built = subject.plan(), subject.build()
    subject.check_source()
    for part in (planned, built):
        subject.width(part)
        front = subject.attribute(part, "audio", object, "how sound becomes its input")
        subject.attribute(front, "sampling_rate", int, "the rate of the waveforms it takes, in Hz")
        subject.attribute(front, "seconds", (int, float), "the longest sound it takes")
        subject.pickles(front, "its audio front end")
    longest = float(built.audio.seconds)
    cut, longer = _features(subject, built.audio, longest), _features(subject, built.audio, longest * 1.3)
    if cut.shape != longer.shape:
        subject.fail(f"audio.features of more than {longest:g} s gives {len(longer)} frames, and of that {len(cut)}")
    sounds = [_features(subject, built.audio, value) for value in seconds if value < longest]
    cases = []
    for count, features_FM in {len(features_FM): features_FM for features_FM in [*sounds, cut]}.items():
        steps = _count(subject, steps_of, built, count)
        if _count(subject, steps_of, planned, count) != steps or planned.dim != built.dim:
            subject.fail(f"has another dim or steps({count}) while planning than when built")
        inputs = torch.stack([features_FM, features_FM.roll(count // 3 + 1, 0) * 0.7])  # no mirror image of the first
        what = f"{count} audio frames, for which steps() says {steps},"
        cases.append(Case(what, (inputs,), (2, steps, built.dim)))
    check_module(subject, planned, {}, cases, unused)
    _check_silence(subject, built)


def _check_silence(subject: Subject, encoder: Any) -> None:
    """Check that silence, and a sound of a few samples, are sounds like others."""
    rate = encoder.audio.sampling_rate
    for what, waveform_L in (
        ("a second of silence", torch.zeros(min(rate, int(rate * encoder.audio.seconds)))),
        ("a sound of 10 samples", 0.1 * noise(10)),
    ):
        features_FM = _features_of(subject, encoder.audio, waveform_L, what)
        shape = (1, _count(subject, steps_of, encoder, len(features_FM)), encoder.dim)
        with torch.no_grad():
            output = run(subject, encoder.eval(), Case(what, (features_FM[None],), shape))
        if tuple(output.shape) != shape or not output.isfinite().all():
            subject.fail(f"forward of {what} gives {tuple(output.shape)}, or no finite numbers; promised are {shape}")
    subject.passed("silence and very short sounds are sounds like others")


def _features(subject: Subject, front: Any, seconds: float) -> Tensor:
    waveform_L = 0.1 * noise(int(seconds * front.sampling_rate))
    return _features_of(subject, front, waveform_L, f"{seconds:g} s")


def _features_of(subject: Subject, front: Any, waveform_L: Tensor, what: str) -> Tensor:
    before_L = waveform_L.clone()
    with subject.doing(f"audio.features of {what}"):
        features_FM, again_FM = front.features(waveform_L), front.features(waveform_L)
    if not torch.equal(waveform_L, before_L):
        subject.fail(f"audio.features of {what} writes into the waveform; work on a copy")
    if not isinstance(features_FM, Tensor):
        subject.fail(f"audio.features gives a {type(features_FM).__name__}; it must give one tensor, F x M")
    if features_FM.ndim != 2 or not features_FM.is_floating_point() or not features_FM.isfinite().all():
        subject.fail(f"audio.features gives {features_FM.dtype} {tuple(features_FM.shape)}; it must be finite, F x M")
    if not torch.equal(features_FM, again_FM):
        subject.fail("audio.features differs from call to call")
    return features_FM


def check_audio_connector(
    component: str | type,
    params: Mapping[str, Any] | None = None,
    *,
    steps: Sequence[int] = STEPS,
    widths: Sequence[tuple[int, int]] = WIDTHS,
    unused: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> None:
    subject = Subject("audio_connector", component, params or {}, plugins)
    for in_dim, out_dim in widths:
        neighbours = {"in_dim": in_dim, "out_dim": out_dim}
        planned, built = subject.plan(**neighbours), subject.build(**neighbours)
        cases = []
        for count in steps:
            tokens = _count(subject, tokens_of, built, count)
            if _count(subject, tokens_of, planned, count) != tokens:
                subject.fail("counts other tokens while planning than when built")
            what = f"{count} step(s) of width {in_dim}, for which tokens() says {tokens},"
            cases.append(Case(what, (noise(2, count, in_dim),), (2, tokens, out_dim)))
        check_module(subject, planned, neighbours, cases, unused)
        awaken(built)
        check_input_gradient(subject, built, cases[0])
        check_features(subject, built, cases)


def _count(subject: Subject, declared: Callable[[Any, int], int], part: Any, length: int) -> int:
    with subject.doing(f"counting for a length of {length}"):
        return declared(part, length)
