"""Mini Apps: what Telegram tells a page that it opens, and how to know that it was Telegram.

https://core.telegram.org/bots/webapps#validating-data-received-via-the-mini-app
"""

import hashlib
import hmac
from urllib.parse import parse_qsl

FRESH_SECONDS = 24 * 3600  # since Telegram opened the page, which people leave open
SKEW_SECONDS = 60  # that Telegram's clock may be ahead of ours


def is_genuine(init_data: str, token: str, now: float) -> bool:
    """Whether Telegram has signed this, for this bot, and lately.

    Args:
        init_data: `Telegram.WebApp.initData`, a query string.
        token: of the bot.
        now: seconds since 1970, as `auth_date` counts.
    """
    fields = dict(parse_qsl(init_data, keep_blank_values=True))
    signature, opened = fields.pop("hash", ""), fields.get("auth_date", "")
    text = "\n".join(f"{name}={value}" for name, value in sorted(fields.items()))
    key = hmac.digest(b"WebAppData", token.encode(), hashlib.sha256)
    # Of half characters, which JSON may hold, Telegram signs none.
    expected = hmac.new(key, text.encode(errors="replace"), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signature.encode(errors="replace"), expected.encode()):
        return False
    return -SKEW_SECONDS <= now - int(opened or 0) <= FRESH_SECONDS
