"""Different size bounds for an encoder that takes pictures of any size."""

from vlframe import ConfigError, NativePixels, PixelFrontEnd


class Native(NativePixels):
    """The encoder's own patch, colours and resampling between ``min_pixels`` and ``max_pixels``."""

    def __init__(self, *, own: PixelFrontEnd, min_pixels: int, max_pixels: int) -> None:
        if not isinstance(own, NativePixels):
            raise ConfigError(
                f"pixels 'native' needs an encoder that takes pictures of any size, and this one has a fixed size "
                f"({type(own).__name__}); leave pixels unset, take pixels=tiles, or choose an encoder of native size"
            )
        super().__init__(own.patch, min_pixels, max_pixels, own.mean, own.std, own.resampling)
