"""Faces and people in plain words, the same on the photo, in the bot and on the command line."""

from inference.faces import EMOTIONS, Age, Face, Gender
from inference.people import Person

CHILD_YEARS = 16  # a face that reads as younger than this is called a girl or a boy
ADJECTIVES = dict(zip(EMOTIONS, ("angry", "disgusted", "afraid", "happy", "sad", "surprised", "neutral")))


def describe(face: Face) -> str:
    """One line with its doubts, such as `happy 93 %, woman 98 %, about 31 (26-37)`."""
    emotion = f"{face.emotion.label} {percent(face.emotion.probability)}"
    gender = f"{noun(face.gender, face.age)} {percent(face.gender.probability)}"
    low, high = face.age.range
    age = f"about {years(face.age)} ({low}-{high})"
    return f"{emotion}, {gender}, {age}"


def sum_up(person: Person) -> str:
    """One line on somebody in a video, such as `mostly happy, surprised at 0:03; woman, about 30`."""
    often = "" if person.share >= 0.9 else "mostly " if person.share >= 0.5 else "often "
    looks = [often + ADJECTIVES[person.emotion]]
    looks += [f"{ADJECTIVES[emotion]} at {clock(seconds)}" for emotion, seconds in person.moments]
    return f"{', '.join(looks)}; {noun(person.gender, person.age)}, about {years(person.age)}"


def clock(seconds: float) -> str:
    """A time of a video, such as `0:03`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def noun(gender: Gender, age: Age) -> str:
    """woman, man, girl or boy; goes by the age that is told, so that a girl is never said to be 16."""
    if years(age) < CHILD_YEARS:
        return "girl" if gender.label == "female" else "boy"
    return "woman" if gender.label == "female" else "man"


def years(age: Age) -> int:
    """Whole years, at least 1: nobody is said to be about 0."""
    return max(1, round(age.years))


def percent(probability: float) -> str:
    """A probability of 0 to 1 such as `93 %`; never `100 %` for what only rounds to it."""
    return "100 %" if probability >= 0.9995 else f"{min(99, round(100 * probability))} %"
