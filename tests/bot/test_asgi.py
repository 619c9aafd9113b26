"""The web service, as it is deployed: a real gunicorn, HTTP, the real models."""

import asyncio
import base64
import concurrent.futures
import io
import itertools
import json
import re
import socket
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image
from redis import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from telegram import WebhookInfo
from telegram.error import BadRequest, InvalidToken, NetworkError, RetryAfter
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from bot import __version__, asgi, journal, replies, uploads
from bot.asgi import client_address
from bot.settings import Settings
from bot.uploads import Uploads
from inference.errors import MAX_BYTES, PhotoError, Reason
from inference.pool import AnalysisError
from tests.bot.conftest import ask, measure
from tests.bot.test_journal import count
from tests.botapi import BOT, BotApi
from tests.conftest import METRICS_TOKEN, ROOT, SECRET, TOKEN, Service, start_service, stop_service
from tests.pictures import encode

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"


def test_health_says_what_runs(service):
    answer = httpx.get(f"{service.url}/healthz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "models_ready": True,
        "telegram": "off",
        "redis": "off",
        "version": __version__,
    }


def test_the_page_s_photo_is_answered_with_faces_and_a_picture(service, astronaut):
    answer = httpx.post(f"{service.url}/analyze", content=encode(astronaut), timeout=30).json()
    assert (answer["width"], answer["height"], answer["summary"]) == (512, 512, "Found 1 face.")
    (face,) = answer["faces"]
    assert face["emotion"]["label"] == "happy"
    assert face["gender"]["label"] == "female"
    assert 25 <= face["age"]["years"] <= 50
    assert face["text"].startswith("happy")
    header, picture = answer["image"].split(",")
    assert header == "data:image/jpeg;base64"
    annotated = np.array(Image.open(io.BytesIO(base64.b64decode(picture))))
    assert annotated.shape == astronaut.shape
    # Drawn near the face, and nowhere else.
    changed = np.abs(annotated.astype(int) - astronaut).max(axis=2) > 100
    assert changed[30:200, 130:300].any()
    assert not changed[300:].any()


def test_a_photo_without_a_face_says_so(service):
    answer = httpx.post(
        f"{service.url}/analyze", content=encode(np.full((300, 300, 3), 200, np.uint8))
    ).json()
    assert answer["faces"] == []
    assert answer["summary"] == replies.NO_FACE


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 422, "empty"),
        (b"just text", 415, "not an image"),
        (b"\xff\xd8\xff\xe0" + bytes(100), 422, "damaged"),
        (encode(np.zeros((4, 4, 3), np.uint8)), 422, "too small"),
        (encode(np.zeros((17, 2000, 3), np.uint8)), 422, "narrow strip"),
        (bytes(MAX_BYTES + 1), 413, "too large"),
    ],
)
def test_the_page_s_bad_photos_are_refused_in_words(service, content, status, words):
    answer = httpx.post(f"{service.url}/analyze", content=content, timeout=30)
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_a_photo_that_comes_too_slowly_is_not_asked_for_again(monkeypatch):
    """A browser would send it again by itself after a 408, and the page after a Retry-After."""
    monkeypatch.setattr(uploads, "SECONDS", 0.05)

    async def nothing_more() -> None:
        await asyncio.sleep(60)

    answer = upload(nothing_more)
    assert answer.status_code == 503
    assert "Retry-After" not in answer.headers
    assert json.loads(answer.body) == {"error": replies.SLOW_UPLOAD}


def test_who_sends_nothing_for_half_a_minute_is_told():
    """gunicorn says then that they have gone; but a phone may only have lost its line for a while."""

    async def gone() -> dict[str, str]:
        return {"type": "http.disconnect"}

    answer = upload(gone)
    assert (answer.status_code, json.loads(answer.body)) == (503, {"error": replies.SLOW_UPLOAD})


def upload(receive) -> Response:
    """What the demo page is answered whose photo comes by this."""
    app = SimpleNamespace(state=SimpleNamespace(uploads=Uploads()))
    with journal.entry("page") as entry:
        return asyncio.run(
            asgi.analyze_upload(Request({"type": "http", "headers": [], "app": app}, receive), entry)
        )


def test_what_only_asks_for_the_head_gets_no_body_and_no_line_in_the_log(service):
    for path in ("/healthz", "/about", "/nothing"):
        assert httpx.head(service.url + path).content == b""
    assert "no-body" not in service.log.read_text()


def test_a_camera_of_another_page_is_refused_and_the_operator_told_why_once(tmp_path):
    service = start_service(tmp_path / "log")
    service.wait_until(lambda health: health["status"])
    for _ in range(2):
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws{service.url[4:]}/live/stream", origin="https://faces.example.com")
    assert service.log.read_text().count("have the proxy in front pass the Host header on") == 1


def test_pages_and_scripts_are_asked_for_anew_after_a_deploy(service):
    for path in ("/", "/live", "/page/page.css", "/page/live/camera.js"):
        assert httpx.get(service.url + path).headers["Cache-Control"] == "no-cache"
    script = f"{service.url}/page/page.js"
    answer = httpx.get(script, headers={"If-None-Match": httpx.get(script).headers["ETag"]})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (304, "no-cache")


def test_answers_carry_security_headers_and_no_cors(service):
    for path in ("/", "/healthz", "/about"):
        headers = httpx.get(service.url + path, headers={"Origin": "https://elsewhere.example"}).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_metrics_are_for_who_knows_their_token(bot, service, telegram, astronaut):
    assert telegram.deliver(telegram.send_photo(99, encode(astronaut))) == 200
    assert httpx.get(f"{service.url}/metrics").status_code == 404  # without the setting
    for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {METRICS_TOKEN}"}):
        assert httpx.get(f"{bot.url}/metrics", headers=wrong).status_code == 401
    answer = httpx.get(f"{bot.url}/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"})
    assert answer.status_code == 200
    samples = measure(bot)
    assert samples["faces_updates_total", "private", "answered"] >= 1
    assert samples["faces_photos_total", "private"] >= 1
    assert samples["faces_found_total", "private"] >= samples["faces_photos_total", "private"]
    for stage in ("download", "decode", "detect", "attributes", "draw", "reply"):
        assert samples["faces_stage_seconds_sum", stage] > 0
    for gauge in ("faces_updates_in_flight", "faces_photos_waiting", "faces_pool_restarts"):
        assert samples[gauge,] == 0
    assert not any(secret in answer.text for secret in (SECRET, METRICS_TOKEN, telegram.token, "user99"))


def test_one_address_can_t_fill_the_page_with_photos(tmp_path):
    """Behind one proxy, as at Heroku; what the client itself says of its address counts for nothing."""
    service = start_service(tmp_path / "log", PAGE_PHOTOS_A_MINUTE="2", DYNO="web.1")
    service.wait_until(lambda health: True)

    def send(*addresses: str) -> httpx.Response:
        headers = [("X-Forwarded-For", address) for address in addresses]
        return httpx.post(f"{service.url}/analyze", content=bytes(MAX_BYTES + 1), headers=headers, timeout=60)

    assert send("192.0.2.1").status_code == 413
    assert send("203.0.113.9, 192.0.2.1").status_code == 413
    answer = send("203.0.113.10", "198.51.100.7, 192.0.2.1")
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert "a lot in one minute" in answer.json()["error"]
    assert send("192.0.2.2").status_code == 413
    stop_service(service)


def application(monkeypatch, pool=None, **settings) -> Starlette:
    """The service in this process, with a pool of ours and without a start."""
    monkeypatch.setattr(asgi.logs, "configure", lambda settings: None)
    app = asgi.create_application(Settings(**settings))
    app.state.pool = pool
    return app


def failing(error: Exception) -> SimpleNamespace:
    """A pool."""

    async def analyze(photo: bytes):
        raise error

    return SimpleNamespace(analyze=analyze)


def test_no_traffic_is_sent_to_a_dyno_without_models(monkeypatch):
    answer = ask(application(monkeypatch, SimpleNamespace(ready=False)), "GET", "/healthz")
    assert (answer.status_code, answer.json()["status"]) == (503, "starting")


def test_metrics_show_what_is_in_flight(monkeypatch):
    app = application(monkeypatch, SimpleNamespace(waiting=3, restarts=2), metrics_token=METRICS_TOKEN)
    app.state.admission = SimpleNamespace(in_flight=4)
    ask(app, "GET", "/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"})
    assert [count(f"faces_{name}") for name in ("updates_in_flight", "photos_waiting", "pool_restarts")] == [
        *(4, 3, 2)
    ]


def test_the_page_s_photos_wait_only_so_long_for_a_process(monkeypatch):
    monkeypatch.setattr(asgi, "BUDGET_SECONDS", 0.05)
    pool = SimpleNamespace(analyze=lambda photo: asyncio.sleep(60))
    answer = ask(application(monkeypatch, pool), "POST", "/analyze", content=b"x")
    assert (answer.status_code, answer.json()) == (503, {"error": replies.BUSY})
    assert answer.headers["Retry-After"] == "2"


def test_the_page_s_photo_that_kills_its_process_is_not_asked_for_again(monkeypatch):
    answer = ask(
        application(monkeypatch, failing(AnalysisError("crashed"))), "POST", "/analyze", content=b"x"
    )
    assert (answer.status_code, answer.json()) == (422, {"error": replies.FAILED})
    assert "Retry-After" not in answer.headers


def test_an_error_of_its_own_is_told_without_what_is_inside(monkeypatch):
    app = application(monkeypatch, failing(ZeroDivisionError("a secret")))
    answer = ask(app, "POST", "/analyze", raising=False, content=b"x")
    assert (answer.status_code, answer.json()) == (500, {"error": replies.TROUBLE})
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_uploads_at_once_are_few_and_those_turned_away_do_not_count(monkeypatch):
    """The page sends them again by itself."""
    app = application(monkeypatch, failing(PhotoError(Reason.EMPTY)), page_photos_a_minute=1)
    with app.state.uploads.place("127.0.0.1", MAX_BYTES):
        assert [ask(app, "POST", "/analyze", content=b"x").status_code for _ in range(2)] == [503, 503]
    assert [ask(app, "POST", "/analyze", content=b"x").status_code for _ in range(2)] == [422, 429]


@pytest.mark.parametrize(
    ("forwarded", "routers", "address"),
    [
        ([], 0, "127.0.0.1"),
        (["192.0.2.1"], 0, "127.0.0.1"),  # anybody could say so
        ([], 1, "127.0.0.1"),
        (["192.0.2.1"], 1, "192.0.2.1"),
        (["203.0.113.9,192.0.2.1"], 1, "192.0.2.1"),
        (["203.0.113.9", "192.0.2.1"], 1, "192.0.2.1"),
        (["203.0.113.9, 192.0.2.1, 10.0.0.1"], 2, "192.0.2.1"),
        (["192.0.2.1"], 2, "127.0.0.1"),
        (["2001:db8:1:2:3:4:5:6"], 1, "2001:db8:1:2::"),
        (["::ffff:192.0.2.1"], 1, "192.0.2.1"),
        (["::1.2.3.4"], 1, "::"),
        (["nonsense"], 1, "nonsense"),
        (["192.0.2.7:5678"], 1, "192.0.2.7"),
        (["[2001:db8:1:2:3:4:5:6]:80"], 1, "2001:db8:1:2::"),
        (["[2001:db8:1:2:3:4:5:6]"], 1, "2001:db8:1:2::"),
        (["nonsense:80"], 1, "nonsense:80"),
    ],
)
def test_the_address_of_a_client(forwarded, routers, address):
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    request = Request({"type": "http", "headers": headers, "client": ("127.0.0.1", 5000)})
    assert client_address(request, routers) == address


def test_without_a_token_there_is_no_webhook_to_talk_to(service):
    assert httpx.post(f"{service.url}/telegram", json={"update_id": 1}).status_code == 403


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", "ключ"])
def test_the_webhook_refuses_a_wrong_secret(bot, secret):
    headers = {} if secret is None else {SECRET_HEADER: secret.encode()}
    answer = httpx.post(f"{bot.url}/telegram", content=b"{", headers=headers)
    assert (answer.status_code, answer.text) == (403, "wrong secret")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[]", 400),
        (b"7", 400),
        (b'{"update_id": "x"}', 400),
        (b'{"message": {}}', 400),
        (b"[" * 100_000, 400),
        (b'{"update_id": 1' + b" " * 1_000_000 + b"}", 413),
        (b'{"update_id": 900000001}', 200),  # of a kind that this bot does not know
        (b'{"update_id": 900000002, "poll": {"id": "7"}}', 200),
    ],
)
def test_the_webhook_takes_only_updates(bot, content, status):
    answer = httpx.post(f"{bot.url}/telegram", content=content, headers={SECRET_HEADER: SECRET})
    assert answer.status_code == status
    assert "Traceback" not in answer.text


def test_no_token_and_no_secret_in_the_log(bot, telegram):
    log = bot.log.read_text()
    assert "answers at https://faces.example.com/telegram" in log
    assert telegram.token not in log
    assert SECRET not in log
    assert "OPERATOR_CONTACT" not in log  # which is set


def test_a_wrong_setting_stops_the_start_with_one_sentence(tmp_path):
    service = start_service(tmp_path / "log", LOG_LEVEL="LOUD")
    assert service.process.wait(30) != 0
    assert service.log.read_text().strip() == "LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR."


def test_sigterm_lets_photos_in_flight_finish_and_ends_live_sessions(tmp_path, astronaut):
    service = start_service(tmp_path / "log", METRICS_TOKEN=METRICS_TOKEN)
    service.wait_until(lambda health: health["models_ready"])
    big = encode(np.tile(astronaut, (4, 5, 1)))
    stream = f"{service.url.replace('http', 'ws')}/live/stream"
    with concurrent.futures.ThreadPoolExecutor() as threads, connect(stream) as camera:
        camera.send('{"init_data": ""}')
        assert "welcome" in camera.recv()
        waiting = [
            threads.submit(httpx.post, f"{service.url}/analyze", content=big, timeout=30) for _ in "ab"
        ]
        while measure(service)["faces_photos_waiting",] < 1:
            assert not any(future.done() for future in waiting)
        service.process.terminate()
        assert json.loads(camera.recv(5))["reason"] == "stopping"
        assert stop_service(service) == 0
        assert camera.close_code == 1013
        assert [len(future.result().json()["faces"]) for future in waiting] == [20, 20]


def test_after_sigterm_nothing_new_is_taken_and_what_is_in_flight_is_answered(tmp_path):
    with BotApi() as telegram:
        service = start_bot(tmp_path / "log", telegram)
        service.wait_until(lambda health: health["telegram"] == "connected")
        telegram.gateway = service.url
        telegram.fail("sendMessage", delay=4)
        telegram.send_text(7, "/start")
        delivery = telegram.start_delivery(60)
        telegram.wait_for(lambda: telegram.underway)
        with httpx.Client(base_url=service.url, headers={SECRET_HEADER: SECRET}) as kept:
            numbers = itertools.count(1)

            def knock() -> int:
                return kept.post("/telegram", json={"update_id": next(numbers)}).status_code

            assert knock() == 200
            service.process.terminate()
            while (status := knock()) == 200:
                pass
            assert status == 503
        assert service.process.wait(40) == 0
        assert delivery.result()
        assert [answer.text for answer in telegram.sent] == [replies.START]
        assert telegram.webhook.url  # for the dynos that go on


def test_dynos_start_together_and_one_stops_while_the_other_goes_on(tmp_path, redis_server):
    with BotApi(rate_limits=True) as telegram:
        telegram.fail("setMyDescription", times=2, retry_after=3600)  # both work without
        first, second = [start_bot(tmp_path / name, telegram, REDIS_URL=redis_server.url) for name in "ab"]
        for service in (first, second):
            service.wait_until(lambda health: (health["telegram"], health["redis"]) == ("connected",) * 2)
        assert telegram.webhook.max_connections == 100
        telegram.gateway = first.url
        update = telegram.send_text(7, "/start")
        assert telegram.deliver(update) == 200
        assert telegram.deliver(telegram.send_text(-1001, "/dance")) == 200
        with Redis.from_url(redis_server.url) as redis:
            (kept,) = redis.scan_iter("*:update:*")
        assert kept.endswith(f":{update['update_id']}".encode())  # what is ignored would fill it
        assert stop_service(first) == 0
        telegram.gateway = second.url
        assert telegram.deliver(update) == 200
        assert telegram.deliver(telegram.send_text(8, "/help")) == 200
        assert [answer.text for answer in telegram.sent] == [replies.START, replies.help(BOT, 20, live=True)]
        stop_service(second)


@pytest.mark.parametrize(
    "failure", [NetworkError("away"), BadRequest("bad webhook"), RetryAfter(0), OSError("no network")]
)
def test_a_start_while_telegram_is_away_goes_on_trying(monkeypatch, failure):
    monkeypatch.setattr(asgi, "CONNECT_SECONDS", 0)
    monkeypatch.setattr(asgi, "REFUSED_SECONDS", 0)
    outcomes = iter([failure, failure, None])

    async def set_webhook(*webhook, **options):
        if error := next(outcomes):
            raise error

    async def nothing(*arguments):
        pass

    bot = SimpleNamespace(username=BOT, set_webhook=set_webhook)
    telegram = SimpleNamespace(bot=bot, initialize=nothing)
    monkeypatch.setattr(asgi, "build_application", lambda *arguments: telegram)
    monkeypatch.setattr(asgi, "introduce", nothing)
    monkeypatch.setattr(asgi, "watch", nothing)
    app = application(monkeypatch, telegram_bot_token=TOKEN, webhook_url="https://faces.example.com")
    asyncio.run(asgi.connect(app))
    assert (app.state.telegram, app.state.telegram_status) == (telegram, "connected")


def test_a_token_that_is_refused_at_start(monkeypatch, said):
    async def refuse():
        raise InvalidToken(f"{TOKEN} was rejected")

    monkeypatch.setattr(asgi, "build_application", lambda *arguments: SimpleNamespace(initialize=refuse))
    app = application(monkeypatch, telegram_bot_token=TOKEN, webhook_url="https://faces.example.com")
    asyncio.run(asgi.connect(app))
    assert app.state.telegram_status == "refused"
    (line,) = said(asgi.log.name)
    assert line.levelname == "CRITICAL"
    assert TOKEN not in line.getMessage()


def test_health_tells_when_somebody_else_took_the_updates_or_the_token_is_refused(monkeypatch, said):
    """Who polls with the same token takes the webhook away first."""
    monkeypatch.setattr(asgi, "WATCH_SECONDS", 0)
    ours = "https://faces.example.com/telegram"
    refused = InvalidToken("Unauthorized")
    answers = iter(
        [ours, "", NetworkError("away"), "", ours, refused, refused, ours, "https://other.example"]
        + [asyncio.CancelledError()]
    )
    seen = []

    async def get_webhook_info() -> SimpleNamespace:
        seen.append(state.telegram_status)
        answer = next(answers)
        if isinstance(answer, BaseException):
            raise answer
        return WebhookInfo(answer, False, 0)

    telegram = SimpleNamespace(bot=SimpleNamespace(get_webhook_info=get_webhook_info))
    settings = Settings(webhook_url="https://faces.example.com")
    state = SimpleNamespace(telegram=telegram, settings=settings, telegram_status="connected")
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(asgi.watch(SimpleNamespace(state=state)))
    expected = (
        ["connected"] * 2 + ["elsewhere"] * 3 + ["connected"] + ["refused"] * 2 + ["connected", "elsewhere"]
    )
    assert seen == expected
    levels = [line.levelname for line in said(asgi.log.name)]
    assert levels == ["ERROR", "INFO", "CRITICAL", "INFO", "ERROR"]  # each time once


def test_updates_that_telegram_could_not_deliver_are_told_once(monkeypatch, said):
    monkeypatch.setattr(asgi, "WATCH_SECONDS", 0)
    settings = Settings(webhook_url="https://faces.example.com")
    now = datetime.now(UTC)
    times = [now + timedelta(seconds=seconds) for seconds in (-60, 60, 60, 120)]
    answers = iter([None, *times])

    async def get_webhook_info() -> WebhookInfo:
        try:
            time = next(answers)
        except StopIteration:
            raise asyncio.CancelledError from None
        words = time and f"Wrong response from the webhook at {time}"
        return WebhookInfo(settings.webhook, False, 0, last_error_date=time, last_error_message=words)

    telegram = SimpleNamespace(bot=SimpleNamespace(get_webhook_info=get_webhook_info))
    state = SimpleNamespace(telegram=telegram, settings=settings, telegram_status="connected")
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(asgi.watch(SimpleNamespace(state=state)))
    assert [line.args for line in said(asgi.log.name)] == [
        (f"Wrong response from the webhook at {time}",) for time in (times[1], times[3])
    ]


def test_who_only_seems_to_send_shuts_nobody_else_out(bot, astronaut):
    port = urlsplit(bot.url).port
    head = "POST /analyze HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.66\r\nContent-Length: 9\r\n\r\n"
    with ExitStack() as silent:
        for _ in range(uploads.PLACES_AN_ADDRESS):
            upload = silent.enter_context(socket.create_connection(("127.0.0.1", port)))
            upload.sendall(head.encode())

        def post(address: str) -> int:
            headers = {"X-Forwarded-For": address}
            return httpx.post(f"{bot.url}/analyze", content=encode(astronaut), headers=headers).status_code

        while post("203.0.113.66") != 503:  # the silent ones are on their way
            pass
        assert post("198.51.100.7") == 200


def start_altered(folder: Path, **numbers: int) -> Service:
    """A service with other numbers in gunicorn.conf.py."""
    config = (ROOT / "gunicorn.conf.py").read_text()
    for name, number in numbers.items():
        config, found = re.subn(rf"^{name} = [\d_]+", f"{name} = {number}", config, flags=re.MULTILINE)
        assert found == 1
    altered = folder / "gunicorn.conf.py"
    altered.write_text(config)
    command = ["gunicorn", "--config", str(altered), "bot.asgi:application"]
    return start_service(folder / "log", command, DYNO="web.1")


def test_an_answer_that_nobody_reads_takes_up_room_and_is_let_go_of(tmp_path):
    service = start_altered(tmp_path, READ_SECONDS=1)
    service.wait_until(lambda health: health["models_ready"])
    noise = np.random.default_rng(0).integers(0, 256, (2800, 2800, 3), np.uint8)
    photo = encode(noise, quality=90)  # whose answer is more than Linux keeps itself, 4 MB
    head = "POST /analyze HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.66\r\n"
    head += f"Content-Length: {len(photo)}\r\n\r\n"

    def post() -> int:
        headers = {"X-Forwarded-For": "203.0.113.66"}
        return httpx.post(f"{service.url}/analyze", content=b"x", headers=headers, timeout=30).status_code

    with ExitStack() as clients:
        unread = []
        for _ in range(uploads.PLACES_AN_ADDRESS):
            client = clients.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(30)
            client.connect(("127.0.0.1", urlsplit(service.url).port))
            client.sendall(head.encode() + photo)
            unread.append(client)
        assert unread[0].recv(12) == b"HTTP/1.1 200"
        assert post() == 503  # the other photo is at work, or its answer unread, too
        deadline = time.monotonic() + 30
        while post() == 503 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert post() == 415


def is_closed(client: socket.socket) -> bool:
    """Whether a connection ends once what has been sent on it is read."""
    try:
        while client.recv(2**20):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def test_connections_are_few_and_the_longest_idle_ones_make_room(tmp_path):
    service = start_altered(tmp_path, worker_connections=20)
    service.wait_until(lambda health: health["status"])
    with ExitStack() as clients:
        idle = []
        for _ in range(40):
            client = clients.enter_context(
                socket.create_connection(("127.0.0.1", urlsplit(service.url).port))
            )
            client.settimeout(10)
            client.sendall(b"HEAD /about HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
            idle.append(client)
        assert httpx.get(f"{service.url}/about").status_code == 200
        assert is_closed(idle[0])
        idle[-1].settimeout(1)
        assert not is_closed(idle[-1])


def test_it_ends_in_time_though_somebody_holds_a_connection_open(tmp_path):
    config = (ROOT / "gunicorn.conf.py").read_text()
    forced_after = int(re.search(r"FORCED_AFTER = (\d+)", config)[1])
    service = start_altered(tmp_path, FORCED_AFTER=3, REQUEST_SECONDS=3)
    service.wait_until(lambda health: health["models_ready"])
    address = "127.0.0.1", urlsplit(service.url).port
    with socket.create_connection(address) as silent:
        silent.sendall(b"GET / HTTP/1.1\r\nHo")
        silent.settimeout(30)
        assert silent.recv(1) == b""  # closed, as no request came
    with socket.create_connection(address) as held, httpx.Client() as idle:
        held.sendall(b"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        idle.get(service.url)
        start = time.monotonic()
        assert stop_service(service) == 0
        assert time.monotonic() - start - 3 + forced_after < 30  # then Heroku kills
    log = service.log.read_text()
    assert "Forcing close of 1 connections" in log
    assert "leaked semaphore" not in log  # as of a process that was killed


def start_bot(log: Path, telegram: BotApi, **settings: str) -> Service:
    """A service with a token and a webhook."""
    return start_service(
        log,
        TELEGRAM_BOT_TOKEN=telegram.token,
        TELEGRAM_API_URL=f"http://127.0.0.1:{telegram.port}",
        WEBHOOK_URL="https://faces.example.com",
        WEBHOOK_SECRET=SECRET,
        **settings,
    )
