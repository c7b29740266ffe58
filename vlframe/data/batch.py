"""The one type between data and model.

B batch, S sequence, T frames, C colours, Y X pixels, F audio frames, M audio features.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vlframe.data.sample import MediaKind

UNLABELLED = -100


@dataclass(frozen=True)
class MediaInput:
    """A decoded file on its way to an encoder.

    ``tensor`` is frames_TCYX for video (an image has T = 1), uint8, or floating point if they are normalised already;
    or float32 features_FM for sound. ``key`` names the
    content, so that one file is encoded once however often a batch asks for it. ``tokens`` is how many placeholders
    wait for it.
    """

    kind: MediaKind
    tensor: Tensor
    key: Hashable
    tokens: int


@dataclass(frozen=True)
class Skipped:
    """A sample that was left out: which, why (``media``, ``missing_audio``, ``too_long``), and the reason in words;
    where it is the fault of a file, that file and what read it."""

    id: str
    why: str
    reason: str
    path: str | None = None
    reader: str | None = None


@dataclass(frozen=True)
class Batch:
    """Rows of token ids with placeholders (negative ids) where media tokens go.

    ``media`` is in the order of the placeholders, row by row. ``skipped`` are the samples that should have been here.
    """

    ids_BS: Tensor
    labels_BS: Tensor  # UNLABELLED where nothing is to be learned
    mask_BS: Tensor  # bool, False on padding
    media: tuple[MediaInput, ...] = ()
    samples: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = field(default=())

    def __len__(self) -> int:
        return self.ids_BS.shape[0]

    def to(self, device: torch.device | str, **options: Any) -> Batch:
        """The same batch with its tensors elsewhere (Lightning calls this)."""
        return replace(
            self,
            ids_BS=self.ids_BS.to(device, **options),
            labels_BS=self.labels_BS.to(device, **options),
            mask_BS=self.mask_BS.to(device, **options),
            media=tuple(replace(item, tensor=item.tensor.to(device, **options)) for item in self.media),
        )

    def pin_memory(self) -> Batch:
        return replace(
            self,
            ids_BS=self.ids_BS.pin_memory(),
            labels_BS=self.labels_BS.pin_memory(),
            mask_BS=self.mask_BS.pin_memory(),
            media=tuple(replace(item, tensor=item.tensor.pin_memory()) for item in self.media),
        )
