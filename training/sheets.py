"""Sheets of pictures with a line of words under each. They are for looking at here: never commit one."""

import textwrap
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL = 120  # pixels, of a picture on the sheet
LINE = 15  # pixels, of a line of words
COLUMNS = 10
LETTERS, LINES = 20, 4  # that fit under a picture


def write_sheet(path: Path, images: list[np.ndarray], captions: list[str]) -> None:
    """Write a PNG with every picture, row by row.

    Args:
        images: RGB or grey uint8, of any size.
        captions: a few words for each.
    """
    height = CELL + LINES * LINE
    rows = max(1, -(-len(images) // COLUMNS))
    sheet = Image.new("RGB", (COLUMNS * CELL, rows * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = number % COLUMNS * CELL, number // COLUMNS * height
        sheet.paste(Image.fromarray(_fit(image)), (left, top))
        words = "\n".join(textwrap.wrap(caption, LETTERS)[:LINES])
        draw.multiline_text((left + 2, top + CELL), words, "black", font, spacing=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _fit(image: np.ndarray) -> np.ndarray:
    factor = (CELL - 4) / max(image.shape[:2])
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=way)
