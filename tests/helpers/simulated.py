"""Made-up answers of which the truth is known: clips, seeds and single answers vary."""

from collections.abc import Iterator

import numpy as np


def answers(
    clips: int, questions: int, seeds: int, *, gain: float, rounds: int, base: float = 0.55, sides: int = 2
) -> Iterator[tuple[list[np.ndarray], list[int]]]:
    """For each round, a table of 0 and 1 (seed, question) of each side, and the clip of each question. The sides after
    the first have ``gain`` more; the same clips are hard for all."""
    draws = np.random.default_rng(11)
    of = [clip for clip in range(clips) for _ in range(questions)]
    for _ in range(rounds):
        clip_C = draws.choice([-0.15, 0.15], clips)
        tables = []
        for side in range(sides):
            change_C = draws.choice([-0.08, 0.08], clips) if side else np.zeros(clips)
            seed_S = draws.normal(0, 0.04, seeds).clip(-0.1, 0.1) * (seeds > 1)
            mean_Q = base + (gain if side else 0.0) + (clip_C + change_C)[of]
            tables.append((draws.random((seeds, len(of))) < mean_Q + seed_S[:, None]).astype(float))
        yield tables, of
