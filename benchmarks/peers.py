"""Who is measured, each in a process of its own: python -m benchmarks.peers NAME

Reads photos from its standard input, each a line of JSON (method, shape, bytes, limit) and the bytes;
answers each with a line of JSON. Imports nothing at the top that a peer's own package does not bring,
since `fer` runs in a virtual environment of its own.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import astuple
from pathlib import Path

ROOT = Path(__file__).parent.parent
FER = ROOT / "benchmarks" / ".venv" / "bin" / "python"


class Ours:
    """This project, called as its inference process calls it."""

    def __init__(self) -> None:
        from inference.analyzer import FaceAnalyzer

        self._analyzer = FaceAnalyzer()

    def analyze(self, image) -> list:
        return [astuple(face.box) for face in self._analyzer.analyze(image)]

    def detect(self, image) -> list:
        return [astuple(face.box) for face in self._analyzer.detect(image)]

    def read(self, data: bytes) -> list:
        """From the file's bytes on."""
        from inference.intake import read_photo

        return self.analyze(read_photo(data).image)


class Naive:
    """What a tutorial does with the same weights: MTCNN as it comes, `predict` for each face and model."""

    def __init__(self) -> None:
        import keras
        from mtcnn import MTCNN

        self._mtcnn = MTCNN()
        self._models = [
            keras.models.load_model(path, compile=False)
            for path in sorted((ROOT / "weights").glob("*.keras"))
        ]

    def detect(self, image) -> list:
        faces = self._mtcnn.detect_faces(image, box_format="xyxy")
        return [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in (face["box"] for face in faces)]

    def analyze(self, image) -> list:
        import cv2

        boxes = self.detect(image)
        for x, y, across, down in boxes:
            face = image[max(0, y) : y + down, max(0, x) : x + across]
            for model in self._models:
                _, height, width, channels = model.input_shape
                crop = cv2.resize(face, (width, height))
                crop = crop if channels == 3 else cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None]
                model.predict((crop[None] - crop.mean()) / max(crop.std(), 8), verbose=0)
        return boxes


class Fer:
    """The `fer` package with its MTCNN; it tells emotions alone."""

    def __init__(self) -> None:
        from fer.fer import FER as Fer

        self._fer = Fer(mtcnn=True)

    def analyze(self, image) -> list:
        return [face["box"] for face in self._fer.detect_emotions(image[:, :, ::-1])]


PEERS = {"ours": Ours, "naive": Naive, "fer": Fer}


class Peer:
    """A running peer; use it as a context manager."""

    def __init__(self, name: str) -> None:
        from inference.pool import MEMORY
        from tests.conftest import DEPLOYED

        python = FER if name == "fer" else sys.executable
        environment = DEPLOYED | (MEMORY if name == "ours" else {})
        self.name = name
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.peers", name],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.load_seconds = json.loads(self._process.stdout.readline())["seconds"]

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()

    def measure(self, method: str, photo, seconds: float) -> dict:
        """Call one of its methods again and again, once at least after a call that is not counted.

        Args:
            photo: (height, width, 3) uint8 RGB, or an encoded photo as bytes.
            seconds: after which no other call is begun.

        Returns:
            `seconds` of each call, `boxes` of the last: x, y, width, height.
        """
        shape = None if isinstance(photo, bytes) else photo.shape
        data = photo if shape is None else photo.tobytes()
        order = {"method": method, "shape": shape, "bytes": len(data), "limit": seconds}
        self._process.stdin.write(json.dumps(order).encode() + b"\n" + data)
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _serve(name: str) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # packages print
    start = time.perf_counter()
    peer = PEERS[name]()
    print(json.dumps({"seconds": time.perf_counter() - start}), file=answers, flush=True)
    while line := sys.stdin.buffer.readline():
        order = json.loads(line)
        data = sys.stdin.buffer.read(order["bytes"])
        result = _repeat(getattr(peer, order["method"]), _photo(data, order["shape"]), order)
        print(json.dumps(result), file=answers, flush=True)


def _photo(data: bytes, shape: list[int] | None):
    if shape is None:
        return data
    import numpy as np

    return np.frombuffer(data, np.uint8).reshape(shape).copy()


def _repeat(call, photo, order: dict) -> dict:
    boxes, seconds = call(photo), []
    end = time.perf_counter() + order["limit"]
    while not seconds or time.perf_counter() < end:
        start = time.perf_counter()
        call(photo)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "boxes": [[float(side) for side in box] for box in boxes]}


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _serve(sys.argv[1])
