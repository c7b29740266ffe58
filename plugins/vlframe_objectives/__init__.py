"""What a stage minimises: cross-entropy of text, and BLIP-2's alignment of media with captions."""

from collections.abc import Iterator
from dataclasses import dataclass

import vlframe

vlframe_api = 1


@dataclass
class AlignmentParams:
    """The three losses of BLIP-2's first stage (Li et al. 2023), each with its weight; 0 leaves one out."""

    contrastive: float = 1.0  # media against captions: which belong together, over all samples of all ranks
    matching: float = 1.0  # one medium and one caption, read together: a pair or not
    captioning: float = 1.0  # the caption, written word by word by the queries' side
    similarity: str = "max"  # max | mean: of a caption with the queries of a medium
    contrastive_smoothing: float = 0.1  # label smoothing
    captioning_smoothing: float = 0.1
    negatives: str = "all_ranks"  # all_ranks | own_rank: where the mismatched half of a pair is drawn from
    # The learned temperature is kept within these before each micro-batch; empty: it is free
    temperature_bounds: list[float] | None = None


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "objective",
        "language_modelling",
        "vlframe_objectives.language:LanguageModelling",
        None,
        "the cross-entropy of the answers' tokens",
    )
    yield vlframe.Component(
        "objective",
        "blip2_alignment",
        "vlframe_objectives.alignment:Alignment",
        AlignmentParams,
        "a connector's heads learn to match media with captions (BLIP-2, VideoChat2), without a language model",
    )
