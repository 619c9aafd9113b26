"""What became of each update and each photo: one line in the log, and the metrics. Never whose it was."""

import logging
import time
from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from prometheus_client import Counter, Gauge, Histogram

log = logging.getLogger(__name__)

UPDATES = Counter(
    "faces_updates", "Updates, and the page's photos, by what became of them", ["chat", "outcome"]
)
PHOTOS = Counter("faces_photos", "Photos analyzed", ["chat"])
VIDEOS = Counter("faces_videos", "Videos analyzed", ["chat"])
FACES = Counter("faces_found", "Faces found in photos, and people in videos", ["chat"])
FAILURES = Counter("faces_failures", "Photos and answers that went wrong", ["kind"])
STAGES = Histogram(
    "faces_stage_seconds",
    "Time that a photo spent in each stage",
    ["stage"],
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50),
)
SESSIONS = Counter(
    "faces_live_sessions", "Live sessions, by how they ended or why they were refused", ["end"]
)
FRAMES = Counter("faces_live_frames", "Frames of live sessions, by what they were answered with", ["answer"])
FRAME_SECONDS = Histogram(
    "faces_live_frame_seconds",
    "From a frame's arrival to its faces",
    buckets=(0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5),
)
# Of this moment; set when they are asked for.
IN_FLIGHT = Gauge("faces_updates_in_flight", "Updates being worked on")
WAITING = Gauge("faces_photos_waiting", "Photos that wait for a process")
LIVE = Gauge("faces_live_sessions_open", "Live sessions that are open")
RESTARTS = Gauge("faces_pool_restarts", "Inference processes replaced since the start")


@dataclass
class Entry:
    """An update, or a photo of the demo page, while it is worked on.

    Attributes:
        chat: private, group, supergroup, channel, page, or none.
        update: its id, where it is one.
        outcome: answered; ignored, as nobody asked the bot; refused, if it is no photo that can be read;
            slowed, if over a limit; failed; blocked, if nobody is there to answer any more; redelivered,
            if Telegram is to send it again.
        kind: of what went wrong.
        faces: found in the photo or the video, once it has been analyzed.
        video: how long it is, seconds, where it is one.
        moving: whether it is worked on as a video.
        seconds: spent in each stage.
    """

    chat: str
    update: int | None = None
    outcome: str = "ignored"
    kind: str | None = None
    faces: int | None = None
    video: float | None = None
    moving: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    _start: float = field(default_factory=time.perf_counter)

    @property
    def age(self) -> float:
        """Seconds since the work on it began."""
        return time.perf_counter() - self._start

    def end(self, outcome: str, kind: str) -> None:
        """Say why it was not simply answered."""
        self.outcome, self.kind = outcome, kind

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; of one that comes several times, the sum."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


_current: ContextVar[Entry] = ContextVar("entry")


def current() -> Entry:
    """The entry of what this task works on."""
    return _current.get()


@contextmanager
def entry(chat: str, update: int | None = None) -> Iterator[Entry]:
    """Keep the entry of an update or a photo, and write it down in the end."""
    kept = Entry(chat, update)
    token = _current.set(kept)
    try:
        yield kept
    except BaseException as error:
        kept.end("failed" if update is None else "redelivered", type(error).__name__)
        raise
    finally:
        _current.reset(token)
        _write(kept)


@dataclass
class Session:
    """A live session.

    Attributes:
        end: how it ended, as live.Ended has it.
        frames: how many, by what they were answered with.
    """

    end: str = "failed"
    frames: Tally[str] = field(default_factory=Tally)


@contextmanager
def session() -> Iterator[Session]:
    """Keep what becomes of a live session, and write it down in the end."""
    kept, start = Session(), time.perf_counter()
    try:
        yield kept
    finally:
        SESSIONS.labels(kept.end).inc()
        for answer, count in kept.frames.items():
            FRAMES.labels(answer).inc(count)
        if kept.frames:
            counts = " ".join(f"{answer}={count}" for answer, count in sorted(kept.frames.items()))
            log.info("live=%s %s total=%.3f", kept.end, counts, time.perf_counter() - start)


def turned_away(chat: str, outcome: str) -> None:
    """Count what was not worked on; it is not worth a line, and there may be floods of it."""
    UPDATES.labels(chat, outcome).inc()


def _write(entry: Entry) -> None:
    UPDATES.labels(entry.chat, entry.outcome).inc()
    if entry.kind:
        FAILURES.labels(entry.kind).inc()
    if entry.faces is not None:
        (PHOTOS if entry.video is None else VIDEOS).labels(entry.chat).inc()
        FACES.labels(entry.chat).inc(entry.faces)
    for stage, seconds in entry.seconds.items():
        STAGES.labels(stage).observe(seconds)
    facts = {"update": entry.update, "chat": entry.chat, "outcome": entry.outcome, "kind": entry.kind}
    if entry.video is not None:
        facts["video"] = f"{entry.video:.1f}"
    facts |= {"faces": entry.faces} | {stage: f"{seconds:.3f}" for stage, seconds in entry.seconds.items()}
    facts["total"] = f"{entry.age:.3f}"
    log.info(" ".join(f"{name}={value}" for name, value in facts.items() if value is not None))
