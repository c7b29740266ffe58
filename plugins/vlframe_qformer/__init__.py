"""BLIP-2's querying transformer (Li et al. 2023) as a connector."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import vlframe

vlframe_api = 1


@dataclass
class QFormerParams:
    """A few learned queries that read the features by cross-attention."""

    queries: int = 32  # media tokens of a clip, or of each frame
    depth: int = 2  # layers
    width: int | None = None  # of the queries; null: the encoder's width, rounded up to a multiple of heads
    heads: int = 8
    intermediate: int | None = None  # hidden width of the feed-forward layers; null: 4 x width
    cross_attention_frequency: int = 1  # every n-th layer, from the first, reads the features
    dropout: float = 0.0
    per_frame: bool = False  # true: the queries read each frame separately; false: all frames together
    frame_position: bool = True  # add a learned embedding of the frame's position; without it the order is invisible
    max_frames: int = 32  # rows of that embedding


@dataclass
class VideoQFormerParams:
    """Video-LLaMA's two Q-Formers: sizes of the released checkpoints."""

    queries: int = 32  # of each frame
    depth: int = 12
    cross_attention_frequency: int = 2
    video_queries: int = 32  # of the clip: this many tokens
    video_depth: int = 2  # layers, all of which read the frames
    width: int = 768
    heads: int = 12
    intermediate: int = 3072
    dropout: float = 0.1
    max_frames: int = 32


@dataclass
class AudioQFormerParams:
    """Video-LLaMA's Q-Former over audio steps: sizes of the released checkpoints."""

    queries: int = 8
    depth: int = 2
    width: int = 768
    heads: int = 12
    intermediate: int = 3072
    dropout: float = 0.1
    max_steps: int = 8


@dataclass
class QFormerExtraParams:
    """BLIP-2's Q-Former with extra queries (VideoChat): sizes of the released checkpoints."""

    queries: int = 32
    extra_queries: int = 64
    depth: int = 12
    cross_attention_frequency: int = 2
    width: int = 768
    heads: int = 12
    intermediate: int = 3072
    dropout: float = 0.1


@dataclass
class QFormerInstructParams:
    """A Q-Former that reads the instruction, too (VideoChat2): sizes of the released checkpoints."""

    queries: int = 32
    extra_queries: int = 64  # 0: BLIP-2's
    depth: int = 12
    cross_attention_frequency: int = 2
    width: int = 768
    heads: int = 12
    intermediate: int = 3072
    dropout: float = 0.1
    drop_path: float = 0.2  # of the last layer's branches, in training; none in the first, in between in even steps
    text: bool = True  # false: the queries read without it
    tokenizer: str = (
        "google-bert/bert-base-uncased"  # a folder, a hub id, or letters: spelled words, for random weights
    )
    vocabulary: int = 30523  # BERT's, and BLIP-2's [DEC]
    positions: int = 512  # the longest instruction there can be
    longest: int = 512  # tokens of an instruction that are read, from its end
    pad_to: int = 0  # shorter instructions are filled up; officially to the longest of each batch
    side: str = "right"  # left | right: where they are filled up; left moves an instruction's tokens to other positions
    # Width in which media are compared with captions by BLIP-2's heads, for objective=blip2_alignment; null: no heads
    alignment: int | None = None
    matching: str = "queries"  # queries | queries_and_text: whose outputs tell whether a pair belongs together
    caption_tokens: int = 32  # the longest caption; its end is cut
    temperature: float = 0.07  # of the comparison, where its learning begins


SMALL = {"depth": 2, "width": 32, "heads": 4, "intermediate": 64}


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "connector",
        "qformer",
        "vlframe_qformer.connector:QFormer",
        QFormerParams,
        "BLIP-2's Q-Former: a fixed number of queries over all frames, or over each",
        example={"queries": 8, "depth": 1, "heads": 4},
    )
    yield vlframe.Component(
        "connector",
        "video_qformer",
        "vlframe_qformer.video:VideoQFormer",
        VideoQFormerParams,
        "a Q-Former on each frame, frame positions, a second one over all frames (Video-LLaMA)",
        example={**SMALL, "queries": 4, "video_queries": 5, "video_depth": 1},
    )
    yield vlframe.Component(
        "connector",
        "qformer_extra",
        "vlframe_qformer.extra:QFormerExtra",
        QFormerExtraParams,
        "BLIP-2's Q-Former over all positions of a clip, with extra queries after the original ones (VideoChat)",
        example={**SMALL, "queries": 4, "extra_queries": 5},
    )
    yield vlframe.Component(
        "connector",
        "qformer_instruct",
        "vlframe_qformer.instruct:QFormerInstruct",
        QFormerInstructParams,
        "the same beside the instruction, which queries attend to (VideoChat2)",
        example={
            **SMALL,
            "queries": 4,
            "extra_queries": 5,
            "tokenizer": "letters",
            "vocabulary": 160,
            "positions": 64,
            "longest": 64,
            "alignment": 16,
        },
    )
    yield vlframe.Component(
        "audio_connector",
        "audio_qformer",
        "vlframe_qformer.audio:AudioQFormer",
        AudioQFormerParams,
        "a Q-Former over audio steps and their positions (Video-LLaMA)",
        example={**SMALL, "queries": 3, "max_steps": 2048},
    )
    yield vlframe.Component(
        "connector",
        "audio_qformer",
        "vlframe_qformer.audio:FramesAsSteps",
        AudioQFormerParams,
        "the same Q-Former over the frames of a clip, as in its training (Video-LLaMA)",
        example={**SMALL, "queries": 3, "max_steps": 2048},
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets of Q-Formers of published sizes, and of small ones."""
    return Path(__file__).parent / "conf"
