"""A camera, read like a video file."""

import time
from collections.abc import Callable, Iterator
from math import inf

import cv2
from cv2.utils import logging

from inference.footage import Picture, fitted


class Camera:
    """A camera of this machine.

    Attributes:
        seconds: without end.
        width, height: of its frames, pixels.
        sound: none.
    """

    seconds, sound = inf, None

    def __init__(self, number: int) -> None:
        """
        Args:
            number: of the camera, from 0.

        Raises:
            OSError: there is no such camera, or somebody else has it.
        """
        logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # what OpenCV says of a missing camera is no help
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise OSError("there is no such camera, or another program uses it")
        sides = (self._capture.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self.width, self.height = map(int, sides)

    def frames(self, hear: Callable | None = None) -> Iterator[Picture]:
        """What it sees from now on, until it is unplugged; `hear` is never called."""
        start = time.perf_counter()
        while (read := self._capture.read())[0]:
            image = cv2.resize(read[1], fitted(self.width, self.height), interpolation=cv2.INTER_AREA)
            yield Picture(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), time.perf_counter() - start)
