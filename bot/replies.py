"""All the bot's words. Pure functions: faces and people -> captions and messages."""

import math

from inference.errors import Reason
from inference.faces import Face
from inference.people import Person
from inference.words import describe, sum_up

CAPTION_LIMIT = 1024  # characters, of the Bot API
MESSAGE_LIMIT = 4096  # characters, likewise
SHORT_DESCRIPTION_LIMIT = 120  # characters, likewise

DESCRIPTION = (
    "Send me a photo or a short video and I mark every face in it and tell you its emotion, gender and age. "
    "Both are analyzed in memory and never stored."
)  # shown in an empty chat; 512 characters at most
SHORT_DESCRIPTION = "Emotion, gender and age of every face in your photo or video."  # shown in the profile
COMMANDS = {
    "start": "How to begin",
    "help": "What I can do and what the numbers mean",
    "privacy": "What happens to your photos and videos",
    "analyze": "As a reply to a photo or a video: analyze it",
    "live": "Faces on your camera, as you smile",
}

START = (
    "Hi! Send me a photo with people in it. I send it back with every face marked, "
    "and a line for each with its emotion, gender and age. "
    "With short videos, video messages and GIFs I do the same.\n\n"
    "/help explains the numbers, /privacy what happens to your photos and videos."
)
FOUND_BEST = "Faces are found best upright, from the front, in good light and not too small."
NO_FACE = f"I found no face in this photo. {FOUND_BEST}"
NO_FACE_IN_VIDEO = f"I found no face in this video. {FOUND_BEST}"
OTHERS_IN_VIDEO = "Whoever else has a number was in sight too briefly to be told of."
FAILED = "Sorry, I could not analyze this photo. Please try another one."
FAILED_VIDEO = "Sorry, I could not analyze this video. Please try a shorter or a smaller one."
TROUBLE = "Sorry, something went wrong on my side. Please try again in a moment."
NOT_IN_TIME = (
    "Sorry, I tried this several times and could not finish it in time. Please send it again later, or send "
    "something smaller."
)
BUSY = "I am busy with other photos right now. Please try again in a moment."
SLOW_UPLOAD = "Your photo took too long to reach me. Please try again, or send a smaller one."
SEND_A_PHOTO = (
    "Send me a photo or a short video with people in it, and I tell you what I see. /help explains more."
)
UNKNOWN_COMMAND = "I don't know this command. Send me a photo, or see /help."
NOT_A_PHOTO = "I can only read photos and videos. Send me one, as it is or as a file."
NOT_A_STICKER = "Nice sticker! I can only read photos and videos, though."
REPLY_FROM_ELSEWHERE = (
    "I can't see messages of other chats and topics. Please forward the photo or the video to this one."
)
REPLY_TO_THE_ORIGINAL = "That is my answer. Please reply to the photo or the video that it is about."
REPLY_HAS_NO_PHOTO = "There is no photo and no video in the message you replied to."

LIVE = "Your camera, with every face marked as it changes:"
LIVE_BUTTON = "Live camera"
LIVE_IN_PRIVATE = "The live camera opens in a private chat with me. Please send me /live there."
LIVE_NEEDS_HTTPS = "The live camera needs a public https address, and this bot runs without one."
LIVE_OFF = "The live camera is switched off here. Photos work as always."
LIVE_REFUSALS = {
    "busy": "As many cameras are on as I can follow at once.",
    "slow": "That was more than I can look at.",
    "starting": "I am just starting, which takes about half a minute.",
    "stopping": "I am being restarted.",
    "unknown": "Please open this page anew from your chat with the bot in Telegram.",
}
PAGE_SLOWED = "That is a lot in one minute. The rest goes on by itself."
FRAME_SKIPPED = "Busy with photos or other cameras for a moment."
FRAME_UNREADABLE = "I could not read this frame."

LESS_AS_NO_FILE = " Telegram shrinks what is not sent as a file."
SHORTER = " Please send a part of it, or a smaller copy."
REFUSALS = {
    Reason.EMPTY: "This file is empty. Please send it again.",
    Reason.NOT_AN_IMAGE: "This file is not an image that I can read. "
    "I can read JPEG, PNG, WebP, HEIC, AVIF, BMP, TIFF and GIF.",
    Reason.BROKEN: "This file is damaged, so I can't open it. Please send it again or try another one.",
    Reason.TOO_SMALL: "This picture is too small to see a face in it.",
    Reason.TOO_LONG: "This picture is a very narrow strip. Please crop it around the people.",
    Reason.TOO_MANY_PIXELS: "This image has too many pixels for me. Please shrink it and send it again.",
    Reason.TOO_MANY_BYTES: "This file is too large: 20 MB is the most I can take.",
    Reason.NOT_A_VIDEO: "This file is not a video that I can read. "
    "I can read MP4, MOV, WebM, MKV, AVI and GIF.",
    Reason.BROKEN_VIDEO: "This video is damaged, so I can't play it. Please try another one.",
    Reason.VIDEO_TOO_LONG: "This video is too long for me: {length} is the most I can take. "
    "Please send a part of it.",
    Reason.VIDEO_TOO_LARGE: "This video has too many pixels or frames for me. "
    "Please send it in a lower quality.",
    Reason.STILL: "This animation is a single picture. Please send it as a photo.",
}


def commands(live: bool) -> list[tuple[str, str]]:
    """The commands that Telegram lists, with what each does.

    Args:
        live: whether /live can open the camera.
    """
    return [(name, words) for name, words in COMMANDS.items() if live or name != "live"]


def start_in_a_group(username: str) -> str:
    """What a group hears of how to begin.

    Args:
        username: the bot's. Where there are other bots, it may not get commands that don't name it.
    """
    return (
        f"Hi! Reply to a photo or a short video with /analyze@{username}: I mark every face in it and tell "
        "its emotion, gender and age.\n\n"
        f"/help@{username} explains the numbers, /privacy@{username} what happens to the photos and videos."
    )


def reply_to_a_photo(username: str) -> str:
    """To who sends /analyze as a reply to nothing.

    Args:
        username: the bot's.
    """
    return (
        f"In a group, reply to a photo or a video with /analyze@{username}. "
        "In a private chat, just send me one."
    )


def help(username: str, video_seconds: float, live: bool) -> str:
    """The text of /help.

    Args:
        username: the bot's.
        video_seconds: that a video may last.
        live: whether /live can open the camera.
    """
    camera = "/live opens your camera: the faces in it are marked as they change.\n\n" if live else ""
    return (
        "Send a photo, or an image as a file (JPEG, PNG, WebP, HEIC, AVIF, BMP, TIFF, GIF), up to 20 MB. "
        "Sent as a file it keeps its full quality, which helps with small faces. Albums work too.\n\n"
        f"A video, a video message or a GIF of up to {_seconds(round(video_seconds))} comes back with its "
        "faces marked, and with what each person looked like most of the time, and when they looked "
        "different.\n\n"
        f"In a group, reply to a photo, a video or a GIF with /analyze@{username}; of an album that is one "
        "photo. Or send a photo or a video of yours as a reply to me. Where I may read all messages, naming "
        "me in its caption does it too, and for the whole album.\n\n"
        f"{camera}"
        "An answer such as\n"
        "1. happy 93 %, woman 98 %, about 31 (26-37)\n"
        "reads: face 1, counted from the left and the top; 93 % sure that it looks happy; 98 % sure that it "
        "is a woman; about 31 years old, and between 26 and 37 in four cases of five.\n\n"
        "I tell how a face looks in this one photo, not what somebody feels or who somebody is, and I am "
        "often wrong: with small children, and with faces in the dark, covered, turned away or tiny. "
        "Don't use my answers to decide anything about anybody."
    )


def privacy(operator_contact: str, live: bool) -> str:
    """The text of /privacy.

    Args:
        operator_contact: how to reach who runs this bot; may be empty.
        live: whether /live can open the camera.
    """
    camera = (
        "/live sends up to 15 small pictures of your camera a second, from when you start it until you pause "
        "or stop it or leave the page; each is forgotten as soon as it is answered. "
    )
    frames = ", and how many frames a camera sent"
    text = (
        "Your photos and videos are analyzed in this bot's memory and forgotten as soon as you have the "
        "answer. They are never stored, never shown to anybody and never used for training. Nobody is "
        f"identified. {camera if live else ''}What is logged: that a message came, when, what became "
        "of it, how long that took, how long a video was and how many faces there were"
        f"{frames if live else ''}; no names, no texts, no pictures. For a minute, and until the next photo "
        "from anybody, I remember how many photos came from you, as nobody may send too many. "
        "The chat itself is kept by Telegram, under Telegram's own terms."
    )
    return f"{text}\n\nWhom to ask: {operator_contact}." if operator_contact else text


def short_description(operator_contact: str) -> str:
    """What the bot's profile shows, with the contact where there is one and room for it.

    Args:
        operator_contact: how to reach who runs this bot; may be empty.
    """
    text = f"{SHORT_DESCRIPTION} Contact: {operator_contact}"
    return text if operator_contact and len(text) <= SHORT_DESCRIPTION_LIMIT else SHORT_DESCRIPTION


def refusal(reason: Reason, video_seconds: float, is_file: bool) -> str:
    """Why a photo or a video from a chat can't be analyzed, and what can be done.

    Args:
        video_seconds: that a video may last.
        is_file: it was sent as a file, which Telegram leaves as it is.
    """
    remedy = ""
    if reason in (Reason.TOO_MANY_PIXELS, Reason.TOO_MANY_BYTES) and is_file:
        remedy = LESS_AS_NO_FILE
    elif reason is Reason.TOO_MANY_BYTES:
        remedy = SHORTER
    return REFUSALS[reason].format(length=_seconds(round(video_seconds))) + remedy


def live_at(page: str) -> str:
    """The answer to /live in a group, where Telegram opens no page by itself.

    Args:
        page: its address.
    """
    return f"The live camera, with every face marked as it changes: {page}"


def slow_down(seconds: float) -> str:
    """To who sends too many photos or videos.

    Args:
        seconds: until the others may come; 0 where they only have to wait for the answers to those before.
    """
    if not seconds:
        return "I am still busy with what you sent before. Please send this again when you have the answers."
    return f"That is a lot in one minute! Please send the others again in {_seconds(math.ceil(seconds))}."


def summary(faces: list[Face]) -> str:
    """How many faces, in one sentence."""
    if not faces:
        return NO_FACE
    several = f"Found {len(faces)} faces, counted from the left and the top."
    return "Found 1 face." if len(faces) == 1 else several


def captions(faces: list[Face]) -> list[str]:
    """The answer in lines, one a face: first a photo's caption, then as many messages as the rest takes."""
    return _texts([f"{number}. {describe(face)}" for number, face in enumerate(faces, 1)])


def summaries(people: list[Person]) -> list[str]:
    """The same of a video, with a line for each person, by the number that is drawn."""
    lines = [f"{person.number}. {sum_up(person)}" for person in people]
    numbers_left_out = people[-1].number > len(people)
    return _texts([*lines, OTHERS_IN_VIDEO] if numbers_left_out else lines)


def _seconds(count: int) -> str:
    return "1 second" if count == 1 else f"{count} seconds"


def _texts(lines: list[str]) -> list[str]:
    texts = [""]
    for line in lines:
        limit = CAPTION_LIMIT if len(texts) == 1 else MESSAGE_LIMIT
        if len(texts[-1]) + 1 + len(line) > limit:
            texts.append("")
        texts[-1] = f"{texts[-1]}\n{line}".lstrip()
    return texts
