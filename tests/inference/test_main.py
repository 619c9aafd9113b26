"""The command line, as a person runs it."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.__main__ import _photos, main
from inference.faces import EMOTIONS
from tests.conftest import DEPLOYED, ROOT


def run(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "inference", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=DEPLOYED, capture_output=True, text=True, check=False)


@pytest.fixture
def say(monkeypatch, analyzer):
    """Run it here, which takes no time to load: returns its exit status and what it printed."""

    def say(*arguments, encoding: str = "utf-8") -> tuple[int, str]:
        with monkeypatch.context() as patch:
            patch.setattr("inference.analyzer.FaceAnalyzer", lambda: analyzer)
            patch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
            status = main([str(argument) for argument in arguments])
            sys.stdout.seek(0)
            return status, sys.stdout.read()

    return say


@pytest.fixture
def photos(tmp_path, astronaut):
    """A folder with a portrait, one sideways, a large grey one, and files that are no photos."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "d.jpg").write_text("not even looked at")
    portrait = Image.fromarray(astronaut)
    portrait.save(folder / "a.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 8
    portrait.crop((0, 0, 400, 512)).rotate(-90, expand=True).save(folder / "b.jpg", exif=exif)
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:2000])
    (folder / "notes.txt").write_text("no photo")
    (folder / ".hidden").write_text("not even looked at")
    portrait.convert("L").resize((3072, 3072)).save(folder / "more" / "c.png")  # shrunk before it is read
    return folder


def test_json_has_a_line_for_every_file_of_a_folder(photos, tmp_path):
    result = run(photos, photos / "missing.jpg", "--json", "--output", tmp_path / "out")
    assert result.returncode == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["path"] for line in lines] == [
        str(photos / name)
        for name in ("a.jpg", "b.jpg", "broken.jpg", "more/c.png", "notes.txt", "missing.jpg")
    ]
    a, b, broken, c, notes, missing = lines
    for line in (broken, notes, missing):
        assert set(line) == {"path", "error"}
    assert (a["width"], a["height"], b["width"], b["height"]) == (512, 512, 400, 512)
    for line, scale in ((a, 1), (b, 1), (c, 6)):
        (face,) = line["faces"]
        assert face["box"] == pytest.approx(scale * np.array([182, 62, 85, 108]), abs=8 * scale)
        assert face["emotion"]["label"] == "happy"
        assert sum(face["emotion"]["probabilities"].values()) == pytest.approx(1, abs=0.001)
        assert set(face["emotion"]["probabilities"]) == set(EMOTIONS)
        assert face["gender"]["label"] == "female"
        assert face["age"]["low"] <= face["age"]["years"] <= face["age"]["high"]
        assert line["milliseconds"] > 0
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert written == ["a.jpg.annotated.jpg", "b.jpg.annotated.jpg", "more/c.png.annotated.jpg"]
    with Image.open(tmp_path / "out" / "b.jpg.annotated.jpg") as annotated:
        assert annotated.size == (400, 512)
    assert result.stderr == ""


def test_a_name_that_the_output_can_not_tell_stops_nothing(tmp_path, say):
    paths = [tmp_path / "z\u65e5.jpg", tmp_path / "zz.jpg"]
    for path in paths:
        path.write_text("no photo")
    first, second = say(*paths, encoding="latin-1")[1].splitlines()
    assert "z\\u65e5.jpg: " in first
    assert "zz.jpg: " in second


def test_text_is_for_people_and_a_reader_that_leaves_early_is_no_error(photos):
    command = f"{sys.executable} -m inference {photos}/missing.jpg {photos} | head -3"
    result = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=DEPLOYED, capture_output=True, text=True, check=False
    )
    missing, first, second = result.stdout.splitlines()
    assert missing == f"{photos}/missing.jpg: No such file or directory"
    assert first == f"{photos}/a.jpg: 1 face"
    assert second.startswith("  1. happy ")
    assert "woman" in second
    assert result.stderr == ""


def test_a_video_among_photos_hears_where_it_goes(tmp_path, say):
    (tmp_path / "clip.mp4").write_bytes(bytes(100))
    film, missing = say(tmp_path / "clip.mp4", tmp_path / "none.mov")[1].splitlines()
    assert film == f"{tmp_path}/clip.mp4: not an image of a known format; videos go with --video"
    assert missing == f"{tmp_path}/none.mov: No such file or directory"


def test_cropped_takes_the_whole_picture_as_one_face(tmp_path, astronaut, say):
    Image.fromarray(astronaut[65:170, 170:275]).convert("L").resize((48, 48)).save(tmp_path / "face.png")
    status, said = say(tmp_path / "face.png", "--json", "--cropped")
    assert status == 0
    line = json.loads(said)
    (face,) = line["faces"]
    assert (line["width"], line["height"]) == (48, 48)
    assert face["emotion"]["label"] == "happy"


def test_cropped_says_where_no_face_was_seen(tmp_path, say):
    Image.new("RGB", (64, 64), "white").save(tmp_path / "wall.png")
    _, said = say(tmp_path / "wall.png", "--cropped")
    assert said.splitlines()[1].endswith(", though no face was seen")


def test_two_photos_of_one_name_are_not_written_over_each_other(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.jpg").write_text("not even read")
    result = run(tmp_path / "a", tmp_path / "b", "--output", tmp_path / "out")
    assert result.returncode == 2
    assert f"--output would write {tmp_path}/b/1.jpg over {tmp_path}/a/1.jpg" in result.stderr


def test_what_was_written_is_not_analyzed_the_next_time(tmp_path):
    for name in ("1.jpg", "1.jpg.annotated.jpg", "out/2.jpg.annotated.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no photo")
    found = [[name.as_posix() for _, name in _photos([tmp_path], output)] for output in (tmp_path, None)]
    assert found == [["1.jpg"], ["1.jpg", "1.jpg.annotated.jpg", "out/2.jpg.annotated.jpg"]]


def test_what_can_not_be_looked_at_is_named_when_it_is_read(tmp_path, monkeypatch):
    for name in ("a.jpg", "locked/b.jpg", "open/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no photo")
    list_folder = os.scandir

    def refuse(place):
        if str(place).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(place))
        return list_folder(place)

    monkeypatch.setattr(os, "scandir", refuse)
    long = Path("x" * 300)
    found = [name.as_posix() for _, name in _photos([tmp_path, long], None)]
    assert found == ["a.jpg", "locked", "open/c.jpg", long.name]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["a.jpg", "--output", "a.jpg/out"], "a.jpg/out: Not a directory"),
        (["a.jpg", "--output", "a.jpg"], "a.jpg is not a folder"),
        (["a.jpg", "--output", "b.jpg"], "b.jpg looks like a file"),
        (["--video", "0", "--output", "b.webm"], "b.webm must end in .mp4"),
        ([""], "the name is empty"),
        (["a.jpg", "--output", ""], "the name is empty"),
    ],
)
def test_a_wrong_folder_is_refused_before_the_models_load(tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_text("not even read")
    with pytest.raises(SystemExit, match="2"):
        main(options)
    assert words in capsys.readouterr().err


def test_what_can_not_be_written_is_told_by_its_own_name(tmp_path, astronaut, say):
    Image.fromarray(astronaut).save(tmp_path / "a.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.jpg.annotated.jpg").symlink_to("/dev/full")
    assert say(tmp_path / "a.jpg", "--output", tmp_path / "out") == (
        1,
        f"{tmp_path}/a.jpg: No space left on device: {tmp_path}/out/a.jpg.annotated.jpg\n",
    )


def test_an_empty_folder_is_told(tmp_path):
    result = run(tmp_path)
    assert result.returncode == 2
    assert "no files" in result.stderr
