"""Decoded photo -> faces: this project, the naive pipeline and fer on the same photos."""

import subprocess
from contextlib import ExitStack

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.peers import FER, PEERS, Peer
from benchmarks.photos import Photo, encode, standard
from benchmarks.report import Check, milliseconds, table
from inference.faces import BoundingBox
from inference.tracking import overlap

SAME_BOX = 0.9  # IoU from which two boxes count as the same
MEGAPIXELS = {2: (1633, 1225), 12: (4000, 3000)}  # width, height
ROUNDS = 4  # in which all take turns on a photo, so that a slow spell of the machine hits all alike
SECONDS = 0.3  # for each turn; one call is made even so
OWN_TURNS = 3  # of this project in each round, as its whole differs little from its detection


def run() -> tuple[str, list[Check]]:
    """Measure, and return the section for the report and the checks of its targets."""
    photos = standard()
    timed: dict[tuple[str, str, str], list[float]] = {}  # seconds, by peer, method and photo
    found: dict[tuple[str, str], list] = {}
    jobs = [("ours", "analyze"), ("ours", "detect")] * OWN_TURNS + [("naive", "analyze")]
    why_no_fer = _why_no_fer()
    if not why_no_fer:
        jobs.append(("fer", "analyze"))
    with ExitStack() as stack:
        peers = {name: stack.enter_context(Peer(name)) for name in dict(jobs)}
        progress = stack.enter_context(tqdm(total=len(photos) * len(jobs) * ROUNDS, unit="turn"))
        for photo in photos:
            for name, method in jobs * ROUNDS:
                progress.set_description(f"{name} {method}: {photo.name}")
                result = peers[name].measure(method, photo.image, SECONDS)
                timed.setdefault((name, method, photo.name), []).extend(result["seconds"])
                found[name, photo.name] = result["boxes"]
                progress.update()
        large = {size: _large(size, peers["ours"]) for size in MEGAPIXELS}
        loads = {name: peer.load_seconds for name, peer in peers.items()}
    medians = {key: float(np.median(seconds)) for key, seconds in timed.items()}
    parts = [
        "Milliseconds from the decoded photo to its faces with all that the peer tells of them "
        "(fer: emotions alone).",
        _speed(photos, timed, medians),
        "This project's detection alone, and how many faces each finds (the naive pipeline with mtcnn). "
        "Photos over 1280 px are shrunk before detection here, so boxes are compared up to 1280 px.",
        _detection(photos, timed, medians, found),
        "This project from the file's bytes on, the same 7 faces as a JPEG:",
        table(
            ["megapixels", "median", "p95"],
            [[size, *milliseconds(seconds)] for size, seconds in large.items()],
        ),
        "Seconds to load: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in loads.items()) + ".",
    ]
    if why_no_fer:
        parts.append(f"fer was not measured: {why_no_fer}")
    return "\n\n".join(parts), _checks(photos, medians, found, large)


def _why_no_fer() -> str:
    """Why it can't be measured; empty where it can."""
    if not FER.exists():
        return "`make bench` could not install it here."
    trial = subprocess.run([FER, "-c", "from fer.fer import FER"], capture_output=True, text=True)
    return "" if trial.returncode == 0 else trial.stderr.strip().splitlines()[-1]


def _large(size: int, ours: Peer) -> list[float]:
    """Seconds for the 7 faces in a JPEG of so many megapixels, decoding included."""
    group = next(photo for photo in standard() if photo.name == "7 faces, 2560 px").image
    photo = cv2.resize(group, MEGAPIXELS[size], interpolation=cv2.INTER_CUBIC)
    return ours.measure("read", encode(photo, 90), ROUNDS * SECONDS)["seconds"]


def _speed(photos: list[Photo], timed: dict, medians: dict) -> str:
    names = [name for name in ("ours", "naive", "fer") if (name, "analyze", photos[0].name) in timed]
    head = ["photo"] + [f"{name}, {what}" for name in names for what in ("median", "p95")]
    head += [f"{name} : ours" for name in names[1:]]
    rows = []
    for photo in photos:
        row = [photo.name]
        for name in names:
            row += milliseconds(timed[name, "analyze", photo.name])
        ours = medians["ours", "analyze", photo.name]
        rows.append(row + [f"{medians[name, 'analyze', photo.name] / ours:.1f}" for name in names[1:]])
    return table(head, rows)


def _detection(photos: list[Photo], timed: dict, medians: dict, found: dict) -> str:
    head = ["photo", "detection, median", "p95", "whole : detection"]
    head += ["faces: ours", "mtcnn", "fer", f"mtcnn's boxes at IoU {SAME_BOX}"]
    rows = []
    for photo in photos:
        counts = [len(found[name, photo.name]) if (name, photo.name) in found else "-" for name in PEERS]
        share = medians["ours", "analyze", photo.name] / medians["ours", "detect", photo.name]
        same, boxes = _agreement(found, photo)
        times = milliseconds(timed["ours", "detect", photo.name])
        rows.append([photo.name, *times, f"{share:.2f}", *counts, f"{same} of {boxes}"])
    return table(head, rows)


def _agreement(found: dict, photo: Photo) -> tuple[int, int]:
    """Of the boxes that the mtcnn package and this project have in common, how many are the same; and all."""
    ours, theirs = ([BoundingBox(*box) for box in found[name, photo.name]] for name in ("ours", "naive"))
    best = [max((overlap(box, other) for other in ours), default=0) for box in theirs]
    return sum(share >= SAME_BOX for share in best), sum(share > 0.5 for share in best)


def _checks(photos: list[Photo], medians: dict, found: dict, large: dict) -> list[Check]:
    group, portrait = "7 faces, 1280 px", "portrait, 640 px"

    def times(photo: str) -> float:
        return medians["naive", "analyze", photo] / medians["ours", "analyze", photo]

    share = medians["ours", "analyze", group] / medians["ours", "detect", group]
    # What the package finds beyond the faces that are there (a fold of cloth) is no face.
    fewer = [p.name for p in photos if len(found["ours", p.name]) < min(p.faces, len(found["naive", p.name]))]
    false = [p.name for p in photos if len(found["ours", p.name]) > p.faces]
    same, boxes = np.sum([_agreement(found, p) for p in photos if max(p.image.shape) <= 1280], axis=0)
    growth = float(np.median(large[12]) / np.median(large[2]))
    return [
        Check(
            f"{group}: as many times the naive pipeline's photos",
            f"{times(group):.1f}",
            "at least 4",
            times(group) >= 4,
        ),
        Check(f"{portrait}: likewise", f"{times(portrait):.1f}", "at least 3", times(portrait) >= 3),
        Check(f"{group}: whole pipeline to its own detection", f"{share:.2f}", "at most 1.3", share <= 1.3),
        Check("photos with more faces than there are", ", ".join(false) or "none", "none", not false),
        Check(
            "photos with fewer faces than the mtcnn package", ", ".join(fewer) or "none", "none", not fewer
        ),
        Check(
            "boxes like mtcnn's, up to 1280 px", f"{same} of {boxes}", "at least 95 %", same >= 0.95 * boxes
        ),
        Check("12 megapixels to 2, decoding included", f"{growth:.2f}", "at most 1.5", growth <= 1.5),
    ]
