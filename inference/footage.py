"""Video files: an encoded video -> upright frames; frames and sound -> an MP4 that plays everywhere."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import BinaryIO, NamedTuple

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorPrimaries, ColorTrc

from inference.errors import MAX_BYTES, PhotoError, Reason

SIDE = 640  # pixels, longest side of the frames
FRAME_RATE = 30  # frames a second, at most
SLOW_RATE = 10  # likewise, while there is no time for more
EARLY_SECONDS = 0.004  # that a frame may come before its time: 30 a second are stamped 33 or 34 ms apart
STILL_SECONDS = 2  # after which a frame that stays comes again, so that nobody in it is forgotten
MOST_STILL_SECONDS = 3600  # in which it does, should the file claim that it stays for longer
MIN_SIDE = 16  # pixels
MAX_RATIO = 20  # longer side to shorter side
MAX_PIXELS = 4096 * 2304  # of a frame as sent
MAX_PACKETS = 1000  # a second, on average; slow motion has 240 frames, and sound up to 400 packets
SPARE_SECONDS = 0.5  # that a video may be longer than the longest one

# FFmpeg's names. Other containers, such as playlists, would have it open files and addresses that they name.
CONTAINERS = "mov,matroska,avi,gif"  # mov is MP4 too, and matroska is WebM
BOUNDS = {"format_whitelist": CONTAINERS, "max_pixels": str(MAX_PIXELS)}  # before anything is decoded
CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "gif")
SOUND_CODECS = ("aac", "mp3", "mp2", "opus", "vorbis", "flac", "alac", "ac3", "eac3", "amr_nb", "amr_wb")
SOUND_CODECS += ("pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_mulaw", "pcm_alaw", "adpcm_ima_wav")
# Of samples a second, at least, as MP4 takes it; other sound becomes AAC, which all players of MP4 know.
COPIED_SOUND = {"aac": 0, "mp3": 16_000}

# Phones record what shines brighter than a screen's white, which shown as it is looks grey and faint.
HDR = (ColorTrc.ARIB_STD_B67, ColorTrc.SMPTE2084)
SDR = {"dst_color_trc": ColorTrc.IEC61966_2_1, "dst_color_primaries": ColorPrimaries.BT709}

BIT_RATE = 4_000_000  # bits a second, at most: a minute of film grain stays below 31 MB
ENCODER = {
    "preset": "veryfast",
    "crf": "23",
    "maxrate": str(BIT_RATE),
    "bufsize": str(BIT_RATE),
    "bf": "0",  # frames that are told late would have FFmpeg's tools take a long last one for none
    "threads": "1",  # more would take more memory
}
TIME_BASE = Fraction(1, 90_000)  # seconds
SOUND_RATE = 48_000  # samples a second, at most, of sound that becomes AAC
SOUND_RATES = av.Codec("aac", "w").audio_rates  # likewise, all that there are


class Picture(NamedTuple):
    """A frame of a video.

    image: (height, width, 3) uint8 RGB, upright, of even sides, the longest at most SIDE.
    seconds: from the start of the video.
    """

    image: np.ndarray
    seconds: float


def fitted(width: int, height: int) -> tuple[int, int]:
    """The size at which frames of that size are looked at and written: even, at most SIDE."""
    scale = min(1.0, SIDE / max(width, height))
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


class Reader:
    """A video file, opened.

    Attributes:
        seconds: it lasts, where the file says so; else `longest`.
        width, height: of the upright video as sent, pixels; once there was a frame.
        sound: its sound, for a Writer; None where it has none that can be read.
    """

    def __init__(self, source: bytes | Path, longest: float = inf) -> None:
        """
        Args:
            source: the encoded video, or the file that holds it.
            longest: seconds that it may last.

        Raises:
            PhotoError: it can't be used, as far as can be told before it is decoded.
            OSError: there is no such file, or it can't be read.
        """
        self.width = self.height = 0
        self._longest = longest
        if isinstance(source, bytes) and not source:
            raise PhotoError(Reason.EMPTY)
        if isinstance(source, bytes) and len(source) > MAX_BYTES:
            raise PhotoError(Reason.TOO_MANY_BYTES)
        if isinstance(source, Path):
            source.open("rb").close()
        # As `file:...` FFmpeg never takes a name for an address.
        file = io.BytesIO(source) if isinstance(source, bytes) else f"file:{source}"
        with _refusing(Reason.NOT_A_VIDEO):
            self._container = av.open(file, options=BOUNDS)
        with _refusing(Reason.BROKEN_VIDEO):
            self._look()

    def frames(
        self,
        hear: Callable[[av.Packet], None] | None = None,
        late: Callable[[float], bool] = lambda seconds: False,
    ) -> Iterator[Picture]:
        """Decode the video once, from its start; frames beyond FRAME_RATE are left out.

        What is damaged is left out as well, as players do, and what stays for long comes again and again.

        Args:
            hear: gets the packets of the sound in between.
            late: whether to hurry at a time of the video, and leave out more.

        Raises:
            PhotoError: it can't be used.
        """
        last, end, image = -inf, -inf, None
        with _refusing(Reason.BROKEN_VIDEO), self._container:
            for frame in self._decode(hear):
                # AVI knows the order of decoding alone: frames that wait for others have the others' times.
                avi = self._container.format.name == "avi" and frame.dts is not None
                stamp = frame.dts if avi else frame.pts
                if stamp is None:
                    continue
                seconds = float(stamp * frame.time_base) - self._start
                if seconds > self._longest + SPARE_SECONDS:
                    raise PhotoError(Reason.VIDEO_TOO_LONG)
                end, hurry = max(end, seconds + 1 / FRAME_RATE), late(seconds)
                self._stream.codec_context.skip_frame = "NONREF" if hurry else "DEFAULT"
                if seconds - last >= 1 / (SLOW_RATE if hurry else FRAME_RATE) - EARLY_SECONDS:
                    if image is not None:
                        yield from _staying(image, last, seconds)
                    last, image = seconds, self._upright(frame)
                    yield Picture(image, last)
        if image is None:
            raise PhotoError(Reason.BROKEN_VIDEO)
        end = self._end if self._end < inf else end  # where nothing tells it, that of the last frame
        yield from _staying(image, last, end)
        if last + 2 / FRAME_RATE < end:
            yield Picture(image, end - 1 / FRAME_RATE)

    def _look(self) -> None:
        """Refuse what is outside the limits, knowing only the header."""
        streams = self._container.streams
        video, sound = ([s for s in kind if s.codec_context] for kind in (streams.video, streams.audio))
        video = [stream for stream in video if not stream.disposition & Disposition.attached_pic]  # a cover
        if not video or video[0].codec_context.codec.canonical_name not in CODECS:
            raise PhotoError(Reason.NOT_A_VIDEO)
        self._stream = video[0]
        context = self._stream.codec_context
        context.thread_count = 1
        if self._container.format.name == "gif" and self._stream.frames == 1:
            raise PhotoError(Reason.STILL)
        if not context.width or not context.height:  # what it tells of is beyond MAX_PIXELS, or damaged
            raise PhotoError(Reason.VIDEO_TOO_LARGE)
        if min(context.width, context.height) < MIN_SIDE:
            raise PhotoError(Reason.TOO_SMALL)
        if max(context.width, context.height) > MAX_RATIO * min(context.width, context.height):
            raise PhotoError(Reason.TOO_LONG)
        if context.width * context.height > MAX_PIXELS:
            raise PhotoError(Reason.VIDEO_TOO_LARGE)
        self._start = (self._container.start_time or 0) / av.time_base
        self._end = (self._container.duration or inf) / av.time_base  # inf where nothing tells it
        if "matroska" in self._container.format.name:  # which counts from 0 on
            self._end -= self._start
        self.seconds = self._longest if self._end == inf else self._end
        if self.seconds > self._longest + SPARE_SECONDS:
            raise PhotoError(Reason.VIDEO_TOO_LONG)
        known = [stream for stream in sound if stream.codec_context.codec.canonical_name in SOUND_CODECS]
        self.sound = known[0] if known else None

    def _decode(self, hear: Callable[[av.Packet], None] | None) -> Iterator[av.VideoFrame]:
        streams = [self._stream] if self.sound is None or hear is None else [self._stream, self.sound]
        for count, packet in enumerate(self._container.demux(streams)):
            if count > MAX_PACKETS * max(1.0, self._longest):
                raise PhotoError(Reason.VIDEO_TOO_LARGE)
            if packet.stream is self._stream:
                with suppress(av.error.InvalidDataError):
                    yield from packet.decode()
                continue
            if packet.dts is not None and packet.pts is not None:
                shift = round(self._start / packet.time_base)
                packet.dts, packet.pts = packet.dts - shift, packet.pts - shift
            hear(packet)

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        turns, mirrored = round(frame.rotation / 90), _is_mirrored(frame)
        if not self.width:  # of the first frame; others may be of another size
            width, height = max(1, round(frame.width * (self._stream.sample_aspect_ratio or 1))), frame.height
            self._fitted = fitted(width, height)
            self.width, self.height = (height, width) if turns % 2 else (width, height)
        colours = SDR if frame.color_trc in HDR else {}
        image = frame.reformat(*self._fitted, "rgb24", interpolation="AREA", **colours).to_ndarray()
        image = np.rot90(image, turns)
        if mirrored:  # after a turn that does not know of it: the one of the two ways that sets it right
            image = np.fliplr(image) if turns % 2 else np.flipud(image)
        return np.ascontiguousarray(image)


def _staying(image: np.ndarray, since: float, until: float) -> Iterator[Picture]:
    """A frame once more and once more, while it stays."""
    until = min(until - 1.5 / FRAME_RATE, since + MOST_STILL_SECONDS)  # clear of the frame that comes then
    for seconds in np.arange(since + STILL_SECONDS, until, STILL_SECONDS).tolist():
        yield Picture(image, seconds)


def _is_mirrored(frame: av.VideoFrame) -> bool:
    """Whether a frame is to be shown mirrored, as phones write what their front camera takes."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).astype(float)
    return a * d - b * c < 0


class Writer:
    """An MP4 under way: H.264, with its index at the start, so that it plays while it loads.

    Attributes:
        width, height: of its frames, pixels; once there was one.
    """

    def __init__(self, target: BinaryIO | Path, sound: av.AudioStream | None = None) -> None:
        """
        Args:
            target: a file, or a stream in memory that can be read as well.
            sound: of the Reader whose packets `hear` will get.
        """
        self.width = self.height = 0
        self._target, self._from = target, sound
        self._early: list[av.Packet] = []  # sound from before the first frame

    def _open(self, width: int, height: int) -> None:
        """Begin the file: not before there is something to write, as one may be there already."""
        options, target, sound = {"movflags": "faststart"}, self._target, self._from
        if isinstance(target, Path):
            target.open("wb").close()  # FFmpeg opens it later, and then does not name it
            self._container = av.open(f"file:{target}", "w", "mp4", options)
        else:
            self._container = av.open(target, "w", "mp4", options, io_open=lambda *_: _Again(target))
        self._picture = self._container.add_stream("libx264", FRAME_RATE, ENCODER)
        self._picture.codec_context.time_base = TIME_BASE
        self._sound, self._copied = None, False
        if sound is not None:
            context = sound.codec_context
            self._copied = context.sample_rate >= COPIED_SOUND.get(context.codec.canonical_name, inf)
        if self._copied:
            self._sound = self._container.add_stream_from_template(sound)
        elif sound is not None:
            most = min(context.sample_rate, SOUND_RATE)
            rate = max((rate for rate in SOUND_RATES if rate <= most), default=min(SOUND_RATES))
            self._sound = self._container.add_stream("aac", rate)
            self._sound.codec_context.layout = "mono" if context.channels == 1 else "stereo"
        self.width, self.height = self._picture.width, self._picture.height = width, height
        self._picture.pix_fmt = "yuv420p"

    def show(self, image: np.ndarray, seconds: float) -> None:
        """Add a frame.

        Args:
            image: (height, width, 3) uint8 RGB, of even sides, all of the same.
            seconds: from the start, later than those before.

        Raises:
            OSError: the file can't be written.
        """
        if not self.width:
            self._open(image.shape[1], image.shape[0])
        frame = av.VideoFrame.from_ndarray(image, "rgb24")
        frame.pts, frame.time_base = round(seconds / TIME_BASE), TIME_BASE
        self._container.mux(self._picture.encode(frame))
        early, self._early = self._early, []
        for packet in early:
            self.hear(packet)

    def hear(self, packet: av.Packet) -> None:
        """Add some sound; what can't be used of it is left out."""
        if not self.width:  # the file has no head yet
            self._early.append(packet)
            return
        with suppress(av.error.FFmpegError, ValueError):  # this one where its rate or channels change
            if not self._copied:
                for frame in packet.decode():
                    if frame.pts is not None:  # to the sample, as what is encoded is cut otherwise than this
                        frame.pts = round(frame.time * frame.sample_rate)
                        frame.time_base = Fraction(1, frame.sample_rate)
                    self._container.mux(self._sound.encode(frame))
            elif packet.dts is not None:
                packet.stream = self._sound
                self._container.mux(packet)

    def close(self) -> None:
        """Finish the file, if there was a frame."""
        if not self.width:
            return
        self._container.mux(self._picture.encode())
        if self._sound is not None and not self._copied:
            with suppress(av.error.FFmpegError):
                self._container.mux(self._sound.encode())
        self._container.close()


class _Again:
    """Reads what is being written to a stream, from a place of its own: FFmpeg moves the index so."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._at = 0

    def read(self, size: int) -> bytes:
        there = self._stream.tell()
        self._stream.seek(self._at)
        data = self._stream.read(size)
        self._stream.seek(there)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:  # the index is moved without
            raise io.UnsupportedOperation
        self._at = offset
        return offset


@contextmanager
def _refusing(reason: Reason) -> Iterator[None]:
    """Whatever goes wrong is a refusal."""
    try:
        yield
    except PhotoError:
        raise
    except MemoryError:  # FFmpeg's is one, too
        raise PhotoError(Reason.VIDEO_TOO_LARGE) from None
    except Exception:
        raise PhotoError(reason) from None
