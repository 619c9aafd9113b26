"""The camera's stream: a real gunicorn, a real WebSocket client, the real models."""

import asyncio
import concurrent.futures
import contextlib
import json
import re
import socket
import time
from collections.abc import Callable
from types import SimpleNamespace
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from starlette.websockets import WebSocket
from telegram import Chat
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from bot import asgi, conversation, journal, live, replies
from bot.settings import FRAME_BYTES, Settings
from inference.pool import AnalysisError
from tests.bot.conftest import ask, measure
from tests.bot.test_miniapp import sign
from tests.botapi import BOT
from tests.conftest import TOKEN, Service
from tests.pictures import encode


def dial(service: Service, origin: str | None = None, address: str | None = None) -> ClientConnection:
    """A connection to the stream, from an address that only a proxy can tell."""
    headers = {"X-Forwarded-For": address} if address else {}
    url = f"{service.url.replace('http', 'ws')}/live/stream"
    return connect(url, origin=origin, additional_headers=headers)


def greet(stream: ClientConnection, init_data: str = "") -> dict:
    stream.send(json.dumps({"init_data": init_data}))
    return json.loads(stream.recv(10))


@contextlib.contextmanager
def session(service: Service, address: str | None = None, init_data: str = ""):
    with dial(service, address=address) as stream:
        assert greet(stream, init_data)["type"] == "welcome"
        yield stream


def look(stream: ClientConnection, frame: bytes) -> dict:
    stream.send(frame)
    return json.loads(stream.recv(20))


def ending(stream: ClientConnection) -> int:
    """The code with which the service closes it."""
    with contextlib.suppress(ConnectionClosed):
        for _ in stream:
            pass
    return stream.close_code


def opened(seconds_ago: float = 0, token: str = TOKEN) -> str:
    """What Telegram gives to a page that it opened."""
    return sign(token, user='{"id":7}', auth_date=str(int(time.time() - seconds_ago)))


@pytest.fixture(scope="module")
def frame(astronaut) -> np.ndarray:
    """(360, 640, 3) uint8 RGB: the astronaut's head in the left half."""
    frame = np.full((360, 640, 3), 150, np.uint8)
    frame[:, 20:320] = astronaut[:360, 80:380]
    return frame


def test_a_frame_s_faces_are_told(service, frame):
    with dial(service) as stream:
        welcome = {"type": "welcome", "side": 640, "max_bytes": 200_000, "frames_a_second": 15}
        assert greet(stream) == welcome
        answer = look(stream, encode(frame))
    assert (answer["type"], answer["width"], answer["height"]) == ("faces", 640, 360)
    assert 0 < answer["milliseconds"] < 10_000
    (face,) = answer["faces"]
    x, y, width, height = face["box"]
    assert x < 164 < x + width  # her nose is at about (164, 130)
    assert y < 130 < y + height
    assert 60 < width < 160
    assert (face["number"], face["emotion"]["label"], face["gender"]["label"]) == (1, "happy", "female")
    assert 25 <= face["age"]["years"] <= 50
    assert re.fullmatch(r"happy \d+ %, woman \d+ %, about \d\d \(\d\d-\d\d\)", face["text"])


def test_faces_keep_their_numbers_as_they_move_and_come(service, frame):
    with session(service) as stream:
        both = frame.copy()
        both[:, 320:620] = frame[:, 20:320]
        numbers = []
        for step in range(4):
            answer = look(stream, encode(np.roll(frame, 15 * step, axis=1), "WEBP"))
            numbers.append([(face["number"], face["box"][0] // 100) for face in answer["faces"]])
        assert [[number for number, _ in faces] for faces in numbers] == [[1]] * 4
        answer = look(stream, encode(np.roll(both, 45, axis=1)))
        assert [face["number"] for face in answer["faces"]] == [1, 2]
        assert answer["faces"][0]["box"][0] < answer["faces"][1]["box"][0]
        assert look(stream, encode(frame[:, 330:]))["faces"] == []


def test_frames_in_flight_are_answered_in_order_and_bad_ones_cost_nothing(service, frame):
    frames = [
        encode(frame),
        b"not a picture",
        encode(frame[:, :400]),
        b"",
        encode(np.zeros((90, 961, 3), np.uint8)),
    ]
    with session(service) as stream:
        for data in frames:
            stream.send(data)
        answers = [json.loads(stream.recv(20)) for _ in frames]
    assert [answer["type"] for answer in answers] == [
        "faces",
        "unreadable",
        "faces",
        "unreadable",
        "unreadable",
    ]
    assert [answer.get("width") for answer in answers[::2]] == [640, 400, None]
    assert answers[1]["text"] == replies.FRAME_UNREADABLE


def test_photos_go_first(service, frame, astronaut):
    """Frames that come meanwhile are skipped, and their session goes on."""
    crowd = encode(np.tile(astronaut, (4, 5, 1)))
    with session(service) as stream, concurrent.futures.ThreadPoolExecutor() as threads:
        photos = [
            threads.submit(httpx.post, f"{service.url}/analyze", content=crowd, timeout=60) for _ in "ab"
        ]
        while (answer := look(stream, encode(frame)))["type"] == "faces":  # they are on their way
            assert not all(photo.done() for photo in photos)
        assert answer == {"type": "skipped", "text": replies.FRAME_SKIPPED}
        assert [len(photo.result().json()["faces"]) for photo in photos] == [20, 20]
        assert len(look(stream, encode(frame))["faces"]) == 1


@pytest.mark.parametrize(
    ("origin", "taken"),
    [
        (None, True),
        ("http://{host}", True),
        ("https://faces.example.com", True),  # the public address, as a proxy may have put another into Host
        ("https://elsewhere.example", False),
        ("https://faces.example.com.elsewhere.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_pages_of_other_sites_can_t_open_it(bot, origin, taken):
    origin = origin and origin.format(host=urlsplit(bot.url).netloc)
    with contextlib.nullcontext() if taken else pytest.raises(InvalidStatus, match="403"), dial(bot, origin):
        pass


def test_only_who_comes_from_telegram_may_come_in_where_it_is_not_open(bot):
    for refused in ("", opened()[:-1] + "x", opened(25 * 3600), opened(token="654321:another"), "nonsense"):
        with dial(bot) as stream:
            answer = greet(stream, refused)
            assert (answer["type"], answer["reason"]) == ("refused", "unknown")
            assert answer["text"] == replies.LIVE_REFUSALS["unknown"]
            assert ending(stream) == 1008
    with session(bot, init_data=opened(60)):
        pass


def test_init_data_is_never_taken_on_trust(service):
    with dial(service) as stream:
        assert greet(stream, opened())["reason"] == "unknown"  # without a token nothing can be checked


def test_connections_of_one_address_are_few(bot):
    with contextlib.ExitStack() as stack:
        for _ in range(live.CONNECTIONS_AN_ADDRESS):
            stack.enter_context(dial(bot, address="192.0.2.9"))
        with pytest.raises(InvalidStatus, match="403"):
            dial(bot, address="192.0.2.9").close()
        with session(bot, "192.0.2.10", opened()):
            pass
    wait_for(lambda: welcomed(bot, "192.0.2.9"))


def welcomed(bot: Service, address: str) -> bool:
    try:
        with session(bot, address, opened()):
            return True
    except InvalidStatus:
        return False


def test_who_pings_and_never_reads_is_cut_off(service):
    """Else the answers would wait in memory, for as long as the client likes."""
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), 20) as client:
        request = ["GET /live/stream HTTP/1.1", f"Host: {address.netloc}", "Upgrade: websocket"]
        request += ["Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {'A' * 22}=="]
        client.sendall("\r\n".join([*request, "", ""]).encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 101")
        pings = (b"\x89\xfd" + bytes(4) + bytes(125)) * 1000  # masked by zeros
        start = time.monotonic()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            send_for(live.GREETING_SECONDS / 2, client, pings)  # not the end for want of a greeting
        assert time.monotonic() - start < live.GREETING_SECONDS / 2


def send_for(seconds: float, client: socket.socket, data: bytes) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        client.sendall(data)


def test_places_are_few_and_free_again_when_a_tab_is_gone(bot):
    with contextlib.ExitStack() as stack:
        *_, last = [
            stack.enter_context(session(bot, address, opened()))
            for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3")
        ]

        def knock(address: str) -> dict:
            with dial(bot, address=address) as stream:
                answer = greet(stream, opened())
                if answer["type"] == "refused":
                    assert ending(stream) == 1013
                return answer

        assert knock("192.0.2.4")["reason"] == "busy"
        last.socket.close()  # without a word, as when a phone loses its network
        wait_for(lambda: knock("192.0.2.4")["type"] == "welcome")
        assert knock("192.0.2.1") == {
            "type": "refused",
            "reason": "busy",
            "text": replies.LIVE_REFUSALS["busy"],
            "retry_after": 5,
        }


def test_too_many_frames_end_a_session_and_count_in_the_next(bot):
    for sent in (100, 10):
        with session(bot, "192.0.2.10", opened()) as stream:
            with contextlib.suppress(ConnectionClosed):  # before all are sent
                for _ in range(sent):
                    stream.send(b"x")
            answers = [json.loads(stream.recv(10))]
            while answers[-1]["type"] != "refused":
                answers.append(json.loads(stream.recv(10)))
            assert answers[-1]["reason"] == "slow"
            assert len(answers) == 61 if sent == 100 else len(answers) < 10
            assert ending(stream) == 1013


def test_a_message_that_is_too_long_is_not_even_read(bot):
    with session(bot, "192.0.2.11", opened()) as stream:
        with contextlib.suppress(ConnectionClosed):
            stream.send(bytes(FRAME_BYTES + 1))
        assert ending(stream) == 1009


@pytest.mark.parametrize("greeting", ["", "{", "[]", "7", '{"init_data": 7}', "[" * 100_000, b"a frame"])
def test_who_does_not_greet_is_shown_out(bot, greeting):
    with dial(bot) as stream:
        stream.send(greeting)
        assert ending(stream) == 1003


def test_a_session_is_one_line_in_the_log_and_counts_in_the_metrics(bot, frame):
    with session(bot, "192.0.2.12", opened()) as stream:
        for data in (encode(frame), encode(frame), b"x"):
            look(stream, data)
        open_sessions = measure(bot)["faces_live_sessions_open",]
    assert open_sessions >= 1
    wait_for(
        lambda: re.search(
            r"^INFO bot.journal: live=gone faces=2 unreadable=1 total=\d+\.\d{3}$", bot.log.read_text(), re.M
        )
    )
    samples = measure(bot)
    assert samples["faces_live_sessions_total", "gone"] >= 1
    assert samples["faces_live_frames_total", "faces"] >= 2
    assert samples["faces_live_frame_seconds_count",] >= 2
    assert not any(secret in bot.log.read_text() for secret in ("192.0.2.", "hash=", "user="))


def wait_for(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Crashing:
    """A pool whose process dies of every frame."""

    ready = True

    async def frame(self, data: bytes):
        raise AnalysisError("crashed")


def test_telegram_alone_may_show_the_page_in_a_frame_and_it_alone_has_the_camera(get, monkeypatch, tmp_path):
    monkeypatch.setattr(asgi, "PAGE", tmp_path)
    (tmp_path / "live.html").write_text("<title>Live</title>")
    answer = get("/live", Settings())
    assert answer.text == "<title>Live</title>"
    assert "frame-ancestors 'self' https://*.telegram.org" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Permissions-Policy"].startswith("camera=(self),")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in get("/about", Settings()).headers["Content-Security-Policy"]


def test_where_it_is_off_there_is_no_page(get):
    settings = Settings(live_sessions=0)
    answer = get("/live", settings)
    assert (answer.status_code, answer.text) == (404, replies.LIVE_OFF)
    assert get("/about", settings).json()["live"] is False
    assert get("/about", Settings()).json()["live"] is True


@pytest.mark.parametrize("live_open", [True, False])
def test_page_is_told_whether_a_browser_would_be_let_in(get, live_open):
    assert get("/about", Settings(live_open=live_open)).json()["live_open"] is live_open


@pytest.fixture
def get(monkeypatch):
    """Gets a page from a service with these settings that has not been started."""
    monkeypatch.setattr(asgi.logs, "configure", lambda settings: None)

    return lambda path, settings: ask(asgi.create_application(settings), "GET", path)


def converse(*messages: dict, deaf: bool = False) -> list[dict]:
    """What a session, without a server or a model, sends to a client who has this to say and no more.

    Args:
        deaf: the client takes no answer.
    """
    sent = []

    async def scenario() -> None:
        incoming: asyncio.Queue = asyncio.Queue()
        for message in ({"type": "websocket.connect"}, *messages):
            incoming.put_nowait(message)

        async def send(message: dict) -> None:
            sent.append(message)
            if deaf and message["type"] == "websocket.send":
                await asyncio.sleep(60)

        socket = WebSocket({"type": "websocket", "headers": []}, incoming.get, send)
        await live.Live(Settings()).serve(socket, "192.0.2.1", Crashing())

    asyncio.run(scenario())
    return sent


GREETING = {"type": "websocket.receive", "text": '{"init_data": ""}'}
FRAME = {"type": "websocket.receive", "bytes": b"a frame"}


def test_a_crash_costs_a_frame_and_many_cost_the_session():
    _, *answers, end = converse(GREETING, FRAME, FRAME, FRAME)
    answers = [json.loads(answer["text"]) for answer in answers]
    assert [answer["type"] for answer in answers] == ["welcome", "unreadable", "unreadable", "refused"]
    assert (answers[-1]["reason"], end["code"]) == ("slow", 1013)


def test_without_frames_a_session_ends(monkeypatch):
    monkeypatch.setattr(live, "IDLE_SECONDS", 0.05)
    *_, end = converse(GREETING, FRAME)
    assert (end["type"], end["code"]) == ("websocket.close", 1000)


def test_who_takes_no_answer_is_taken_for_gone(monkeypatch):
    monkeypatch.setattr(live, "SEND_SECONDS", 0.05)
    assert [message["type"] for message in converse(GREETING, FRAME, deaf=True)] == [
        "websocket.accept",
        "websocket.send",
    ]


def say(command: Callable, settings: dict, chat: str) -> tuple[str, dict | None]:
    """What a command is answered with where the bot has these settings: a text and its buttons."""
    said = []

    class Message:
        async def reply_text(self, text, reply_markup=None, **options):
            said.append((text, reply_markup and reply_markup.to_dict()))

    update = SimpleNamespace(effective_message=Message(), effective_chat=SimpleNamespace(type=chat))
    bot = SimpleNamespace(username=BOT)
    context = SimpleNamespace(bot=bot, bot_data={"settings": Settings(**settings)})
    with journal.entry(chat):
        asyncio.run(command(update, context))
    (answer,) = said
    return answer


@pytest.mark.parametrize(
    ("settings", "offered"),
    [
        ({}, False),
        ({"webhook_url": "https://a.example", "live_sessions": 0}, False),
        ({"webhook_url": "https://a.example"}, True),
    ],
)
def test_help_and_privacy_speak_of_it_where_it_can_be_opened(settings, offered):
    for command in (conversation.help, conversation.privacy):
        text, _ = say(command, settings, Chat.PRIVATE)
        assert ("/live" in text) == offered


@pytest.mark.parametrize(
    ("settings", "chat", "text"),
    [
        ({}, Chat.PRIVATE, replies.LIVE_NEEDS_HTTPS),
        ({"webhook_url": "http://127.0.0.1:8000"}, Chat.PRIVATE, replies.LIVE_NEEDS_HTTPS),
        ({"webhook_url": "https://a.example", "live_sessions": 0}, Chat.PRIVATE, replies.LIVE_OFF),
        ({"webhook_url": "https://a.example"}, Chat.PRIVATE, replies.LIVE),
        ({"webhook_url": "https://a.example"}, Chat.GROUP, replies.live_at("https://a.example/live")),
        ({"webhook_url": "https://a.example", "live_open": False}, Chat.GROUP, replies.LIVE_IN_PRIVATE),
    ],
)
def test_the_command_offers_what_there_is(settings, chat, text):
    answer, markup = say(conversation.live, settings, chat)
    assert answer == text
    button = {"text": replies.LIVE_BUTTON, "web_app": {"url": "https://a.example/live"}}
    assert markup == ({"inline_keyboard": [[button]]} if text == replies.LIVE else None)
