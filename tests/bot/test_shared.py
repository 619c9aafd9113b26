import asyncio
import shutil
import subprocess

import pytest

from bot.settings import Settings
from bot.shared import CONNECTIONS, Shared
from tests.bot.sharing import sharing, until
from tests.conftest import RedisServer


def test_without_redis_the_answer_is_the_other_one():
    async def scenario():
        shared = Shared(Settings())
        assert shared.status == "off"
        assert await shared.ask(lambda redis: redis.get("x"), "nothing") == "nothing"
        await shared.watch()  # returns
        await shared.close()

    asyncio.run(scenario())


def test_many_questions_take_few_connections(redis_server):
    async def scenario():
        async with sharing(redis_server.url) as shared:
            answers = await asyncio.gather(
                *(shared.ask(lambda redis: redis.incr("n"), 0) for _ in range(500))
            )
            assert sorted(answers) == list(range(1, 501))
            clients = await shared.ask(lambda redis: redis.client_list(), [])
            assert 1 <= len(clients) <= CONNECTIONS

    asyncio.run(scenario())


def test_a_crowd_that_waits_for_its_turn_is_not_a_redis_that_hangs(redis_server):
    async def scenario():
        async with sharing(redis_server.url) as shared:
            slow = [shared.ask(lambda redis: redis.blpop("nothing", timeout=1), "away") for _ in range(9)]
            assert await asyncio.gather(*slow) == [None] * 9
            assert shared.status == "connected"

    asyncio.run(scenario())


def test_a_connection_closed_while_idle_is_not_noticed(redis_server, said):
    async def scenario():
        async with sharing(redis_server.url) as shared:
            await shared.ask(lambda redis: redis.set("x", 1), None)
            await shared.ask(lambda redis: redis.client_kill_filter(_type="normal", skipme=True), None)
            assert await shared.ask(lambda redis: redis.get("x"), None) == b"1"

    asyncio.run(scenario())
    assert not any("away" in record.getMessage() for record in said("bot.shared"))


def test_a_full_redis_is_of_no_use(redis_server):
    async def scenario():
        async with sharing(redis_server.url) as shared:
            await shared.ask(lambda redis: redis.config_set("maxmemory", 1), None)
            assert await shared.ask(lambda redis: redis.set("x", 1), "full") == "full"
            assert shared.status == "away"

    asyncio.run(scenario())


@pytest.fixture
def tls_server(tmp_path):
    """A Redis like Heroku's: TLS alone, with a certificate that it has signed itself, and a password."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=redis"]
    subprocess.run(
        [*command, "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL, timeout=60
    )
    tls = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no"]
    server = RedisServer(tmp_path, *map(str, tls), "--requirepass", "pass-word")
    server.start(tls=True)
    server.url = f"rediss://:pass-word@127.0.0.1:{server.port}"
    yield server
    server.stop()


def test_heroku_s_redis_is_taken_as_it_is(tls_server):
    async def scenario():
        async with sharing(tls_server.url, dyno="web.1") as shared:
            assert await shared.ask(lambda redis: redis.set("x", 1), None)

    asyncio.run(scenario())


def test_elsewhere_a_certificate_is_verified(tls_server, said):
    async def scenario():
        shared = Shared(Settings(redis_url=tls_server.url))
        watch = asyncio.create_task(shared.watch())
        await until(shared, "away")
        watch.cancel()
        await asyncio.wait([watch])
        await shared.close()

    asyncio.run(scenario())
    (line,) = (record.getMessage() for record in said("bot.shared"))
    assert "certificate verify failed" in line
    assert "pass-word" not in line
