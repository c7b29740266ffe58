"""The data set: draw and balance scenes, write clips, ask questions."""

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import vlframe
from vlframe import ConfigError, Media, Sample, Subset, Turn, at_home
from vlframe_motionqa import folder as folders
from vlframe_motionqa.questions import QUESTIONS
from vlframe_motionqa.rendering import Clip
from vlframe_motionqa.scenes import KINDS, SHARES, SLOTS, SPLITS, TRAVEL, Motion, Scene, split_of

VERSION = 3  # of the generator; part of the cache folder's name
DRAWS = 20_000  # attempts before concluding that there are not enough different scenes


class MotionQA:
    """One split. Ids are ``motionqa/<split>/<clip>/<category>``; the samples of a category follow each other."""

    def __init__(
        self,
        *,
        split: str,
        clips: int,
        questions: list[str],
        size: int,
        seconds: float,
        fps: int,
        seed: int,
        travel: float,
        folder: str | None,
        weights: dict[str, float],
        also: list[str],
    ) -> None:
        _check(split, clips, questions, size, seconds, fps, travel)
        _check_weights(weights, questions)
        _check_also(also, questions, split)
        self.split = split
        self.also = also
        # The scenes that some question needs: one asked about two kinds makes do with what others brought.
        asked_about = [question.scenes for name, question in QUESTIONS.items() if name in questions]
        kinds = list(dict.fromkeys(scenes[0] for scenes in asked_about))
        parameters = {
            "version": VERSION,
            "split": split,
            "clips": clips,
            "scenes": kinds,
            "size": size,
            "seconds": float(seconds),
            "fps": fps,
            "seed": seed,
            "travel": float(travel),
        }
        self.clips = draw_clips(split, clips, kinds, seed, travel)
        self.folder = Path(at_home(folder)) if folder else _cache_folder(parameters)
        folders.ensure(self.folder, parameters, self.clips)
        asked = {
            category: [index for index, clip in enumerate(self.clips) if clip.scene.kind in QUESTIONS[category].scenes]
            for category in QUESTIONS
            if category in questions
        }
        self._asked = [(index, category) for category, indices in asked.items() for index in indices]
        self.subsets = None
        if weights:
            ends = list(itertools.accumulate(len(indices) for indices in asked.values()))
            starts = [0, *ends[:-1]]
            self.subsets = [
                Subset(start, end, weights.get(category, 1.0), category)
                for category, start, end in zip(asked, starts, ends, strict=True)
                if end > start
            ]

    @staticmethod
    def check_parameters(parameters: Mapping[str, Any]) -> None:
        """Raise ConfigError for values that make no sense."""
        shape = ("split", "clips", "questions", "size", "seconds", "fps", "travel")
        _check(*(parameters[name] for name in shape))
        _check_weights(parameters["weights"], parameters["questions"])
        _check_also(parameters["also"], parameters["questions"], parameters["split"])

    def __len__(self) -> int:
        return len(self._asked)

    def __getitem__(self, index: int) -> Sample:
        clip, category = self._asked[index]
        question = QUESTIONS[category]
        answers = self.clips[clip].scene.answers()
        answer = answers[category]
        path = folders.clip_path(self.folder, clip)
        media = [Media("video", path)]
        if question.hears:
            media.append(Media("audio", path, track=True))
        tags = "".join(f"<{item.kind}>" for item in media)
        turns = [Turn("user", f"{tags}\n{question.text}"), Turn("assistant", answer)]
        for other in self.also:
            if other != category and other in answers:
                turns += [Turn("user", QUESTIONS[other].text), Turn("assistant", answers[other])]
        return Sample(
            id=f"motionqa/{self.split}/{clip:06d}/{category}",
            turns=tuple(turns),
            media=tuple(media),
            answer=answer,
            options=question.options,
            category=category,
        )


def _check_weights(weights: dict[str, float], questions: list[str]) -> None:
    unknown = [category for category in weights if category not in questions]
    if unknown or any(weight < 0 for weight in weights.values()):
        raise ConfigError(
            f"dataset 'motionqa': weights is {weights}; it gives a number of at least 0 to some of the questions "
            f"that are asked: {', '.join(questions)}"
        )


def _check_also(also: list[str], questions: list[str], split: str) -> None:
    seen = [category for category in questions if category in QUESTIONS and not QUESTIONS[category].hears]
    if any(category not in seen for category in also):
        raise ConfigError(
            f"dataset 'motionqa': also is {also}; it names some of the questions that are asked and need no sound: "
            f"{', '.join(seen)}"
        )
    if also and split != "train":
        raise ConfigError(
            f"dataset 'motionqa': also is {also} and split is {split!r}; questions that follow another are to learn "
            "from: set split to train, or also to []"
        )


def draw_clips(split: str, clips: int, kinds: list[str], seed: int, travel: float = TRAVEL) -> list[Clip]:
    """Draw distinct scenes of one split, by the kinds' shares, with balanced answers (counts differ by at most one)."""
    random = Random(f"motionqa {seed} {split}")
    seen: set[Scene] = set()
    turns = dict.fromkeys(kinds, 0)
    drawn = []
    shared = [kind for name in kinds for kind in [name] * SHARES[name]]
    for kind in itertools.islice(itertools.cycle(shared), clips):
        scene = _draw_scene(kind, turns[kind], split, seen, random)
        if isinstance(scene, Motion):
            scene = replace(scene, travel=travel)
        drawn.append(Clip.draw(scene, random))
        turns[kind] += 1
    random.shuffle(drawn)
    return drawn


def _draw_scene(kind: str, turn: int, split: str, seen: set[Scene], random: Random) -> Scene:
    for _ in range(DRAWS):
        scene = KINDS[kind].draw(turn, random)
        if scene not in seen and split_of(scene) == split:
            seen.add(scene)
            return scene
    raise ConfigError(
        f"dataset 'motionqa': there are not enough different {kind!r} scenes in the {split} split; "
        f"{len(seen)} scenes were drawn before they ran out: ask for fewer clips, or for more kinds of questions"
    )


def _cache_folder(parameters: dict[str, object]) -> Path:
    name = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:16]
    return vlframe.cache_folder("motionqa") / name


def _check(split: str, clips: int, questions: list[str], size: int, seconds: float, fps: int, travel: float) -> None:
    frames = seconds * fps
    unknown = [name for name in questions if name not in QUESTIONS]
    problems = [
        (split not in SPLITS, f"split is {split!r}; it is one of {', '.join(SPLITS)}"),
        (bool(unknown), f"questions has {', '.join(map(repr, unknown))}; there are {', '.join(QUESTIONS)}"),
        (not questions, f"questions is empty; there are {', '.join(QUESTIONS)}"),
        (
            not 0 < travel <= 0.6,
            f"travel is {travel:g}; a shape goes more than 0 and at most 0.6 widths of the picture",
        ),
        (clips < 1, f"clips is {clips}; at least 1 is needed"),
        (size % 2 == 1 or not 48 <= size <= 256, f"size is {size}; it is an even number of pixels from 48 to 256"),
        (fps < 1, f"fps is {fps}; it is a whole number of frames a second, 1 or more"),
        (
            frames < 2 * SLOTS or abs(frames / SLOTS - round(frames / SLOTS)) > 1e-6,
            f"seconds * fps is {seconds:g} * {fps} = {frames:g} frames; it must be a multiple of {SLOTS}, at least "
            f"{2 * SLOTS}, because a clip has {SLOTS} moments of two frames or more (2 seconds at 8 fps, for instance)",
        ),
    ]
    for wrong, message in problems:
        if wrong:
            raise ConfigError(f"dataset 'motionqa': {message}")
