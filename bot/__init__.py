"""Talks to people: Telegram in and out, the demo page, settings."""

import os

__version__ = "1.0.0"

# python-telegram-bot: durations as timedelta, its future default; without it every flood wait warns.
os.environ.setdefault("PTB_TIMEDELTA", "true")
