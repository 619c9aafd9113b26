"""Telegram's Bot API, as far as an end-to-end test of the bot needs it: see `BotApi`."""

from tests.botapi.limits import ApiError
from tests.botapi.server import BotApi
from tests.botapi.world import BOT, Action, Attempt, Media, Sent, Webhook

__all__ = ["BOT", "Action", "ApiError", "Attempt", "BotApi", "Media", "Sent", "Webhook"]
