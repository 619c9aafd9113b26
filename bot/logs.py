"""Logging to stderr, in which no token ever appears."""

import logging

from bot.settings import Settings


class _Redacting(logging.Formatter):
    """Blots the secrets out of whole lines, tracebacks included."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")  # the platform adds the time
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return line


def configure(settings: Settings) -> None:
    """Set up the logging of this process, once, at its start."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Redacting(settings.secrets))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    server = logging.getLogger("gunicorn.error")  # has a handler of its own, and tells of what nobody caught
    server.handlers, server.propagate = [], True
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its INFO lines hold URLs, and those the token
    # Its DEBUG lines, and those of telegram.ext below it, hold whole messages, with names and texts.
    logging.getLogger("telegram").setLevel(max(logging.INFO, logging.getLevelName(settings.log_level)))
    logging.getLogger("httpcore").setLevel(logging.WARNING)
