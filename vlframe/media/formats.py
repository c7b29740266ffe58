"""Detects a file's format by its first bytes: which library opens it, or which unsupported format it is.

One table for all code that opens files, so that it agrees on a file whatever its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vlframe.errors import MediaError

# Containers of video and sound that FFmpeg may read. Otherwise it would also open still pictures, text (as a terminal
# recording) and playlists that name other files and addresses, and take noise for pictures.
CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,gif,ogg,wav,w64,mp3,flac,aac,aiff,amr,m4v,h264,hevc,obu,ivf,"
    "mxf,yuv4mpegpipe,rm,caf,au,wv,ac3,eac3,dts,tta"
)
# Pillow's formats that are pictures. Otherwise it would also run Ghostscript, and take MPEG streams for pictures. (JPEG
# is also MPO: several views of one picture; the first is used.)
PICTURES = (
    "JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "ICO", "TGA", "PCX", "SGI",
    "PSD", "QOI", "DDS",
)  # fmt: skip
# Files in a folder with these suffixes are its pictures.
PICTURE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif", ".avif", ".jp2", ".tga",
)  # fmt: skip
OPENED = (
    "MP4, MOV, MKV, WebM, AVI, MPEG, TS, FLV, WMV, OGG, MXF, Y4M, RealMedia; WAV, W64, MP3, FLAC, AAC, AIFF, AMR, CAF, "
    "AU, WavPack, AC-3, DTS, TTA; JPEG, PNG, GIF, WebP, AVIF, BMP, TIFF, PPM, JPEG 2000, PSD, TGA"
)
_NOT_TEXT = re.compile("[\\0-\\x08\\x0e-\\x1a\\x1c-\\x1f\\x7f]")  # control characters that text does not have
HEAD = 4096  # bytes that are examined

_FILM = "convert it with ffmpeg -i <file> <new file>.mp4"
_SOUND = "convert it with ffmpeg -i <file> <new file>.wav"
_PHOTO = "convert it to JPEG or PNG"
_UNPACK = "unpack it"
_GIF = "a GIF"
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")


@dataclass(frozen=True)
class Format:
    """A file format. ``library`` opens it; empty: none does, and ``advice`` says what to do. ``clips`` decodes it as a
    clip: the same library, except for a GIF. ``is_text``: text of no format that has a name of its own.
    """

    name: str
    library: Literal["ffmpeg", "pillow", ""]
    advice: str = ""
    is_text: bool = False

    @property
    def clips(self) -> str:
        return "ffmpeg" if self.name == _GIF else self.library


def _row(
    pattern: bytes, name: str, library: Literal["ffmpeg", "pillow", ""] = "", advice: str = ""
) -> tuple[re.Pattern[bytes], Format]:
    return re.compile(pattern, re.DOTALL), Format(name, library, advice)


_TABLE = (
    _row(rb"\x89PNG\r\n\x1a\n", "a PNG picture", "pillow"),
    _row(rb"\x89PNG(\n\x1a\n|\r\r\n)", "a PNG picture changed by a transfer in text mode", "", "transfer it as binary"),
    _row(rb"\xff\xd8\xff", "a JPEG picture", "pillow"),
    _row(rb"GIF8[79]a", _GIF, "pillow"),
    _row(rb"RIFF....WEBP", "a WebP picture", "pillow"),
    _row(rb"BM....\0\0", "a BMP picture", "pillow"),
    _row(rb"II\*\0.{4}CR", "a raw photo (CR2)", "", _PHOTO),
    _row(rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "a TIFF picture", "pillow"),
    _row(rb"P[1-6]\s", "a PPM picture", "pillow"),
    _row(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 picture", "pillow"),
    _row(rb"8BPS\0\x02", "a large Photoshop picture (PSB)", "", _PHOTO),
    _row(rb"8BPS", "a Photoshop picture", "pillow"),
    _row(rb"qoif", "a QOI picture", "pillow"),
    _row(
        rb"....(styp|sidx|prft|moof)(?!.*moov)", "a segment of a stream, without what describes its tracks", "",
        "put the stream's first file before it: cat init.mp4 <file> > whole.mp4"),
    _row(rb"....(ftyp|styp|moov|moof|mdat|wide|pnot)", "an MP4 or MOV file", "ffmpeg"),
    _row(rb"\x1aE\xdf\xa3", "a Matroska or WebM file", "ffmpeg"),
    _row(rb"RIFF....(AVI |WAVE)|RF64....WAVE|BW64....WAVE", "an AVI or WAV file", "ffmpeg"),
    _row(rb"OggS|fLaC|FLV\x01|ID3[\2-\4]|FORM....AIF|DKIF", "sound or video", "ffmpeg"),
    _row(rb"caff|riff\x2e\x91\xcf\x11|\.snd|wvpk|TTA1|\x0bw|#!AMR", "a sound file", "ffmpeg"),
    _row(rb"\x12\0\x0a[\x05-\x7f]", "an AV1 stream", "ffmpeg"),  # TGA, if a zero follows: it has no colour map
    _row(rb"YUV4MPEG2|\.RMF\0|\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02", "video", "ffmpeg"),
    _row(rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL picture", "", _PHOTO),
    _row(rb"FUJIFILMCCD-RAW|IIU\0|IIRO|IIRS|MMOR|FOVb", "a raw photo", "", _PHOTO),
    _row(rb"v/1\x01", "an OpenEXR picture", "", _PHOTO),
    _row(rb"SDPX|XPDS|\x80\x2a\x5f\xd7", "a DPX or Cineon picture", "", _PHOTO),
    _row(rb"icns|RIFF....ACON|II\xbc|BPG\xfb|FLIF|\xabKTX ", "a picture of another format", "", _PHOTO),
    _row(rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", "a Windows metafile", "", _PHOTO),
    _row(rb"AT&TFORM", "a DjVu file", "", "save its pages as pictures"),
    _row(rb"#\?RADIANCE", "a Radiance HDR picture", "", _PHOTO),
    _row(rb"gimp xcf", "a GIMP picture", "", _PHOTO),
    _row(rb"SIMPLE  =", "a FITS picture", "", _PHOTO),
    _row(rb"\0{128}DICM|.{128}DICM", "a DICOM file", "", _PHOTO),
    _row(rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file", "", _PHOTO),
    _row(rb"\s*%PDF-", "a PDF", "", "save its pages as pictures"),
    _row(rb"(\xef\xbb\xbf)?\s*(<\?xml.*?)?(<!--.*?-->\s*)*(<!DOCTYPE svg.*?)?<svg", "an SVG drawing", "", _PHOTO),
    _row(
        rb"(?i)(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*"
        rb"<(!doctype html|html|head|body|title|meta|h[1-6]|center|div|p|script|style|br|pre)\b",
        "a web page", "", "fetch the file itself"),
    _row(rb"version https://git-lfs", "a Git LFS pointer", "", "fetch the file itself with git lfs pull"),
    _row(rb"(\xef\xbb\xbf)?#EXTM3U|\s*<\?xml.*?<MPD", "a playlist, which names other files", "", "give the files"),
    _row(rb"[FCZ]WS[\1-\x32]", "a Flash film (SWF)", "", _FILM),
    _row(rb"MThd|RIFF....RMID", "a MIDI file", "", "render it to WAV"),
    _row(rb"\x1f\x07\0[\x3f\xbf]", "a DV film without a container", "", _FILM),
    _row(rb"\0{4}\x01\xbc", "a GXF film", "", _FILM),
    _row(rb"DHAV", "a film of a surveillance camera (DHAV)", "", _FILM),
    _row(
        rb"(\r?\n)*--[^\r\n]{1,100}\r?\n(?i:content-(type|length))",
        "a web camera's stream of pictures (multipart)", "",
        "convert it with ffmpeg -f mpjpeg -i <file> <new file>.mp4"),
    _row(rb"\xb7\xd8\x00\x20\x37\x49\xda\x11", "a WTV recording", "", _FILM),
    _row(rb"NUT/multimedia|nut/multimedia", "a NUT file", "", _FILM),
    _row(
        rb"MAC |MP\+|MPCK|tBaK|ajkg|Creative Voice|\x02?#!SILK|DSD |FRM8|OFR |MMMD|\.SoX|XoS\.|\x64\xa3[\x01-\x04]\0|"
        rb"\0[\x01-\x04]\xa3\x64|.{4}\xf8\x72\x6f\xba|RIFF....QLCM", "a sound format", "", _SOUND),
    _row(rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "an archive", "", _UNPACK),
    _row(rb".{257}ustar", "a tar archive", "", _UNPACK),
    _row(rb"\x93NUMPY|\x89HDF|\x5c\x01\0\0.{340}n[+i]1", "an array file", "", "write it as a clip or as pictures"),
    _row(rb"PAR1|ARROW1|SQLite format 3", "a table or database", "", "write the media in it to files of their own"),
    _row(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document", "", "save what is in it"),
    _row(rb"\0\x05\x16\x07", "what macOS keeps beside a file (AppleDouble)", "", "name the file that has no ._"),
    _row(rb"MZ.{58}|\x7fELF", "a program", "", "name the file that is meant"),
)  # fmt: skip


def format_of(path: Path) -> Format | None:
    """Return the format by a file's first bytes; None if unknown. Raises ``OSError``."""
    with open(path, "rb") as file:
        return format_of_head(file.read(HEAD))


def format_of_head(head: bytes) -> Format | None:
    """Return the format of a file that begins with these bytes, at most ``HEAD``; None if unknown."""
    if head[4:8] == b"ftyp" and (known := _by_brand(head)) is not None:
        return known
    return next((known for pattern, known in _TABLE if pattern.match(head)), None) or _text(head)


def _text(head: bytes) -> Format | None:
    """Return what text a file begins with; None for anything else. Servers answer with text where a file is missing."""
    utf16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = head.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        if error.end == len(head):  # a character that is cut at the end of what was read
            text = head[: error.start].decode("utf-16" if utf16 else "utf-8-sig", "ignore")
        elif sum(byte < 128 for byte in head) < 0.7 * len(head):
            return None
        else:
            text = head.decode("latin-1")
    words = text.strip()
    if not words or _NOT_TEXT.search(text):
        return None
    name = "XML text" if words.startswith("<") else "JSON text" if words[0] in '{["' else "plain text"
    advice = "it may be a server's message that was saved in place of the file; fetch the file itself"
    return Format(name, "", advice, is_text=True)


def _by_brand(head: bytes) -> Format | None:
    """Return the format of a file with MP4's structure that is not a film, by the brands in its first box."""
    brands = head[8 : int.from_bytes(head[:4], "big")]
    named = {brands[at : at + 4] for at in range(0, len(brands), 4) if at != 4}  # the second is a version, not a brand
    if named & {b"avif", b"avis"}:
        return Format("an AVIF picture", "pillow")
    if brands[:4] in _HEIC:
        return Format("a HEIC picture", "", _PHOTO)
    return Format("a raw photo (CR3)", "", _PHOTO) if brands[:4] == b"crx " else None


def reason_of_failure(path: Path, reason: str) -> str:
    """Return why a file of an unknown format cannot be read: its content was lost, or the library's ``reason``."""
    with open(path, "rb") as file:
        lost = not any(file.read(HEAD))
    return "it begins with zeros only, as a file does whose content was lost; fetch it again" if lost else reason


def check_opened(path: Path, known: Format | None) -> None:
    """Raise ``MediaError`` for an unsupported format (what it is, what is supported, what to do) or an empty file."""
    if known is None and not path.stat().st_size:
        raise MediaError(f"{path}: it is empty (0 bytes)")
    if known is not None and not known.library:
        raise MediaError(
            f"{path}: this is {known.name} (by its first bytes), which is not opened; {known.advice}. "
            f"What is opened: {OPENED}"
        )
