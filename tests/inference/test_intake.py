import io
import math
import pickle
import random
import struct
import subprocess
import sys
import warnings
import zlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorTrc
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from inference import intake
from inference.errors import MAX_BYTES, PhotoError, Reason
from inference.intake import MAX_MEMORY, MAX_SIDE, MIN_SIDE, Photo, read_photo
from tests.pictures import encode, wide_gamut

RED, GREEN, BLUE, SAND = (200, 40, 30), (30, 160, 60), (40, 50, 190), (220, 190, 120)
COLOURS = np.array([[RED, GREEN], [BLUE, SAND]], np.uint8)  # top left, top right, bottom left, bottom right
LOSSY = 6  # levels of 255 that JPEG and its like may be off in the middle of a flat area

ORIENTATION = 0x0112  # EXIF tag


def quadrants(width: int = 64, height: int = 48) -> Image.Image:
    """COLOURS as a picture: no turn, mirroring or swap of channels leaves it as it was."""
    rows = np.repeat([0, 1], [height // 2, height - height // 2])
    columns = np.repeat([0, 1], [width // 2, width - width // 2])
    return Image.fromarray(COLOURS[rows][:, columns])


def with_alpha(image: Image.Image) -> Image.Image:
    """Opaque on the left, black and transparent on the right."""
    rgba = np.asarray(image.convert("RGBA")).copy()
    rgba[:, image.width // 2 :] = 0
    return Image.fromarray(rgba)


def tiff_of_12_bits(values: np.ndarray) -> bytes:
    """A grey TIFF as medical and scientific cameras write it; of even width, values below 4096."""
    left, right = values[:, ::2].ravel(), values[:, 1::2].ravel()
    packed = (
        np.stack([left >> 4, (left & 15) << 4 | right >> 8, right & 255], axis=1).astype(np.uint8).tobytes()
    )
    (height, width), short, long = values.shape, 3, 4
    tags = [(256, short, width), (257, short, height), (258, short, 12), (259, short, 1), (262, short, 1)]
    tags += [(273, long, 8), (277, short, 1), (278, short, height), (279, long, len(packed))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + directory


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags.tobytes()


def png(width: int, height: int, depth: int, colour: int, rows: bytes = b"") -> bytes:
    """A PNG by hand; `rows` are the unfiltered ones, each with its filter byte of 0 before it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff(pixels: np.ndarray, photometric: int, **tags: int) -> bytes:
    """A little-endian TIFF by hand, one strip; tags are given as t339=3 and are all SHORT."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    entries = {256: width, 257: height, 259: 1, 262: photometric, 277: channels, 278: height}
    entries |= {int(name[1:]): value for name, value in tags.items()}
    body = struct.pack(f"<{channels}H", *[pixels.itemsize * 8] * channels)
    start = 8
    rows = [(tag, 3, 1, value) for tag, value in entries.items()]
    bits = (258, 3, channels, start if channels > 2 else int.from_bytes(body, "little"))
    rows += [bits, (273, 4, 1, start + len(body)), (279, 4, 1, pixels.nbytes)]
    body += pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    directory = struct.pack("<H", len(rows)) + b"".join(struct.pack("<HHII", *row) for row in sorted(rows))
    return b"II*\0" + struct.pack("<I", start + len(body)) + body + directory + b"\0" * 4


def icc(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2 from its tags."""
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    header = struct.pack(">II", 128 + len(table) + len(body), 0) + b"\x02\x40\0\0" + kind + space + connection
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + fixed(0.9642, 1, 0.8249)
    return header.ljust(128, b"\0") + table + body


def fixed(*numbers: float) -> bytes:
    """ICC's s15Fixed16."""
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


# Columns are the XYZ of red, green and blue, adapted to D50.
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
DISPLAY_P3 = np.array(
    [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)
GAMMA = 563 / 256  # as exact as ICC's u8Fixed8 can say 2.2


def display_p3() -> bytes:
    tags = {}
    for letter, column in zip((b"r", b"g", b"b"), DISPLAY_P3.T, strict=True):
        tags[letter + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*column)
        tags[letter + b"TRC"] = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(GAMMA * 256))
    return icc(b"RGB ", b"XYZ ", tags)


def only_cyan() -> bytes:
    """A CMYK profile of a press on which cyan makes black and the other inks make nothing."""
    ramp = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + ramp * 4
    for cyan, *_ in product((0, 1), repeat=4):
        lut += bytes([0 if cyan else 255, 128, 128])  # L, a, b
    return icc(b"CMYK", b"Lab ", {b"A2B0": lut + ramp * 3})


def seen(photo: Photo) -> np.ndarray:
    """(2, 2, 3) the colours in the middle of the four quadrants."""
    height, width = photo.image.shape[:2]
    return photo.image[height // 4 :: height // 2, width // 4 :: width // 2][:2, :2].astype(int)


def off(photo: Photo, expected=COLOURS) -> int:
    """The largest difference from the expected colours, in levels of 255."""
    return int(np.abs(seen(photo) - np.asarray(expected, int)).max())


def refusal(data: bytes) -> Reason:
    with pytest.raises(PhotoError) as caught:
        read_photo(data)
    return caught.value.reason


def then_black() -> dict:
    """Options that add a second picture."""
    return {"save_all": True, "append_images": [Image.new("RGB", (64, 48))]}


SAMPLES = {
    "JPEG": encode(quadrants(), "JPEG", quality=95),
    "progressive JPEG": encode(quadrants(), "JPEG", quality=95, progressive=True),
    "CMYK JPEG": encode(quadrants().convert("CMYK"), "JPEG", quality=95),
    "MPO": encode(quadrants(), "MPO", quality=95, **then_black()),
    "PNG": encode(quadrants(), "PNG"),
    "APNG": encode(quadrants(), "PNG", **then_black()),
    "WebP": encode(quadrants(), "WEBP", quality=95),
    "lossless WebP": encode(quadrants(), "WEBP", lossless=True),
    "animated WebP": encode(quadrants(), "WEBP", **then_black()),
    "HEIC": encode(quadrants(), "HEIF", quality=95),
    "HEIC in tiles": encode(quadrants(160, 96), "HEIF", quality=95, tile_size=64),
    "HEIC in full colour": encode(quadrants(160, 96), "HEIF", quality=95, tile_size=64, chroma=444),
    "AVIF": encode(quadrants(), "AVIF", quality=95),
    "BMP": encode(quadrants(), "BMP"),
    "GIF": encode(quadrants(), "GIF"),
    "animated GIF": encode(quadrants(), "GIF", **then_black()),
    "TIFF": encode(quadrants(), "TIFF"),
    "LZW TIFF": encode(quadrants(), "TIFF", compression="tiff_lzw"),
    "JPEG in TIFF": encode(quadrants(), "TIFF", compression="jpeg", quality=95),
    "TIFF of two pages": encode(quadrants(), "TIFF", **then_black()),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_reads_every_format(name):
    photo = read_photo(SAMPLES[name])
    assert photo.image.dtype == np.uint8
    assert photo.image.flags.c_contiguous
    assert photo.image.shape == (photo.height, photo.width, 3)
    assert (photo.width, photo.height) == ((160, 96) if name.startswith("HEIC in") else (64, 48))
    assert off(photo) <= LOSSY


@pytest.mark.parametrize("brand", [b"mif1", b"msf1"])
@pytest.mark.parametrize("name", ["HEIC", "AVIF"])
def test_looks_past_the_brand_that_heic_and_avif_share(name, brand):
    data = SAMPLES[name]
    assert off(read_photo(data[:8] + brand + data[12:])) <= LOSSY


MODES = {
    "palette PNG": (quadrants().quantize(4), "PNG"),
    "palette BMP": (quadrants().quantize(4), "BMP"),
    "palette TIFF": (quadrants().quantize(4), "TIFF"),
    "opaque RGBA PNG": (quadrants().convert("RGBA"), "PNG"),
    "opaque RGBA TIFF": (quadrants().convert("RGBA"), "TIFF"),
    "CMYK TIFF": (quadrants().convert("CMYK"), "TIFF"),
    "YCbCr TIFF": (quadrants().convert("YCbCr"), "TIFF"),
    "LAB TIFF": (quadrants().convert("LAB"), "TIFF"),
}


@pytest.mark.parametrize("name", MODES)
def test_reads_every_colour_mode(name):
    image, kind = MODES[name]
    assert off(read_photo(encode(image, kind))) <= LOSSY


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF", "GIF", "BMP", "TIFF"])
def test_reads_grey(kind):
    grey = quadrants().convert("L")
    luma = np.asarray(grey)[12::24, 16::32]
    assert len(np.unique(luma)) == 4
    assert off(read_photo(encode(grey, kind)), np.repeat(luma[..., None], 3, axis=2)) <= LOSSY


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF"])
def test_reads_black_and_white(kind):
    bits = Image.fromarray(np.asarray(quadrants())[..., 1] > 100)  # green and sand are white
    assert bits.mode == "1"
    assert off(read_photo(encode(bits, kind)), [[[0] * 3, [255] * 3], [[0] * 3, [255] * 3]]) == 0


GREY_16 = np.repeat(
    np.repeat(np.array([[0, 65535], [32896, 257 * 77 - 100]], np.uint16), 24, axis=0), 32, axis=1
)
GREY_8 = [[[0] * 3, [255] * 3], [[128] * 3, [77] * 3]]


@pytest.mark.parametrize(
    "data",
    [
        encode(Image.fromarray(GREY_16), "PNG"),
        encode(Image.fromarray(GREY_16), "TIFF"),
        encode(Image.fromarray(GREY_16.astype(">u2")), "TIFF"),
        encode(Image.fromarray(GREY_16.astype(np.int32)), "TIFF"),
    ],
    ids=["I;16 PNG", "I;16 TIFF", "I;16B TIFF", "I TIFF"],
)
def test_scales_16_bit_grey(data):
    assert off(read_photo(data), GREY_8) == 0


def test_scales_16_bit_colour():
    deep = np.asarray(quadrants()).astype(np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    assert off(read_photo(png(64, 48, 16, 2, rows))) == 0
    assert off(read_photo(tiff(deep, 2))) == 0


def test_refuses_16_bits_of_one_colour_after_the_other():
    deep = np.asarray(quadrants()).astype(np.uint16) * 257
    assert refusal(tiff(deep, 2, t284=2)) == Reason.BROKEN


@pytest.mark.parametrize("values", [GREY_16.astype(np.uint32) * 65537, GREY_16.astype(np.int32) - 65535])
def test_refuses_grey_of_32_bits(values):
    signed = {} if values.dtype == np.uint32 else {"t339": 2}
    assert refusal(tiff(values, 1, **signed)) == Reason.BROKEN


def test_refuses_floating_point():
    data = tiff(GREY_16.astype(np.float32) / 65535, 1, t339=3)
    assert Image.open(io.BytesIO(data)).mode == "F"
    assert refusal(data) == Reason.BROKEN


GOOD = {"quality": 95}
WHITE = [255] * 3
LEFT_ON_WHITE = [[RED, WHITE], [BLUE, WHITE]]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("HEIF", GOOD), ("AVIF", GOOD)],
)
def test_puts_transparent_parts_on_white(kind, options):
    photo = read_photo(encode(with_alpha(quadrants()), kind, **options))
    assert off(photo, LEFT_ON_WHITE) <= LOSSY


def test_puts_half_transparent_parts_halfway_to_white():
    image = quadrants()
    image.putalpha(128)
    halfway = (COLOURS.astype(int) * 128 + 255 * 127) / 255
    assert off(read_photo(encode(image, "PNG")), halfway) <= 1
    grey = image.convert("LA")
    level = np.asarray(grey)[12::24, 16::32, :1].astype(int)
    assert off(read_photo(encode(grey, "PNG")), np.repeat((level * 128 + 255 * 127) / 255, 3, axis=2)) <= 1


def test_knows_premultiplied_grey():
    pixels = np.full((48, 64, 2), (60, 128), np.uint8)  # 60 of light already weighted by the alpha of 128
    data = tiff(pixels, 1, t338=1)
    assert Image.open(io.BytesIO(data)).mode == "La"
    assert off(read_photo(data), np.full((2, 2, 3), 60 + 127)) <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_knows_transparent_palette_entries(kind):
    palette = quadrants().quantize(4)
    corner = palette.getpixel((60, 2))
    assert off(read_photo(encode(palette, kind, transparency=corner)), [[RED, WHITE], [BLUE, SAND]]) == 0


def test_knows_palettes_with_alpha_and_transparent_colours():
    palette = quadrants().quantize(4)
    alpha = bytearray(b"\xff" * 4)
    alpha[palette.getpixel((60, 2))] = 128
    half_green = (np.array(GREEN) * 128 + 255 * 127) / 255
    data = encode(palette, "PNG", transparency=bytes(alpha))
    assert off(read_photo(data), [[RED, half_green], [BLUE, SAND]]) <= 1
    assert off(read_photo(encode(quadrants(), "PNG", transparency=GREEN)), [[RED, WHITE], [BLUE, SAND]]) == 0


def test_leaves_no_fringe_around_transparent_parts_that_it_shrinks():
    photo = read_photo(encode(with_alpha(quadrants(3000, 300)), "PNG", compress_level=1))
    assert photo.image.shape == (256, 2560, 3)
    across = photo.image[60].astype(int)
    assert np.abs(across[:1270] - RED).max() <= 1
    assert np.abs(across[1290:] - 255).max() <= 1
    # From red to white and never darker than red, as it would be if hidden black were mixed in.
    assert (across >= np.array(RED) - 12).all()


def test_reads_ycck():
    """Pillow cannot write it: the planes are transformed here, and the Adobe marker is told so."""
    cmyk = np.asarray(quadrants().convert("CMYK"))
    ycc = np.asarray(Image.fromarray(cmyk[..., :3]).convert("YCbCr"))
    planes = np.dstack([255 - ycc, cmyk[..., 3]])
    data = encode(Image.fromarray(planes, "CMYK"), "JPEG", quality=95)
    at = data.index(b"Adobe") + 11
    assert data[at] == 0
    assert off(read_photo(data[:at] + b"\2" + data[at + 1 :])) <= 2 * LOSSY


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_converts_display_p3(kind):
    light = (COLOURS / 255) ** GAMMA @ DISPLAY_P3.T @ np.linalg.inv(SRGB).T
    light = light.clip(0, 1)
    expected = 255 * np.where(light < 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(expected - COLOURS).max() > 20
    options = {"JPEG": GOOD, "WEBP": {"lossless": True}}.get(kind, {})
    photo = read_photo(encode(quadrants(), kind, icc_profile=display_p3(), **options))
    assert off(photo, expected) <= (LOSSY if kind == "JPEG" else 2)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_converts_cmyk_by_its_profile(kind):
    inks = np.zeros((48, 64, 4), np.uint8)
    inks[:24, :32, 0] = 255
    inks[:24, 32:, 1] = 255
    inks[24:, :32, 2:] = 255
    data = encode(Image.fromarray(inks, "CMYK"), kind, icc_profile=only_cyan())
    assert off(read_photo(data), [[[0] * 3, WHITE], [WHITE, WHITE]]) <= LOSSY


def test_white_may_be_zero_at_16_bits():
    values = np.repeat(np.repeat(np.array([[0, 65535], [32768, 13107]], np.uint16), 24, axis=0), 32, axis=1)
    photo = read_photo(encode(Image.fromarray(values), "TIFF", tiffinfo={262: 0}))
    assert off(photo, np.array([[255, 0], [127, 204]])[..., None].repeat(3, axis=2)) <= 1


def test_a_bmp_whose_transparency_means_nothing_is_no_white_sheet():
    head = struct.pack("<IiiHHIIiiII", 108, 64, 48, 1, 32, 3, 0, 0, 0, 0, 0)
    head += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(52)
    data = b"BM" + struct.pack("<IHHI", 14 + 108 + 64 * 48 * 4, 0, 0, 14 + 108) + head
    photo = read_photo(data + bytes((30, 60, 90, 0)) * (64 * 48))
    assert off(photo, np.full((2, 2, 3), (90, 60, 30))) <= 0


@pytest.mark.parametrize(
    ("primaries", "curve", "most"),
    [
        (ColorPrimaries.BT2020, ColorTrc.SMPTE2084, 12),
        (
            ColorPrimaries.BT2020,
            ColorTrc.ARIB_STD_B67,
            40,
        ),  # within what the library and BT.2408 differ by
        (ColorPrimaries.SMPTE432, ColorTrc.IEC61966_2_1, LOSSY),
        (ColorPrimaries.SMPTE432, ColorTrc.BT709, LOSSY),
    ],
)
def test_converts_a_heic_by_its_coded_colours(primaries, curve, most):
    """Those of cameras that take photos in HDR, and of Display P3, without an ICC profile."""
    as_coded = ColorTrc.IEC61966_2_1 if curve == ColorTrc.BT709 else curve
    signal = np.round(255 * wide_gamut(np.asarray(quadrants(2600, 130)), primaries, as_coded))
    photo = read_photo(
        encode(
            Image.fromarray(signal.clip(0, 255).astype(np.uint8)),
            "HEIF",
            quality=95,
            color_primaries=primaries,
            transfer_characteristics=curve,
        )
    )
    assert off(photo) <= most


def test_reads_tiffs_of_12_bits():
    levels = np.linspace(0, 255, 64).round()
    values = np.tile((levels * 4095 / 255).round().astype(int), (48, 1))
    image = read_photo(tiff_of_12_bits(values)).image
    assert np.abs(image.astype(int) - levels[:, None]).max() <= 1


def test_converts_grey_by_its_profile():
    linear = icc(b"GRAY", b"XYZ ", {b"kTRC": b"curv\0\0\0\0" + struct.pack(">I", 0)})
    expected = 255 * (1.055 * (64 / 255) ** (1 / 2.4) - 0.055)
    assert expected > 130
    plain, opaque = Image.new("L", (64, 48), 64), Image.new("LA", (64, 48), (64, 255))
    for image, options in ((plain, {}), (opaque, {}), (plain, {"transparency": 3})):
        photo = read_photo(encode(image, "PNG", icc_profile=linear, **options))
        assert off(photo, np.full((2, 2, 3), expected)) <= 1


@pytest.mark.parametrize(
    "profile",
    [
        b"nonsense",
        display_p3()[:200],
        display_p3()[:128] + b"\xff" * 400,
        only_cyan(),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
    ],
    ids=["no profile", "cut short", "damaged", "of another mode", "sRGB", "LAB"],
)
def test_ignores_profiles_that_are_of_no_use(profile):
    assert off(read_photo(encode(quadrants(), "PNG", icc_profile=profile))) == 0


# As the camera stores an upright picture: EXIF 2.32, "Orientation".
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF"])
def test_turns_photos_upright(kind, orientation):
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(quadrants()))))
    photo = read_photo(encode(stored, kind, exif=exif(orientation)))
    assert photo.image.shape == (48, 64, 3)
    assert (photo.width, photo.height) == (64, 48)
    assert off(photo) <= 2 * LOSSY


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_is_not_turned_by_what_an_editor_noted_in_xmp(kind):
    """Browsers go by EXIF alone; programs that turn a photo and its EXIF often forget XMP."""
    note = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    table = PngInfo()
    table.add_itxt("XML:com.adobe.xmp", note.decode())
    data = encode(quadrants(), kind, **({"pnginfo": table} if kind == "PNG" else {"xmp": note}))
    assert Image.open(io.BytesIO(data)).getexif()[ORIENTATION] == 6  # what Pillow makes of it
    photo = read_photo(data)
    assert (photo.width, photo.height) == (64, 48)
    assert off(photo) <= 2 * LOSSY


def test_turns_what_it_shrinks():
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(np.asarray(quadrants(5200, 3000)))))
    for data in (encode(stored, "JPEG", exif=exif(6)), encode(stored, "PNG", exif=exif(6), compress_level=1)):
        photo = read_photo(data)
        assert photo.image.shape == (1477, MAX_SIDE, 3)
        assert (photo.width, photo.height) == (5200, 3000)
        assert off(photo) <= LOSSY


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_ignores_orientations_that_do_not_exist(value):
    photo = read_photo(encode(quadrants(), "PNG", exif=exif(value)))
    assert (photo.width, photo.height) == (64, 48)
    assert off(photo) == 0


def test_ignores_broken_exif():
    for metadata in (b"Exif\0\0", b"Exif\0\0nonsense", exif(6)[:-9], b"Exif\0\0II*\0\xff\xff\xff\xff"):
        with warnings.catch_warnings(record=True) as said:
            assert off(read_photo(encode(quadrants(), "PNG", exif=metadata))) == 0
            assert off(read_photo(encode(quadrants(), "JPEG", quality=95, exif=metadata))) <= LOSSY
        assert not said


@pytest.mark.parametrize("size", [(2561, 1291), (3500, 2625), (5121, 700), (300, 5000)])
def test_shrinks_in_bands_as_if_at_once(size):
    # Far from black and white, where clipping would depend on which way is shrunk first.
    noise = Image.fromarray(np.random.default_rng(0).integers(90, 170, size[::-1], np.uint8))
    scale = MAX_SIDE / max(size)
    expected = np.asarray(noise.resize((round(size[0] * scale), round(size[1] * scale)), intake.FILTER))
    photo = read_photo(encode(noise, "BMP"))
    assert (photo.width, photo.height) == size
    assert photo.image.shape == (*expected.shape, 3)
    assert np.abs(photo.image - expected[..., None].astype(int)).max() <= 2


def test_decodes_a_large_jpeg_at_half_its_size_where_that_is_enough():
    photo = read_photo(encode(quadrants(4000, 3000), "JPEG"))
    assert photo.image.shape == (1500, 2000, 3)
    assert (photo.width, photo.height) == (4000, 3000)
    assert off(photo) <= LOSSY
    assert read_photo(encode(quadrants(3000, 300), "JPEG")).image.shape == (256, MAX_SIDE, 3)


def test_leaves_photos_up_to_the_largest_size_alone():
    image = quadrants(MAX_SIDE, 300)
    assert np.array_equal(read_photo(encode(image, "PNG")).image, np.asarray(image))


# Limits


def test_refuses_nothing_and_too_much():
    assert refusal(b"") == Reason.EMPTY
    padding = b"\0" * (MAX_BYTES - len(SAMPLES["JPEG"]))
    assert off(read_photo(SAMPLES["JPEG"] + padding)) <= LOSSY
    assert refusal(SAMPLES["JPEG"] + padding + b"\0") == Reason.TOO_MANY_BYTES


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((1, 1), Reason.TOO_SMALL),
        ((MIN_SIDE - 1, 40), Reason.TOO_SMALL),
        ((40, MIN_SIDE - 1), Reason.TOO_SMALL),
        ((MIN_SIDE, MIN_SIDE), None),
        ((20 * MIN_SIDE, MIN_SIDE), None),
        ((20 * MIN_SIDE + 1, MIN_SIDE), Reason.TOO_LONG),
        ((MIN_SIDE, 20 * MIN_SIDE + 1), Reason.TOO_LONG),
        ((20000, 10), Reason.TOO_LONG),
    ],
)
def test_limits_the_sides(size, reason):
    for kind in ("PNG", "JPEG", "WEBP" if max(size) < 16384 else "BMP"):
        data = encode(Image.new("RGB", size, RED), kind)
        if reason:
            assert refusal(data) == reason
        else:
            assert (read_photo(data).width, read_photo(data).height) == size


def resized(name: str, width: int, height: int) -> bytes:
    """A sample whose header claims another size than its own."""
    data, sizes = SAMPLES[name], struct.pack
    tiles = b"ispe" + sizes(">III", 0, 160, 96)
    if name == "PNG":
        return png(width, height, 8, 2, b"\0" * 1000)
    pairs = {
        "JPEG": (sizes(">HH", 48, 64), sizes(">HH", height, width)),
        "progressive JPEG": (sizes(">HH", 48, 64), sizes(">HH", height, width)),
        "GIF": (sizes("<HH", 64, 48), sizes("<HH", width, height)),
        "BMP": (sizes("<II", 64, 48), sizes("<II", width, height)),
        "HEIC in tiles": (tiles, b"ispe" + sizes(">III", 0, width, height)),
        "HEIC in full colour": (tiles, b"ispe" + sizes(">III", 0, width, height)),
        "AVIF": (b"ispe" + sizes(">III", 0, 64, 48), b"ispe" + sizes(">III", 0, width, height)),
        "WebP": (b"\x9d\x01\x2a" + sizes("<HH", 64, 48), b"\x9d\x01\x2a" + sizes("<HH", width, height)),
    }
    old, new = pairs[name]
    assert old in data
    return data.replace(old, new)


@pytest.mark.parametrize(
    ("name", "width", "height"),
    [
        ("PNG", 50_000, 50_000),
        ("PNG", 7_000, 6_000),
        ("JPEG", 60_000, 60_000),
        ("JPEG", 10_100, 10_000),
        ("progressive JPEG", 10_000, 7_000),
        ("WebP", 16_000, 16_000),
        ("WebP", 4_000, 3_200),
        ("HEIC in tiles", 30_000, 30_000),
        ("HEIC in tiles", 6_000, 4_300),
        ("HEIC in full colour", 4_000, 3_200),
        ("AVIF", 16_000, 16_000),
        ("AVIF", 4_000, 3_200),
        ("GIF", 60_000, 60_000),
        ("GIF", 7_000, 6_000),
        ("BMP", 7_000, 6_000),
    ],
)
def test_refuses_too_many_pixels_by_the_header(name, width, height):
    assert refusal(resized(name, width, height)) == Reason.TOO_MANY_PIXELS


@pytest.mark.parametrize(("name", "size"), [("PNG", (7_000, 5_700)), ("HEIC in tiles", (5_712, 4_284))])
def test_goes_on_to_decode_what_is_just_within_the_limits(name, size):
    assert refusal(resized(name, *size)) == Reason.BROKEN  # there are no pixels to fill it


@pytest.mark.parametrize(("name", "size"), [("JPEG", (10_000, 10_000)), ("progressive JPEG", (7_000, 6_000))])
def test_decodes_a_jpeg_just_within_the_limits(name, size):
    photo = read_photo(resized(name, *size))  # libjpeg leaves grey what is missing before the end marker
    assert (photo.width, photo.height) == size


def test_refuses_a_jpeg_in_several_scans_that_would_need_all_coefficients():
    """Sequential, but with a scan for each component: libjpeg keeps as much as of a progressive one."""
    header = b"\xff\xda" + struct.pack(">HB", 12, 3)
    data = resized("JPEG", 10_000, 7_000)
    at = data.index(header)
    assert read_photo(data).width == 10_000
    one_component = b"\xff\xda" + struct.pack(">HB", 8, 1) + data[at + 5 : at + 7] + data[at + 11 : at + 14]
    assert refusal(data[:at] + one_component + data[at + 14 :]) == Reason.TOO_MANY_PIXELS


def test_refuses_a_compressed_bomb():
    side = 8_000  # 64 MB of zeros in 62 kB
    data = png(side, side, 8, 0, b"\0" * (side * (side + 1)))
    assert len(data) < 100_000
    assert refusal(data) == Reason.TOO_MANY_PIXELS


CEILING = """
import sys
from pathlib import Path
from inference import intake

intake.MEMORY_CEILING = 30_000_000
for path in sys.argv[1:]:
    try:
        intake.read_photo(Path(path).read_bytes())
        print("read")
    except intake.PhotoError as error:
        print(error.reason.name)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_stops_headers_that_lie_at_the_memory_ceiling(tmp_path):
    """In a process of its own: this one has freed memory left that could be used again below any ceiling."""
    avif = encode(Image.new("RGB", (4_000, 4_000), RED), "AVIF", speed=10)
    scaled = avif.replace(struct.pack(">II", 4_000, 4_000), struct.pack(">II", 64, 48))
    # The profile's place is taken by a crop to the middle of the picture.
    profile = b"\0" * 28
    fast = {"quality": 10, "enc_params": {"preset": "ultrafast"}}
    heic = encode(Image.new("RGB", (3_000, 3_000), RED), "HEIF", icc_profile=profile, **fast)
    assert b"colrprof" + profile in heic
    cropped = heic.replace(b"colrprof" + profile, b"clap" + struct.pack(">8I", 64, 1, 48, 1, 0, 1, 0, 1))

    paths = []
    for data in (SAMPLES["AVIF"], scaled, SAMPLES["HEIC"], cropped):
        photo = read_photo(data)  # well below the usual ceiling
        assert (photo.width, photo.height) == (64, 48)
        paths.append(tmp_path / str(len(paths)))
        paths[-1].write_bytes(data)
    assert run(CEILING, *paths).split() == ["read", "BROKEN", "read", "BROKEN"]


def test_refuses_a_heic_of_two_sizes():
    profile, size = b"\0" * 8, struct.pack(">III", 0, 640, 480)
    data = encode(quadrants(640, 480), "HEIF", icc_profile=profile)
    assert data.index(b"colrprof" + profile) < data.index(b"ispe" + size)
    # The decoder goes by the first and Pillow by the second.
    data = data.replace(size, struct.pack(">III", 0, 64, 48)).replace(b"colrprof" + profile, b"ispe" + size)
    assert Image.open(io.BytesIO(data)).size == (64, 48)
    assert refusal(data) == Reason.BROKEN


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_gives_the_memory_limit_back():
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    read_photo(SAMPLES["PNG"])
    refusal(SAMPLES["PNG"][:100])
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


MEASURE = """
import resource, sys
from pathlib import Path
from inference.errors import PhotoError
from inference.intake import read_photo

def peak():  # not getrusage's maximum, which starts from that of the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # not a byte may be written to the disk
data = Path(sys.argv[1]).read_bytes()
before = peak()
photo = read_photo(data)
print(photo.width, photo.height, *photo.image.shape, peak() - before)
"""


def run(script: str, *paths: Path) -> str:
    command = [sys.executable, "-c", script, *map(str, paths)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert result.returncode == 0, result.stderr
    return result.stdout


def measure(path: Path, data: bytes) -> tuple[list[int], int]:
    """Width, height and shape of a photo read in a process of its own, and the bytes that took."""
    path.write_bytes(data)
    *size, used = map(int, run(MEASURE, path).split())
    return size, used


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_decodes_a_jpeg_of_48_megapixels_in_little_memory(tmp_path):
    size, used = measure(tmp_path / "photo", encode(quadrants(8064, 6048), "JPEG", quality=80))
    assert size == [8064, 6048, 1512, 2016, 3]
    assert 4 * 2016 * 1512 < used < MAX_MEMORY / 3  # decoded at a quarter of its scale


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize(
    ("kind", "width", "height", "options"),
    [
        ("JPEG", 8064, 6048, {"progressive": True}),
        ("PNG", 7000, 5700, {"compress_level": 1}),
        ("WEBP", 4032, 3024, {"method": 0}),
        ("TIFF", 4032, 3024, {"compression": "tiff_deflate", "exif": exif(6)}),
    ],
)
def test_keeps_to_the_memory_limit(tmp_path, kind, width, height, options):
    image = quadrants(width, height)
    if kind == "PNG":
        image = with_alpha(image)
    size, used = measure(tmp_path / "photo", encode(image, kind, **options))
    assert sorted(size[:2]) == [height, width]
    assert used < 1.15 * MAX_MEMORY


# Damage and deceit


OTHERS = {
    "text": b"Hello",
    "UTF-16": "Gr\u00fc\u00dfe".encode("utf-16"),
    "PDF with a JPEG in it": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + SAMPLES["JPEG"],
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='64' height='48'/>",
    "HTML": b"<html><img src='photo.jpg'></html>",
    "zip": b"PK\x03\x04" + b"\0" * 26,
    "MP4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + b"\0" * 100,
    "Matroska": b"\x1a\x45\xdf\xa3" + b"\0" * 100,
    "zeros": b"\0" * 1000,
    "PPM": encode(quadrants(), "PPM"),
    "ICO": encode(quadrants(), "ICO"),
    "PDF": encode(quadrants(), "PDF"),
    "EPS": encode(quadrants(), "EPS"),
    "TGA": encode(quadrants(), "TGA"),
    "JPEG 2000": encode(quadrants(), "JPEG2000"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_knows_what_is_not_an_image(name):
    assert refusal(OTHERS[name]) == Reason.NOT_AN_IMAGE


def test_reads_an_image_with_something_else_behind_it():
    assert off(read_photo(SAMPLES["JPEG"] + b"PK\x03\x04<script>alert(1)</script>%PDF-1.7")) <= LOSSY
    assert off(read_photo(SAMPLES["PNG"] + SAMPLES["GIF"])) == 0


SINGLE = set(SAMPLES) - {"MPO", "APNG", "animated WebP", "animated GIF", "TIFF of two pages"}


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_refuses_what_is_cut_short(name):
    data = SAMPLES[name]
    signature = 16
    for length in np.linspace(signature, 0.8 * len(data), 20).astype(int):
        assert refusal(data[:length]) == Reason.BROKEN


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF", "GIF", "BMP"])
def test_refuses_a_real_picture_cut_short_near_its_end(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8))
    data = encode(noise, kind)
    assert read_photo(data).width == 128
    assert refusal(data[: int(0.97 * len(data))]) == Reason.BROKEN


@pytest.mark.parametrize("name", SAMPLES)
def test_survives_any_damage(name):
    """The same damage in every run; the crash of a decoder would end all tests."""
    chance = random.Random(name)
    results = set()
    for _ in range(100):
        data = bytearray(SAMPLES[name])
        near = min(len(data), chance.choice((60, 400, len(data))))
        match chance.randrange(3):
            case 0:
                for _ in range(chance.choice((1, 2, 10))):
                    data[chance.randrange(near)] ^= 1 << chance.randrange(8)
            case 1:
                at = chance.randrange(near)
                data[at : at + 4] = chance.choice((b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\1\0\0"))
            case 2:
                start, end = sorted((chance.randrange(near), chance.randrange(near)))
                data[start:end] = b"" if chance.random() < 0.5 else data[start:end] * 2
        try:
            photo = read_photo(bytes(data))
        except PhotoError as error:
            results.add(error.reason)
        else:
            height, width, channels = photo.image.shape
            assert channels == 3
            assert max(width, height) <= MAX_SIDE
            assert math.isclose(photo.width / photo.height, width / height, rel_tol=0.1)
    assert Reason.BROKEN in results


def test_errors_say_nothing_of_the_file_and_travel_between_processes():
    with pytest.raises(PhotoError) as caught:
        read_photo(SAMPLES["PNG"][:40] + b"secret" * 20)
    error = caught.value
    assert str(error) == Reason.BROKEN
    assert error.__suppress_context__
    copy = pickle.loads(pickle.dumps(error))
    assert copy.reason is Reason.BROKEN
