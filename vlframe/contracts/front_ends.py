"""Front ends: small picklable objects that turn raw data into a part's input. They run in data workers.

T frames, C colours, Y X pixels, K tiles, L waveform samples, F audio frames, M audio features, I instruction tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from vlframe.contracts.grids import PixelLayout


class PixelFrontEnd(Protocol):
    """Turns decoded frames into an encoder's input; owned by the encoder, the same in training and inference.

    A front end that replaces the encoder's own may also have ``normalise_to_train``, which replaces ``normalise`` in
    training: some systems are trained with another mean and std than they are used with; and
    ``prepare_to_train(frames_TYXC, generator)``, which replaces ``prepare`` there, with pictures varied at random. Its
    NumPy generator, seeded by the run's seed and the sample's position in the run, is the only source of randomness.
    A static ``verify(recording)`` yields a ``Comparison`` for each output that it knows of a recording of only frames;
    none of any other recording.
    """

    def layout(self, height: int, width: int, frames: int = 1) -> PixelLayout:
        """Return what each frame of this size becomes, without decoding. ``frames`` is the clip's length, for front
        ends that tile pictures but not clips.
        """
        ...

    def prepare(self, frames_TYXC: np.ndarray) -> Tensor:
        """Return uint8 ``frames_TCYX`` of ``layout``'s size; with K tiles the first axis is K * T, tile by tile.

        A front end that must not round gives float32, which takes four times the room on the way to the device."""
        ...

    def normalise(self, frames_TCYX: Tensor) -> Tensor:
        """Return float pixels, on the device of the frames, of what ``prepare`` gives, and of uint8. Any leading
        axes."""
        ...


class AudioFrontEnd(Protocol):
    """Turns a waveform into an audio encoder's input."""

    sampling_rate: int  # Hz, mono
    seconds: float  # the longest sound; the rest is cut

    def features(self, waveform_L: Tensor) -> Tensor: ...  # float32 features_FM, e.g. log-mel frames


class TextFrontEnd(Protocol):
    """Turns the instruction that accompanies a medium into a connector's input."""

    def encode(self, instruction: str) -> list[int]: ...  # at least one id
