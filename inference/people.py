"""What is told of the people of a video. Plain Python, so that the web process may import it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from inference.faces import Age, Gender
from inference.tracking import Track

SPELL_SECONDS = 0.4  # that an emotion must last, to be told beside the main one
MOMENTS = 2  # of such emotions that are told of a person
# Who was in sight for less is left out where others were not, as it may be no face at all: in how many
# seconds, and where only one look saw it, which on a slow machine stands for half a second.
BRIEF_SECONDS = 0.5
BRIEF_SECONDS_OF_ONE_LOOK = 1.0


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in a video.

    Attributes:
        number: as drawn.
        seconds: in sight.
        emotion: that led for most of that time.
        share: of that time in which it did, 0 to 1.
        moments: other emotions that led for a while, and when that began, seconds; in the order of time.
        gender, age: averaged.
    """

    number: int
    seconds: float
    emotion: str
    share: float
    moments: tuple[tuple[str, float], ...]
    gender: Gender
    age: Age


@dataclass(slots=True)
class _Spell:
    """A time in which one emotion led."""

    emotion: str
    start: float
    seconds: float = 0.0


@dataclass(slots=True)
class _Record:
    """What was seen of somebody: the track as it was last, the spells, and in how many looks."""

    track: Track
    spells: list[_Spell] = field(default_factory=list)
    looks: int = 0

    @property
    def is_brief(self) -> bool:
        seconds = sum(spell.seconds for spell in self.spells)
        return seconds < (BRIEF_SECONDS_OF_ONE_LOOK if self.looks == 1 else BRIEF_SECONDS)


class Census:
    """Takes down who is seen in a video, frame by frame."""

    def __init__(self) -> None:
        self._records: dict[int, _Record] = {}
        self._seen: set[int] = set()  # in the last frame
        self._last = 0.0  # when that was, seconds

    def note(self, tracks: Sequence[Track], seconds: float) -> None:
        """Take down a frame, which lasts until the next one.

        Args:
            tracks: those of the frame.
            seconds: when it was, later than the one before.
        """
        for number in self._seen:
            self._records[number].spells[-1].seconds += seconds - self._last
        for track in tracks:
            record = self._records.setdefault(track.number, _Record(track))
            record.track, emotion = track, track.face.emotion.label
            record.looks += 1
            if track.number not in self._seen or record.spells[-1].emotion != emotion:
                record.spells.append(_Spell(emotion, seconds))
        self._seen, self._last = {track.number for track in tracks}, seconds

    def people(self) -> list[Person]:
        """All that were seen, in the order of their numbers."""
        records = [record for _, record in sorted(self._records.items())]
        return [_sum_up(record) for record in records if not record.is_brief] or list(map(_sum_up, records))


def _sum_up(record: _Record) -> Person:
    times: Counter[str] = Counter()
    for spell in record.spells:
        times[spell.emotion] += spell.seconds
    emotion, longest = times.most_common(1)[0]
    seconds = times.total()
    best: dict[str, _Spell] = {}  # the longest spell of each other emotion
    for spell in record.spells:
        others = best.get(spell.emotion)
        if spell.emotion != emotion and (others is None or spell.seconds > others.seconds):
            best[spell.emotion] = spell
    spells = sorted(best.values(), key=lambda spell: spell.seconds, reverse=True)[:MOMENTS]
    moments = sorted((spell.start, spell.emotion) for spell in spells if spell.seconds >= SPELL_SECONDS)
    return Person(
        record.track.number,
        seconds,
        emotion,
        longest / seconds if seconds else 1.0,
        tuple((emotion, start) for start, emotion in moments),
        record.track.face.gender,
        record.track.face.age,
    )
