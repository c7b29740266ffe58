"""Reads pictures with Pillow: still ones, and the number of frames of animated ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlframe.errors import MediaError
from vlframe.media.end_marks import with_end_mark
from vlframe.media.formats import PICTURES, check_opened, format_of
from vlframe.media.missing import no_such_file
from vlframe.media.picture_ends import motion_jpeg, what_follows

if TYPE_CHECKING:
    from PIL.Image import Image

MOVING = ("GIF", "WEBP", "PNG", "AVIF")  # Pillow's animated formats
MOVING_NAMES = ("a GIF", "a WebP picture", "a PNG picture", "an AVIF picture")  # theirs in the table of formats
ORIENTATION, SUBFILE, SUB_IFDS, DNG_VERSION = 0x0112, 254, 330, 50706  # tags of EXIF and TIFF
PREVIEW, MASK = 1, 4  # bits of SUBFILE
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # a tag of TIFF, and a value of it


def load_image(path: Path) -> np.ndarray:
    """Return RGB uint8 ``frames_TYXC`` with T = 1, upright and unmirrored as its EXIF says.

    Transparency is dropped, as the official code does. Raises ``MediaError`` for what Pillow cannot read completely,
    for pictures so large that Pillow warns of a decompression bomb, and for files of several pictures of which only one
    would be used.
    """
    with opened_picture(path) as image:
        if (count := _moving_count(image)) > 1:
            raise MediaError(
                f"{path}: this moves, it is a {image.format} of {count} pictures; ask about it with <video>, or save "
                "the picture that is meant"
            )
        _check_pages(path, image)
        return upright_rgb(image)[None]


def picture_size(path: Path) -> tuple[int, int]:
    """Return height and width of the picture as ``load_image`` returns it, in pixels. Pixels are not decoded."""
    with opened_picture(path) as image:
        return upright_size(image)


def picture_count(path: Path) -> int:
    """Return the number of frames in a GIF, WebP, PNG or AVIF; 1 for any other picture, 0 for other files.

    Also of those in Motion JPEG, which is not opened. Pixels are not decoded.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=PICTURES) as image:
                return motion_jpeg(path) if image.format == "JPEG" else _moving_count(image)
    except Image.DecompressionBombError:
        return 1
    except Exception:  # Pillow's decoders raise anything for files of other formats
        return 0


def still_image(path: Path, name: str = "a picture") -> MediaError:
    """Return the error for a file of one picture where a clip is asked for."""
    return MediaError(
        f"{path}: this is {name}, a still image; ask about it with <image>, not <video>. A list of one picture, or a "
        "folder with one, is a clip of one frame"
    )


def _no_picture(path: Path) -> str:
    """Describe a file that Pillow does not know. Raises ``MediaError`` for a format that is not opened at all."""
    known = format_of(path)
    check_opened(path, known)
    if known is not None and known.library == "ffmpeg":
        return f"this is {known.name}, not a picture; a clip is asked about with <video>, sound with <audio>"
    return "its first bytes are of no picture format that is opened"


@contextmanager
def opened_picture(path: Path) -> Iterator[Image]:
    """Open the picture with Pillow. Any exception inside the block becomes a ``MediaError``."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(with_end_mark(path), formats=PICTURES) as image:
                _check_alone(path, image)
                yield image
    except MediaError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise MediaError(f"{path}: the image is too large: {error}") from error
    except FileNotFoundError as error:
        raise MediaError(f"{path}: {no_such_file(path)}") from error
    except UnidentifiedImageError as error:
        raise MediaError(f"{path}: {_no_picture(path)}") from error
    except Exception as error:  # each of PIL's decoders has its own errors for a damaged file
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MediaError(f"{path}: cannot be read as an image: {reason}") from error


def upright_rgb(image: Image) -> np.ndarray:
    """Return RGB uint8 ``picture_YXC``, turned upright by its EXIF orientation."""
    from PIL import Image

    image.load()  # damage is found here, before the picture's parts are read

    # Pillow would clip 16-bit grey to white. It calls that of a PGM 32-bit, and has scaled it.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        grey_YX = (np.asarray(_oriented(image)) >> 8).astype(np.uint8)
        if image.format == "TIFF" and _tags(image).get(PHOTOMETRIC) == WHITE_IS_ZERO:  # which Pillow leaves as it is
            grey_YX = 255 - grey_YX
        return np.asarray(Image.fromarray(grey_YX).convert("RGB"))
    if image.mode in ("I", "F"):  # their white value is unknown
        raise ValueError(
            f"its pixels are numbers of 32 bits or with a sign ({image.mode}); save it with 8 or 16 bits a colour"
        )
    return np.asarray(_oriented(image).convert("RGB"))


def upright_size(image: Image) -> tuple[int, int]:
    """Return height and width of the upright picture."""
    width, height = image.size
    return (width, height) if _orientation(image) >= 5 else (height, width)


def _oriented(image: Image) -> Image:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none, or unreadable EXIF (viewers ignore it)."""
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    from PIL.Image import Image as Picture

    try:
        # The base class's method: PNG's own would decode the pixels to read past them, and hide their damage here.
        value = Picture.getexif(image).get(ORIENTATION, 1)
    except Exception:  # of many types, from unchecked structures
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _moving_count(image: Image) -> int:
    if image.format not in MOVING:
        return 1
    hidden = bool(getattr(image, "default_image", False))  # a PNG's still image for viewers without animation
    return max(getattr(image, "n_frames", 1) - hidden, 1)


def _check_alone(path: Path, image: Image) -> None:
    """Refuse a file of two pictures, or of an animation and a film, of which only the first would be seen.

    What otherwise follows a still picture belongs to it: a phone's film or sound (motion photos), a JPEG preview.
    """
    if image.format == "JPEG" and (count := motion_jpeg(path)) > 1:
        raise MediaError(
            f"{path}: this is Motion JPEG, {count} pictures one after the other, and not opened; convert it with "
            "ffmpeg -f mjpeg -framerate <pictures a second> -i <file> <new file>.mp4"
        )
    more = what_follows(path, image.format) if image.format in MOVING else None
    if more is None:
        return
    known, at = more
    if known.name in MOVING_NAMES or (known.library == "ffmpeg" and _moving_count(image) > 1):
        raise MediaError(
            f"{path}: it is several files written one after the other (after the {image.format} another begins at "
            f"byte {at:,}: {known.name}), and only the first would be seen; save each in a file of its own"
        )


def _check_pages(path: Path, image: Image) -> None:
    """Refuse a TIFF of which only one page, or a preview, would be read."""
    if image.format != "TIFF":
        return
    first = _subfile(image)
    tags = _tags(image)
    if DNG_VERSION in tags or (first & PREVIEW and SUB_IFDS in tags):
        raise MediaError(
            f"{path}: this is a raw photo (DNG, NEF, ARW, …), of which only a preview would be read; convert it to "
            "JPEG or PNG"
        )
    pages = 0
    for page in range(getattr(image, "n_frames", 1)):
        image.seek(page)
        pages += not _subfile(image) & (PREVIEW | MASK)
    image.seek(0)
    if pages > 1:
        raise MediaError(
            f"{path}: this is a TIFF of {pages} pages, of which only one would be seen; save each page as a picture (a "
            "list of pictures is read as a clip)"
        )


def _subfile(image: Image) -> int:
    value = _tags(image).get(SUBFILE, 0)
    return value if isinstance(value, int) else 0


def _tags(image: Any) -> Any:
    """Return the tags of a TIFF, which other pictures lack."""
    return image.tag_v2
