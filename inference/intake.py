"""Bytes from outside -> a safe, upright RGB photo: limits, formats, colour spaces, orientation."""

import io
import math
import struct
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import AvifImagePlugin, ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from pillow_heif import register_heif_opener

from inference import memory
from inference.errors import MAX_BYTES, PhotoError, Reason

MAX_PIXELS = 100_000_000  # by the header
MAX_MEMORY = 200_000_000  # bytes that decoding may take, as estimated from the header
MEMORY_CEILING = 300_000_000  # bytes that decoding gets, whatever the header says
MIN_SIDE = 16  # pixels
MAX_SCANS = 1000  # of a JPEG; each goes over the whole picture, 20 bytes over 42 megapixels in 3 ms
MAX_RATIO = 20  # longer side to shorter side; Telegram's limit for photos
MAX_SIDE = 2560  # pixels; Telegram shows photos up to this size, and detection works at half of it
DRAFT_SIDE = 1600  # pixels of a large JPEG that are enough: 2560 of 4000 take longer to make than to search

# AVIF stands before HEIF: both accept the brand `mif1`, and only libavif looks on to what is inside.
FORMATS = ("PNG", "WEBP", "AVIF", "HEIF", "BMP", "TIFF", "GIF")  # and JPEG
JPEG_START = b"\xff\xd8\xff"

# What decoding takes at its peak, measured with Pillow 13 and pillow-heif 1.8.
BYTES_A_PIXEL = {"PNG": 5, "BMP": 5, "GIF": 5, "HEIF": 8, "WEBP": 16, "AVIF": 16, "TIFF": 16}
FULL_COLOUR_HEIF = 16  # bytes a pixel of a HEIF without chroma subsampling, at 10 bits

DECODING_THREADS = 2  # of HEIF and AVIF; each one's stack counts towards MEMORY_CEILING

PHOTOMETRIC = ExifTags.Base.PhotometricInterpretation  # a tag of TIFF; 0 is white at zero
DEPTH = ExifTags.Base.BitsPerSample  # another one
PLANES = ExifTags.Base.PlanarConfiguration  # another one; 2 is one colour after the other

WIDE = (9, 12)  # primaries of BT.2020 and of Display P3, by their numbers in ITU-T H.273

BAND = 64  # rows of the shrunk photo that are made at a time
FILTER = Image.Resampling.BICUBIC
FILTER_REACH = 2  # pixels of the shrunk photo that FILTER looks to either side

# EXIF orientation -> what makes the photo upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# With thumbnails on, `draft` would decode an embedded one in place of the photo.
register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=DECODING_THREADS)
AvifImagePlugin.DEFAULT_MAX_THREADS = DECODING_THREADS


@dataclass(frozen=True)
class Photo:
    """A photo ready for detection.

    image: (h, w, 3) uint8 RGB (sRGB), C-contiguous, upright, longest side at most MAX_SIDE.
    width, height: of the upright photo as it was sent, pixels.
    """

    image: np.ndarray
    width: int
    height: int


def read_photo(data: bytes, max_side: float = math.inf) -> Photo:
    """Decode a photo, or find out why it cannot be one.

    All limits are checked from the header, before a pixel is decoded; nothing is written to the disk.
    With MAX_MEMORY a JPEG may have all of MAX_PIXELS, because it is decoded shrunk (a progressive one about
    20 to 50 megapixels, because libjpeg keeps its coefficients), a PNG, BMP or GIF 40, a HEIC 25, and a WebP,
    AVIF or TIFF 12.5. Of several pictures in a file the first is read, of a HEIC the primary one.

    For one thread at a time: warning filters and the process's memory limit are set meanwhile.

    Args:
        max_side: pixels that the longer side may have, for who wants less than the limits above.

    Raises:
        PhotoError: and nothing else, whatever `data` holds.
    """
    if not data:
        raise PhotoError(Reason.EMPTY)
    if len(data) > MAX_BYTES:
        raise PhotoError(Reason.TOO_MANY_BYTES)
    try:
        # The header's size cannot be trusted in HEIF and AVIF, where a crop, a tile, the alpha channel or the
        # coded picture itself may be of any size: 2 kB that call themselves 16 x 16 take 300 MB to decode.
        with warnings.catch_warnings(), memory.at_most(MEMORY_CEILING):
            warnings.simplefilter("ignore")  # Pillow's, about odd metadata and sizes that are allowed here
            return _decode(data, max_side)
    except PhotoError:
        raise
    except UnidentifiedImageError:
        known = any(accepts(data[:16]) for _, accepts in map(Image.OPEN.get, FORMATS))
        raise PhotoError(Reason.BROKEN if known else Reason.NOT_AN_IMAGE) from None
    except (Image.DecompressionBombError, MemoryError):
        raise PhotoError(Reason.TOO_MANY_PIXELS) from None
    except Exception:  # decoders let through whatever their parsing stumbles over
        raise PhotoError(Reason.BROKEN) from None


def _decode(data: bytes, max_side: float) -> Photo:
    image = _open(data)
    width, height = image.size
    # A JPEG will be decoded at 1/2, 1/4 or 1/8 where that is enough; other formats have no such thing.
    scale = min(1.0, DRAFT_SIDE / max(width, height))
    image.draft(None, (max(1, int(width * scale)), max(1, int(height * scale))))
    decoded_size = image.size
    _check(data, image, width, height, max_side)
    image.load()
    if image.size != decoded_size:  # a HEIF with two headers that differ
        raise PhotoError(Reason.BROKEN)
    if image.mode == "I" and not 0 <= min(image.getextrema()) <= max(image.getextrema()) < 2**16:
        raise PhotoError(Reason.BROKEN)  # 32 bits: as of floating point, but for those that hold 16

    if image.format == "BMP" and image.mode == "RGBA" and image.getextrema()[3] == (0, 0):
        image.putalpha(255)  # who wrote it meant nothing by that channel
    negative = False
    if image.format == "TIFF" and image.mode.startswith("I;16"):
        negative = image.tag_v2.get(PHOTOMETRIC) == 0  # at fewer bits Pillow inverts it
        (depth, *_) = image.tag_v2.get(DEPTH, (16,))  # or 12, the only other one that Pillow reads so
        image = image.point(lambda value: value * (65535 / (2**depth - 1))) if depth < 16 else image

    orientation = _orientation(image)
    profile = image.info.get("icc_profile")
    coded = image.info.get("nclx_profile", {})  # of a HEIF without an ICC profile
    scale = min(1.0, MAX_SIDE / max(image.size))
    image = _shrink(image, max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = _to_srgb(ImageOps.invert(image) if negative else image, profile)
    if coded.get("color_primaries") in WIDE:
        image = _narrow(image, coded["color_primaries"], coded["transfer_characteristics"])
    if orientation in TURNS:
        image = image.transpose(TURNS[orientation])
    if orientation >= 5:
        width, height = height, width
    return Photo(np.array(image), width, height)


def _open(data: bytes) -> Image.Image:
    """Read the header only."""
    if data.startswith(JPEG_START):
        # Not through Image.open, which goes through all pictures of an MPO: the first is a plain JPEG.
        return JpegImageFile(io.BytesIO(data))
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _check(data: bytes, image: Image.Image, width: int, height: int, max_side: float) -> None:
    """Refuse what is outside the limits, knowing only the header."""
    if max(width, height) > MAX_RATIO * min(width, height):
        raise PhotoError(Reason.TOO_LONG)
    if min(width, height) < MIN_SIDE:
        raise PhotoError(Reason.TOO_SMALL)
    if width * height > MAX_PIXELS or max(width, height) > max_side:
        raise PhotoError(Reason.TOO_MANY_PIXELS)
    if _memory(data, image, width, height) > MAX_MEMORY:
        raise PhotoError(Reason.TOO_MANY_PIXELS)
    # Counted in all of the file, of which other bytes may look like a scan: by chance 300 or so of 20 MB.
    if image.format == "JPEG" and data.count(b"\xff\xda") > MAX_SCANS:
        raise PhotoError(Reason.BROKEN)
    if image.mode == "F":  # what is white in floating point is anybody's guess
        raise PhotoError(Reason.BROKEN)
    if image.format == "TIFF" and image.tag_v2.get(PLANES) == 2 and max(image.tag_v2.get(DEPTH, (1,))) > 8:
        raise PhotoError(Reason.BROKEN)  # uncompressed, Pillow reads each byte of it for a pixel
    if image.format == "HEIF" and _is_cut_short(data):
        raise PhotoError(Reason.BROKEN)


def _memory(data: bytes, image: Image.Image, width: int, height: int) -> float:
    """About how many bytes decoding will take at its peak."""
    if isinstance(image, JpegImageFile):
        return 4 * image.width * image.height + _coefficients(data, image, width, height)
    if image.format == "HEIF" and image.info.get("chroma") in (422, 444):
        return FULL_COLOUR_HEIF * width * height
    return BYTES_A_PIXEL[image.format] * width * height


def _coefficients(data: bytes, image: JpegImageFile, width: int, height: int) -> float:
    """Bytes of the coefficients, which libjpeg keeps where not everything comes in one scan."""
    scan = data.rindex(b"\xff\xda", 0, image.fp.tell())  # the header of the first scan has just been read
    components_in_scan = data[scan + 4]
    if components_in_scan == image.layers and not image.info.get("progressive"):
        return 0
    samples = sum(across * down for _, across, down, _ in image.layer)
    full = max(across for _, across, _, _ in image.layer) * max(down for _, _, down, _ in image.layer)
    return 2 * width * height * samples / full


def _is_cut_short(data: bytes) -> bool:
    """Whether a HEIF ends within its pictures; libheif silently leaves tiles green that are missing."""
    at = 0
    while at + 16 <= len(data):
        size, name, long_size = struct.unpack_from(">I4sQ", data, at)
        if size == 1:
            size = long_size
        if name == b"mdat":
            return at + size > len(data)
        at += max(size, 8)
    return True


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of a decoded picture, 1 to 8; 1 where its decoder has turned it already."""
    for packet in ("xmp", "XML:com.adobe.xmp"):  # by whose orientation Pillow goes, but no browser
        image.info.pop(packet, None)
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken metadata do not make a broken photo
        return 1
    return orientation if orientation in TURNS else 1


def _shrink(image: Image.Image, width: int, height: int) -> Image.Image:
    """The whole picture at (width, height), flattened.

    It is made in bands, because flattening all of a large picture would take as much memory again.
    """
    if image.size == (width, height):
        return _flatten(image)
    scale = image.height / height
    reach = FILTER_REACH * scale
    small = None
    for top in range(0, height, BAND):
        bottom = min(top + BAND, height)
        first = max(0, math.floor(top * scale - reach))
        last = min(image.height, math.ceil(bottom * scale + reach))
        band = _flatten(image.crop((0, first, image.width, last)))
        box = (0, top * scale - first, image.width, bottom * scale - first)
        small = small or Image.new(band.mode, (width, height))
        small.paste(band.resize((width, bottom - top), FILTER, box), (0, top))
    return small


def _flatten(image: Image.Image) -> Image.Image:
    """Any mode -> L, RGB or CMYK: 8 bits, no palette, transparent parts over white."""
    if image.mode.startswith("I"):
        return Image.fromarray(((np.asarray(image).astype(np.int32) + 128) // 257).astype(np.uint8))
    if image.mode == "La":  # weighted by its alpha; Pillow has no direct way from it to RGBA
        image = image.convert("LA")
    if image.has_transparency_data:
        mode = "L" if image.mode in ("L", "LA") else "RGB"  # grey stays so, as its profile is for grey
        image = image.convert("LA" if mode == "L" else "RGBA")
        paper = Image.new(mode, image.size, "white")
        paper.paste(image, mask=image)
        return paper
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """L, RGB or CMYK -> RGB, by the embedded ICC profile where there is a sound one for this mode."""
    if profile:
        try:
            return ImageCms.profileToProfile(
                image,
                ImageCms.getOpenProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
        except ImageCms.PyCMSError:  # damaged, or for another mode
            pass
    return image.convert("RGB")


def _narrow(image: Image.Image, primaries: int, curve: int) -> Image.Image:
    """RGB of WIDE primaries, as of cameras that take photos in HDR -> sRGB, as footage does with videos.

    Args:
        curve: transfer characteristics, by their number in ITU-T H.273; all but HDR's are taken for sRGB's.
    """
    import av  # which most photos don't need

    from inference.footage import HDR, SDR

    frame = av.VideoFrame.from_image(image)
    frame.color_primaries, frame.color_trc = primaries, curve if curve in HDR else SDR["dst_color_trc"]
    return frame.reformat(format="rgb24", **SDR).to_image()
