"""Sheets of pictures with a line of words under each. They are for looking at here: never commit one."""

import textwrap
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL = 120  # pixels, of a picture on the sheet
LINE = 15  # pixels, of a line of words
COLUMNS = 10
LETTERS = 20  # of a line that fits under a picture


def write_sheet(path: Path, images: list[np.ndarray], captions: list[str]) -> None:
    """Write a PNG with every picture, row by row.

    Args:
        images: RGB or grey uint8, of any size.
        captions: a few words for each.
    """
    wrapped = [textwrap.wrap(caption, LETTERS) for caption in captions]
    height = CELL + LINE * max(map(len, wrapped), default=0)
    rows = max(1, -(-len(images) // COLUMNS))  # rounded up
    sheet = Image.new("RGB", (COLUMNS * CELL, rows * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for number, (image, lines) in enumerate(zip(images, wrapped, strict=True)):
        left, top = number % COLUMNS * CELL, number // COLUMNS * height
        sheet.paste(Image.fromarray(_fit(image)), (left, top))
        draw.multiline_text((left + 2, top + CELL), "\n".join(lines), "black", font, spacing=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _fit(image: np.ndarray) -> np.ndarray:
    factor = (CELL - 4) / max(image.shape[:2])
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=way)
