"""Forged, broken and oversized requests: refused, with the right status and not a word about the inside."""

import json
import socket
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import pytest

from tests.chaos.fleet import Fleet, not_once, web_process
from tests.conftest import SECRET

pytestmark = pytest.mark.timeout(600)  # seconds; the first test starts the fleet

MEGABYTE = b" " * 1_000_000
CHAT = {"id": 3_000_001, "type": "private", "first_name": "Eve"}
MESSAGE = {
    "message_id": 1,
    "date": 1,
    "chat": CHAT,
    "from": {"id": 3_000_001, "is_bot": False, "first_name": "E"},
}


@pytest.fixture(autouse=True)
def _unharmed(fleet):
    """Whatever came in, the same processes go on."""
    before = [web_process(dyno) for dyno in fleet.dynos]
    yield
    assert [web_process(dyno) for dyno in fleet.dynos] == before


def refuses(fleet: Fleet, answer: httpx.Response, *statuses: int) -> None:
    assert answer.status_code in statuses
    for inside in ("Traceback", 'File "', ".py", SECRET, fleet.telegram.token):
        assert inside not in answer.text


def test_a_wrong_secret_is_refused_before_the_body_has_come(fleet):
    """Sent straight to a dyno, as the router would wait for the body itself."""
    address = urlsplit(fleet.dynos[0].url)
    head = f"POST /telegram HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("secret", [SECRET, "wrong"])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"update_id": 1, "message": "x" * 10_000_000}).encode(),
        b'{"update_id": 1' + MEGABYTE * 10 + b"}",
        [MEGABYTE] * 10,  # in chunks, of no length told
    ],
    ids=["text", "spaces", "chunks"],
)
def test_10_megabytes_are_too_large(fleet, secret, content):
    refuses(fleet, fleet.post(content, secret, fleet.dynos[0].url), 413 if secret == SECRET else 403)
    # nginx calls it a bad gateway when a dyno hangs up before the body is through.
    refuses(fleet, fleet.post(content, secret), 413, 403, 502)


@pytest.mark.parametrize(
    "content",
    [
        b'{"update_id": 1, "message": "\xff\xfe\xc0\x80"}',
        b"\x00" * 1000,
        b'{"a":' * 100_000,
        b'{"update_id": 1e999}',
        b'{"update_id": NaN}',
        b'{"update_id": true}',
        b"null",
        b"9" * 5000,
    ],
    ids=range(8),
)
def test_what_is_no_update_is_refused(fleet, content):
    refuses(fleet, fleet.post(content), 400)


ODD = [
    {"purchased_paid_media": {"from": {"id": 7}, "paid_media_payload": "x"}},
    {"kind_of_the_year_2040": {"id": 7}},
    {"edited_message": MESSAGE | {"text": "x"}},
    {"channel_post": {"message_id": 1, "date": 1, "chat": {"id": -1, "type": "channel"}, "text": "x"}},
    {"inline_query": {"id": "1", "from": CHAT, "query": "x", "offset": ""}},
    {"message": None},
    {"message": {}},
    {"message": "x"},
    {"message": [[]] * 1000},
    {"message": MESSAGE | {"chat": None}},
    {"message": MESSAGE | {"date": 10**30}},
    {"message": MESSAGE | {"date": "yesterday"}},
    {"message": MESSAGE | {"chat": {"id": 10**40, "type": "universe"}}},
    {"message": MESSAGE | {"text": "half a character: \ud800"}},
    {"message": MESSAGE | {"photo": "x"}},
    {"message": MESSAGE | {"photo": [{"file_id": 7}]}},
    {"message": MESSAGE | {"photo": [None]}},
    {"message": MESSAGE | {"document": {"file_id": "x"}}},
    {
        "message": MESSAGE
        | {"entities": [{"type": "bot_command", "offset": -5, "length": 10**9}], "text": "/x"}
    },
    {"message": MESSAGE | {"reply_to_message": {"reply_to_message": {"reply_to_message": {}}}}},
]


@pytest.mark.parametrize("number", range(len(ODD)))
def test_updates_of_odd_kinds_and_shapes_are_acknowledged(fleet, number):
    """Sent again they would be just as odd."""
    update = {"update_id": 3_000_000_000 + number} | ODD[number]
    refuses(fleet, fleet.post(json.dumps(update).encode()), 200)


def test_a_message_nested_500_deep_is_answered_or_refused(fleet):
    message = MESSAGE | {"text": "/analyze"}
    for _ in range(500):
        message = MESSAGE | {"text": "/analyze", "reply_to_message": message}
    refuses(
        fleet, fleet.post(json.dumps({"update_id": 3_100_000_000, "message": message}).encode()), 200, 400
    )


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("GET", "/telegram", (405,)),
        ("PUT", "/analyze", (405,)),
        ("POST", "/healthz", (405,)),
        ("GET", "/.env", (404,)),
        ("GET", "/page/..%2f..%2fgunicorn.conf.py", (400, 404)),
        ("GET", "/page/%00", (400, 404)),
        ("GET", "/metrics", (404,)),
        ("GET", "/" + "x" * 7000, (404, 414)),
    ],
)
def test_other_paths_and_methods_are_refused(fleet, method, path, statuses):
    refuses(fleet, httpx.request(method, fleet.url + path), *statuses)


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /telegram\x00 HTTP/1.1\r\n\r\n",
        b"POST /telegram HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /telegram HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"x" * 200_000,
    ],
    ids=range(8),
)
def test_what_is_no_http_is_refused(fleet, request_):
    """Straight to a dyno, for a router may not be as strict as nginx."""
    address = urlsplit(fleet.dynos[0].url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        answer = b""
        try:
            connection.sendall(request_)
            with suppress(OSError):  # it has hung up by now
                connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(10_000)
        except OSError:  # hung up in the middle
            pass
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert b"Traceback" not in answer


def test_after_all_that_photos_are_answered(fleet, send):
    photos = send(8)
    assert fleet.telegram.run_delivery(60)
    assert not_once(fleet.telegram, photos) == {}
