"""The handlers: what a message from Telegram is answered with."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from telegram import Document, Message, PhotoSize, Update
from telegram.constants import ChatAction
from telegram.error import BadRequest, Forbidden, NetworkError, RetryAfter, TelegramError
from telegram.ext import (
    Application,
    ApplicationBuilder,
    CommandHandler,
    ContextTypes,
    MessageHandler,
    filters,
)

from bot import replies
from bot.settings import Settings
from inference.errors import MAX_BYTES, PhotoError, Reason
from inference.pool import AnalysisError, Pool

log = logging.getLogger(__name__)

ALLOWED_UPDATES = [Update.MESSAGE]
ACTION_SECONDS = 4.5  # Telegram shows a chat action for 5 s
PATIENCE_SECONDS = 5  # the longest flood wait that is sat out; a longer one is left to redelivery
API_SECONDS = 20  # that one call of the Bot API may take


async def start(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """/start: how to begin."""
    await _say(update.effective_message, replies.START)


async def help(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """/help: what the bot can do and what the numbers mean."""
    await _say(update.effective_message, replies.HELP)


async def privacy(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """/privacy: what happens to photos."""
    await _say(update.effective_message, replies.privacy(context.bot_data["settings"].operator_contact))


async def photo(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """A photo, or an image sent as a file."""
    await _answer(update.effective_message, update, context)


async def analyze(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """/analyze, or a mention of the bot, as a reply to a photo."""
    message = update.effective_message
    if message.reply_to_message is None:
        await _say(message, replies.REPLY_TO_A_PHOTO)
    elif _image(message.reply_to_message) is None:
        await _say(message, replies.REPLY_HAS_NO_PHOTO)
    else:
        await _answer(message.reply_to_message, update, context)


async def anything_else(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """In a private chat nothing is met with silence."""
    await _say(update.effective_message, _hint(update.effective_message))


async def failed(update: object, context: ContextTypes.DEFAULT_TYPE) -> None:
    """An error that no handler expected: log it, then tell the person."""
    update_id = update.update_id if isinstance(update, Update) else None
    if isinstance(context.error, Forbidden):
        log.info("update %s: nobody to answer: %s", update_id, context.error)
        return
    log.error("update %s failed", update_id, exc_info=context.error)
    if isinstance(update, Update) and update.effective_message:
        with suppress(TelegramError):
            await _say(update.effective_message, replies.TROUBLE)


def is_temporary(error: BaseException) -> bool:
    """Whether the same update may succeed later, so that it should be delivered again."""
    if isinstance(error, BadRequest):  # which is a NetworkError to the library
        return False
    return isinstance(error, NetworkError | RetryAfter | TimeoutError)


class Redelivered(Application):
    """An application whose updates come by webhook: temporary errors leave `process_update`, so that
    the update is not acknowledged and Telegram sends it again."""

    async def process_error(self, update, error, job=None, coroutine=None) -> bool:
        if is_temporary(error):
            raise error
        return await super().process_error(update, error, job, coroutine)


def build_application(settings: Settings, pool: Pool) -> Application:
    """The bot, wired up; not yet connected to Telegram."""
    builder = (
        ApplicationBuilder()
        .token(settings.token)
        .base_url(f"{settings.api_url}/bot")
        .base_file_url(f"{settings.api_url}/file/bot")
        .connection_pool_size(settings.max_in_flight * 2)  # an answer and its chat action at once
        .pool_timeout(API_SECONDS)
        .read_timeout(API_SECONDS)
        .write_timeout(API_SECONDS)
        .concurrent_updates(settings.max_in_flight)
    )
    if settings.webhook:
        builder = builder.application_class(Redelivered).updater(None)
    application = builder.build()
    application.bot_data.update(settings=settings, pool=pool)

    private = filters.ChatType.PRIVATE
    image = filters.PHOTO | filters.Document.ALL
    application.add_handler(CommandHandler("start", start))
    application.add_handler(CommandHandler("help", help))
    application.add_handler(CommandHandler("privacy", privacy))
    application.add_handler(CommandHandler("analyze", analyze))
    application.add_handler(MessageHandler(private & image, photo))
    application.add_handler(MessageHandler(private & ~filters.StatusUpdate.ALL, anything_else))
    application.add_handler(MessageHandler(filters.ChatType.GROUPS & image & MENTIONED, photo))
    application.add_handler(MessageHandler(filters.ChatType.GROUPS & filters.REPLY & MENTIONED, analyze))
    application.add_error_handler(failed)
    return application


class _Mentioned(filters.MessageFilter):
    """Messages whose text or caption names the bot."""

    def filter(self, message: Message) -> bool:
        name = message.get_bot().username.lower()
        text = message.text or message.caption or ""
        return f"@{name}" in text.lower().split()


MENTIONED = _Mentioned()


def _image(message: Message) -> PhotoSize | Document | None:
    """The picture of a message, in its largest size."""
    return message.photo[-1] if message.photo else message.document


async def _answer(message: Message, update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """Analyze the picture of a message and reply to it with the annotated photo and the faces."""
    start = time.perf_counter()
    stages = {}
    async with _uploading(message):
        try:
            data = await _download(_image(message))
            stages["download"] = time.perf_counter() - start
            analysis = await context.bot_data["pool"].analyze(data)
        except PhotoError as error:
            outcome = f"refused: {error.reason.name.lower()}"
            await _say(message, replies.REFUSALS[error.reason])
        except AnalysisError as error:
            outcome = f"given up: {error}"
            await _say(message, replies.FAILED)
        else:
            outcome = f"{len(analysis.faces)} faces"
            stages |= analysis.seconds
            await _show(message, analysis)
    stages["total"] = time.perf_counter() - start
    times = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in stages.items())
    log.info("update %d in a %s chat: %s (%s)", update.update_id, message.chat.type, outcome, times)


async def _download(image: PhotoSize | Document) -> bytes:
    if image.file_size and image.file_size > MAX_BYTES:
        raise PhotoError(Reason.TOO_MANY_BYTES)
    file = await image.get_file()
    return bytes(await file.download_as_bytearray())


async def _show(message: Message, analysis) -> None:
    """Reply with the photo; once Telegram has it, nothing may fail the update any more."""
    if not analysis.faces:
        await _say(message, replies.NO_FACE)
        return
    caption, *rest = replies.captions(analysis.faces)
    await _patiently(
        lambda: message.reply_photo(analysis.jpeg, caption, do_quote=True, allow_sending_without_reply=True)
    )
    try:
        for text in rest:
            await _say(message, text)
    except TelegramError as error:
        log.warning("the rest of a long answer was lost: %s", error)


async def _say(message: Message, text: str) -> None:
    """Reply with a text."""
    await _patiently(lambda: message.reply_text(text, do_quote=True, allow_sending_without_reply=True))


async def _patiently(send) -> None:
    """Call `send`, sitting out a short flood wait (error 429) once."""
    try:
        await send()
    except RetryAfter as error:
        seconds = error.retry_after.total_seconds()
        if seconds > PATIENCE_SECONDS:
            raise
        await asyncio.sleep(seconds)
        await send()


@asynccontextmanager
async def _uploading(message: Message) -> AsyncIterator[None]:
    """Show "sending photo" in the chat meanwhile."""

    async def repeat() -> None:
        while True:
            with suppress(TelegramError):
                await message.reply_chat_action(ChatAction.UPLOAD_PHOTO)
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
    if message.video or message.animation or message.video_note:
        return replies.NOT_A_VIDEO
    return replies.NOT_A_STICKER if message.sticker else replies.NOT_A_PHOTO
