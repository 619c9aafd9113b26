"""Files that nobody means well with, made in code, for the intake, the bot and the soak alike."""

import struct
import zlib
from functools import cache

import numpy as np
import skimage.data
from PIL import Image

from tests.inference.test_intake import SAMPLES, png, quadrants, resized
from tests.pictures import encode

FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "GIF")
EXIF, ICC = b"Exif\0\0", b"ICC_PROFILE\0\1\1"


@cache
def corpus() -> dict[str, dict[str, bytes]]:
    """Files by kind of mischief and by name; each under 3 MB."""
    face = {kind: encode(skimage.data.astronaut()[:224, 100:324], kind) for kind in FORMATS}
    return {
        "empty": {"0 bytes": b""},
        "only a start": {f"16 bytes of {kind}": data[:16] for kind, data in face.items()},
        "cut short": {
            f"{share} % of {kind}": data[: len(data) * share // 100]
            for kind, data in face.items()
            for share in (10, 50, 95)
        },
        "bits flipped": {
            f"{kind}, {seed}": flipped(data, seed) for kind, data in face.items() for seed in range(4)
        },
        "bombs": bombs(),
        "no pictures": {
            "text": b"not a photo",
            "a page that shows a photo": b"<html><img src='photo.jpg'></html>" + face["JPEG"],
            "a script that calls itself GIF": b"GIF89/*...*/=1;alert(1)//",
            "an archive with a photo in it": b"PK\x03\x04" + bytes(26) + face["PNG"],
            "a PDF with a photo in it": b"%PDF-1.7\n" + face["JPEG"],
            "a program": b"\x7fELF\2\1\1" + bytes(200),
            "a film": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(200),
            "random": np.random.default_rng(0).bytes(5000),
        },
        "not what they say": {
            "a PNG that starts as a JPEG": face["JPEG"][:20] + face["PNG"],
            "a JPEG that starts as a PNG": face["PNG"][:33] + face["JPEG"],
            "a WebP of a GIF": b"RIFF\xff\xff\0\0WEBP" + face["GIF"],
            "a HEIC of a JPEG": face["HEIF"][:32] + face["JPEG"],
            "a BMP of nothing": b"BM" + bytes(100),
            "a TIFF of nothing": b"II*\0\x08\0\0\0" + bytes(100),
            "a TIFF whose directory is itself": b"II*\0\x08\0\0\0\1\0" + bytes(12) + b"\x08\0\0\0",
        },
        "more than a picture": {
            "a photo and an archive": face["JPEG"] + b"PK\x03\x04" + bytes(26),
            "a photo and a script": face["PNG"] + b"<script>alert(1)</script><?php system($_GET[0]); ?>",
            "a photo with a script in its comment": segment(face["JPEG"], 0xFE, b"*/alert(1)/*<?php ?>"),
            "a GIF that is a script": script(face["GIF"]),
            "a photo and a film": face["JPEG"] + b"\0\0\0\x18ftypmp42" + bytes(1000),
        },
        "odd metadata": metadata(face),
        "animated": {
            "GIF of 300 frames": animation("GIF", 300),
            "WebP of 300 frames": animation("WEBP", 300),
            "PNG of 300 frames": animation("PNG", 300),
            "PNG of 4 billion frames": chunk_added(face["PNG"], b"acTL", b"\xff" * 8),
        },
        "much work": {
            "JPEG of 300 scans and 42 megapixels": scans(300),
            "JPEG of 200,000 comments": segment(face["JPEG"], 0xFE, b"", 200_000),
            "JPEG of 1,000,000 bytes of padding": face["JPEG"][:2] + b"\xff" * 1_000_000 + face["JPEG"][2:],
            "PNG of 150,000 chunks": chunk_added(face["PNG"], b"prVt", b"", 150_000),
            "GIF of 200,000 comments": gif_comments(face["GIF"], 200_000),
        },
    }


def flipped(data: bytes, seed: int) -> bytes:
    """With one bit in 4,000 the other way round, at least three of them."""
    chance = np.random.default_rng(seed)
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    bits[chance.integers(0, len(bits), max(3, len(bits) // 4000))] ^= 1
    return np.packbits(bits).tobytes()


def bombs() -> dict[str, bytes]:
    """Small files that ask for a great deal."""
    zeros = zlib.compress(bytes(100_000_000))
    row = b"\0" * 8_001
    return {
        **{
            f"{kind} of 50,000 x 50,000": resized(kind, 50_000, 50_000)
            for kind in ("PNG", "JPEG", "progressive JPEG", "GIF", "BMP", "HEIC in tiles", "AVIF")
        },
        "WebP of 16,000 x 16,000": resized("WebP", 16_000, 16_000),
        "64 megapixels of zeros": png(8_000, 8_000, 8, 0, row * 8_000),
        "PNG with a profile of 100 MB": chunk_added(SAMPLES["PNG"], b"iCCP", b"x\0\0" + zeros),
        "PNG with a text of 100 MB": chunk_added(SAMPLES["PNG"], b"zTXt", b"x\0\0" + zeros),
        "BMP of runs of 36 megapixels": runs(6_000),
        "JPEG of 20,000 scans": scans(20_000),
    }


def metadata(face: dict[str, bytes]) -> dict[str, bytes]:
    """Photos that are sound but for what is written beside them."""
    nested = face["JPEG"]
    for _ in range(3):  # a thumbnail in a thumbnail in a thumbnail
        nested = segment(face["JPEG"], 0xE1, EXIF + directory(0x8769, 8) + nested[:20_000])
    profile = b"\0\0\1\0" + bytes(32) + b"acsp" + bytes(88)
    return {
        "EXIF in EXIF in EXIF": nested,
        "EXIF whose sub-directory is itself": segment(face["JPEG"], 0xE1, EXIF + directory(0x8769, 8)),
        "EXIF whose next directory is itself": segment(face["JPEG"], 0xE1, EXIF + directory(0x100, 1, 8)),
        "EXIF of 65,535 entries": segment(face["JPEG"], 0xE1, EXIF + b"II*\0\x08\0\0\0\xff\xff"),
        "EXIF far outside": segment(face["JPEG"], 0xE1, EXIF + b"MM\0*\xff\xff\xff\xf0"),
        "EXIF of nonsense in a PNG": chunk_added(face["PNG"], b"eXIf", b"II*\0" + b"\xff" * 50),
        "a profile of zeros": segment(face["JPEG"], 0xE2, ICC + bytes(500)),
        "a profile cut short": segment(face["JPEG"], 0xE2, ICC + profile[:100]),
        "a profile of 4 billion tags": segment(face["JPEG"], 0xE2, ICC + profile + b"\xff" * 200),
        "a profile of which parts are missing": segment(face["JPEG"], 0xE2, b"ICC_PROFILE\0\7\xff" + profile),
        "a profile of nonsense in a PNG": chunk_added(
            face["PNG"], b"iCCP", b"x\0\0" + zlib.compress(profile + b"\x7f" * 400)
        ),
        "XMP that never ends": segment(
            face["JPEG"], 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<a>" * 20_000
        ),
    }


def segment(jpeg: bytes, marker: int, content: bytes, times: int = 1) -> bytes:
    """A JPEG with a segment put in after its start."""
    return (
        jpeg[:2] + (bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content) * times + jpeg[2:]
    )


def directory(tag: int, value: int, following: int = 0) -> bytes:
    """An EXIF block of one entry, a LONG, and the offset of the next directory."""
    return b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, tag, 4, 1, value, following)


def chunk_added(data: bytes, name: bytes, content: bytes, times: int = 1) -> bytes:
    """A PNG with a chunk put in after its header."""
    check = struct.pack(">I", zlib.crc32(name + content))
    chunk = struct.pack(">I", len(content)) + name + content + check
    return data[:33] + chunk * times + data[33:]


def scans(count: int) -> bytes:
    """A JPEG that refines 42 megapixels again and again, each time in 20 bytes."""
    data = resized("progressive JPEG", 7_000, 6_000)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * count + data[end:]


def runs(side: int) -> bytes:
    """A BMP of 1-pixel runs, which Pillow reads in Python, that ends long before its size."""
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0)
    start = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + header + bytes(1024)
    return start + b"\1\7" * 1_000_000 + b"\0\1"


def script(gif: bytes) -> bytes:
    """A GIF whose width of 10,799 is the start of a comment to JavaScript."""
    return gif[:6] + b"/*" + struct.pack("<H", 2_000) + gif[10:] + b"*/=1;alert(1)//"


def gif_comments(gif: bytes, count: int) -> bytes:
    palette = 3 * (2 << (gif[10] & 7)) if gif[10] & 0x80 else 0
    return gif[: 13 + palette] + b"\x21\xfe\1x\0" * count + gif[13 + palette :]


def animation(kind: str, frames: int) -> bytes:
    rest = [Image.new("RGB", (64, 48), (number % 256, number // 256, 0)) for number in range(frames - 1)]
    return encode(quadrants(), kind, save_all=True, append_images=rest)
