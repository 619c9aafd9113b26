"""A face in plain words, the same wherever it is told: on the photo, in the bot, on the command line."""

from inference.faces import Age, Face, Gender

CHILD_YEARS = 16  # a face that reads as younger than this is called a girl or a boy


def describe(face: Face) -> str:
    """One line with its doubts, such as `happy 93 %, woman 98 %, about 31 (26-37)`."""
    emotion = f"{face.emotion.label} {percent(face.emotion.probability)}"
    gender = f"{noun(face.gender, face.age)} {percent(face.gender.probability)}"
    age = f"about {years(face.age)} ({round(max(0, face.age.low))}-{max(1, round(face.age.high))})"
    return f"{emotion}, {gender}, {age}"


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
