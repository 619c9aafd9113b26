"""What Telegram signs; the code was also held against data that Telegram itself had signed."""

import hashlib
import hmac
from urllib.parse import urlencode

import pytest

from bot.miniapp import is_genuine

TOKEN = "123456:TEST-token-of-the-test-server_0123456789"
NOW = 1_800_000_000.0
USER = '{"id":7,"first_name":"Ann & Жанна","language_code":"en"}'
# Of FIELDS, by `openssl dgst -sha256 -mac hmac`.
HASH = "548d3abb8e572ae837c85f14fc74177deee33baa2988a65ab8b6b80fdc0eebcf"
FIELDS = {
    "query_id": "AAHdF6IQAAAAAN0XohDhrOrc",
    "user": USER,
    "auth_date": str(int(NOW)),
    "signature": "not-looked-at_but-signed",
}


def sign(token: str = TOKEN, **fields: str) -> str:
    """Init data as Telegram signs them."""
    key = hmac.digest(b"WebAppData", token.encode(), hashlib.sha256)
    text = "\n".join(f"{name}={fields[name]}" for name in sorted(fields))
    return urlencode(fields | {"hash": hmac.digest(key, text.encode(), hashlib.sha256).hex()})


def test_what_telegram_signed_is_genuine():
    assert is_genuine(urlencode(FIELDS | {"hash": HASH}), TOKEN, NOW)
    assert is_genuine(urlencode({"hash": HASH} | FIELDS), TOKEN, NOW)


@pytest.mark.parametrize("name", [*FIELDS, "hash"])
def test_nothing_in_it_can_be_changed_or_left_out(name):
    fields = FIELDS | {"hash": HASH}
    assert not is_genuine(urlencode(fields | {name: fields[name][:-1] + "x"}), TOKEN, NOW)
    assert not is_genuine(urlencode({key: fields[key] for key in fields if key != name}), TOKEN, NOW)
    assert not is_genuine(urlencode(fields | {"extra": "1"}), TOKEN, NOW)


def test_another_bot_s_is_not():
    assert not is_genuine(sign("654321:another-bot-s-token", **FIELDS), TOKEN, NOW)


@pytest.mark.parametrize(
    ("age", "genuine"), [(0, True), (86_400, True), (86_401, False), (-60, True), (-61, False)]
)
def test_it_is_good_for_a_day(age, genuine):
    assert is_genuine(sign(**FIELDS), TOKEN, NOW + age) is genuine


@pytest.mark.parametrize("text", ["", "x", "hash=", "hash=%", "a=1&hash=\ud800", "\ud800", "&&=&=", "hash=é"])
def test_nonsense_is_not(text):
    assert not is_genuine(text, TOKEN, NOW)


def test_without_a_date_it_is_not():
    assert not is_genuine(sign(user=USER), TOKEN, NOW)
