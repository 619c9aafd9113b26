"""Every setting, typed, read once from the environment, refused when wrong."""

import hashlib
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, SecretStr, ValidationError
from pydantic.types import StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

WEBHOOK_PATH = "/telegram"
LIVE_PATH = "/live"
FRAME_BYTES = 200_000  # of one frame of /live

# What an operator reads when a setting is refused; the value itself is never shown.
ADVICE = {
    "telegram_bot_token": "must look like 123456:ABC-DEF1234ghIkl, as @BotFather gave it",
    "webhook_url": "must be the public address of this service, such as https://example.com, and no more: "
    f"{WEBHOOK_PATH} is added to it",
    "webhook_secret": "must be 16 to 256 of the characters A-Z a-z 0-9 _ -",
    "telegram_api_url": "must be an address such as http://localhost:8081",
    "heroku_app_default_domain_name": "must be a domain name",
    "port": "must be a number from 1 to 65535",
    "log_level": "must be DEBUG, INFO, WARNING or ERROR",
    "inference_processes": "must be a number from 1 to 16",
    "photo_seconds": "must be a number of seconds from 1 to 20",
    "photo_megabytes": "must be a number from 100 to 10000",
    "video_seconds": "must be a number of seconds from 1 to 60",
    "max_in_flight": "must be a number from 1 to 100",
    "operator_contact": "must be at most 200 characters",
    "user_photos_a_minute": "must be a number from 1 to 1000",
    "user_photos_at_once": "must be a number from 1 to 100",
    "page_photos_a_minute": "must be a number from 1 to 1000",
    "proxies": "must be the number of proxies in front of the service, from 0 to 5",
    "live_sessions": "must be a number from 0 to 16",
    "live_open": "must be true or false",
    "redis_url": "must look like redis://:password@example.com:6379/0, or rediss:// for TLS",
    "metrics_token": "must be 16 to 256 visible characters",
    "dyno": "is set by Heroku",
}

# A / or # in a password, where not written as %2F or %23, would make the rest of it a port, in a traceback.
REDIS = r"rediss?://([^\s/?#]*@)?(\[[\da-fA-F:.]+\]|[^\s/?#@:\[\]]+)(:\d{1,5})?([/?][^\s@#]*)?"


def _secret(pattern: str):
    """A string of that form which no log or traceback ever shows."""
    return Annotated[SecretStr, AfterValidator(lambda value: _matching(value, pattern))]


def _matching(value: SecretStr, pattern: str) -> SecretStr:
    if not re.fullmatch(pattern, value.get_secret_value()):
        raise ValueError("wrong form")
    return value


def _redis(value: SecretStr) -> SecretStr:
    """Refuse options that the client does not know or take: it would say so only when it connects."""
    try:
        pool = ConnectionPool.from_url(value.get_secret_value())
        pool.make_connection()
    except (TypeError, AttributeError, RedisError):  # of options that are unknown, of another kind, or wrong
        raise ValueError("wrong options") from None
    if pool.connection_kwargs.keys() & {"decode_responses", "encoding", "encoding_errors"}:
        raise ValueError("answers that are not read as they are written")
    return value


def _plain(value: HttpUrl) -> HttpUrl:
    """Refuse an address to which no path can be added, or to which it was added already."""
    if value.query or value.fragment or value.username or value.password:
        raise ValueError("more than an address")
    if (value.path or "").rstrip("/").endswith(WEBHOOK_PATH):
        raise ValueError("the webhook's own address")
    return value


class Settings(BaseSettings):
    """Each is read from the environment variable of its name in capitals; an empty one counts as unset."""

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True)

    telegram_bot_token: _secret(r"\d+:[A-Za-z0-9_-]{10,}") | None = None
    webhook_url: Annotated[HttpUrl, AfterValidator(_plain)] | None = None
    webhook_secret: _secret(r"[A-Za-z0-9_-]{16,256}") | None = None  # of what setWebhook takes
    telegram_api_url: HttpUrl = HttpUrl("https://api.telegram.org")
    heroku_app_default_domain_name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]+$")] | None = (
        None
    )
    port: int = Field(8000, ge=1, le=65535)
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(str.upper)] = "INFO"
    inference_processes: int = Field(1, ge=1, le=16)
    photo_seconds: float = Field(12, ge=1, le=20)  # that one photo may take in its process
    photo_megabytes: int = Field(500, ge=100, le=10_000)  # of memory that it may take there, likewise
    video_seconds: float = Field(20, ge=1, le=60)  # that a video may last
    max_in_flight: int = Field(32, ge=1, le=100)  # updates worked on at once
    operator_contact: str = Field("", max_length=200)  # shown in /privacy
    user_photos_a_minute: int = Field(30, ge=1, le=1000)  # of one person
    user_photos_at_once: int = Field(10, ge=1, le=100)  # of one person; an album has 10
    page_photos_a_minute: int = Field(30, ge=1, le=1000)  # of one address, on the demo page
    proxies: int | None = Field(None, ge=0, le=5)  # that add to X-Forwarded-For; see `routers`
    live_sessions: int = Field(4, ge=0, le=16)  # at once; 0 turns /live off
    live_open: bool = True  # to whoever has its address, not only to who comes from Telegram
    redis_url: Annotated[_secret(REDIS), AfterValidator(_redis)] | None = None
    metrics_token: _secret(r"[!-~]{16,256}") | None = None
    dyno: str | None = None  # set by Heroku, and nowhere else

    @property
    def token(self) -> str | None:
        return self.telegram_bot_token and self.telegram_bot_token.get_secret_value()

    @property
    def api_url(self) -> str:
        """Of the Bot API server, without a slash at its end."""
        return str(self.telegram_api_url).rstrip("/")

    @property
    def address(self) -> str | None:
        """The service's public address, without a slash at its end."""
        if self.webhook_url:
            return str(self.webhook_url).rstrip("/")
        if self.heroku_app_default_domain_name:
            return f"https://{self.heroku_app_default_domain_name}"
        return None

    @property
    def webhook(self) -> str | None:
        """Where Telegram is to send updates; None without a public address."""
        return self.address and self.address + WEBHOOK_PATH

    @property
    def live_page(self) -> str | None:
        """What Telegram may open as a Mini App, which needs https; None where there is no such page."""
        https = self.live_sessions and (self.address or "").startswith("https://")
        return self.address + LIVE_PATH if https else None

    @property
    def secret(self) -> str | None:
        """Of the webhook: the one set, else one derived from the token, the same on every dyno."""
        if self.webhook_secret:
            return self.webhook_secret.get_secret_value()
        return self.token and hashlib.sha256(f"webhook secret of {self.token}".encode()).hexdigest()

    @property
    def redis(self) -> str | None:
        """The address of Redis, with its password."""
        return self.redis_url and self.redis_url.get_secret_value()

    @property
    def redis_options(self) -> dict[str, str]:
        """For the client, besides the address, which overrules them."""
        # Heroku's Redis has a certificate of its own making, which nobody can verify.
        return {"ssl_cert_reqs": "none"} if self.dyno and self.redis.startswith("rediss:") else {}

    @property
    def routers(self) -> int:
        """How many proxies in front of the service add the client's address to X-Forwarded-For."""
        return self.proxies if self.proxies is not None else int(self.dyno is not None)

    @property
    def secrets(self) -> list[str]:
        """All that no log may show."""
        metrics = self.metrics_token and self.metrics_token.get_secret_value()
        password = self.redis and urlsplit(self.redis).password
        return [secret for secret in (self.token, self.secret, metrics, password) if secret]


def load() -> Settings:
    """The settings of this process.

    Raises:
        SystemExit: some are wrong; its message says which and what they must be, a line each.
    """
    try:
        return Settings()
    except ValidationError as refusal:
        wrong = {str(error["loc"][0]) for error in refusal.errors()}
        raise SystemExit("\n".join(f"{name.upper()} {ADVICE[name]}." for name in sorted(wrong))) from None
