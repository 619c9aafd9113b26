"""The handlers: what a message from Telegram is answered with."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from cachetools import LRUCache
from telegram import (
    Animation,
    Chat,
    Document,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    Message,
    MessageEntity,
    PhotoSize,
    Update,
    Video,
    VideoNote,
    WebAppInfo,
)
from telegram.constants import ChatAction
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
)
from telegram.ext import (
    Application,
    ApplicationBuilder,
    CommandHandler,
    ContextTypes,
    MessageHandler,
    filters,
)

from bot import journal, replies
from bot.albums import Albums
from bot.limits import Limits, SlowDown
from bot.settings import Settings
from inference.errors import MAX_BYTES, PhotoError, Reason
from inference.pool import Analysis, AnalysisError, Film, Pool

log = logging.getLogger(__name__)

T = TypeVar("T")
File = PhotoSize | Document | Animation | Video | VideoNote

ALLOWED_UPDATES = [Update.MESSAGE]
ACTION_SECONDS = 4.5  # Telegram shows a chat action for 5 s
BUDGET_SECONDS = 25  # for one update; the platform's router cuts its request off at 30
WORK_SECONDS = 55  # for one update, should its request have been given up meanwhile
REPLY_SECONDS = 3  # that must be left after a flood wait; else the update is left to redelivery
AGAIN_SECONDS = 2  # before what must not be lost is sent once more
API_SECONDS = 20  # that one call of the Bot API may take
RETRY_SECONDS = (2, 10, 30)  # before an update that came by polling is worked on again
NOBODY = (
    "chat not found",
    "not enough rights",
    "no rights",
    "chat_write_forbidden",
    "topic_closed",
    "thread not found",
)
TOO_LARGE = "too large"  # of what was sent: error 413, which the library has no class for
VIDEO_COST = 5  # photos that a video counts as, against the limits
UNKNOWN = "application/octet-stream"  # the MIME type of files whose kind the sender does not know
FILM_NAME = "faces.mp4"
GIVEN_UP = 1000  # updates that are remembered to have crashed or hung their process, or to have failed
WAITING = 10_000  # updates fetched by polling that may wait for their turn or for a place
TRIES = 10  # of an update that is never done in time or never sent; the models are loaded within six
LARGE_BYTES = 2_000_000
LARGE_FILES = 2  # photos, and videos, at once in memory; others wait before they are fetched
ACTIONS = {
    "photo": ChatAction.UPLOAD_PHOTO,
    "video": ChatAction.RECORD_VIDEO,
    "animation": ChatAction.RECORD_VIDEO,
    "video_note": ChatAction.RECORD_VIDEO_NOTE,
}  # shown while the bot works on such a message
QUOTED = {"do_quote": True, "allow_sending_without_reply": True}  # how everything is replied


async def start(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """/start, a group that the bot joins, and who only calls its name there: how to begin."""
    private = update.effective_chat.type == Chat.PRIVATE
    text = replies.START if private else replies.start_in_a_group(context.bot.username)
    await _say(update.effective_message, text)


async def help(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """/help: what the bot can do and what the numbers mean."""
    settings = context.bot_data["settings"]
    text = replies.help(context.bot.username, settings.video_seconds, settings.live_page is not None)
    await _say(update.effective_message, text)


async def privacy(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """/privacy: what happens to photos."""
    settings = context.bot_data["settings"]
    text = replies.privacy(settings.operator_contact, settings.live_page is not None)
    await _say(update.effective_message, text)


async def live(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """/live: the page of the camera, inside Telegram where Telegram can do that."""
    settings, message = context.bot_data["settings"], update.effective_message
    page = settings.live_page
    if page is None:
        await _say(message, replies.LIVE_NEEDS_HTTPS if settings.live_sessions else replies.LIVE_OFF)
    elif update.effective_chat.type == Chat.PRIVATE:
        button = InlineKeyboardButton(replies.LIVE_BUTTON, web_app=WebAppInfo(page))
        await _say(message, replies.LIVE, markup=InlineKeyboardMarkup.from_button(button))
    elif settings.live_open:
        await _say(message, replies.live_at(page))
    else:
        await _say(message, replies.LIVE_IN_PRIVATE)


async def photo(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """A photo or a video, or either sent as a file."""
    await _answer(update.effective_message, update, context)


async def group_photo(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """A photo or a video that a group gives the bot, or another of the same album."""
    albums, message = context.bot_data["albums"], update.effective_message
    asked, album = _is_for_bot(message), message.media_group_id
    if asked and album:
        await albums.ask_for(album)
    elif album:  # whose caption its first photo has, which comes before the others
        asked = await albums.asked_for(album)
    if asked:
        await _answer(message, update, context)


async def analyze(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """/analyze as a reply to a photo or a video."""
    message = update.effective_message
    replied = message.reply_to_message
    if message.external_reply:
        await _say(message, replies.REPLY_FROM_ELSEWHERE)
    elif replied is None or replied.forum_topic_created:  # what every message of a forum's topic replies to
        await _say(message, replies.reply_to_a_photo(context.bot.username))
    elif _kind(replied) is None:
        await _say(message, replies.REPLY_HAS_NO_PHOTO)
    elif _is_own(replied):  # drawn on already
        await _say(message, replies.REPLY_TO_THE_ORIGINAL)
    else:
        await _answer(replied, update, context)


async def mention(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """The bot's name in a group: in a reply to a photo or a video it asks for that, and alone how to begin.

    Else people talk about the bot, not to it; so do they in reply to a picture that it has sent itself.
    """
    message = update.effective_message
    replied = message.reply_to_message
    if replied is not None and _kind(replied) is not None and not _is_own(replied):
        await _answer(replied, update, context)
    elif len(message.text.split()) > 1:
        return
    elif message.external_reply:
        await _say(message, replies.REPLY_FROM_ELSEWHERE)
    else:
        await start(update, context)


async def anything_else(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """In a private chat nothing is met with silence."""
    await _say(update.effective_message, _hint(update.effective_message))


async def failed(update: object, context: ContextTypes.DEFAULT_TYPE) -> None:
    """An error that no handler expected: log it, then tell the person."""
    if not isinstance(update, Update):  # while updates are fetched, which goes on
        known = {Conflict: "Somebody else fetches this bot's updates, or has set a webhook"}
        words = known.get(type(context.error), "Telegram could not be reached")
        log.warning("%s: %s", words, context.error)
        return
    if _is_final(context.error):
        journal.current().end("blocked", type(context.error).__name__)
        return
    log.error("update %d failed", update.update_id, exc_info=context.error)
    journal.current().end("failed", type(context.error).__name__)
    if update.effective_message:
        with suppress(TelegramError):
            await _say(update.effective_message, replies.TROUBLE)


def _is_final(error: BaseException) -> bool:
    """Whether nobody is there to answer any more: blocked, removed, silenced, or gone, as may be the bot."""
    refused = isinstance(error, BadRequest) and any(words in error.message.lower() for words in NOBODY)
    return refused or isinstance(error, Forbidden | ChatMigrated | InvalidToken)


def is_temporary(error: BaseException) -> bool:
    """Whether the same update may succeed later, so that it should be delivered again."""
    if isinstance(error, BadRequest):  # which is a NetworkError to the library
        return False
    if isinstance(error, NetworkError) and TOO_LARGE in error.message.lower():
        return False
    return isinstance(error, NetworkError | RetryAfter | TimeoutError)


class Redelivered(Application):
    """An application whose updates come by webhook: temporary errors leave `process_update`, so that
    the update is not acknowledged and Telegram sends it again."""

    work_seconds: float | None = WORK_SECONDS

    async def process_update(self, update: object) -> bool:
        """Work on an update; whether it was answered, or could not be, and not just ignored."""
        chat = update.effective_chat
        with journal.entry(chat.type if chat else "none", update.update_id) as entry:
            try:
                async with asyncio.timeout(self.work_seconds):
                    await super().process_update(update)
            except (TimeoutError, NetworkError) as error:
                late = isinstance(error, TimeoutError)
                if entry.outcome == "answered":  # and would be from the start, if it came again
                    log.warning(
                        "the rest of a long answer was lost: %s", "it took too long" if late else error
                    )
                elif not self._is_hopeless(update.update_id):
                    raise
                else:
                    entry.end("failed", "timed_out" if late else type(error).__name__)
                    await _give_up(update.effective_message, replies.NOT_IN_TIME if late else replies.TROUBLE)
            return entry.outcome != "ignored"

    def _is_hopeless(self, update_id: int) -> bool:
        """Note that an update could not be answered; whether it has been so often that it never could be.

        Telegram sends it until it is acknowledged, and nothing else of its chat before.
        """
        tries = self.bot_data["tries"][update_id] = self.bot_data["tries"].get(update_id, 0) + 1
        return tries >= TRIES

    async def process_error(self, update, error, job=None, coroutine=None) -> bool:
        if update is not None and is_temporary(error):
            raise error
        return await super().process_error(update, error, job, coroutine)


class Polled(Redelivered):
    """An application that fetches its updates: Telegram sends none again, so they are tried again here.

    Those of one chat are worked on one after the other, as Telegram itself does where it sends them; those
    that wait for their turn take no place of those at work. Once it stops, no work is begun any more.
    """

    work_seconds = None

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self._turns: WeakValueDictionary[int | None, asyncio.Lock] = WeakValueDictionary()  # by chat
        self._stopping = asyncio.Event()

    async def initialize(self) -> None:
        try:
            await super().initialize()
        except NetworkError as error:  # which the library tries again after, without a word
            log.error("Telegram could not be reached: %s; trying again", error)
            raise

    async def stop(self) -> None:
        self._stopping.set()
        await super().stop()

    async def process_update(self, update: object) -> None:
        chat = update.effective_chat
        async with self._turns.setdefault(chat.id if chat else None, asyncio.Lock()):
            await self._try(update)

    async def _try(self, update: object) -> None:
        for seconds in (*RETRY_SECONDS, 0):
            async with self.bot_data["places"]:
                if self._stopping.is_set():
                    if update.effective_chat and update.effective_chat.type == Chat.PRIVATE:
                        await self._let_go(update)  # in groups most of what waits is not for the bot
                    return
                try:
                    await super().process_update(update)
                except (TelegramError, TimeoutError) as failure:
                    error = failure
                else:
                    return
            flooded = isinstance(error, RetryAfter)
            await self._wait(error.retry_after.total_seconds() if flooded else seconds)
        log.error("update %s was given up: %s", update.update_id, error)
        await self._let_go(update)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _let_go(self, update: object) -> None:
        """Tell who sent an update that it must be sent again."""
        if update.effective_message:
            with suppress(TelegramError):
                await update.effective_message.reply_text(replies.TROUBLE, **QUOTED)


def build_application(settings: Settings, pool: Pool, limits: Limits, albums: Albums) -> Application:
    """The bot, wired up; not yet connected to Telegram."""
    builder = (
        ApplicationBuilder()
        .token(settings.token)
        .base_url(f"{settings.api_url}/bot")
        .base_file_url(f"{settings.api_url}/file/bot")
        .connection_pool_size(settings.max_in_flight * 2)  # an answer and its chat action at once
        .pool_timeout(API_SECONDS)
        .read_timeout(WORK_SECONDS)  # given up sooner, an answer that only takes long would be given twice
        .write_timeout(API_SECONDS)
        .concurrent_updates(WAITING)
    )
    if settings.webhook:
        builder = builder.application_class(Redelivered).updater(None)
    else:
        builder = builder.application_class(Polled)
    application = builder.build()
    application.bot_data.update(settings=settings, pool=pool, limits=limits, albums=albums)
    application.bot_data.update(given_up=LRUCache(GIVEN_UP), tries=LRUCache(GIVEN_UP))
    # Photos have their own places, as one is soon done, and videos wait long for one another.
    application.bot_data["large_files"] = {moving: asyncio.Semaphore(LARGE_FILES) for moving in (False, True)}
    application.bot_data["places"] = asyncio.Semaphore(settings.max_in_flight)

    new = filters.UpdateType.MESSAGE  # not edited ones, which old updates may hold
    private, group = new & filters.ChatType.PRIVATE, new & filters.ChatType.GROUPS
    application.add_handler(CommandHandler("start", start, new))
    application.add_handler(CommandHandler("help", help, new))
    application.add_handler(CommandHandler("privacy", privacy, new))
    application.add_handler(CommandHandler("analyze", analyze, new))
    application.add_handler(CommandHandler("live", live, new))
    application.add_handler(MessageHandler(private & READABLE, photo))
    application.add_handler(MessageHandler(private & ~filters.StatusUpdate.ALL, anything_else))
    application.add_handler(MessageHandler(group & READABLE & ASKED, group_photo))
    application.add_handler(MessageHandler(group & filters.TEXT & MENTION, mention))
    application.add_handler(MessageHandler(group & ADDED, start))
    application.add_error_handler(failed)
    return application


def _is_for_bot(message: Message) -> bool:
    """Whether a group's photo or video is given to the bot: by its caption, or as a reply to the bot.

    A GIF in reply is how people talk.
    """
    replied = message.reply_to_message
    handed = replied is not None and _is_own(replied) and not message.animation
    return handed or _is_mention(message) or _is_command(message)


def _is_own(message: Message) -> bool:
    """Whether the bot itself has sent it."""
    return message.from_user == message.get_bot().bot


def _is_mention(message: Message) -> bool:
    """Whether its text or caption names the bot."""
    name = f"@{message.get_bot().username}".lower()
    entities = message.parse_entities([MessageEntity.MENTION]) | message.parse_caption_entities(
        [MessageEntity.MENTION]
    )
    return any(text.lower() == name for text in entities.values())


def _is_command(message: Message) -> bool:
    """Whether its caption is /analyze, which CommandHandler looks for in texts alone."""
    words = (message.caption or "").lower().split()
    return bool(words) and words[0] in ("/analyze", f"/analyze@{message.get_bot().username.lower()}")


class Readable(filters.MessageFilter):
    """Messages with a photo or a video that the bot may be able to read."""

    def filter(self, message: Message) -> bool:
        return _kind(message) is not None


class Mention(filters.MessageFilter):
    """Messages that name the bot."""

    def filter(self, message: Message) -> bool:
        return _is_mention(message)


class Asked(filters.MessageFilter):
    """Messages that are given to the bot, and those of albums, of which only one has the caption."""

    def filter(self, message: Message) -> bool:
        return _is_for_bot(message) or message.media_group_id is not None


class Added(filters.MessageFilter):
    """What a group tells when the bot joins it, or is there from its start."""

    def filter(self, message: Message) -> bool:
        return bool(message.group_chat_created) or message.get_bot().bot in message.new_chat_members


READABLE, MENTION, ASKED, ADDED = Readable(), Mention(), Asked(), Added()


def _kind(message: Message) -> str | None:
    """What of a message the bot may be able to read, one of ACTIONS; None where there is surely nothing."""
    for kind in ("photo", "video", "video_note", "animation"):
        if getattr(message, kind):
            return kind
    mime = (message.document and message.document.mime_type) or ""
    if mime == "image/gif" or mime.startswith("video/"):
        return "animation" if mime == "image/gif" else "video"
    return "photo" if _is_unknown(message) or mime.startswith("image/") else None


def _is_unknown(message: Message) -> bool:
    """Whether it is a file of which nobody tells the kind, so that it has to be looked into."""
    return message.document is not None and message.document.mime_type in (None, "", UNKNOWN)


async def _answer(message: Message, update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """Reply to a message with what its picture shows, unless who asks for it asks for too much."""
    limits, sender, kind = context.bot_data["limits"], update.effective_sender.id, _kind(message)
    entry = journal.current()
    entry.moving = moving = kind != "photo"
    try:
        async with limits.user(sender, VIDEO_COST if moving else 1), _showing(ACTIONS[kind], message):
            await _analyze(message, update, context)
            if entry.moving and not moving:  # as nobody knew before
                await limits.more(sender, VIDEO_COST - 1)
    except SlowDown as refusal:
        entry.end("slowed", "photos_a_minute" if refusal.seconds else "photos_at_once")
        if await limits.may_tell(sender, refusal):
            asker = update.effective_message  # who need not have sent the photo
            await _say(asker, replies.slow_down(refusal.seconds))
            await limits.told(sender, refusal)


async def _analyze(message: Message, update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """Analyze the picture of a message and reply to it with the annotated picture and the faces."""
    entry, given_up, settings = journal.current(), context.bot_data["given_up"], context.bot_data["settings"]
    # Beyond it another dyno may have it; who polls has no other.
    budget = BUDGET_SECONDS - entry.age if settings.webhook else None
    try:
        if update.update_id in given_up:  # nobody could be told; and another process need not die of it
            raise AnalysisError(given_up[update.update_id])
        large = context.bot_data["large_files"][entry.moving] if _is_large(message) else nullcontext()
        async with asyncio.timeout(budget), large:
            answer = await _work(message, context.bot_data["pool"], settings)
    except PhotoError as error:
        entry.end("refused", error.reason.name.lower())
        is_file = message.document is not None and not message.animation
        await _say(message, replies.refusal(error.reason, settings.video_seconds, is_file))
    except AnalysisError as error:
        given_up[update.update_id] = str(error)
        entry.end("failed", str(error))
        await _say(message, replies.FAILED_VIDEO if entry.moving else replies.FAILED)
    else:
        entry.seconds |= answer.seconds
        await (_show_film if isinstance(answer, Film) else _show)(message, answer)


def _file(message: Message) -> File:
    return message.photo[-1] if message.photo else message.effective_attachment


def _is_large(message: Message) -> bool:
    return (_file(message).file_size or 0) > LARGE_BYTES


async def _work(message: Message, pool: Pool, settings: Settings) -> Analysis | Film:
    """Fetch the picture of a message and have it analyzed."""
    entry, picture = journal.current(), _file(message)
    length = getattr(picture, "duration", timedelta()).total_seconds()  # as Telegram sees it
    if entry.moving and length > settings.video_seconds + 1:  # it rounds up
        raise PhotoError(Reason.VIDEO_TOO_LONG)
    with entry.stage("download"):
        data = await _download(picture)
    if entry.moving:
        try:
            return await _film(data, pool, settings)
        except PhotoError as error:
            if error.reason is not Reason.STILL:  # a GIF that is just a picture
                raise
    try:
        return await pool.analyze(data)
    except PhotoError as error:
        if error.reason is not Reason.NOT_AN_IMAGE or not _is_unknown(message):
            raise
        return await _film_after(error, data, pool, settings)


async def _film(data: bytes, pool: Pool, settings: Settings) -> Film:
    """Have a video analyzed in the time that is left."""
    budget = BUDGET_SECONDS if settings.webhook else WORK_SECONDS
    seconds = budget - REPLY_SECONDS - journal.current().age
    return await pool.video(data, settings.video_seconds, seconds)


async def _film_after(refusal: PhotoError, data: bytes, pool: Pool, settings: Settings) -> Film:
    """Have what was refused as a picture analyzed as a video; where it is none, that refusal stands."""
    entry = journal.current()
    entry.moving = True
    try:
        return await _film(data, pool, settings)
    except PhotoError as error:
        if error.reason is not Reason.NOT_A_VIDEO:
            raise
        entry.moving = False
        raise refusal from None


async def _download(file: File) -> bytes:
    if file.file_size and file.file_size > MAX_BYTES:
        raise PhotoError(Reason.TOO_MANY_BYTES)
    try:
        found = await _patiently(file.get_file)
        return bytes(await found.download_as_bytearray())
    except InvalidToken:  # what the library makes of 404, so of a file that Telegram has no longer
        raise PhotoError(Reason.BROKEN) from None
    except BadRequest as error:
        if "too big" in error.message:
            raise PhotoError(Reason.TOO_MANY_BYTES) from None
        raise


async def _show(message: Message, analysis: Analysis) -> None:
    """Reply with the annotated photo."""
    journal.current().faces = len(analysis.faces)
    if not analysis.faces:
        await _say(message, replies.NO_FACE)
        return
    texts = replies.captions(analysis.faces)
    covered = message.has_media_spoiler
    send = partial(message.reply_photo, analysis.jpeg, texts[0], has_spoiler=covered, **QUOTED)
    await _present(message, send, texts)


async def _show_film(message: Message, film: Film) -> None:
    """Reply with the annotated video, which is of the kind that it was."""
    journal.current().faces, journal.current().video = len(film.people), film.length
    if not film.people:
        await _say(message, replies.NO_FACE_IN_VIDEO)
        return
    texts, note = replies.summaries(film.people), message.video_note is not None
    details = QUOTED | {"filename": FILM_NAME, "duration": round(film.length)}
    reply = message.reply_animation if _kind(message) == "animation" else message.reply_video

    def send() -> Awaitable[Message]:
        if note:
            return message.reply_video_note(film.mp4, length=film.width, **details)
        size = {"width": film.width, "height": film.height}
        return reply(film.mp4, caption=texts[0], has_spoiler=message.has_media_spoiler, **size, **details)

    await _present(message, send, texts, captioned=not note)


async def _present(
    message: Message, send: Callable[[], Awaitable[Message]], texts: list[str], captioned: bool = True
) -> None:
    """Reply with a picture and its texts; once Telegram has it, nothing may fail the update any more.

    Args:
        send: sends the picture.
        texts: what is told of it.
        captioned: whether the first of them is its caption.
    """
    caption, *rest = texts
    try:
        await _reply(send)
    except NetworkError as error:
        if is_temporary(error):
            raise
        # A group may forbid photos and videos, or it is more than Telegram takes.
        log.warning("a picture was refused, and its answer goes as text: %s", error)
        await _say(message, caption)
    else:
        rest = rest if captioned else texts
    try:
        for text in rest:
            await _say(message, text, insist=True)
    except TelegramError as error:
        log.warning("the rest of a long answer was lost: %s", error)


async def _give_up(message: Message, text: str) -> None:
    """Tell that an update is not tried again; where nobody can be told any more, it ends all the same."""
    try:
        await _say(message, text)
    except TelegramError as error:
        if is_temporary(error):
            raise
        journal.current().end("blocked", type(error).__name__)


async def _say(
    message: Message, text: str, insist: bool = False, markup: InlineKeyboardMarkup | None = None
) -> None:
    """Reply with a text."""
    await _reply(lambda: message.reply_text(text, reply_markup=markup, **QUOTED), insist)


async def _reply(send: Callable[[], Awaitable[Message]], insist: bool = False) -> None:
    """Send a reply, and note that there was one."""
    entry = journal.current()
    with entry.stage("reply"):
        await _patiently(send, insist)
    if entry.outcome == "ignored":
        entry.outcome = "answered"


async def _patiently(call: Callable[[], Awaitable[T]], insist: bool = False) -> T:
    """Call the Bot API, and again after a flood wait (error 429) that leaves time for it.

    Args:
        insist: also after any other temporary error, and for longer than one request lasts; for what
            would be lost otherwise.
    """
    while True:
        try:
            return await call()
        except (RetryAfter, NetworkError) as error:
            if isinstance(error, RetryAfter):
                wait = error.retry_after.total_seconds()
            elif insist and is_temporary(error):
                wait = AGAIN_SECONDS
            else:
                raise
            if journal.current().age + wait + REPLY_SECONDS > (WORK_SECONDS if insist else BUDGET_SECONDS):
                raise
            await asyncio.sleep(wait)


@asynccontextmanager
async def _showing(action: ChatAction, message: Message) -> AsyncIterator[None]:
    """Show in the chat what the bot is doing meanwhile."""

    async def repeat() -> None:
        while True:
            with suppress(TelegramError):
                await message.reply_chat_action(action)
            await asyncio.sleep(ACTION_SECONDS)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()


def _hint(message: Message) -> str:
    if message.text and message.text.startswith("/"):
        return replies.UNKNOWN_COMMAND
    if message.text:
        return replies.SEND_A_PHOTO
    return replies.NOT_A_STICKER if message.sticker else replies.NOT_A_PHOTO
