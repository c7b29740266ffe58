"""``vlframe plan``: describe a composition without reading weights or data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlframe.contracts.grids import TYPICAL

if TYPE_CHECKING:
    from vlframe.config.schema import RunConfig
    from vlframe.model.assemble import MetaComposition
    from vlframe.registry.registry import Registry

LENGTHS = (2, 10, 60, 120, 600)  # seconds, of the example clips shown to the sampler
RATE = 30.0  # frames per second of the example clips
USAGE = (
    ("plan encoder=… connector=… llm=…", "check that the parts fit, count tokens; reads no weights"),
    ("plan experiment=… device=h100", "memory and time of each stage, and whether the device holds it"),
)
DEVICE = "device"  # this command's only own key; all others are those of `train`


def main(words: list[str]) -> int:
    from vlframe.composer.command_line import parse
    from vlframe.composer.jobs import run_jobs

    mine = [word for word in words if word.partition("=")[0] == DEVICE]
    rest = [word for word in words if word not in mine]
    given = {DEVICE: mine[-1].partition("=")[2]} if mine else {}
    run_jobs("train", "vlframe.commands.plan:show", parse("plan", rest), more=given)
    if {"--help", "-h"} & {*rest}:
        print(f"\n{_help()}")
    return 0


def _help() -> str:
    from vlframe.distributed.devices import DEVICES

    names = ", ".join([*DEVICES, "cpu"])
    return f"only of plan:\n  device=…  what stages are planned for: {names}; by default, the device of this machine"


def show(config: RunConfig, registry: Registry, device: str | None = None) -> str:
    """Print the plan. ``device`` is a name in the table of devices; None stands for this machine's."""
    from vlframe.distributed.devices import device_here, device_named
    from vlframe.training.cost_report import report
    from vlframe.training.trainable import check_parts

    chosen = device_here(config.trainer.accelerator) if device is None else device_named(device)
    composition = plan(config, registry)
    check_parts(composition.model, config.stages)
    text = describe(composition, config, registry)
    if config.stages:
        text = f"{text}\n\n{report(composition, config, chosen)}"
    print(text)
    return text


def plan(config: RunConfig, registry: Registry) -> MetaComposition:
    """Compose the model on the meta device. ConfigError: its parts do not fit."""
    from vlframe.model.assemble import compose_on_meta

    return compose_on_meta(config, registry)


def describe(composition: MetaComposition, config: RunConfig, registry: Registry) -> str:
    """Describe the parts with their parameters, then the media tokens and what they leave of the context."""
    from vlframe.table import render

    budget = composition.budget
    parts = [
        {"part": name, "component": getattr(config, name)["name"], "width": _width(composition, name),
         "parameters": f"{count:,}"}
        for name, count in composition.parameters.items()
    ]  # fmt: skip
    total = sum(composition.parameters.values())
    absent = [] if "llm" in composition.parameters else ["llm: not loaded: no objective of the stages uses it"]
    lines = [render(parts), f"{total:,} parameters", *absent, *_download_line(composition, config)]
    lines += [_video_line(composition), *_frame_lines(composition, config, registry), _image_line(composition)]
    lines += _size_lines(composition)
    if "audio" in budget.branches:
        lines.append(_audio_line(composition))
    lines += [_context_line(composition), *_template_lines(composition, config)]
    lines += [*(f"not checked: {said}" for said in composition.unchecked)]
    return "\n".join(lines)


def _template_lines(composition: MetaComposition, config: RunConfig) -> list[str]:
    """Warn of a chat template that does not teach to stop, if there are stages and the tokenizer is on this machine."""
    from vlframe.data.template import no_end_of_turn
    from vlframe.errors import UserError
    from vlframe.registry.sources import nothing_fetched

    if "llm" not in composition.parameters or not config.stages or config.processor is not None:
        return []
    try:
        with nothing_fetched():
            said = no_end_of_turn(composition.model.llm.tokenizer)
    except (UserError, OSError):  # not on this machine: what is to be downloaded has a line of its own
        return []
    return [f"warning: {said}"] if said else []


def _context_line(composition: MetaComposition) -> str:
    """Compare the context with the tokens of a clip, and of a clip with its sound."""
    budget, clip = composition.budget, _clip_tokens(composition)
    line = f"context: {budget.max_length}, of which {budget.max_length - clip} are left for text besides one clip"
    if "audio" not in budget.branches:
        return line
    sound = _sound_tokens(composition)
    left = budget.max_length - clip - sound
    if left < 0:
        return (
            f"{line}\nvideo and sound do not fit together: a clip with {budget.front_end('audio').seconds:g} s of "
            f"sound is {clip} + {sound} = {clip + sound} tokens, {-left} more than the context; use fewer "
            f"media.frames, or a larger text.max_length"
        )
    return f"{line}, and {left} besides a clip with its sound"


def _download_line(composition: MetaComposition, config: RunConfig) -> list[str]:
    """Name the weights that are not on this machine, and what must be downloaded, as far as that is known offline;
    weights of large models count two bytes per parameter.
    """
    from vlframe.machine.memory import gigabytes
    from vlframe.registry.sources import is_here, is_path, missing_paths

    chosen = {name: getattr(config, name) or {} for name in composition.parameters}
    lines = [f"not here: {said}" for said in missing_paths(chosen)]
    sources = {name: str(part["source"]) for name, part in chosen.items() if part.get("source")}
    absent = {name: source for name, source in sources.items() if not is_here(source) and not is_path(source)}
    if absent:
        size = sum(2 * composition.parameters[name] for name in absent)
        named = ", ".join(f"{name} {source}" for name, source in absent.items())
        lines.append(f"to download: about {gigabytes(size)} ({named})")
    return lines


def _size_lines(composition: MetaComposition) -> list[str]:
    """Tabulate tokens by picture size, if it matters. What is refused is "no"; the reasons follow, each once."""
    from vlframe.table import render

    rows = sizes(composition)
    if all(row["tiles"] == 1 and row["pixels"] == rows[0]["pixels"] for row in rows):
        return []
    counts = ("image tokens", "clip tokens")
    reasons = dict.fromkeys(row[name] for row in rows for name in counts if isinstance(row[name], str))
    said = rows[0]["image tokens"]  # by the line about images
    short = [{name: "no" if name in counts and isinstance(cell, str) else cell for name, cell in row.items()}
             for row in rows]  # fmt: skip
    return [render(short), *(f"no: {reason}" for reason in reasons if reason != said)]


def sizes(composition: MetaComposition) -> list[dict[str, Any]]:
    """Count the tokens of a clip and an image for a few typical picture sizes; the reason where they are refused."""
    budget, rows = composition.budget, []
    for height, width in TYPICAL:
        picture = budget.front_end("image").layout(height, width, 1)
        clip = budget.front_end("video").layout(height, width, budget.frames)
        rows.append(
            {
                "picture": f"{width}x{height}",
                "pixels": f"{picture.width}x{picture.height}",
                "tiles": picture.tiles,
                "image tokens": _count(composition, "image", 1, height, width),
                "clip pixels": f"{clip.width}x{clip.height}",
                "clip tokens": _count(composition, "video", budget.frames, height, width),
            }
        )
    return rows


def _count(composition: MetaComposition, kind: str, frames: int, height: int, width: int) -> int | str:
    from vlframe.model.assemble import typical_tokens

    try:
        return typical_tokens(composition.budget, kind, frames, height, width)
    except ValueError as error:
        return str(error)


def _clip_tokens(composition: MetaComposition) -> int:
    count = _count(composition, "video", composition.budget.frames, *TYPICAL[0])
    assert isinstance(count, int)  # checked when the composition was planned
    return count


def _video_line(composition: MetaComposition) -> str:
    budget = composition.budget
    from vlframe.contracts.declared import grid_of
    from vlframe.contracts.modalities import MODALITIES

    encoder: Any = composition.model.parts[MODALITIES["video"].encoder]
    layout = budget.front_end("video").layout(*TYPICAL[0], budget.frames)
    grid = grid_of(encoder, budget.frames, layout.height, layout.width)
    return f"video: {budget.frames} frames -> {grid} features -> {_clip_tokens(composition)} tokens"


def _frame_lines(composition: MetaComposition, config: RunConfig, registry: Registry) -> list[str]:
    """Say which clips of a few lengths are cut or filled, and that the encoder needs whole steps, if it does."""
    import numpy as np

    from vlframe.contracts.reader import VideoInfo
    from vlframe.media.steps import chosen_frames

    sampler = registry.build("sampler", config.media.sampler, frames=config.media.frames)
    step, lines = composition.budget.frames_per_step, []
    if step > 1:
        lines.append(f"the encoder joins {step} frames in a step: other clips are filled with their last frame")
    for seconds in LENGTHS:
        info = VideoInfo(round(seconds * RATE), RATE, *TYPICAL[0], has_audio=False)
        given: dict[str, Any] = {"training": False, "generator": np.random.default_rng(0)}
        _, note = chosen_frames(sampler, info, None, None, most=config.media.frames, step=step, **given)
        lines += [f"a clip of {seconds} s: {note}"] if note else []
    return lines


def _image_line(composition: MetaComposition) -> str:
    count = _count(composition, "image", 1, *TYPICAL[0])
    return f"image: {count} tokens" if isinstance(count, int) else f"image: no: {count}"


def _audio_line(composition: MetaComposition) -> str:
    seconds = composition.budget.front_end("audio").seconds
    return f"audio: at most {seconds:g} s -> {_sound_tokens(composition)} tokens"


def _sound_tokens(composition: MetaComposition) -> int:
    """Count the tokens of the longest sound."""
    import torch

    front_end = composition.budget.front_end("audio")
    silence_L = torch.zeros(int(front_end.seconds * front_end.sampling_rate))
    return composition.budget.tokens("audio", tuple(front_end.features(silence_L).shape))


def _width(composition: MetaComposition, name: str) -> str:
    module = composition.model.parts[name]
    return str(module.dim) if hasattr(module, "dim") else "in between"
