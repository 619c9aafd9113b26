"""The web service, as it is deployed: a real gunicorn, HTTP, the real models."""

import base64
import concurrent.futures
import io

import httpx
import numpy as np
import pytest
from PIL import Image

from bot import __version__, replies
from inference.errors import MAX_BYTES
from tests.conftest import SECRET, start_service, stop_service

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"


def encode(image: np.ndarray, form: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, form)
    return stream.getvalue()


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
        (encode(np.zeros((17, 2000, 3), np.uint8)), 422, "longer"),
        (bytes(MAX_BYTES + 1), 413, "too large"),
    ],
)
def test_the_page_s_bad_photos_are_refused_in_words(service, content, status, words):
    answer = httpx.post(f"{service.url}/analyze", content=content, timeout=30)
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_answers_carry_security_headers_and_no_cors(service):
    for path in ("/", "/healthz", "/about"):
        headers = httpx.get(service.url + path, headers={"Origin": "https://elsewhere.example"}).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


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


def test_a_wrong_setting_stops_the_start_with_one_sentence(tmp_path):
    service = start_service(tmp_path / "log", LOG_LEVEL="LOUD")
    assert service.process.wait(30) != 0
    assert service.log.read_text().strip() == "LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR."


def test_sigterm_lets_photos_in_flight_finish(tmp_path, astronaut):
    service = start_service(tmp_path / "log")
    service.wait_until(lambda health: health["models_ready"])
    big = encode(np.tile(astronaut, (4, 5, 1)))
    with concurrent.futures.ThreadPoolExecutor() as threads:
        waiting = [
            threads.submit(httpx.post, f"{service.url}/analyze", content=big, timeout=30) for _ in range(3)
        ]
        concurrent.futures.wait(waiting, timeout=0.7)
        assert not all(future.done() for future in waiting)
        assert stop_service(service) == 0
        assert [len(future.result().json()["faces"]) for future in waiting] == [20, 20, 20]
