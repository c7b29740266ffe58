"""Still images."""

import warnings
from pathlib import Path

import numpy as np

from vlframe.errors import MediaError

# Named so, a file is taken for a still image when it is one. GIF is missing: it may be a clip.
STILL_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


def load_image(path: Path) -> np.ndarray:
    """RGB uint8 ``frames_TYXC`` with T = 1, upright as its EXIF says; the first picture of an animation.

    Transparency is dropped, as the official code does. Raises ``MediaError`` for what PIL cannot read whole, and for
    pictures so large that PIL warns of a decompression bomb.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                upright = ImageOps.exif_transpose(image)
                if upright.mode.startswith("I;16"):  # PIL would clip 16-bit grey to white
                    upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
                return np.asarray(upright.convert("RGB"))[None]
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise MediaError(f"{path}: the image is too large: {error}") from error
    except UnidentifiedImageError as error:
        raise MediaError(f"{path}: PIL knows no image format like this; a clip is asked about with <video>") from error
    except Exception as error:  # the decoders of PIL each have errors of their own for a damaged file
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MediaError(f"{path}: cannot be read as an image: {reason}") from error


def picture_count(path: Path) -> int:
    """How many pictures PIL sees in a GIF; 1 for any other image, 0 for no image. Pixels are not decoded."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return getattr(image, "n_frames", 1) if image.format == "GIF" else 1
    except Image.DecompressionBombError:
        return 1
    except Exception:  # whatever a decoder of PIL says about a file that is not its own
        return 0
