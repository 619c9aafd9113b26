"""Updates to the webhook, again and again until they are acknowledged, as Telegram's own server does.

The rules are those of https://github.com/tdlib/telegram-bot-api (WebhookActor.cpp): one update at a time
in each chat, chats in parallel up to max_connections, an update acknowledged by any 2xx status; after
a failure it comes again at once, then after 2, 4, 8 ... 60 seconds, or when Retry-After says.
"""

import asyncio
import time
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from tests.botapi.methods import LOOPBACK
from tests.botapi.world import Attempt, Json, World

PATIENCE = 60  # seconds for one answer
LONGEST_DELAY = 60  # seconds between two attempts
LONGEST_RETRY_AFTER = 3600  # seconds


class Delivery:
    """Posts updates; lives in the server's event loop.

    Attributes:
        gateway: where requests for the webhook's host really go, as "http://127.0.0.1:8000"; None for
            the webhook's own address, which must then be on this machine.
    """

    def __init__(self, world: World, gateway: str | None) -> None:
        self.gateway = gateway
        self._world = world
        self._session: aiohttp.ClientSession | None = None
        self._runs: set[asyncio.Task[bool]] = set()

    async def open(self) -> None:
        timeout = aiohttp.ClientTimeout(PATIENCE)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)

    async def close(self) -> None:
        await asyncio.gather(*self._runs, return_exceptions=True)  # they end once the world is closed
        await self._session.close()

    async def post(self, update: Json) -> Attempt:
        """One attempt, noted in `World.deliveries`; acknowledged, the update is no longer pending."""
        webhook, started = self._world.webhook, time.time()
        headers = {"X-Telegram-Bot-Api-Secret-Token": webhook.secret} if webhook.secret else {}
        status, retry_after, error = None, 0, "Webhook connection closed"
        try:
            async with self._session.post(
                self._address(), json=update, headers=headers, allow_redirects=False
            ) as answer:
                await answer.read()
                status = answer.status
                error = f"Wrong response from the webhook: {status} {answer.reason}"
                asked = answer.headers.get("Retry-After", "")
                retry_after = min(LONGEST_RETRY_AFTER, int(asked)) if asked.isdecimal() else 0
        except TimeoutError:
            error = "Read timeout expired"
        except aiohttp.ClientConnectorError:
            error = "Connection refused"
        except aiohttp.ClientError:
            pass
        except asyncio.CancelledError:  # by the deadline of `run`; the bot may have got the update
            self._note(update, Attempt(None, 0, started, time.time()), error)
            raise
        attempt = Attempt(status, retry_after, started, time.time())
        self._note(update, attempt, error)
        return attempt

    def _note(self, update: Json, attempt: Attempt, error: str) -> None:
        world = self._world
        with world.changed:
            world.deliveries[update["update_id"]].append(attempt)
            if not attempt.acknowledged:
                world.webhook.last_error_date = int(attempt.ended)
                world.webhook.last_error_message = error
            elif update in world.pending:
                world.pending.remove(update)
            world.changed.notify_all()

    async def run(self, seconds: float, pace: float) -> bool:
        """Deliver what is pending, and what comes meanwhile, until nothing is left.

        Args:
            seconds: after which to give up.
            pace: of the delays between attempts; 0.01 makes two seconds 20 ms.

        Returns:
            Whether every update was acknowledged.
        """
        connections = asyncio.Semaphore(self._world.webhook.max_connections)
        queues: dict[tuple[str, int], asyncio.Task[None]] = {}
        deadline = time.monotonic() + seconds
        self._runs.add(run := asyncio.current_task())
        try:
            while self._world.pending and not self._world.closed and time.monotonic() < deadline:
                for update in list(self._world.pending):
                    task = queues.get(key := _queue(update))
                    if task is not None and task.done():
                        task.result()  # raises what went wrong here rather than at the webhook
                    if task is None or task.done():
                        queues[key] = asyncio.create_task(self._insist(update, connections, pace))
                await asyncio.sleep(0.005)
        finally:
            for task in queues.values():
                task.cancel()
            await asyncio.gather(*queues.values(), return_exceptions=True)
            self._runs.remove(run)
        return not self._world.pending

    async def _insist(self, update: Json, connections: asyncio.Semaphore, pace: float) -> None:
        delay, failures = 1, 0
        while True:
            async with connections:
                attempt = await self.post(update)
            if attempt.acknowledged:
                return
            if failures and not attempt.retry_after:
                delay = min(LONGEST_DELAY, 2 * delay)
            wait = attempt.retry_after or (delay if failures else 0)
            failures += 1
            await asyncio.sleep(pace * wait)

    def _address(self) -> str:
        webhook = urlsplit(self._world.webhook.url)
        if self.gateway is not None:
            gateway = urlsplit(self.gateway)
            return urlunsplit(webhook._replace(scheme=gateway.scheme, netloc=gateway.netloc))
        if webhook.hostname not in LOOPBACK:
            raise RuntimeError(f"no way to the webhook {self._world.webhook.url!r}: set `gateway`")
        return webhook.geturl()


def _queue(update: Json) -> tuple[str, int]:
    """An update waits for those of its kind before it in its chat."""
    kind, content = list(update.items())[1]
    return kind, content["chat"]["id"]
