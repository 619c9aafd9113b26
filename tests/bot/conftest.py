"""What the bot's tests share: people who write to it, and its answers."""

import asyncio
import itertools

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from tests.conftest import METRICS_TOKEN, Service

PEOPLE = itertools.count(10_000, 100)  # ids of users who have not written before; a test may add to its own


@pytest.fixture
def person() -> int:
    """Id of a user who has not written before."""
    return next(PEOPLE)


@pytest.fixture
def said(caplog):
    """What a logger has said in this test, all others apart: `said("bot.journal")` are its records.

    It listens from INFO on to the loggers of the bot.
    """
    caplog.set_level("INFO", "bot")
    return lambda name: [record for record in caplog.records if record.name == name]


def answers(telegram, update) -> list:
    """Deliver an update, which must be acknowledged at once, and return what the bot sent on it."""
    before = len(telegram.sent)
    assert telegram.deliver(update) == 200
    return telegram.sent[before:]


def measure(service: Service) -> dict[tuple[str, ...], float]:
    """What Prometheus reads, by name and labels."""
    answer = httpx.get(f"{service.url}/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"})
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def ask(app: Starlette, method: str, path: str, raising: bool = True, **options) -> httpx.Response:
    """What a service in this process, which has not been started, answers.

    Args:
        raising: the errors that it would answer with 500.
    """

    async def scenario() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=raising)
        async with httpx.AsyncClient(transport=transport, base_url="http://faces") as client:
            return await client.request(method, path, **options)

    return asyncio.run(scenario())
