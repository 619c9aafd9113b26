"""The live camera, alone and beside photos; it sends as often as it may, a tenth more often than the page."""

import json
import time

import numpy as np
from tqdm import tqdm
from websockets.sync.client import connect

from benchmarks.photos import encode, frame, mixed
from benchmarks.report import Check, milliseconds, table
from benchmarks.service import beside, deliver, running

FACES = (1, 5)  # in a frame
FILM_SECONDS = 15  # with each
WARM = 10  # frames that don't count
ROUNDS, PHOTOS = 4, 10  # of photos one after the other, each round alone and beside a camera
QUALITY = 75  # of the frames' JPEGs


def run() -> tuple[str, list[Check]]:
    """Measure, and return the section for the report and the checks of its targets."""
    frames = {faces: encode(frame(faces), QUALITY) for faces in FACES}
    rates, rows, alone, accompanied, skipped = [], [], [], [], []
    with running() as (telegram, service):
        deliver(telegram, list(mixed(8, seed=1)), 8)  # warm
        for faces in tqdm(FACES, desc="frames", unit="film"):
            with beside(film, service.url, frames[faces]) as answers:
                time.sleep(FILM_SECONDS)
            sent, took, served, _ = np.transpose(answers[WARM:])
            rates.append((len(sent) - 1) / (sent[-1] - sent[0]))
            rows.append([faces, f"{rates[-1]:.1f}", *milliseconds(took), *milliseconds(served)])
        photos = list(mixed(PHOTOS, seed=3))
        for _ in tqdm(range(ROUNDS), desc="photos", unit="round"):
            alone += deliver(telegram, photos, 1)[1]
            with beside(film, service.url, frames[1]) as answers:
                time.sleep(1)  # for the camera to be there
                accompanied += deliver(telegram, photos, 1)[1]
            skipped += [is_skipped for *_, is_skipped in answers]
    ratio = float(np.median(accompanied) / np.median(alone))
    text = "\n\n".join(
        [
            "One camera on /live, frames of 640 x 360 px, one in flight and at most as many a second as the "
            "service asks for. From the sending of a frame to its faces, and the service's share of it; the "
            "camera's side runs on the same cores.",
            table(
                ["faces", "frames a second", "ms a frame, median", "p95", "service's, median", "p95"], rows
            ),
            "Mixed photos one after the other, as in Service, with no camera and beside one with one face, "
            f"{100 * np.mean(skipped):.0f} % of whose frames are skipped meanwhile:",
            table(
                ["", "ms a photo, median", "p95"],
                [["alone", *milliseconds(alone)], ["beside a camera", *milliseconds(accompanied)]],
            ),
        ]
    )
    return text, [
        Check("frames a second, one face", f"{rates[0]:.1f}", "at least 10", rates[0] >= 10),
        Check("frames a second, five faces", f"{rates[1]:.1f}", "at least 5", rates[1] >= 5),
        Check("a photo beside a camera to one alone", f"{ratio:.2f}", "at most 1.5", ratio <= 1.5),
    ]


def film(url: str, data: bytes, stop) -> list[tuple[float, float, float, bool]]:
    """Send the same frame again and again -> of each: when it was sent, and how long it and the service
    took, all in seconds; whether it was skipped."""
    answers = []
    with connect(f"{url.replace('http', 'ws')}/live/stream") as stream:
        stream.send(json.dumps({"init_data": ""}))
        pause = 1 / json.loads(stream.recv())["frames_a_second"]
        while not stop.is_set():
            start = time.perf_counter()
            stream.send(data)
            answer = json.loads(stream.recv())
            took, skipped = time.perf_counter() - start, answer["type"] == "skipped"
            answers.append((start, took, answer.get("milliseconds", 0) / 1000, skipped))
            time.sleep(max(0, pause - took))
    return answers
