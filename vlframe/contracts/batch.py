"""The one type that passes from data to model.

B batch, S sequence, T frames, C colours, Y X pixels, F audio frames, M audio features, N media tokens, L supervised
positions, I instruction tokens, R replaced embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vlframe.contracts.language_model import SequenceLayout


@dataclass(frozen=True)
class MediaFile:
    """A decoded file on its way to an encoder.

    ``tensor`` is uint8 frames_TCYX for video (float32 from front ends that do not round; an image has T = 1; with K
    ``tiles`` the first axis is K * T, tile by tile), float32 features_FM for sound, and whatever the decoder returns
    for other modalities. ``key`` identifies the content: files with the same key are encoded once, however often a
    batch asks for them. ``order`` shows the frames of a clip in another order than the file's (None: as they are), each
    tile by itself, at the same times. ``seconds_T`` is when each frame is shown, on the file's clock (float32; 0 for an
    image), for a connector that reads it; None elsewhere.
    """

    kind: str
    tensor: Tensor
    key: Hashable
    tiles: int = 1
    seconds_T: Tensor | None = None
    order: tuple[int, ...] | None = None


@dataclass(frozen=True)
class MediaUse:
    """A place in the batch that a file's tokens fill.

    ``file`` is the file's index in the batch, ``tokens`` the number of slots. ``instruction`` are the ids that a
    connector reads along with the file (empty if it reads none), and ``instruction_I`` the same on the device.
    """

    file: int
    tokens: int
    instruction: tuple[int, ...] = ()
    instruction_I: Tensor | None = None


@dataclass(frozen=True)
class Quarantined:
    """A sample that could not be used: which one, why (``media``, ``missing_audio``, ``too_long``), and the reason in
    words; if a file is at fault, that file and the reader that read it. ``part`` is the number of its part of a
    mixture.
    """

    id: str
    why: str
    reason: str
    path: str | None = None
    reader: str | None = None
    part: int = 0


@dataclass(frozen=True)
class Batch:
    """Rows of token ids, and everything about them that the model would otherwise have to read back from the device.

    ``ids_BS`` has padding where media tokens go: at the flat places ``slots_N`` (row * S + column), in the order of
    ``uses``. ``taught_L`` are the flat places whose next token, ``targets_L``, is supervised. ``lengths`` counts the
    tokens of each row. ``quarantined`` are the samples that should have been here. ``notes`` has a text for each sample
    about whose clips a sampler reports something. ``filled_R`` are the flat places whose embeddings are filled with the
    numbers ``fills_R`` during training (``TokenizedSample.first``); None if there are none. ``parts`` has for each
    sample the number of its part of a mixture (``Subset``).
    """

    ids_BS: Tensor
    layout: SequenceLayout
    slots_N: Tensor
    taught_L: Tensor
    targets_L: Tensor
    files: tuple[MediaFile, ...] = ()
    uses: tuple[MediaUse, ...] = ()
    samples: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()
    filled_R: Tensor | None = None
    fills_R: Tensor | None = None
    parts: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.ids_BS.shape[0]

    @property
    def supervised(self) -> int:
        """Return the number of supervised tokens, without reading from the device."""
        return self.targets_L.shape[0]

    def to(self, device: torch.device | str, **options: Any) -> Batch:
        """Return the same batch with its tensors elsewhere (Lightning calls this)."""
        return self._moved(lambda tensor: tensor.to(device, **options), self.layout.to(device, **options))

    def pin_memory(self) -> Batch:
        return self._moved(lambda tensor: tensor.pin_memory(), self.layout.pin_memory())

    def _moved(self, move: Callable[[Tensor], Tensor], layout: SequenceLayout) -> Batch:
        return replace(
            self,
            ids_BS=move(self.ids_BS),
            layout=layout,
            slots_N=move(self.slots_N),
            taught_L=move(self.taught_L),
            targets_L=move(self.targets_L),
            files=tuple(
                replace(
                    file,
                    tensor=move(file.tensor),
                    seconds_T=None if file.seconds_T is None else move(file.seconds_T),
                )
                for file in self.files
            ),
            uses=tuple(
                use if use.instruction_I is None else replace(use, instruction_I=move(use.instruction_I))
                for use in self.uses
            ),
            filled_R=None if self.filled_R is None else move(self.filled_R),
            fills_R=None if self.fills_R is None else move(self.fills_R),
        )
