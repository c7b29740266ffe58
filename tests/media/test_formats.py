"""Files of formats that are not opened are named, and what is opened is the same for everything that opens it."""

import struct

import pytest
from helpers.clips import ClipSpec, picture, write_clip, write_sound
from PIL import Image

from vlframe import MediaError
from vlframe.media.file_kind import media_kind
from vlframe.media.formats import format_of
from vlframe.media.images import load_image

CLOSED = {
    "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
    "burst.heif": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC picture"),
    "photo.cr2": (b"II*\0\x10\0\0\0CR\x02\0", r"a raw photo \(CR2\)"),
    "photo.cr3": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", r"a raw photo \(CR3\)"),
    "photo.raf": (b"FUJIFILMCCD-RAW 0201", "a raw photo"),
    "photo.jxl": (b"\xff\x0a\xfa\x1f\x41\x91", "a JPEG XL picture"),
    "drawing.svg": (
        b'<?xml version="1.0"?>\n<!-- by hand -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "an SVG drawing",
    ),
    "plain.svg": (b'<svg width="10" height="10"></svg>', "an SVG drawing"),
    "paper.pdf": (b"%PDF-1.7\n%\xe2\xe3", "a PDF"),
    "paper.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript file"),
    "page.mp4": (b"<!DOCTYPE html>\n<html><body>404</body></html>", "a web page"),
    "pointer.mp4": (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "a Git LFS pointer"),
    "error.jpg": (b'{"error": "not found"}', "JSON text"),
    "errors.mp4": (b'["not found"]', "JSON text"),
    "message.mp4": (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "XML text"),
    "message.mp3": ("\ufeffZugriff nicht möglich".encode(), "plain text"),
    "message.png": ("Zugriff nicht möglich".encode("utf-16"), "plain text"),
    "long.mp4": (b"x" * 4095 + "é".encode() * 10, "plain text"),
    "latin.mp4": ("Zugriff nicht möglich, die Datei fehlt".encode("latin-1"), "plain text"),
    "latin.html": ("<html><title>Datei nicht verfügbar</title></html>".encode("latin-1"), "a web page"),
    "late.html": ("<!-- Größe -->\n<!-- b -->\n<center><h1>404</h1></center>".encode("latin-1"), "a web page"),
    "xhtml.mp4": (b'<?xml version="1.0" encoding="iso-8859-1"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD">', "a web page"),
    "list.m3u8": (b"#EXTM3U\n#EXTINF:10,\nclip.ts\n", "a playlist"),
    "film.swf": (b"CWS\x0a\0\0\0\0", "a Flash film"),
    "song.mid": (b"MThd\0\0\0\6\0\1", "a MIDI file"),
    "clips.zip": (b"PK\x03\x04\x14\0", "an archive"),
    "clip.mp4.gz": (b"\x1f\x8b\x08\0", "an archive"),
    "clips.tar": (b"clip.mp4".ljust(257, b"\0") + b"ustar\0", "a tar archive"),
    "frames.npy": (b"\x93NUMPY\1\0", "an array file"),
    "scan.dcm": (bytes(128) + b"DICM", "a DICOM file"),
    "part.m4s": (b"\0\0\0\x18stypmsdh\0\0\0\0msdhmsix\0\0\0\x60moof", "a segment of a stream"),
    "bare.m4s": (b"\0\0\0\x60moof\0\0\0\x10mfhd", "a segment of a stream"),
    "tape.dv": (b"\x1f\x07\0\xbf\xf8\x78\x78\x78", "a DV film without a container"),
    "tape.gxf": (b"\0\0\0\0\1\xbc\0\0\0\x72", "a GXF film"),
    "door.dav": (b"DHAV\xfd\0\0\0", "a film of a surveillance camera"),
    "door.mjpeg": (b"--frame\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\xff", "a web camera's stream of pictures"),
    "voice.silk": (b"\x02#!SILK_V3\x16\0", "a sound format"),
    "voice.ircam": (b"\x64\xa3\1\0\0\0\x48\x43", "a sound format"),
    "film.thd": (b"\xc0\x1c\0\0\xf8\x72\x6f\xba", "a sound format"),
    "scan.dpx": (b"SDPX\0\0\x08\0", "a DPX or Cineon picture"),
    "icon.icns": (b"icns\0\0\x10\0", "a picture of another format"),
    "figure.emf": (b"\1\0\0\0" + bytes(36) + b" EMF", "a Windows metafile"),
    "book.djvu": (b"AT&TFORM\0\0\0\x20DJVU", "a DjVu file"),
    "huge.psb": (b"8BPS\0\2" + bytes(6), "a large Photoshop picture"),
    "brain.nii": (b"\x5c\1\0\0" + bytes(340) + b"n+1\0", "an array file"),
    "clips.parquet": (b"PAR1\x15\4", "a table or database"),
    "clips.db": (b"SQLite format 3\0", "a table or database"),
    "slides.ppt": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document"),
    "._clip.mp4": (b"\0\5\x16\7\0\2\0\0Mac OS X        ", "what macOS keeps beside a file"),
    "player.mp4": (b"MZ\x90\0" + bytes(60), "a program"),
    "text.png": (b"\x89PNG\n\x1a\n\0\0", "a PNG picture changed by a transfer in text mode"),
}


@pytest.mark.parametrize("name", CLOSED)
def test_what_is_not_opened_is_named_with_what_to_do(registry, tmp_path, name):
    content, what = CLOSED[name]
    path = tmp_path / name
    path.write_bytes(content if "text" in what else content + bytes(300))
    words = rf"{name}: this is {what}.* \(by its first bytes\), which is not opened; .{{8,}}\. What is opened: MP4"
    with pytest.raises(MediaError, match=words):
        media_kind(path)
    with pytest.raises(MediaError, match=words):
        load_image(path)
    for reader in ("auto", "decord", "pyav"):
        read = registry.build("reader", {"name": reader})
        for ask in (lambda read=read: read.info(path), lambda read=read: read.audio(path, 16000, None, None)):
            with pytest.raises(MediaError, match=words):
                ask()


def test_a_raw_photo_in_a_tiff_is_not_read_as_its_preview(tmp_path):
    path = tmp_path / "photo.nef"
    tags = {254: 1, 330: 8, 271: "NIKON"}
    Image.fromarray(picture(0, 24, 32)).save(path, "TIFF", tiffinfo=tags)
    with pytest.raises(MediaError, match=r"photo\.nef: this is a raw photo .* only a preview"):
        load_image(path)


def test_bytes_that_are_no_text_are_not_called_so(tmp_path):
    for content in (b"", b"  \n", b"a\0b", b"\xff\xfb\x90", b"\x01ab", b"\xe9\xe8 \xfc\xf6\xdf x"):
        (tmp_path / "a.mp4").write_bytes(content)
        assert format_of(tmp_path / "a.mp4") is None


def test_a_file_of_zeros_is_told_from_a_damaged_one(registry, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes(10_000))
    for opened in (media_kind, registry.build("reader", {"name": "auto"}).info):
        with pytest.raises(MediaError, match=r"a\.mp4: .*it begins with zeros only.*fetch it again"):
            opened(path)


def test_a_picture_that_cannot_be_read_is_not_read_as_a_film(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"MM\0*\0\0\0\x08\0\0\0\0\0\0")
    with pytest.raises(MediaError, match="this is a TIFF picture, and it cannot be read: it is damaged, or"):
        media_kind(path)


def test_an_empty_file_is_said_to_be_empty_by_all(registry, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"")
    for opened in (media_kind, load_image, registry.build("reader", {"name": "auto"}).info):
        with pytest.raises(MediaError, match="it is empty"):
            opened(path)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "PPM", "GIF", "JPEG2000", "TGA", "ICO"])
def test_pictures_are_pictures_whatever_they_are_called(tmp_path, form):
    path = tmp_path / "clip.mp4"
    Image.fromarray(picture(0, 32, 32)).save(path, form)
    known = format_of(path)
    assert known is None or known.library == "pillow"
    assert media_kind(path) == "image"
    assert load_image(path).shape[0] == 1


FILMS = [
    ClipSpec("a.mp4", sound="aac"), ClipSpec("a.mkv"), ClipSpec("a.mov"), ClipSpec("a.avi", "mpeg4"), ClipSpec("a.ts"),
    ClipSpec("a.mpg", "mpeg2video"), ClipSpec("a.flv", "flv"), ClipSpec("a.asf", "mpeg4"), ClipSpec("a.h264"),
    ClipSpec("a.ivf", "libvpx-vp9"), ClipSpec("a.mxf", "mpeg2video"), ClipSpec("a.y4m", "wrapped_avframe"),
    ClipSpec("a.webm", "libvpx-vp9"), ClipSpec("a.m4v", "mpeg4"), ClipSpec("a.3gp", "mpeg4"),
]  # fmt: skip
SOUNDS = [
    ("a.wav", "pcm_s16le"), ("a.mp3", "libmp3lame"), ("a.flac", "flac"), ("a.ogg", "libopus"), ("a.aiff", "pcm_s16be"),
    ("a.w64", "pcm_s16le"), ("a.aac", "aac"), ("a.m4a", "aac"), ("a.caf", "pcm_s16be"), ("a.au", "pcm_s16be"),
    ("a.wv", "wavpack"), ("a.ac3", "ac3"), ("a.eac3", "eac3"), ("a.tta", "tta"), ("a.mka", "flac"),
]  # fmt: skip


@pytest.mark.parametrize("spec", FILMS, ids=lambda spec: spec.name)
def test_films_are_films(registry, tmp_path, spec):
    path = write_clip(tmp_path, spec)
    path = path.rename(tmp_path / "a.jpg")
    assert media_kind(path) == "video"
    reader = registry.build("reader", {"name": "auto"})
    info = reader.info(path)
    assert (info.frames, round(info.fps), info.height, info.width) == (40, 25, 48, 64)
    assert reader.frames(path, [0, 39]).shape == (2, 48, 64, 3)


@pytest.mark.parametrize(("name", "codec"), SOUNDS)
def test_sounds_are_sounds(registry, tmp_path, name, codec):
    path = write_sound(tmp_path / name, codec, 0.5, 48000).rename(tmp_path / "a.png")
    assert media_kind(path) == "audio"
    waveform_L = registry.build("reader", {"name": "auto"}).audio(path, 16000, None, None)
    assert len(waveform_L) == pytest.approx(8000, abs=1300) and abs(waveform_L).max() > 0.1


def test_the_names_of_brands_are_read_where_they_stand(tmp_path):
    """A HEIC file whose list of brands is long, and an MP4 that holds the letters of one."""
    path = tmp_path / "a"
    path.write_bytes(struct.pack(">I4s4sI", 32, b"ftyp", b"mif1", 0) + b"mif1miafheicMiHB")
    assert format_of(path).name == "a HEIC picture"
    path.write_bytes(struct.pack(">I4s4sI", 32, b"ftyp", b"mif1", 0) + b"mif1miafavifMA1B")
    assert format_of(path).name == "an AVIF picture"
    path.write_bytes(struct.pack(">I4s4sI", 20, b"ftyp", b"isom", 0) + b"isom" + b"\0\0\0\x20freeavifavif")
    assert format_of(path).library == "ffmpeg" and "MP4" in format_of(path).name
