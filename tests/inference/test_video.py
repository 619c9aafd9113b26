import csv
import resource
import time
from itertools import pairwise
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

import inference.__main__
import inference.analyzer
from inference.faces import EMOTIONS, BoundingBox, Gender
from inference.footage import Picture
from inference.people import Census
from inference.tracking import overlap
from inference.video import Pace, Shot, annotate, follow
from inference.words import sum_up
from tests.inference import test_tracking
from tests.videos import encode, moving, place

RATE = 25


def pictures(images: list[np.ndarray], rate: float = RATE):
    """The images as they come from a file."""
    return (Picture(image, number / rate) for number, image in enumerate(images))


def shots(analyzer, images: list[np.ndarray], pace: Pace | None = None) -> list[Shot]:
    return list(follow(pictures(images), analyzer, pace or Pace(), lambda stage: None))


@pytest.fixture(scope="module")
def clip():
    """Two seconds of the portrait, crossing the picture and coming nearer; and where its face is."""
    return moving(2 * RATE)


@pytest.fixture(scope="module")
def followed(analyzer, clip):
    return shots(analyzer, clip[0])


def test_the_box_follows_the_face_in_every_frame_under_one_number(clip, followed):
    assert [shot.seconds for shot in followed] == [number / RATE for number in range(2 * RATE)]
    for shot, image, face in zip(followed, *clip, strict=True):
        (track,) = shot.tracks
        assert track.number == 1
        assert overlap(track.face.box, face) > 0.7
        assert np.array_equal(shot.image, image)


def test_features_move_with_their_face(followed):
    """Labels keep clear of them."""
    (first,), *others = (shot.tracks for shot in followed)

    def nose(track) -> tuple[float, float]:
        (x, y), box = track.face.keypoints.nose, track.face.box
        return (x - box.x) / box.width, (y - box.y) / box.height

    for (track,) in others:
        assert nose(track) == pytest.approx(nose(first), abs=0.08)


def test_labels_are_drawn_where_they_were(followed):
    spots = {}
    for shot in followed[:2]:
        annotate(shot, spots)
        assert list(spots) == [1]


def test_frames_between_are_not_looked_at_and_boxes_move_evenly(followed):
    seen = [shot.seconds for shot in followed if shot.seen]
    assert 15 <= len(seen) <= 20
    assert min(later - earlier for earlier, later in pairwise(seen)) > 0.09
    xs = [shot.tracks[0].face.box.x for shot in followed]
    assert max(abs(later - earlier) for earlier, later in pairwise(xs)) < 12  # of about 5 a frame


def test_people_are_told_apart_and_go_when_the_scene_changes(analyzer):
    couple = np.hstack([place(0.6, -20, 10, 260, 300), place(0.5, 0, 40, 260, 300)])
    nobody = np.full_like(couple, 90)
    followed = shots(analyzer, [couple] * 20 + [nobody] * 15)
    assert all([track.number for track in shot.tracks] == [1, 2] for shot in followed[:20])
    assert all(track.face.box.x < 260 for shot in followed for track in shot.tracks if track.number == 1)
    assert all(shot.tracks == [] for shot in followed[23:])
    census = Census()
    for shot in followed:
        if shot.seen:
            census.note(shot.tracks, shot.seconds)
    first, second = census.people()
    assert sum_up(first).startswith("happy; woman, about ")
    assert (second.number, second.emotion) == (2, "happy")
    assert first.seconds == pytest.approx(0.8, abs=0.15)


def scenes() -> tuple[np.ndarray, np.ndarray]:
    """Two pictures with a face in the same place, and all else different."""
    one = place(0.6, 40, 10, 400, 300)
    other = 255 - one
    face = slice(40, 130), slice(140, 230)
    other[face] = one[face]
    return one, other


def test_who_stands_where_another_stood_before_a_cut_is_another(analyzer):
    one, other = scenes()
    followed = shots(analyzer, [one] * 11 + [other] * 12)
    assert [[track.number for track in shot.tracks] for shot in followed] == [[1]] * 11 + [[2]] * 12


@pytest.mark.parametrize("level", [0, 255, 90])
def test_nor_does_a_plain_frame_between_two_scenes_make_them_one(analyzer, level):
    one, other = scenes()
    plain = np.full_like(one, level)
    followed = shots(analyzer, [one] * 11 + [plain] * 3 + [other] * 12)
    assert [track.number for track in followed[8].tracks] == [1]
    assert [[track.number for track in shot.tracks] for shot in followed[14:]] == [[2]] * 12


@pytest.mark.parametrize("fade", [12, 25, 40])
def test_who_comes_in_another_s_place_by_a_fade_is_another(fade):
    """No frame of it differs much from the one before."""
    rng = np.random.default_rng(0)
    one, other = (cv2.resize(rng.integers(0, 256, (9, 9, 3), np.uint8), (96, 64)) for _ in range(2))
    images = [cv2.addWeighted(one, 1 - share, other, share, 0) for share in np.linspace(0, 1, fade)]
    images = [one] * RATE + images + [other] * RATE

    def glance(image: np.ndarray) -> list:
        is_first = np.abs(image.astype(int) - one).mean() < np.abs(image.astype(int) - other).mean()
        return [test_tracking.face(30, 20, 24, gender=Gender(0.95 if is_first else 0.05))]

    followed = shots(SimpleNamespace(glance=glance), images)
    told = [track.number for shot in followed for track in shot.tracks]
    assert (told[0], told[-1], told == sorted(told)) == (1, 2, True)
    assert RATE < told.index(2) < RATE + fade + RATE / 2


@pytest.mark.parametrize("axis", [0, 1])
def test_stripes_that_stand_still_are_looked_at(analyzer, axis):
    ramp = np.linspace(20, 220, 96).astype(np.uint8)
    stripes = np.broadcast_to(np.expand_dims(ramp, axis)[..., None], (96, 96, 3))
    stripes = np.ascontiguousarray(stripes)
    assert all(shot.tracks == [] for shot in shots(analyzer, [stripes] * 5))


def test_margins_hide_no_cut(analyzer):
    """Portraits in a film that is wider."""
    one, other = (np.pad(image, ((0, 0), (300, 300), (0, 0))) for image in scenes())
    followed = shots(analyzer, [one] * 11 + [other] * 12)
    assert [[track.number for track in shot.tracks] for shot in followed] == [[1]] * 11 + [[2]] * 12


@pytest.mark.parametrize("seconds", [0.1, 0.125])
def test_a_fast_pan_of_a_gif_is_no_cut(analyzer, seconds):
    frames = [Picture(image, seconds * number) for number, image in enumerate(moving(10, 160)[0])]
    followed = list(follow(iter(frames), analyzer, Pace(), lambda stage: None))
    assert {track.number for shot in followed for track in shot.tracks} == {1}


def test_light_that_changes_is_no_cut(analyzer):
    one, _ = scenes()
    dark = (one * 0.5).astype(np.uint8)
    followed = shots(analyzer, [one] * 11 + [dark] * 12)
    assert {track.number for shot in followed for track in shot.tracks} == {1}


def test_a_slide_show_knows_who_stays_and_who_is_new(analyzer):
    one, other = scenes()
    slides = [Picture(image, 2.0 * number) for number, image in enumerate((one, one, other))]
    followed = list(follow(iter(slides), analyzer, Pace(), lambda stage: None))
    assert [[track.number for track in shot.tracks] for shot in followed] == [[1], [1], [2]]


def test_what_is_drawn_has_the_number_and_colour_of_the_track(followed):
    shot = followed[10]
    third = shot._replace(tracks=[type(shot.tracks[0])(3, shot.tracks[0].face)])
    one, three = annotate(shot, {}).astype(int), annotate(third, {}).astype(int)
    changed = np.abs(one - shot.image).max(axis=2) > 60
    assert 300 < changed.sum() < 0.2 * changed.size
    assert (np.abs(one - three).max(axis=2) > 60).sum() > 200  # another colour, another number


class Slow:
    """An analyzer, and a clock on which each look takes so many seconds and each frame a few more."""

    def __init__(self, monkeypatch, look: float, frame: float) -> None:
        self.now, self.looks, self._look, self._frame = 0.0, 0, look, frame
        monkeypatch.setattr("inference.video.time.perf_counter", lambda: self.now)

    def glance(self, image: np.ndarray) -> list:
        self.now += self._look
        self.looks += 1
        return []

    def pictures(self, seconds: int):
        for number in range(30 * seconds):
            self.now += self._frame
            yield Picture(np.zeros((2, 2, 3), np.uint8), number / 30)


@pytest.mark.parametrize(
    ("look", "frame", "looks", "longest"),
    [(0.02, 0.005, (190, 200), 8), (0.1, 0.01, (30, 60), 12), (0.1, 0.015, (38, 48), 13.5)],
    ids=["fast", "slow", "slower"],
)
def test_who_has_no_time_looks_less_often(monkeypatch, look, frame, looks, longest):
    """Twenty seconds of video, for which there are twelve."""
    slow = Slow(monkeypatch, look, frame)
    pace = Pace(20, 12)
    followed = list(follow(slow.pictures(20), slow, pace, lambda stage: None))
    assert len(followed) == 600
    assert looks[0] <= slow.looks <= looks[1]
    assert slow.now <= longest
    gaps = [later - earlier for earlier, later in pairwise(shot.seconds for shot in followed if shot.seen)]
    assert max(gaps) < 0.55
    assert pace.late(20) == (longest > 12.6)


def film(monkeypatch, analyzer, *arguments) -> int:
    """The command line, with models that are loaded already."""
    monkeypatch.setattr(inference.analyzer, "FaceAnalyzer", lambda: analyzer)
    return inference.__main__.main(["--video", *map(str, arguments)])


def test_the_command_line_writes_the_video_and_a_table(monkeypatch, analyzer, tmp_path, capsys):
    images, faces = moving(RATE, 800)
    source, target, table = tmp_path / "clip.mp4", tmp_path / "out.mp4", tmp_path / "faces.csv"
    source.write_bytes(encode(images, RATE, sound="aac"))
    assert film(monkeypatch, analyzer, source, "--output", target, "--csv", table) == 0
    out, err = capsys.readouterr()
    assert err == ""
    first, second = out.splitlines()
    assert first == f"{source}: 1 person in 1.0 s"
    assert second.startswith("  1. happy; woman, about ")
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) >= 8
    for row in rows:
        assert (row["number"], row["gender"]) == ("1", "female")
        assert sum(float(row[emotion]) for emotion in EMOTIONS) == pytest.approx(1, abs=0.001)
        assert float(row["happy"]) > 0.5
        assert float(row["age_low"]) <= float(row["age"]) <= float(row["age_high"])
        box = BoundingBox(*(float(row[name]) for name in ("x", "y", "width", "height")))
        assert overlap(box, faces[round(float(row["seconds"]) * RATE)]) > 0.7  # of the video as it was
    with av.open(str(target)) as file:
        assert [stream.type for stream in file.streams] == ["video", "audio"]
        assert file.duration / av.time_base == pytest.approx(1, abs=0.1)
        assert (file.streams.video[0].width, file.streams.video[0].frames) == (640, RATE)


def test_the_command_line_tells_what_is_wrong(monkeypatch, analyzer, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no video")
    assert film(monkeypatch, analyzer, tmp_path / "notes.txt") == 1
    assert film(monkeypatch, analyzer, tmp_path / "missing.mp4") == 1
    assert film(monkeypatch, analyzer, "63") == 1
    assert film(monkeypatch, analyzer, "99999999999") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"{tmp_path}/notes.txt: not a video of a known format",
        f"{tmp_path}/missing.mp4: No such file or directory",
        "63: there is no such camera, or another program uses it",
        "99999999999: there is no such camera, or another program uses it",
    ]
    with pytest.raises(SystemExit):
        film(monkeypatch, analyzer, "a.mp4", "--json")


def test_the_command_line_never_writes_over_the_video_nor_where_it_can_t(
    monkeypatch, analyzer, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    clip = encode([np.full((64, 96, 3), 90, np.uint8)] * 5)
    (tmp_path / "a.mp4").write_bytes(clip)
    for options, words in (
        (["--output", "./a.mp4"], "--output would write over the video"),
        (["--csv", tmp_path / "a.mp4"], "--csv would write over the video"),
        (["--output", "b.mp4", "--csv", "./b.mp4"], "--csv would write over --output"),
        (["--output", "no/b.mp4"], "--output needs the folder no, which does not exist"),
        (["--output", "b.mp4", "--csv", "no/b.csv"], "--csv needs the folder no, which does not exist"),
    ):
        with pytest.raises(SystemExit) as ended:
            film(monkeypatch, analyzer, "a.mp4", *options)
        assert ended.value.code == 2
        assert capsys.readouterr().err.splitlines()[-1].endswith(f"error: {words}")
    (tmp_path / "folder.mp4").mkdir()
    for option in ("--output", "--csv"):
        assert film(monkeypatch, analyzer, "a.mp4", option, "folder.mp4") == 1
        assert capsys.readouterr().err == "folder.mp4: Is a directory\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "folder.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == clip
    for name in ("kept.mp4", "kept.csv"):
        (tmp_path / name).write_text("what was there")
    start = clip.index(b"mdat") + 4
    end = clip.find(b"moov", start) - 4 if clip.find(b"moov", start) > 0 else len(clip)
    (tmp_path / "zeros.mp4").write_bytes(clip[:start] + bytes(end - start) + clip[end:])
    assert film(monkeypatch, analyzer, "zeros.mp4", "--output", "kept.mp4", "--csv", "kept.csv") == 1
    for name in ("kept.mp4", "kept.csv"):
        assert (tmp_path / name).read_text() == "what was there"


def test_the_command_line_tells_of_a_full_disk(monkeypatch, analyzer, tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 256, (20, 320, 320, 3), np.uint8)
    (tmp_path / "a.mp4").write_bytes(encode(noise))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        assert film(monkeypatch, analyzer, tmp_path / "a.mp4", "--output", tmp_path / "b.mp4") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert capsys.readouterr().err == f"{tmp_path}/b.mp4: File too large\n"


class Camera:
    """OpenCV's, as it would see the portrait, until Ctrl-C."""

    def __init__(self, number: int) -> None:
        self._images = iter(moving(15)[0])

    def read(self) -> tuple[bool, np.ndarray]:
        image = next(self._images, None)
        time.sleep(0.03)
        if image is None:
            raise KeyboardInterrupt
        return True, cv2.cvtColor(image, cv2.COLOR_RGB2BGR)


def test_ctrl_c_ends_a_camera_and_keeps_what_was_written(monkeypatch, analyzer, tmp_path, capsys):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    target, table = tmp_path / "out.mp4", tmp_path / "faces.csv"
    assert film(monkeypatch, analyzer, "0", "--output", target, "--csv", table) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("0: 1 person in ")
    with av.open(str(target)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert 3 <= len(frames) <= 15
    (face,) = analyzer.analyze(frames[0])  # in colours as they were
    assert face.gender.label == "female"
    assert len(table.read_text().splitlines()) >= 2


def test_a_camera_that_shows_nothing_is_told(monkeypatch, analyzer, tmp_path, capsys):
    monkeypatch.setattr(Camera, "read", lambda camera: (False, None))
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    assert film(monkeypatch, analyzer, "0", "--output", tmp_path / "out.mp4") == 1
    assert capsys.readouterr().err == "0: there is no such camera, or another program uses it\n"
    assert not (tmp_path / "out.mp4").exists()


def test_frames_of_a_stream_in_memory_are_never_all_held(analyzer):
    """What waits to be drawn is what came since the last look."""
    alive = 0

    class Counted(np.ndarray):
        def __del__(self):
            nonlocal alive
            alive -= 1

    def source():
        nonlocal alive
        for number in range(60):
            alive += 1
            yield Picture(np.full((64, 64, 3), 90, np.uint8).view(Counted), number / 30)

    most = 0
    for _ in follow(source(), analyzer, Pace(), lambda stage: None):
        most = max(most, alive)
    assert most < 10
