"""The token budget: media tokens of each item, and the context that remains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vlframe.contracts.modalities import TAGS, modality_of

if TYPE_CHECKING:
    from vlframe.contracts.front_ends import TextFrontEnd


class BranchCounter(Protocol):
    """A branch on the meta device: it has no weights and can be pickled to data workers."""

    front_end: Any
    instruction: TextFrontEnd | None
    captions: TextFrontEnd | None
    reads_seconds: bool

    def tokens(self, kind: str, shape: tuple[int, ...], tiles: int = 1) -> int:
        """Return N for an item's prepared tensor: ``frames_TCYX`` (T counts the frames of all tiles) or
        ``features_FM``. ``ConfigError`` if the parts do not accept it.
        """
        ...


@dataclass(frozen=True)
class TokenBudget:
    """Counts media tokens without weights; small enough to send to data workers.

    ``max_length`` is the longest sequence, in tokens; ``frames`` the length of a clip in frames (``media.frames``);
    ``branches`` the branches of the composition on the meta device, by modality.
    """

    max_length: int
    frames: int
    branches: Mapping[str, BranchCounter]

    def has(self, kind: str) -> bool:
        """Return whether the composition takes media of this kind."""
        return modality_of(kind).name in self.branches

    def front_end(self, kind: str) -> Any:
        """Return the front end that prepares media of this kind. KeyError if the composition takes none."""
        return self.branches[modality_of(kind).name].front_end

    def captions(self, kind: str) -> TextFrontEnd | None:
        """Return the connector's front end of captions of such media, for an objective that compares the two."""
        return self.branches[modality_of(kind).name].captions

    @property
    def front_ends(self) -> dict[str, Any]:
        """Return the front end of each kind of media that the composition takes."""
        return {kind: self.front_end(kind) for kind in TAGS if self.has(kind)}

    @property
    def frames_per_step(self) -> int:
        """Return how many frames of a clip the encoder takes together; clips are filled to a multiple of it."""
        return getattr(self.branches.get(modality_of("video").name), "frames_per_step", 1)

    def tokens(self, kind: str, shape: tuple[int, ...], tiles: int = 1) -> int:
        """Return N for an item of this kind whose prepared tensor has this shape."""
        return self.branches[modality_of(kind).name].tokens(kind, shape, tiles)
