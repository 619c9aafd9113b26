import pytest

from bot.settings import ADVICE, Settings, load

TOKEN = "123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_nothing_set_is_a_service_without_telegram():
    settings = load()
    assert (settings.token, settings.webhook, settings.secret) == (None, None, None)
    assert (settings.port, settings.log_level, settings.api_url) == (8000, "INFO", "https://api.telegram.org")


def test_the_address_is_the_set_one_else_the_platform_s(monkeypatch):
    monkeypatch.setenv("HEROKU_APP_DEFAULT_DOMAIN_NAME", "faces-1234.herokuapp.com")
    assert load().webhook == "https://faces-1234.herokuapp.com/telegram"
    monkeypatch.setenv("WEBHOOK_URL", "https://faces.example.com/")
    assert load().webhook == "https://faces.example.com/telegram"
    assert load().live_page == "https://faces.example.com/live"
    monkeypatch.setenv("WEBHOOK_URL", "")
    assert load().webhook == "https://faces-1234.herokuapp.com/telegram"


def test_the_secret_is_derived_from_the_token_where_none_is_set(monkeypatch):
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    derived = load().secret
    assert derived == load().secret
    assert TOKEN not in derived
    monkeypatch.setenv("WEBHOOK_SECRET", "chosen-by-operator")
    assert load().secret == "chosen-by-operator"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TELEGRAM_BOT_TOKEN", "my token"),
        ("WEBHOOK_URL", "faces.example.com"),
        ("WEBHOOK_URL", "https://faces.example.com/telegram"),
        ("WEBHOOK_URL", "https://faces.example.com/bot/telegram/"),
        ("WEBHOOK_URL", "https://faces.example.com/?x=1"),
        ("WEBHOOK_URL", "https://faces.example.com/#top"),
        ("WEBHOOK_URL", "https://anna:secret@faces.example.com"),
        ("WEBHOOK_SECRET", "not allowed: spaces"),
        ("WEBHOOK_SECRET", "fifteen-letters"),
        ("WEBHOOK_SECRET", "x" * 257),
        ("TELEGRAM_API_URL", "localhost:8081"),
        ("HEROKU_APP_DEFAULT_DOMAIN_NAME", "a b"),
        ("PORT", "http"),
        ("PORT", "70000"),
        ("LOG_LEVEL", "LOUD"),
        ("INFERENCE_PROCESSES", "0"),
        ("VIDEO_SECONDS", "0.5"),
        ("PHOTO_SECONDS", "60"),
        ("MAX_IN_FLIGHT", "1000"),
        ("OPERATOR_CONTACT", "x" * 201),
        ("PHOTO_MEGABYTES", "50"),
        ("USER_PHOTOS_A_MINUTE", "0"),
        ("USER_PHOTOS_AT_ONCE", "many"),
        ("PAGE_PHOTOS_A_MINUTE", "0"),
        ("PROXIES", "-1"),
        ("LIVE_SESSIONS", "17"),
        ("LIVE_OPEN", "perhaps"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "redis://:pass/word@example.com"),
        ("REDIS_URL", "redis://user:pass#word@example.com:6379/0"),
        ("REDIS_URL", "redis://:12345/word@example.com"),
        ("REDIS_URL", "redis://user:12345/word@example.com"),
        ("REDIS_URL", "redis://[abc"),
        ("REDIS_URL", "redis://example.com:port"),
        ("REDIS_URL", "redis://example.com:99999"),
        ("REDIS_URL", "redis://example.com?ssl_cert_reqs=none"),
        ("REDIS_URL", "rediss://example.com?ssl_cert_req=none"),
        ("REDIS_URL", "rediss://:pass-word@example.com?ssl_cert_reqs=bad"),
        ("REDIS_URL", "redis://:pass-word@example.com?protocol=9"),
        ("REDIS_URL", "redis://:pass-word@example.com?retry=3"),
        ("REDIS_URL", "redis://:pass-word@example.com?decode_responses=true"),
        ("REDIS_URL", "redis://:pass-word@example.com?encoding=utf-16"),
        ("METRICS_TOKEN", "short"),
        ("METRICS_TOKEN", "with spaces in the middle"),
    ],
)
def test_a_wrong_value_stops_with_one_sentence_that_does_not_show_it(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stop:
        load()
    assert str(stop.value) == f"{name} {ADVICE[name.lower()]}."
    assert stop.value.__suppress_context__


@pytest.mark.parametrize(
    "address",
    [
        "redis://example.com",
        "redis://localhost:6379/0",
        "rediss://:p%2Fss@word@example.com:6380?ssl_cert_reqs=none",
        "redis://user:password@[2001:db8::1]:6379/1",
    ],
)
def test_addresses_of_redis(monkeypatch, address):
    monkeypatch.setenv("REDIS_URL", address)
    assert load().redis == address


def test_every_setting_has_its_advice():
    assert set(ADVICE) == set(Settings.model_fields)


def test_secrets_are_not_in_the_representation(monkeypatch):
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("WEBHOOK_SECRET", "hush-hush-hush-hush")
    monkeypatch.setenv("REDIS_URL", "rediss://:pass-word@example.com:6380")
    monkeypatch.setenv("METRICS_TOKEN", "0123456789abcdef")
    assert set(load().secrets) == {TOKEN, "hush-hush-hush-hush", "pass-word", "0123456789abcdef"}
    assert not any(secret in repr(load()) for secret in load().secrets)


def test_on_heroku_there_is_one_router_and_a_certificate_that_nobody_can_verify(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "rediss://:pass-word@example.com:6380")
    assert (load().routers, load().redis_options) == (0, {})
    monkeypatch.setenv("DYNO", "web.1")
    assert (load().routers, load().redis_options) == (1, {"ssl_cert_reqs": "none"})
    monkeypatch.setenv("REDIS_URL", "redis://example.com")
    monkeypatch.setenv("PROXIES", "2")
    assert (load().routers, load().redis_options) == (2, {})
