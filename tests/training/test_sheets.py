import cv2
import numpy as np

from training.sheets import CELL, COLUMNS, LINE, write_sheet


def test_pictures_of_any_size_stand_in_rows_over_their_words(tmp_path):
    images = [np.full((48, 48), 10 * row, np.uint8) for row in range(COLUMNS)]
    images.append(np.full((300, 200, 3), (250, 0, 0), np.uint8))
    write_sheet(
        tmp_path / "sheets" / "some.png", images, ["short"] * COLUMNS + ["words that need a second line"]
    )
    sheet = cv2.imread(str(tmp_path / "sheets" / "some.png"))
    height = CELL + 2 * LINE
    assert sheet.shape == (2 * height, COLUMNS * CELL, 3)
    for row in range(COLUMNS):
        assert (sheet[50, row * CELL + 50] == 10 * row).all()
    assert sheet[height + 50, 30].tolist() == [0, 0, 250]  # BGR
    assert sheet[height + 50, 110].tolist() == [255] * 3  # upright pictures are not stretched
    words = sheet[height + CELL :, :CELL].min(axis=(1, 2)) < 100
    assert words[:LINE].any()
    assert words[LINE:].any()


def test_the_longest_pictures_are_shown_as_lines(tmp_path):
    write_sheet(
        tmp_path / "long.png", [np.zeros((3, 900), np.uint8), np.zeros((900, 1, 3), np.uint8)], ["", ""]
    )
    sheet = cv2.imread(str(tmp_path / "long.png"))
    assert (sheet[0, : CELL - 4] == 0).all()
    assert (sheet[1:, :CELL] == 255).all()
    assert (sheet[: CELL - 4, CELL] == 0).all()


def test_a_sheet_of_nothing_is_blank(tmp_path):
    write_sheet(tmp_path / "none.png", [], [])
    assert (cv2.imread(str(tmp_path / "none.png")) == 255).all()
