"""make soak: photos, broken files and words for half an hour, while one thing after another is broken.

Two dynos with a Redis behind nginx, and a Bot API server that delivers as Telegram does. Kills hit the second
dyno alone, so that the first one's memory tells whether anything grows.
"""

import argparse
import datetime
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import skimage.data

from benchmarks.memory import anonymous, megabytes
from benchmarks.report import machine, table
from tests.botapi import Attempt
from tests.botapi.world import Json
from tests.chaos.fleet import Fleet, inference_process, sigterm, web_process
from tests.conftest import kill_tree
from tests.hostile import corpus
from tests.pictures import encode

RESULT = Path(__file__).parent / "SOAK.md"
MOST_PENDING = 6  # updates; more are sent once some of these are answered
PAUSE_SECONDS = 0.1  # between two updates
FAULT_SECONDS = 30  # between two faults
LAST_FAULT_SECONDS = 60  # before the end
HEALTH_SECONDS = 0.25  # between two looks at /healthz
LAST_ANSWER_SECONDS = 300  # that the last answers may take


@dataclass
class Record:
    """What happened.

    Attributes:
        sent: updates by kind.
        faults: times and kinds of what was broken.
        answers: times at which each update was answered, by its message id.
        waits: seconds from an update's first delivery to its first answer.
        smooth: those of updates that were acknowledged at their first delivery.
        health: seconds that /healthz took.
        silent: how often it gave no answer.
        lost: updates without an answer.
        doubled: of each update with more than one answer, a line on how it came to them.
        memory: bytes of their own that the first dyno's processes hold, at each quarter of the run.
    """

    sent: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[float, str]] = field(default_factory=list)
    answers: dict[int, list[float]] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    smooth: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    silent: int = 0
    lost: int = 0
    doubled: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


# Load


def mixture() -> dict[str, tuple[int, list[bytes]]]:
    """What is sent: the share of each kind, and its files."""
    astronaut = skimage.data.astronaut()
    head = astronaut[20:276, 100:356]
    hostile = [data for files in corpus().values() for data in files.values()]
    return {
        "a face, 70 px": (50, [encode(astronaut[40:180:2, 155:295:2])]),
        "a portrait, 512 px": (15, [encode(astronaut), encode(astronaut[:, ::-1])]),
        "8 faces, 1024 px": (5, [encode(np.tile(head, (2, 4, 1)))]),
        "nothing": (10, [encode(np.full((300, 400, 3), 90, np.uint8))]),
        "a hostile file": (15, hostile),
        "words": (5, []),
    }


def send(fleet: Fleet, kind: str, files: list[bytes], person: int) -> Json:
    if not files:
        return fleet.telegram.send_text(person, random.choice(["/help", "hello", "/privacy"]))
    if kind == "a hostile file":
        return fleet.telegram.send_document(person, random.choice(files), "photo.jpg", "image/jpeg")
    return fleet.telegram.send_photo(person, random.choice(files))


# Faults


def kill_inference(fleet: Fleet) -> None:
    os.kill(inference_process(fleet.dynos[1]), signal.SIGKILL)


def hang_inference(fleet: Fleet) -> None:
    os.kill(inference_process(fleet.dynos[1]), signal.SIGSTOP)


def kill_web(fleet: Fleet) -> None:
    os.kill(web_process(fleet.dynos[1]), signal.SIGKILL)


def kill_dyno(fleet: Fleet) -> None:
    kill_tree(fleet.dynos[1])
    fleet.restart(1)


def stop_dyno(fleet: Fleet) -> None:
    sigterm(fleet.dynos[1])
    fleet.dynos[1].process.wait(40)
    fleet.restart(1)


def restart_redis(fleet: Fleet) -> None:
    fleet.redis.stop()
    time.sleep(5)
    fleet.redis.start()


def hang_redis(fleet: Fleet) -> None:
    os.kill(fleet.redis.process.pid, signal.SIGSTOP)
    time.sleep(5)
    os.kill(fleet.redis.process.pid, signal.SIGCONT)


def fail_telegram(fleet: Fleet) -> None:
    for method in ("getFile", "file", "sendPhoto", "sendMessage", "sendChatAction"):
        fleet.telegram.fail(method, times=2, status=500)
        fleet.telegram.fail(method, times=2, drop=True)


def flood_telegram(fleet: Fleet) -> None:
    for method in ("sendPhoto", "sendMessage"):
        fleet.telegram.fail(method, times=3, retry_after=2)
        fleet.telegram.fail(method, times=1, retry_after=30)


def slow_telegram(fleet: Fleet) -> None:
    for method in ("getFile", "file", "sendPhoto", "sendMessage"):
        fleet.telegram.fail(method, times=2, delay=10)


FAULTS = {
    "inference process killed": kill_inference,
    "inference process hung": hang_inference,
    "web process killed": kill_web,
    "dyno killed": kill_dyno,
    "dyno stopped by SIGTERM": stop_dyno,
    "Redis killed, away for 5 s": restart_redis,
    "Redis hung for 5 s": hang_redis,
    "Bot API fails and hangs up": fail_telegram,
    "Bot API says 429": flood_telegram,
    "Bot API 10 s slow": slow_telegram,
}


def break_things(fleet: Fleet, record: Record, over: threading.Event, seconds: float) -> None:
    """One fault after another, each kind as often as any other, until shortly before the end."""
    deadline = time.monotonic() + seconds
    for name in itertools.cycle(FAULTS):
        if over.wait(FAULT_SECONDS) or time.monotonic() > deadline:
            return
        start = time.time()
        try:
            FAULTS[name](fleet)
        except (TypeError, ValueError, OSError):  # the process to be hit is just being replaced
            continue
        record.faults.append((start, name))


# Looking on


def watch_health(fleet: Fleet, record: Record, over: threading.Event) -> None:
    with httpx.Client(timeout=10, verify=False) as client:
        while not over.wait(HEALTH_SECONDS):
            start = time.perf_counter()
            try:
                client.get(f"{fleet.dynos[0].url}/healthz")
                record.health.append(time.perf_counter() - start)
            except httpx.TransportError:
                record.silent += 1


def watch_memory(fleet: Fleet, record: Record, over: threading.Event, seconds: float) -> None:
    for _ in range(5):
        record.memory.append(anonymous(fleet.dynos[0].process.pid))
        if over.wait(seconds / 4):
            return


def collect(fleet: Fleet, record: Record, updates: dict[int, Json]) -> None:
    """Note answers, and free what the Bot API server keeps of updates that are done with."""
    telegram = fleet.telegram
    with telegram.changed:
        for sent in telegram.sent:
            record.answers.setdefault(sent.reply_to, []).append(sent.time)
        telegram.sent.clear()
        telegram.calls.clear()
        telegram.actions.clear()
        pending = {update["message"]["message_id"] for update in telegram.pending}
        for number in list(updates):
            if number in pending:
                continue
            message = updates[number]["message"]
            for file in [
                *message.get("photo", []),
                *([message["document"]] if "document" in message else []),
            ]:
                telegram.files.pop(file["file_id"], None)


def judge(fleet: Fleet, record: Record, updates: dict[int, Json]) -> None:
    """Count what was lost and doubled, and how long each answer took."""
    for number, update in updates.items():
        attempts = fleet.telegram.deliveries[update["update_id"]]
        times = record.answers.get(number, [])
        record.lost += not times
        if len(times) > 1:
            record.doubled.append(explain(record, times, attempts))
        if times:
            wait = times[0] - attempts[0].started
            record.waits.append(wait)
            if len(attempts) == 1:
                record.smooth.append(wait)


def explain(record: Record, times: list[float], attempts: list[Attempt]) -> str:
    """When an update was answered and how its deliveries ended, and what was broken shortly before."""
    start = attempts[0].started
    answered = ", ".join(f"{when - start:.1f}" for when in times)
    ended = ", ".join(f"{attempt.status or 'cut off'} at {attempt.ended - start:.1f}" for attempt in attempts)
    broken = [
        f"{name} at {when - start:.1f}" for when, name in record.faults if times[0] - 60 < when < times[-1]
    ]
    return f"answered at {answered}; deliveries ended with {ended}; {', '.join(broken) or 'nothing broken'}"


def soak(fleet: Fleet, minutes: float) -> Record:
    """Run the load and the faults, wait for the last answer, and judge."""
    record, updates, over = Record(), {}, threading.Event()
    seconds = 60 * minutes
    kinds = mixture()
    names, shares = list(kinds), [share for share, _ in kinds.values()]
    people = itertools.count(4_000_001)
    deadline, minute, delivery = time.monotonic() + seconds, 0, None
    threads = ThreadPoolExecutor(3)
    beside = [
        threads.submit(break_things, fleet, record, over, seconds - LAST_FAULT_SECONDS),
        threads.submit(watch_health, fleet, record, over),
        threads.submit(watch_memory, fleet, record, over, seconds),
    ]
    try:
        while time.monotonic() < deadline:
            raise_errors(beside)
            if len(fleet.telegram.pending) < MOST_PENDING:
                (name,) = random.choices(names, shares)
                update = send(fleet, name, kinds[name][1], next(people))
                updates[update["message"]["message_id"]] = update
                record.sent[name] += 1
            if delivery is None or delivery.done():
                delivery = fleet.telegram.start_delivery(seconds + LAST_ANSWER_SECONDS, pace=1)
            time.sleep(PAUSE_SECONDS)
            collect(fleet, record, updates)
            if time.monotonic() > deadline - seconds + 60 * minute:
                pending = len(fleet.telegram.pending)
                print(f"minute {minute}: {sum(record.sent.values())} sent, {pending} pending", flush=True)
                minute += 1
        fleet.telegram.recover()
        fleet.telegram.wait_for(lambda: not fleet.telegram.pending, LAST_ANSWER_SECONDS)
    finally:
        over.set()
        threads.shutdown()
    raise_errors(beside)
    collect(fleet, record, updates)
    judge(fleet, record, updates)
    return record


def raise_errors(jobs: list[Future[None]]) -> None:
    """Let the run end as those of its threads that are over did, such as by a dyno that does not stop."""
    for job in jobs:
        if job.done():
            job.result()


def report(fleet: Fleet, record: Record, minutes: float) -> str:
    """The figures in Markdown."""
    log = fleet.logs()

    def percentiles(seconds: list[float]) -> str:
        return " / ".join(f"{1000 * np.percentile(seconds, share):.0f}" for share in (50, 95, 99))

    total = sum(record.sent.values())
    rows = {
        "updates sent": total,
        "answers": sum(map(len, record.answers.values())),
        "lost": record.lost,
        "answered more than once": len(record.doubled),
        "web processes and dynos started": log.count("Booting worker"),
        "from first delivery to answer, p50 / p95 / p99, ms": percentiles(record.waits),
        f"the same of the {len(record.smooth)} answered at the first delivery": percentiles(record.smooth),
        "/healthz of the first dyno, p50 / p95 / p99, ms": percentiles(record.health),
        "/healthz unanswered": record.silent,
        "tracebacks in the logs": log.count("Traceback"),
        "memory of the first dyno, with development packages, at start, quarters and end, MB": " / ".join(
            f"{megabytes(used)}" for used in record.memory
        ),
    }
    sent = ", ".join(f"{count} {name}" for name, count in record.sent.most_common())
    broken = Counter(name for _, name in record.faults)
    faults = "\n".join(f"- {count} times: {name}" for name, count in broken.items())
    doubled = "\n".join(f"- {line}" for line in record.doubled) or "- none"
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"""# Soak

`make soak SOAK_MINUTES={minutes:g}`, {datetime.date.today()}; {machine()}; load averages at the end {load}.

Two dynos with a Redis behind nginx, Telegram's Bot API played by the tests' server, which delivers as
Telegram does: an update comes again until it is acknowledged. At most {MOST_PENDING} updates at once: {sent}.

{table(["", ""], list(map(list, rows.items())))}

Meanwhile, one every {FAULT_SECONDS} s; kills hit the second dyno:

{faults}

Updates answered more than once, in seconds from their first delivery:

{doubled}
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    minutes = parser.parse_args().minutes
    path = f"{os.environ['PATH']}:/usr/sbin"
    if missing := [name for name in ("nginx", "redis-server") if not shutil.which(name, path=path)]:
        sys.exit(f"needs {' and '.join(missing)}; make programs installs Debian's")
    random.seed(0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and take all that was started with it
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        record = soak(fleet, minutes)
        RESULT.write_text(report(fleet, record, minutes))
    print(RESULT.read_text())
    sys.exit(f"{record.lost} updates were lost" if record.lost else 0)


if __name__ == "__main__":
    main()
