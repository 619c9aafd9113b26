import io
import itertools
import struct
from contextlib import suppress
from fractions import Fraction
from math import inf
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorTrc
from PIL import Image

from inference import footage, memory
from inference.errors import PhotoError, Reason
from inference.footage import Reader, Writer
from tests import pictures
from tests.videos import TONE, encode

RED, GREEN, BLUE = (220, 20, 20), (20, 200, 20), (20, 20, 220)
SKIN = (200, 150, 120)


def flag(width: int = 96, height: int = 64, frames: int = 25) -> list[np.ndarray]:
    """Green and blue halves with a red corner at the top left; a white bar moves from left to right."""
    image = np.empty((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :] = GREEN, BLUE
    image[: height // 2, : width // 4] = RED
    result = []
    for number in range(frames):
        moved = image.copy()
        at = (width - 8) * number // max(1, frames - 1)
        moved[-height // 8 :, at : at + 8] = 255
        result.append(moved)
    return result


def rewrite(data: bytes, late=lambda seconds: False) -> tuple[bytes, list[float], Reader]:
    """Read a video and write it again -> the MP4, the times of its frames, the reader."""
    reader, target = Reader(data, 20), io.BytesIO()
    writer, times = Writer(target, reader.sound), []
    for picture in reader.frames(writer.hear, late):
        writer.show(picture.image, picture.seconds)
        times.append(picture.seconds)
    writer.close()
    return target.getvalue(), times, reader


def refusal(data: bytes, longest: float = 20) -> Reason:
    with pytest.raises(PhotoError) as refused:
        list(Reader(data, longest).frames())
    return refused.value.reason


def pitch(stream_of: bytes) -> float:
    """The loudest frequency of its sound, Hz."""
    with av.open(io.BytesIO(stream_of)) as file:
        rate = file.streams.audio[0].rate
        samples = np.concatenate([frame.to_ndarray().mean(0) for frame in file.decode(audio=0)])
    return np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)


def near(pixel: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return np.abs(pixel.astype(int) - colour).max() < 60


@pytest.mark.parametrize(
    ("source", "rate"),
    [
        ({"sound": "aac"}, 25),
        ({"codec": "libvpx", "container": "webm", "sound": "libopus"}, 25),
        ({"codec": "mjpeg", "container": "avi", "sound": "pcm_s16le"}, 25),
        ({"codec": "libx265", "container": "matroska", "sound": "mp3"}, 25),
        ({"codec": "gif", "container": "gif"}, 20),
    ],
    ids=["mp4", "webm", "avi", "mkv", "gif"],
)
def test_whatever_comes_in_an_mp4_that_plays_everywhere_comes_out(source, rate):
    frames = flag(frames=2 * rate)
    data, times, reader = rewrite(encode(frames, rate, **source))
    assert (reader.width, reader.height, len(times)) == (96, 64, 2 * rate)
    assert times == pytest.approx(np.arange(2 * rate) / rate, abs=0.011)
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it loads
    with av.open(io.BytesIO(data)) as file:
        video = file.streams.video[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert file.duration / av.time_base == pytest.approx(2, abs=0.1)
        written = [frame.to_ndarray(format="rgb24") for frame in file.decode(video)]
    assert len(written) == 2 * rate
    for before, after in zip(frames[::10], written[::10]):
        assert np.abs(before.astype(int) - after).mean() < 12
    sound = source.get("sound")
    assert (reader.sound is not None) == (sound is not None)
    if sound:
        assert pitch(data) == pytest.approx(TONE, abs=3)
        with av.open(io.BytesIO(data)) as file:
            assert file.streams.audio[0].codec_context.name == ("mp3float" if sound == "mp3" else "aac")
            assert float(file.streams.audio[0].duration * file.streams.audio[0].time_base) > 1.9


@pytest.mark.parametrize(
    ("sound", "samples", "written"),
    [
        ("mp3", 8000, ("aac", 8000)),
        ("mp3", 11_025, ("aac", 11_025)),
        ("mp3", 16_000, ("mp3float", 16_000)),
        ("pcm_s16le", 96_000, ("aac", 48_000)),
        ("pcm_s16le", 22_254, ("aac", 22_050)),
        ("pcm_s16le", 12_345, ("aac", 12_000)),
        ("pcm_s16le", 5000, ("aac", 7350)),
        ("ac3", 32_000, ("aac", 32_000)),
        ("mp2", 32_000, ("aac", 32_000)),
        ("pcm_u8", 8000, ("aac", 8000)),
        ("adpcm_ima_wav", 22_050, ("aac", 22_050)),
    ],
)
def test_sound_of_any_rate_is_kept(sound, samples, written):
    source = encode(flag(frames=50), codec="mjpeg", container="avi", sound=sound, samples=samples)
    data, times, _ = rewrite(source)
    assert len(times) >= 50
    assert pitch(data) == pytest.approx(TONE, abs=3)
    with av.open(io.BytesIO(data)) as file:
        stream = file.streams.audio[0]
        assert (stream.codec_context.name, stream.rate) == written
        assert float(stream.duration * stream.time_base) == pytest.approx(2.05, abs=0.15)


@pytest.mark.parametrize("sound", ["aac", "ac3"])
def test_sound_that_changes_on_its_way_is_left_out_from_then_on(sound):
    """Begins anew, or at another rate, as the one or the other damage has it."""
    target = io.BytesIO()
    first, second = (
        Reader(encode(flag(), sound=sound, container="matroska", samples=samples))
        for samples in (48_000, 32_000)
    )
    writer = Writer(target, first.sound)
    for start, reader in ((0, first), (2, second)):
        for picture in reader.frames(writer.hear):
            writer.show(picture.image, start + picture.seconds)
    writer.close()
    with av.open(io.BytesIO(target.getvalue())) as file:
        assert file.streams.video[0].frames >= 50
        assert float(file.streams.audio[0].duration * file.streams.audio[0].time_base) > 0.9
    assert pitch(target.getvalue()) == pytest.approx(TONE, abs=3)


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
    ],
    ids=["mirrored", "upside down", "mirrored and turned", "mirrored and turned back"],
)
def test_a_video_of_a_front_camera_is_mirrored_as_it_says(matrix, upright):
    data = encode(flag(frames=2))
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)  # of the track's header
    a, b, c, d = (number << 16 for number in matrix)
    assert data.count(plain) == 2  # the movie's, too
    start, _, end = data.rpartition(plain)
    reader = Reader(start + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + end)
    (image, _), *_ = reader.frames()
    expected = upright(flag()[0])
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 15


def test_frames_of_an_avi_are_all_shown_in_their_order():
    """As H.264 has frames that wait for later ones, and AVI does not tell when a frame is to be shown."""
    images = [np.full((64, 96, 3), 4 * number, np.uint8) for number in range(50)]
    shown = [picture.image.mean() for picture in Reader(encode(images, container="avi")).frames()]
    assert len(shown) >= 49
    assert shown == sorted(shown)


@pytest.mark.parametrize("curve", [ColorTrc.ARIB_STD_B67, ColorTrc.SMPTE2084])
def test_colours_of_an_hdr_video_are_those_of_a_screen(curve):
    """BT.2020 with the curves of BT.2100, in which iPhones record; a face of skin between two walls."""
    shown = np.full((64, 96, 3), SKIN, np.uint8)
    shown[:, :24], shown[:, -24:] = RED, (230, 230, 230)
    target = io.BytesIO()
    with av.open(target, "w", "mov") as file:
        stream = file.add_stream("libx265", 25, {"x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = 9, curve, 9
        frame = _high_dynamic_range(shown, curve)
        for number in range(5):
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    picture = next(Reader(target.getvalue()).frames()).image.astype(int)
    for column, colour in ((12, RED), (48, SKIN), (84, (230, 230, 230))):
        assert np.abs(picture[32, column] - colour).max() < 40


def _high_dynamic_range(image: np.ndarray, curve: ColorTrc) -> av.VideoFrame:
    """(height, width, 3) uint8 sRGB as such a frame."""
    signal = pictures.wide_gamut(image, ColorPrimaries.BT2020, curve)
    luma = signal @ (0.2627, 0.678, 0.0593)
    blue, red = (signal[..., 2] - luma) / 1.8814, (signal[..., 0] - luma) / 1.4746
    planes = [876 * luma + 64, 896 * blue[::2, ::2] + 512, 896 * red[::2, ::2] + 512]
    frame = av.VideoFrame(image.shape[1], image.shape[0], "yuv420p10le")
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // 2), "<u2")
        rows[:, : values.shape[1]] = np.round(values)
        plane.update(rows.tobytes())
    frame.color_primaries, frame.color_trc, frame.colorspace = 9, curve, 9
    return frame


@pytest.mark.parametrize("turn", [90, 180, -90])
def test_a_video_taken_sideways_is_turned_upright(turn):
    reader = Reader(encode(flag(frames=2), turn=turn))
    (image, _), *_ = reader.frames()
    expected = np.rot90(flag()[0], turn // 90)
    assert image.shape == expected.shape
    assert (reader.height, reader.width) == expected.shape[:2]
    height, width = image.shape[:2]
    for y, x in ((5, 5), (5, width - 6), (height - 20, 5), (height - 20, width - 6)):
        assert near(image[y, x], tuple(expected[y, x]))


@pytest.mark.parametrize(
    ("size", "fitted"), [((1280, 720), (640, 360)), ((722, 1282), (360, 640)), ((98, 66), (98, 66))]
)
def test_large_videos_are_shrunk_to_even_sides(size, fitted):
    (image, _), *_ = Reader(encode(flag(*size, frames=1))).frames()
    assert image.shape == (fitted[1], fitted[0], 3)
    assert image.flags.c_contiguous


def test_frames_beyond_thirty_a_second_are_left_out_and_more_in_a_hurry():
    fast = encode(flag(frames=120), 120)
    _, times, _ = rewrite(fast)
    assert len(times) == 30
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) > 0.03
    _, times, _ = rewrite(fast, late=lambda seconds: seconds > 0.5)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(gaps[:14]) < 0.04
    assert 0.09 < min(gaps[16:-1]) <= max(gaps[16:-1]) < 0.15


@pytest.mark.parametrize("late", [False, True])
def test_a_hurry_makes_no_recording_shorter(late):
    """Nor one that does not tell its length, as of a browser's camera."""
    recording = encode(flag(frames=39), 24, codec="libvpx", container="webm", options={"live": "1"})
    _, times, _ = rewrite(recording, late=lambda seconds: late)
    assert times[-1] == pytest.approx(38 / 24, abs=0.01)


def test_sound_stays_with_the_picture_in_a_recording_that_starts_late():
    """As one that was cut out of a longer one."""
    target, source = io.BytesIO(), av.open(io.BytesIO(encode(flag(), sound="aac")))
    with av.open(target, "w", "matroska") as file:
        streams = {stream: file.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                late = round(100 / packet.time_base)
                packet.dts, packet.pts, packet.stream = (
                    packet.dts + late,
                    packet.pts + late,
                    streams[packet.stream],
                )
                file.mux(packet)
    data, times, _ = rewrite(target.getvalue())
    assert times[0] == pytest.approx(0, abs=0.05)
    with av.open(io.BytesIO(data)) as file:
        starts = [float(stream.start_time * stream.time_base) for stream in file.streams]
        assert starts == pytest.approx([0, 0], abs=0.05)


def test_the_last_picture_of_a_slide_show_stays_as_long_as_before():
    data, times, _ = rewrite(encode(flag(frames=3), 1, codec="gif", container="gif"))
    assert times == pytest.approx([0, 1, 2, 2.967], abs=0.01)
    with av.open(io.BytesIO(data)) as file:
        assert file.duration / av.time_base == pytest.approx(3, abs=0.05)


def slides(*seconds: float) -> bytes:
    """A GIF whose pictures stay for so long each."""
    first, *others = map(Image.fromarray, flag(frames=len(seconds)))
    options = {
        "save_all": True,
        "append_images": others,
        "duration": [round(1000 * stay) for stay in seconds],
    }
    return pictures.encode(first, "GIF", **options)


def test_a_picture_that_stays_comes_again_and_again():
    _, times, _ = rewrite(slides(5, 1, 8))
    assert times == pytest.approx([0, 2, 4, 5, 6, 8, 10, 12, 13.967], abs=0.01)


def test_a_long_last_picture_is_as_long_for_every_player():
    data, _, _ = rewrite(slides(*[0.05] * 20, 9))
    with av.open(io.BytesIO(data)) as file:
        (stream,) = file.streams
        assert file.duration / av.time_base == pytest.approx(10, abs=0.1)
        assert float(stream.duration * stream.time_base) == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize(("last", "end"), [(1, 122), (4, 125), (5, 126)])
def test_a_picture_that_stays_until_the_end_comes_at_no_time_twice(last, end):
    """In frames of a thirtieth of a second: where two seconds more and more nearly meet the end."""
    target = io.BytesIO()
    with av.open(target, "w", "mp4") as file:
        stream = file.add_stream("libx264", 30, {"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        frames = [av.VideoFrame.from_ndarray(image, "rgb24") for image in flag(frames=last + 1)]
        for packet in itertools.chain.from_iterable(map(stream.encode, [*frames, None])):
            packet.duration = end - last if packet.pts == last else 1
            file.mux(packet)
    _, times, _ = rewrite(target.getvalue())
    assert times[-1] == pytest.approx((end - 1) / 30, abs=0.001)
    assert min(later - sooner for sooner, later in itertools.pairwise(times)) > 0.03


def test_a_frame_does_not_stay_for_years(monkeypatch):
    monkeypatch.setattr(footage, "MOST_STILL_SECONDS", 5)
    _, times, _ = rewrite(slides(1, 15))
    assert times == pytest.approx([0, 1, 3, 5, 15.967], abs=0.01)


def test_a_recording_that_does_not_tell_its_length_ends_with_its_last_frame():
    """As browsers write it, while they record."""
    live = encode(flag(frames=50), codec="libvpx", container="webm", sound="libopus", options={"live": "1"})
    data, times, _ = rewrite(live)
    assert times == pytest.approx(np.arange(50) / 25, abs=0.011)
    with av.open(io.BytesIO(data)) as file:
        assert file.duration / av.time_base == pytest.approx(2, abs=0.1)


def test_the_file_stays_small_whatever_there_is_to_see():
    """Nothing takes more room than noise."""
    noise, target = np.random.default_rng(0), io.BytesIO()
    writer = Writer(target)
    for number in range(60):
        writer.show(noise.integers(0, 256, (640, 640, 3), np.uint8), number / 30)
    writer.close()
    assert 8 * len(target.getvalue()) < footage.BIT_RATE * (2 + 1)  # it may begin with a second in store


def test_a_gif_of_one_picture_is_none_that_moves():
    assert refusal(pictures.encode(flag()[0], "GIF")) is Reason.STILL


def test_the_first_half_of_a_file_is_played():
    data, _, _ = rewrite(encode(flag(320, 240, 50)))
    times = [seconds for _, seconds in Reader(data[: len(data) * 2 // 3]).frames()]
    assert 5 < len(times) < 50


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY),
        (bytes(20 * 2**20 + 1), Reason.TOO_MANY_BYTES),
        (b"just words" * 100, Reason.NOT_A_VIDEO),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", Reason.NOT_A_VIDEO),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n", Reason.NOT_A_VIDEO),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", Reason.NOT_A_VIDEO),
    ],
    ids=["empty", "large", "words", "concat", "playlist", "head"],
)
def test_files_that_are_no_videos_are_refused(data, reason):
    assert refusal(data) is reason


def test_pictures_and_sound_alone_are_no_videos():
    assert refusal(pictures.encode(flag()[0])) is Reason.NOT_A_VIDEO
    target = io.BytesIO()
    with av.open(target, "w", "mp4") as file:
        tone = file.add_stream("aac", 44_100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44_100), np.int16), "s16", "mono")
        frame.sample_rate = 44_100
        file.mux(tone.encode(frame))
        file.mux(tone.encode())
    assert refusal(target.getvalue()) is Reason.NOT_A_VIDEO


def test_a_codec_that_nobody_uses_is_not_even_tried():
    assert refusal(encode(flag(frames=3), codec="ffv1", container="matroska")) is Reason.NOT_A_VIDEO


@pytest.mark.parametrize(
    ("size", "reason"),
    [((8, 64), Reason.TOO_SMALL), ((1000, 32), Reason.TOO_LONG), ((4100, 2400), Reason.VIDEO_TOO_LARGE)],
)
def test_sizes_out_of_bounds_are_refused(size, reason):
    assert refusal(encode(flag(*size, frames=1))) is reason


def test_a_small_file_of_many_pixels_takes_no_memory():
    """2 kB that take 600 MB to decode."""
    gif = encode(flag(64, 64, 3), codec="gif", container="gif")
    huge = gif[:6] + (12_000).to_bytes(2, "little") * 2 + gif[10:]
    with memory.at_most(100 * 2**20):
        assert refusal(huge) is Reason.VIDEO_TOO_LARGE


def test_long_videos_are_refused_by_their_header_and_without_one():
    slow = flag(32, 32, 22)
    assert refusal(encode(slow, 1)) is Reason.VIDEO_TOO_LONG
    live = encode(slow, 1, codec="libvpx", container="webm", options={"live": "1"})
    reader = Reader(live, 20)
    assert reader.seconds == 20  # it does not say
    times = []
    with pytest.raises(PhotoError) as refused:
        times.extend(seconds for _, seconds in reader.frames())
    assert refused.value.reason is Reason.VIDEO_TOO_LONG
    assert Reader(live, inf).seconds == inf
    assert len(list(Reader(live).frames())) == 22


def test_more_frames_than_any_camera_makes_are_refused(monkeypatch):
    monkeypatch.setattr(footage, "MAX_PACKETS", 50)
    assert refusal(encode(flag(32, 32, 120), 100), longest=2) is Reason.VIDEO_TOO_LARGE


@pytest.mark.parametrize(
    "source",
    [{"sound": "aac"}, {"codec": "libvpx", "container": "webm"}, {"codec": "gif", "container": "gif"}],
)
def test_damage_does_no_more_than_a_refusal(source):
    whole = encode(flag(64, 48, 10), 10, **source)
    random = np.random.default_rng(0)
    played = 0
    for _ in range(40):
        data = bytearray(whole)
        for at in random.integers(0, len(data), 8):
            data[at] = random.integers(256)
        with suppress(PhotoError):
            played += len(rewrite(bytes(data[: random.integers(len(data) // 2, len(data))]))[1])
    assert played > 20


def test_pixels_that_are_not_square_are_made_so():
    reader = Reader(encode(flag(frames=3), pixels=Fraction(4, 3)))
    picture = next(reader.frames())
    assert (reader.width, reader.height, picture.image.shape) == (128, 64, (64, 128, 3))


def test_a_song_with_a_cover_is_no_video():
    target = io.BytesIO()
    with av.open(target, "w", "mp4") as file:
        cover = file.add_stream("mjpeg", 1)
        cover.width, cover.height, cover.pix_fmt = 96, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        song = file.add_stream("aac", 44_100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 88_200), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 44_100, 0
        file.mux(cover.encode(av.VideoFrame.from_ndarray(flag()[0], "rgb24")))
        file.mux(cover.encode())
        file.mux(song.encode(frame))
        file.mux(song.encode())
    assert refusal(target.getvalue()) is Reason.NOT_A_VIDEO


def test_sound_on_the_left_stays_there():
    """Where it is encoded anew."""
    target = io.BytesIO()
    with av.open(target, "w", "matroska") as file:
        video, sound = file.add_stream("libx264", 25), file.add_stream("libopus", 48_000)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound.codec_context.layout = "stereo"
        samples = np.zeros((1, 96_000), np.int16)
        samples[0, ::2] = 8000 * np.sin(np.arange(48_000) / 16)
        frame = av.AudioFrame.from_ndarray(samples, "s16", "stereo")
        frame.sample_rate, frame.pts = 48_000, 0
        for image in flag():
            file.mux(video.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        file.mux(video.encode())
        file.mux(sound.encode(frame))
        file.mux(sound.encode())
    data, _, _ = rewrite(target.getvalue())
    with av.open(io.BytesIO(data)) as file:
        left, right = np.concatenate([part.to_ndarray() for part in file.decode(audio=0)], axis=1)
    assert np.abs(left).mean() > 20 * np.abs(right).mean()


def test_large_pictures_are_shrunk_without_dropping_pixels():
    stripes = np.zeros((960, 1280, 3), np.uint8)
    stripes[:, ::2] = 255
    image = next(Reader(encode([stripes] * 3)).frames()).image
    assert max(image.shape) == 640
    assert np.abs(image[10:-10, 10:-10].astype(int) - 128).max() < 16


def test_a_file_is_written_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, target = Path("http:a.mp4"), Path("b.mp4")  # a name that is like an address
    source.write_bytes(encode(flag(), sound="aac"))
    reader = Reader(source)
    writer = Writer(target, reader.sound)
    for picture in reader.frames(writer.hear):
        writer.show(picture.image, picture.seconds)
    writer.close()
    data = target.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert len(list(Reader(data).frames())) == 25
